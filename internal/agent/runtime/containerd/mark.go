package containerd

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"berth.dev/berth/internal/agent/runtime"
)

// Directories below the state directory: the marks, the pipes of running Execs, the OCI runtime's own state.
const (
	startedDir = "started"
	fifoDir    = "fifo"
	ociDir     = "oci"
)

// mark says that a run of a container was begun. containerd forgets that with the shim: after a restart of the host,
// a container that ran looks like one that never did.
type mark struct {
	BootID    string
	StartedAt time.Time
	// Lost is set when it was noticed that nobody saw the run's end, so that its time is the same each time it is told.
	Lost *time.Time `json:",omitempty"`
}

// bootID names the time since the host was started.
var bootID = sync.OnceValue(func() string {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
})

func (r *Runtime) markPath(id string) string { return filepath.Join(r.cfg.StateDir, startedDir, id) }

// readMark returns the zero mark and false when the container has none.
func (r *Runtime) readMark(id string) (mark, bool) {
	data, err := os.ReadFile(r.markPath(id))
	if err != nil {
		return mark{}, false
	}
	var m mark
	if err := json.Unmarshal(data, &m); err != nil {
		return mark{}, false
	}
	return m, true
}

// writeMark replaces the mark as a whole. It is not synced to disk: only a restart of the host could lose it, and
// after that Created before the boot says the same.
func (r *Runtime) writeMark(id string, m mark) error {
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("mark container %q as started: %w", id, err)
	}
	partial := r.markPath(id) + "~"
	if err := os.WriteFile(partial, data, 0o600); err != nil {
		return fmt.Errorf("mark container %q as started: %w", id, err)
	}
	if err := os.Rename(partial, r.markPath(id)); err != nil {
		return fmt.Errorf("mark container %q as started: %w", id, err)
	}
	return nil
}

// lost decides whether a container that has no process had one once, and when that was noticed.
func (r *Runtime) lost(id string, created time.Time) (runtime.Exit, time.Time, bool) {
	m, ok := r.readMark(id)
	if !ok {
		if !created.Before(bootTime()) {
			return runtime.Exit{}, time.Time{}, false
		}
		// The state directory was emptied by the restart of the host. Whether it had been started is not known any
		// more; its network and its mounts are gone either way.
		m = mark{StartedAt: created}
	}
	if m.Lost == nil {
		now := time.Now()
		m.Lost = &now
		if err := r.writeMark(id, m); err != nil {
			r.cfg.Logger.Warn("the loss of a container could not be noted", "container", id, "error", err)
		}
	}
	return runtime.Exit{Code: runtime.LostExitCode, At: *m.Lost, Lost: true}, m.StartedAt, true
}

// bootTime is when the host was started, to the second.
var bootTime = sync.OnceValue(func() time.Time {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return time.Time{}
	}
	for line := range strings.Lines(string(data)) {
		var seconds int64
		if n, _ := fmt.Sscanf(line, "btime %d", &seconds); n == 1 {
			return time.Unix(seconds, 0)
		}
	}
	return time.Time{}
})

// sweepMarks removes the marks of containers that are not there any more.
func (r *Runtime) sweepMarks(known map[string]bool) error {
	entries, err := os.ReadDir(filepath.Join(r.cfg.StateDir, startedDir))
	if err != nil {
		return fmt.Errorf("containerd: read state directory: %w", err)
	}
	for _, e := range entries {
		if known[e.Name()] {
			continue
		}
		if err := os.Remove(r.markPath(e.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("containerd: clean state directory: %w", err)
		}
	}
	return nil
}
