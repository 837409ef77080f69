package containerd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/opencontainers/cgroups"
)

// A program that Attach runs has a cgroup below its container's, so that also a daemon is found that has left its session,
// its parents and its environment behind. It has no limits; only what is started before the program is put there can
// escape it, and that has the other marks. With cgroup v1 it is in the hierarchy of processes alone.
func execGroup(c record, execID string) string {
	if cgroups.IsCgroup2UnifiedMode() {
		return filepath.Join(cgroupMount, cgroupPath(c.spec), execID)
	}
	return filepath.Join(cgroupMount, "pids", cgroupPath(c.spec), execID)
}

// enterGroup puts a program into its cgroup. One that has ended already needs none.
func enterGroup(c record, execID string, pid int) error {
	dir := execGroup(c, execID)
	err := os.Mkdir(dir, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
	}
	if errors.Is(err, syscall.ESRCH) || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("put a program into a control group: %w", err)
	}
	return nil
}

// groupPIDs are the processes of a program's cgroup, none when there is no such.
func groupPIDs(c record, execID string) (map[int]bool, error) {
	pids, err := cgroups.GetAllPids(execGroup(c, execID))
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ENODEV) {
		return nil, err
	}
	in := map[int]bool{}
	for _, pid := range pids {
		in[pid] = true
	}
	return in, nil
}

// removeGroup removes a program's cgroup, which nothing is in any more but what the kernel is still burying.
func removeGroup(c record, execID string) error { return cgroups.RemovePath(execGroup(c, execID)) }
