package containerd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/template"
	"time"

	client "github.com/containerd/containerd/v2/client"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/protobuf/types/known/emptypb"
)

const (
	// probeTimeout is how long a containerd that exists may take to answer.
	probeTimeout = 5 * time.Second
	// startTimeout is how long a private containerd may take until it answers: it reads its whole database first.
	startTimeout = 60 * time.Second
	// stopTimeout is how long a private containerd may take to end before it is killed.
	stopTimeout = 10 * time.Second
	// maxSocketPath is the kernel's limit on the path of a unix socket.
	maxSocketPath = 107
)

// engine is the containerd that is used.
type engine struct {
	client  *client.Client
	address string
	private bool
}

// connect finds a containerd or starts a private one.
func connect(ctx context.Context, cfg Config) (engine, error) {
	switch cfg.Address {
	case AddressPrivate:
		return connectPrivate(ctx, cfg)
	case "":
		// A private containerd that runs already is kept, even if the host has got its own since: the tasks are there.
		if _, err := os.Stat(socketPath(cfg)); err == nil {
			return connectPrivate(ctx, cfg)
		}
		if c, err := dial(ctx, defaultAddress, probeTimeout); err == nil {
			return engine{client: c, address: defaultAddress}, nil
		}
		return connectPrivate(ctx, cfg)
	default:
		c, err := dial(ctx, cfg.Address, probeTimeout)
		if err != nil {
			return engine{}, fmt.Errorf("containerd at %s does not answer: %w", cfg.Address, err)
		}
		return engine{client: c, address: cfg.Address}, nil
	}
}

// dial connects and returns when containerd has answered, or with an error when it has not within d.
func dial(ctx context.Context, address string, d time.Duration) (*client.Client, error) {
	// A socket that nobody listens on is told at once by the kernel, which gRPC would try again until its time is over.
	conn, err := net.DialTimeout("unix", address, d)
	if err != nil {
		return nil, err
	}
	conn.Close()
	// A containerd that comes back after its death should be found at once, not after gRPC's minutes.
	params := grpc.ConnectParams{MinConnectTimeout: time.Second, Backoff: backoff.Config{
		BaseDelay: 10 * time.Millisecond, Multiplier: 1.6, MaxDelay: time.Second,
	}}
	c, err := client.New(address, client.WithExtraDialOpts([]grpc.DialOption{grpc.WithConnectParams(params)}))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	if _, err := c.VersionService().Version(ctx, &emptypb.Empty{}, grpc.WaitForReady(true)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func socketPath(cfg Config) string { return filepath.Join(cfg.StateDir, "containerd.sock") }
func pidPath(cfg Config) string    { return filepath.Join(cfg.StateDir, "containerd.pid") }
func rootPath(cfg Config) string   { return filepath.Join(cfg.DataDir, "containerd") }
func configPath(cfg Config) string { return filepath.Join(rootPath(cfg), "config.toml") }
func logPath(cfg Config) string    { return filepath.Join(rootPath(cfg), "containerd.log") }
func statePath(cfg Config) string  { return filepath.Join(cfg.StateDir, "containerd") }
func lockPath(cfg Config) string   { return filepath.Join(cfg.StateDir, "containerd.lock") }
func ttrpcPath(cfg Config) string  { return socketPath(cfg) + ".ttrpc" }

// connectPrivate adopts the instance's private containerd, or starts it.
func connectPrivate(ctx context.Context, cfg Config) (engine, error) {
	if err := ensurePrivate(ctx, cfg); err != nil {
		return engine{}, err
	}
	c, err := dial(ctx, socketPath(cfg), startTimeout)
	if err != nil {
		return engine{}, fmt.Errorf("private containerd does not answer: %w", err)
	}
	return engine{client: c, address: socketPath(cfg), private: true}, nil
}

// revive makes sure that containerd answers again: a private one is started, another one is waited for.
func (e engine) revive(ctx context.Context, cfg Config) error {
	if e.private {
		if err := ensurePrivate(ctx, cfg); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	_, err := e.client.VersionService().Version(ctx, &emptypb.Empty{}, grpc.WaitForReady(true))
	return err
}

// ensurePrivate returns when a private containerd runs that this or an earlier process has started.
func ensurePrivate(ctx context.Context, cfg Config) error {
	if len(socketPath(cfg)) > maxSocketPath {
		return fmt.Errorf("path of the private containerd's socket is too long: %s", socketPath(cfg))
	}
	for _, dir := range []string{rootPath(cfg), cfg.StateDir} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return fmt.Errorf("private containerd: %w", err)
		}
	}
	unlock, err := lock(ctx, cfg)
	if err != nil {
		return err
	}
	defer unlock()
	if privatePID(cfg) != 0 {
		return nil
	}
	return startPrivate(ctx, cfg)
}

// lock keeps an agent and a command such as `berth image import` from starting containerd both.
func lock(ctx context.Context, cfg Config) (unlock func(), err error) {
	f, err := os.OpenFile(lockPath(cfg), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("private containerd: %w", err)
	}
	locked := make(chan error, 1)
	go func() { locked <- unix.Flock(int(f.Fd()), unix.LOCK_EX) }()
	select {
	case err := <-locked:
		if err != nil {
			return nil, errors.Join(fmt.Errorf("private containerd: lock: %w", err), f.Close())
		}
		return func() { f.Close() }, nil
	case <-ctx.Done():
		go func() { <-locked; f.Close() }() //nolint:errcheck // it was only locked
		return nil, ctx.Err()
	}
}

// privatePID returns the process of the private containerd, or zero. The number in the file may belong to somebody
// else by now, so the command line is looked at too.
func privatePID(cfg Config) int {
	data, err := os.ReadFile(pidPath(cfg))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !slices.Contains(strings.Split(string(cmdline), "\x00"), configPath(cfg)) {
		return 0
	}
	return pid
}

// privateConfig turns off what Berth does not use: Kubernetes' interface above all, which would listen and collect.
// It is of version 2, which containerd 1.3 and later read.
var privateConfig = template.Must(template.New("config").Parse(`# Written by Berth each time it starts this containerd.
version = 2
root = {{printf "%q" .Root}}
state = {{printf "%q" .State}}
disabled_plugins = [{{range .Disabled}}
  {{printf "%q" .}},{{end}}
]

[grpc]
  address = {{printf "%q" .Socket}}

[ttrpc]
  address = {{printf "%q" .TTRPC}}

[plugins."io.containerd.gc.v1.scheduler"]
  startup_delay = "10s"
`))

// disabledPlugins of containerd 1.6 to 2.x; names that a version does not know are no error.
var disabledPlugins = [...]string{
	"io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
	"io.containerd.internal.v1.opt", "io.containerd.internal.v1.restart", "io.containerd.internal.v1.tracing",
	"io.containerd.tracing.processor.v1.otlp", "io.containerd.nri.v1.nri", "io.containerd.image-verifier.v1.bindir",
	"io.containerd.monitor.v1.cgroups", "io.containerd.monitor.task.v1.cgroups",
	"io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
	"io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs",
}

// startPrivate starts containerd in a session of its own, and returns when it answers.
func startPrivate(ctx context.Context, cfg Config) error {
	program, err := exec.LookPath("containerd")
	if err != nil {
		return fmt.Errorf("no containerd answers on this host and none can be started: install the package containerd: %w", err)
	}
	var config bytes.Buffer
	if err := privateConfig.Execute(&config, map[string]any{
		"Root": rootPath(cfg), "State": statePath(cfg), "Disabled": disabledPlugins,
		"Socket": socketPath(cfg), "TTRPC": ttrpcPath(cfg),
	}); err != nil {
		return fmt.Errorf("private containerd: %w", err)
	}
	if err := os.WriteFile(configPath(cfg), config.Bytes(), 0o600); err != nil {
		return fmt.Errorf("private containerd: %w", err)
	}
	log, err := os.OpenFile(logPath(cfg), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("private containerd: %w", err)
	}
	defer log.Close()
	// A socket that an earlier one left would be taken for an answer.
	if err := os.Remove(socketPath(cfg)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("private containerd: %w", err)
	}

	// Not CommandContext: it must outlive whoever starts it. Its own session keeps a terminal's ^C away from it.
	cmd := exec.Command(program, "--config", configPath(cfg), "--log-level", "warn")
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("private containerd: %w", err)
	}
	died := make(chan error, 1)
	go func() { died <- cmd.Wait() }()
	if err := os.WriteFile(pidPath(cfg), []byte(strconv.Itoa(cmd.Process.Pid)), 0o600); err != nil {
		return errors.Join(fmt.Errorf("private containerd: %w", err), cmd.Process.Kill())
	}
	if err := awaitSocket(ctx, cfg, died); err != nil {
		return errors.Join(err, cmd.Process.Kill())
	}
	cfg.Logger.InfoContext(ctx, "private containerd started", "pid", cmd.Process.Pid, "address", socketPath(cfg))
	return nil
}

// awaitSocket returns when containerd answers, or with what it wrote when it died.
func awaitSocket(ctx context.Context, cfg Config, died <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		if c, err := dial(ctx, socketPath(cfg), time.Second); err == nil {
			return c.Close()
		}
		timer := time.NewTimer(10 * time.Millisecond)
		select {
		case <-timer.C:
		case err := <-died:
			timer.Stop()
			return fmt.Errorf("private containerd ended at once: %w: %s", err, tail(logPath(cfg)))
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("private containerd does not answer: %w: %s", ctx.Err(), tail(logPath(cfg)))
		}
	}
}

// tail returns the last lines of a file on one line.
func tail(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], " | ")
}

// StopPrivate ends the instance's private containerd, when there is one, and removes its files and those of Runtime in
// the state directory, which may hold other things too. Purge comes before: what still runs is killed without ceremony.
// It succeeds when there is nothing.
func StopPrivate(ctx context.Context, cfg Config) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	if pid := privatePID(cfg); pid != 0 {
		if err := terminate(ctx, pid); err != nil {
			return fmt.Errorf("stop private containerd: %w", err)
		}
	}
	ours := []string{
		rootPath(cfg), statePath(cfg), pidPath(cfg), lockPath(cfg), socketPath(cfg), ttrpcPath(cfg),
		filepath.Join(cfg.StateDir, startedDir), filepath.Join(cfg.StateDir, fifoDir), filepath.Join(cfg.StateDir, ociDir),
	}
	for _, path := range ours {
		// Root file systems of containers that nobody removed are mounts below containerd's directories.
		if err := unmountBelow(path); err != nil {
			return fmt.Errorf("stop private containerd: %w", err)
		}
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("stop private containerd: %w", err)
		}
	}
	_ = os.Remove(cfg.StateDir) // fails, as it should, when it holds something else
	return nil
}

// terminate ends a process that may not be our child, and returns when it is gone.
func terminate(ctx context.Context, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
		if gone, err := awaitExit(ctx, fd); gone || err != nil {
			return err
		}
	}
	return fmt.Errorf("process %d cannot be killed", pid)
}

// awaitExit waits for a process's end, at most stopTimeout.
func awaitExit(ctx context.Context, pidfd int) (gone bool, err error) {
	deadline := time.Now().Add(stopTimeout)
	for {
		left := min(time.Until(deadline), 100*time.Millisecond) // so that ctx is looked at now and then
		if left <= 0 {
			return false, nil
		}
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false, err
		}
		if n > 0 {
			return true, nil
		}
	}
}

// unmountBelow unmounts everything below a directory, the deepest first.
func unmountBelow(dir string) error {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return err
	}
	slices.SortFunc(mounts, func(a, b *mountinfo.Info) int { return len(b.Mountpoint) - len(a.Mountpoint) })
	for _, m := range mounts {
		if err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", m.Mountpoint, err)
		}
	}
	return nil
}
