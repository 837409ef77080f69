package containerd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/cgroups"

	"berth.dev/berth/internal/agent/runtime"
)

// The OCI runtime makes a container from inside the container's cgroup, and that takes 25 to 30 ms of CPU: under the
// quota of a small task, 25 ms in each period of 100 ms, it waits for one or two periods. So the quota is lifted while
// a container is made, but only while nothing of the task runs, and it is back before the user's process does.
//
// The state directory has one file for each task with a quota, because cgroups cannot say what theirs was. Both go
// when the host restarts. Every start of a container sets the quota before its process runs, so an agent that dies
// between lifting and setting leaves no process without one: the next agent starts the container.

const quotaDir = "quota"

// unlimited is the kernel's "no quota" with cgroup v1.
const unlimited = -1

func (r *Runtime) quotaPath(taskID string) string {
	return filepath.Join(r.cfg.StateDir, quotaDir, taskID)
}

// noteQuota remembers a task's quota in microseconds, or that it has none.
func (r *Runtime) noteQuota(taskID string, quota int64) error {
	path := r.quotaPath(taskID)
	if quota == unlimited {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	// Replaced as a whole: half a number would be another quota.
	if err := os.WriteFile(path+"~", []byte(strconv.FormatInt(quota, 10)), 0o600); err != nil {
		return err
	}
	return os.Rename(path+"~", path)
}

// quotaOf returns a task's quota; unlimited when it has none.
func (r *Runtime) quotaOf(taskID string) (int64, error) {
	data, err := os.ReadFile(r.quotaPath(taskID))
	if errors.Is(err, os.ErrNotExist) {
		return unlimited, nil
	}
	if err != nil {
		return unlimited, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
}

// liftQuota lets the container be made without the task's quota, unless a process of the task runs.
func (r *Runtime) liftQuota(spec runtime.Spec) error {
	// A container that is made and not started has a process in its cgroup, so nobody lifts the quota between another
	// container's setQuota and its start; the lock keeps looking and writing together.
	r.quota.Lock()
	defer r.quota.Unlock()
	quota, err := r.quotaOf(spec.TaskID)
	if quota == unlimited || err != nil {
		return err
	}
	pids, err := cgroups.GetAllPids(cpuCgroup(spec.CgroupParent))
	if len(pids) > 0 || err != nil {
		return err
	}
	return writeQuota(spec.CgroupParent, unlimited)
}

// setQuota puts the task's quota in force.
func (r *Runtime) setQuota(spec runtime.Spec) error {
	r.quota.Lock()
	defer r.quota.Unlock()
	quota, err := r.quotaOf(spec.TaskID)
	if err == nil && quota != unlimited {
		err = writeQuota(spec.CgroupParent, quota)
	}
	if err != nil {
		return fmt.Errorf("task %q: set cpu quota: %w", spec.TaskID, err)
	}
	return nil
}

// cpuCgroup is the directory of a cgroup in the hierarchy that has the cpu controller.
func cpuCgroup(path string) string {
	if cgroups.IsCgroup2UnifiedMode() {
		return filepath.Join(cgroupMount, path)
	}
	return filepath.Join(cpuMount(), path)
}

// cpuMount is where a cgroup v1 host has the cpu controller, which often shares a hierarchy with others.
var cpuMount = sync.OnceValue(func() string {
	mount, err := cgroups.FindCgroupMountpoint("", "cpu")
	if err != nil {
		return filepath.Join(cgroupMount, "cpu")
	}
	return mount
})

func writeQuota(path string, quota int64) error {
	if !cgroups.IsCgroup2UnifiedMode() {
		return cgroups.WriteFile(cpuCgroup(path), "cpu.cfs_quota_us", strconv.FormatInt(quota, 10))
	}
	value := "max"
	if quota != unlimited {
		value = strconv.FormatInt(quota, 10)
	}
	return cgroups.WriteFile(cpuCgroup(path), "cpu.max", fmt.Sprintf("%s %d", value, cfsPeriod))
}
