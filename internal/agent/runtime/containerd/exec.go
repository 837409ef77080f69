package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"
	"github.com/google/uuid"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runtime-spec/specs-go"

	"berth.dev/berth/internal/agent/runtime"
)

// execVariable marks the environment of everything that one Exec starts, so that also what has left its session and
// its parents can be found and killed.
const execVariable = "BERTH_EXEC_ID"

// cleanupTimeout bounds the killing and forgetting of a program whose caller has gone.
const cleanupTimeout = 10 * time.Second

// Exec implements runtime.Runtime.
func (r *Runtime) Exec(ctx context.Context, id string, spec runtime.ExecSpec) (runtime.ExecResult, error) {
	fail := func(err error) (runtime.ExecResult, error) {
		return runtime.ExecResult{}, fmt.Errorf("exec in container %q: %w", id, err)
	}
	if len(spec.Args) == 0 {
		return fail(errors.New("no command specified"))
	}
	ctx = r.scoped(ctx)
	c, err := r.load(ctx, id)
	if err != nil {
		return runtime.ExecResult{}, err
	}
	container, err := r.client.LoadContainer(ctx, id)
	if err != nil {
		return fail(err)
	}
	task, err := container.Task(ctx, nil)
	if errdefs.IsNotFound(err) {
		return fail(runtime.ErrNotRunning)
	}
	if err != nil {
		return fail(err)
	}
	execID := "exec-" + uuid.NewString()
	program, err := r.execProcess(ctx, c, spec, execID)
	if err != nil {
		return fail(err)
	}
	var output capture
	fifos, err := r.fifoSpace()
	if err != nil {
		return fail(err)
	}
	process, err := task.Exec(ctx, execID, program, cio.NewCreator(cio.WithStreams(nil, &output, &output), cio.WithFIFODir(fifos)))
	if err != nil {
		return fail(notRunning(err))
	}
	code, err := r.runExec(ctx, c, process, execID)
	if err != nil {
		return fail(err)
	}
	return runtime.ExecResult{ExitCode: code, Output: output.bytes()}, nil
}

// runExec starts the program, waits for it, and leaves nothing of it behind.
func (r *Runtime) runExec(ctx context.Context, c record, process client.Process, execID string) (code uint32, err error) {
	// The program's end must be seen also when the caller's time is up: it is what cleaning up waits for.
	after, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer func() {
		cleanup, cancel := context.WithTimeout(after, cleanupTimeout)
		defer cancel()
		if _, deleteErr := process.Delete(cleanup, client.WithProcessKill); deleteErr != nil && !errdefs.IsNotFound(deleteErr) {
			r.cfg.Logger.WarnContext(ctx, "the remains of a program run in a container could not be removed",
				"container", c.ID, "exec", execID, "error", deleteErr)
		}
	}()
	ended, err := process.Wait(after)
	if err != nil {
		return 0, notRunning(err)
	}
	if err := process.Start(ctx); err != nil {
		if ctx.Err() != nil {
			err = errors.Join(ctx.Err(), r.killExec(c, execID, 0))
		}
		return 0, notRunning(err)
	}
	select {
	case status := <-ended:
		return status.ExitCode(), status.Error()
	case <-ctx.Done():
	}
	return 0, errors.Join(ctx.Err(), r.killExec(c, execID, int(process.Pid())))
}

// notRunning turns containerd's ways to say that the container is not running into ours.
func notRunning(err error) error {
	if errdefs.IsNotFound(err) || errdefs.IsFailedPrecondition(err) ||
		strings.Contains(err.Error(), "cannot exec in a stopped") || strings.Contains(err.Error(), "container not running") {
		return fmt.Errorf("%w: %w", runtime.ErrNotRunning, err)
	}
	return err
}

// execProcess is the container's own process with another program.
func (r *Runtime) execProcess(ctx context.Context, c record, spec runtime.ExecSpec, execID string) (*specs.Process, error) {
	var oci specs.Spec
	if err := json.Unmarshal(c.Spec.GetValue(), &oci); err != nil {
		return nil, err
	}
	p := *oci.Process
	p.Terminal, p.Args = false, launch(c.spec, false, spec.Args)
	p.Env = environment(append(slices.Concat(c.spec.Env, spec.Env), execVariable+"="+execID), false)
	if spec.Cwd != "" {
		p.Cwd = spec.Cwd
	}
	if spec.User != "" {
		img, err := r.images.Details(ctx, c.Image)
		if err != nil {
			return nil, err
		}
		if p.User, err = r.lookupUser(ctx, img.ChainID, spec.User); err != nil {
			return nil, err
		}
	}
	return &p, nil
}

// killExec kills a program that Exec or Attach has started and everything that it has started: its cgroup, its session,
// its descendants, and what carries its mark. Killing one may show others (a child that is adopted by another process), so it looks until
// there are none.
func (r *Runtime) killExec(c record, execID string, pid int) error {
	deadline := time.Now().Add(cleanupTimeout)
	for time.Now().Before(deadline) {
		group, err := groupPIDs(c, execID)
		if err != nil {
			return fmt.Errorf("find its processes: %w", err)
		}
		victims, err := execProcesses(cgroupPath(c.spec), group, execID, pid)
		if err != nil {
			return fmt.Errorf("find its processes: %w", err)
		}
		if len(victims) == 0 {
			return removeGroup(c, execID)
		}
		for _, victim := range victims {
			if err := syscall.Kill(victim, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("kill process %d: %w", victim, err)
			}
		}
		// A killed process is seen until it has gone through the kernel's exit.
		pause(context.Background(), 5*time.Millisecond)
	}
	return errors.New("its processes do not end")
}

// execProcesses lists the living processes of the container that belong to the program.
func execProcesses(cgroup string, group map[int]bool, execID string, pid int) ([]int, error) {
	all, err := containerPIDs(cgroup)
	if err != nil {
		return nil, err
	}
	stats := map[int]procStat{}
	for _, p := range all {
		if s, ok := readProcStat(p); ok && s.state != 'Z' && s.state != 'X' {
			stats[p] = s
		}
	}
	belongs := map[int]bool{}
	var check func(p int) bool
	check = func(p int) bool {
		if known, ok := belongs[p]; ok {
			return known
		}
		s, ok := stats[p]
		if !ok {
			return false
		}
		belongs[p] = false // ends a walk that would go in circles
		belongs[p] = group[p] || (pid != 0 && (p == pid || s.session == pid)) || hasVariable(p, execVariable+"="+execID) || check(s.parent)
		return belongs[p]
	}
	var out []int
	for p := range stats {
		if check(p) {
			out = append(out, p)
		}
	}
	return out, nil
}

// containerPIDs lists the processes of a cgroup. One that is gone has none.
func containerPIDs(cgroup string) ([]int, error) {
	dir := filepath.Join(cgroupMount, "memory", cgroup)
	if cgroups.IsCgroup2UnifiedMode() {
		dir = filepath.Join(cgroupMount, cgroup)
	}
	pids, err := cgroups.GetAllPids(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return pids, err
}

type procStat struct {
	state           byte
	parent, session int
}

func readProcStat(pid int) (procStat, bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return procStat{}, false
	}
	// The name, in parentheses, may hold anything; what follows the last one is fixed: state parent group session.
	_, rest, ok := strings.Cut(string(data[strings.LastIndexByte(string(data), ')'):]), " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 4 {
		return procStat{}, false
	}
	parent, err1 := strconv.Atoi(fields[1])
	session, err2 := strconv.Atoi(fields[3])
	return procStat{state: fields[0][0], parent: parent, session: session}, err1 == nil && err2 == nil
}

func hasVariable(pid int, entry string) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return err == nil && slices.Contains(strings.Split(string(data), "\x00"), entry)
}

// capture keeps the beginning of what is written to it, by several at once, and drops the rest.
type capture struct {
	mu   sync.Mutex
	data []byte
}

func (c *capture) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	room := runtime.MaxExecOutput - len(c.data)
	c.data = append(c.data, p[:min(room, len(p))]...)
	return len(p), nil
}

func (c *capture) bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.data)
}
