package up

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"berth.dev/berth/internal/app/instance"
	"berth.dev/berth/internal/control/nodeca"
)

// Config says what to supervise.
type Config struct {
	Instance instance.Instance
	// Listen is the address of the AWS API, host:port.
	Listen string
	TLS    bool // the API speaks it
	// Server and Agent are the arguments of the two roles.
	Server, Agent []string
	// Say gets one line for each thing that a person would want to know.
	Say func(format string, args ...any)
	// Ready is called once, when the API and the local node are ready.
	Ready func(took time.Duration)
}

// TokenVariable is the environment variable in which an agent gets its join
// token, which must not be seen in a list of processes.
const TokenVariable = "BERTH_JOIN_TOKEN"

const (
	firstPause = 100 * time.Millisecond
	longPause  = 5 * time.Second
	// steady is how long a role must run before its next death counts as the
	// first.
	steady = 10 * time.Second
)

// Run supervises until ctx ends; then it ends both roles and leaves tasks
// running.
func Run(ctx context.Context, cfg Config) error {
	release, err := cfg.Instance.Claim("up")
	if err != nil {
		return err
	}
	defer release()
	begun := time.Now()
	authority, err := nodeca.Open(cfg.Instance.Path("server", "pki"), begun)
	if err != nil {
		return fmt.Errorf("opening the node authority: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return keep(ctx, cfg, "server", cfg.Server, nil) })
	g.Go(func() error {
		return keep(ctx, cfg, "agent", cfg.Agent, []string{TokenVariable + "=" + authority.Token().String()})
	})
	g.Go(func() error {
		if awaitReady(ctx, cfg) {
			cfg.Ready(time.Since(begun))
		}
		return nil
	})
	return g.Wait()
}

// keep runs one role and starts it again when it dies.
func keep(ctx context.Context, cfg Config, role string, args, env []string) error {
	// A supervisor that was killed may have left the role behind.
	if err := cfg.Instance.Stop(ctx, role); err != nil {
		return err
	}
	wait := firstPause
	for ctx.Err() == nil {
		begun := time.Now()
		err := runOnce(ctx, cfg.Instance, role, args, env)
		if ctx.Err() != nil {
			return err
		}
		if time.Since(begun) > steady {
			wait = firstPause
		}
		cfg.Say("✗ the %s died (%v) and is started again; its log is %s%s", role, err, logFile(cfg.Instance, role), lastWords(cfg.Instance, role))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		wait = min(2*wait, longPause)
	}
	return nil
}

// runOnce runs the role's process to its end. When ctx ends first it is asked
// to end, and killed if it does not within 15 seconds.
func runOnce(ctx context.Context, inst instance.Instance, role string, args, env []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := openLog(inst, role)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the child writes it
	cmd := exec.CommandContext(ctx, self, append([]string{role}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 15 * time.Second
	// The role gets its own process group, so that Ctrl-C reaches it only
	// through us, and ends when we are killed. The kernel ties that to the
	// thread that started it, hence the lock.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return err
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if ctx.Err() != nil && (errors.As(err, &exit) || errors.Is(err, ctx.Err())) {
		return nil // it ended because it was told to
	}
	return err
}

// maxLog is when a role's log starts anew; the old one is kept beside it.
const maxLog = 16 << 20

func logFile(inst instance.Instance, role string) string { return inst.Path(role, role+".log") }

func openLog(inst instance.Instance, role string) (*os.File, error) {
	file := logFile(inst, role)
	if err := os.MkdirAll(inst.Path(role), 0o700); err != nil {
		return nil, err
	}
	if info, err := os.Stat(file); err == nil && info.Size() > maxLog {
		if err := os.Rename(file, file+".1"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
}

// lastWords is the end of a role's log, so that nobody must go looking.
func lastWords(inst instance.Instance, role string) string {
	f, err := os.Open(logFile(inst, role))
	if err != nil {
		return ""
	}
	defer f.Close() //nolint:errcheck // only read
	const most = 600
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		f.Seek(max(0, size-most), io.SeekStart) //nolint:errcheck,gosec // the beginning will do
	}
	data, err := io.ReadAll(f)
	if err != nil || len(data) == 0 {
		return ""
	}
	return "; it ends with:\n" + string(data)
}

// awaitReady asks until the API says that it and the node are ready.
func awaitReady(ctx context.Context, cfg Config) bool {
	ticker := time.NewTicker(25 * time.Millisecond)
	defer ticker.Stop()
	client, scheme := &http.Client{Timeout: time.Second}, "http"
	if cfg.TLS {
		// Nothing is told to whoever answers, and nothing that it says is more
		// than a line for the user: its certificate may be for any name.
		client.Transport, scheme = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, "https" //nolint:gosec // see above
	}
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+cfg.Listen+"/readyz", nil)
		if err != nil {
			return false
		}
		if answer, err := client.Do(request); err == nil {
			answer.Body.Close() //nolint:errcheck,gosec // nothing of it is needed
			if answer.StatusCode == http.StatusOK {
				return true
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return false
		}
	}
}
