package lb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/agent/network"
)

// errNoProgram says that there is no HAProxy to start.
var errNoProgram = errors.New("haproxy is not installed: no haproxy on PATH")

// A process is a running HAProxy of one load balancer.
type process struct {
	pid    int
	config string // the path of the configuration that it was started with
}

// processes finds the running processes of the load balancer whose files are in dir, newest last. They are known by
// their command line, which no crash of an agent can lose.
func processes(dir string) ([]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var found []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		raw, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil {
			continue // it has ended
		}
		args := strings.Split(string(raw), "\x00")
		i := slices.Index(args, "-f")
		if i < 0 || i+1 >= len(args) || filepath.Dir(args[i+1]) != dir || !strings.HasPrefix(filepath.Base(args[i+1]), configPrefix) {
			continue
		}
		// A process that has ended and waits for its parent has an empty command line; one that is being forked is seen
		// with its parent's and counts.
		found = append(found, process{pid: pid, config: args[i+1]})
	}
	slices.SortFunc(found, func(a, b process) int { return int(startTime(a.pid) - startTime(b.pid)) })
	return found, nil
}

const configPrefix = "haproxy-"

// startTime is when a process was started, in the kernel's ticks; 0 when it has ended.
func startTime(pid int) int64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, ok := strings.Cut(string(raw), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return 0
	}
	ticks, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil {
		return 0
	}
	return ticks
}

// launch starts HAProxy with config and returns when it serves. With takeOver it takes the sockets of the process that runs,
// so that no connection is refused in between; that one is to be told to end then (succeed). The process belongs to
// nobody: it outlives its starter. If it cannot start, whatever ran before goes on undisturbed.
func (b *balancer) launch(ctx context.Context, config string, takeOver bool) error {
	program, err := exec.LookPath("haproxy")
	if err != nil {
		return errNoProgram
	}
	args := []string{"-D", "-f", config}
	if takeOver {
		// HAProxy's own way to tell its predecessors, -sf, makes them let go of their sockets when a new one cannot be bound.
		args = append(args, "-x", b.admin)
	}
	output, err := os.CreateTemp(b.dir, "output-")
	if err != nil {
		return fmt.Errorf("start haproxy: %w", err)
	}
	defer os.Remove(output.Name())
	defer output.Close()
	// The daemon keeps what it inherits, so its output is a file, not a pipe that would never end.
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = output, output, "/"
	err = network.In(b.cfg.HostNetNS, cmd.Run)
	said, _ := os.ReadFile(output.Name())
	if err != nil {
		return fmt.Errorf("start haproxy: %w: %s", err, complaint(string(said)))
	}
	return nil
}

// startTimeout is how long HAProxy may take to read its configuration and to serve.
const startTimeout = 30 * time.Second

// complaint is what HAProxy says is wrong, in one line.
func complaint(output string) string {
	var alerts []string
	for line := range strings.Lines(output) {
		if kind, rest, ok := strings.Cut(strings.TrimSpace(line), ") : "); ok && strings.HasPrefix(kind, "[ALERT]") {
			alerts = append(alerts, rest)
		}
	}
	if len(alerts) == 0 {
		return strings.TrimSpace(output)
	}
	return strings.Join(alerts, "; ")
}

// succeed tells all processes but the newest to end when their connections have ended. Telling them again changes nothing.
func (b *balancer) succeed() error {
	running, err := processes(b.dir)
	if err != nil || len(running) == 0 {
		return err
	}
	for _, p := range running[:len(running)-1] {
		if err := unix.Kill(p.pid, unix.SIGUSR1); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("signal process %d: %w", p.pid, err)
		}
	}
	return nil
}

// end ends processes: with grace they finish their connections first, as long as patience allows.
func end(ctx context.Context, all []process, patience time.Duration) error {
	signals := []struct {
		signal   unix.Signal
		patience time.Duration
	}{{unix.SIGUSR1, patience}, {unix.SIGTERM, 5 * time.Second}, {unix.SIGKILL, 5 * time.Second}}
	for _, s := range signals {
		if s.patience == 0 {
			continue
		}
		var left []process
		for _, p := range all {
			gone, err := endOne(ctx, p, s.signal, s.patience)
			if err != nil {
				return err
			}
			if !gone {
				left = append(left, p)
			}
		}
		if all = left; len(all) == 0 {
			return nil
		}
	}
	return fmt.Errorf("process %d cannot be killed", all[0].pid)
}

// endOne sends a signal and waits for the process's end by its file descriptor, which cannot mean another process.
func endOne(ctx context.Context, p process, signal unix.Signal, patience time.Duration) (gone bool, err error) {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("open process %d: %w", p.pid, err)
	}
	defer unix.Close(fd)
	// Opened first, looked at then: it is still the process that was found.
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid))
	if errors.Is(err, fs.ErrNotExist) || err == nil && !strings.Contains(string(raw), p.config) {
		return true, nil
	}
	if err := unix.PidfdSendSignal(fd, signal, nil, 0); err != nil {
		if errors.Is(err, unix.ESRCH) {
			return true, nil
		}
		return false, fmt.Errorf("signal process %d: %w", p.pid, err)
	}
	until := time.Now().Add(patience)
	for ctx.Err() == nil {
		left := time.Until(until)
		if left <= 0 {
			return false, nil
		}
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, int(min(left, 100*time.Millisecond).Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false, fmt.Errorf("await process %d: %w", p.pid, err)
		}
		if n > 0 {
			return true, nil
		}
	}
	return false, ctx.Err()
}
