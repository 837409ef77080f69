package containerd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/agent/runtime"
)

const (
	cgroupMount = "/sys/fs/cgroup"
	// cfsPeriod is what ECS uses for a task's quota, in microseconds.
	cfsPeriod = 100_000
	// unitsPerCPU are the cpu units of one vCPU.
	unitsPerCPU = 1024
)

// swapAccounting tells whether the kernel keeps books on swap; without, a swap limit is an error.
var swapAccounting = sync.OnceValue(func() bool {
	if cgroups.IsCgroup2UnifiedMode() {
		return true // runc and crun leave it out by themselves where it is not there
	}
	_, err := os.Stat(filepath.Join(cgroupMount, "memory", "memory.memsw.limit_in_bytes"))
	return err == nil
})

func (r *Runtime) taskCgroup(taskID string) string { return filepath.Join(r.cgroupRoot, taskID) }

// cgroupManager is for a cgroup that is there or is to be made. Devices are the containers' matter.
func cgroupManager(path string, limits *cgroups.Resources) (cgroups.Manager, error) {
	limits.SkipDevices, limits.SkipFreezeOnSet = true, true
	m, err := manager.New(&cgroups.Cgroup{Path: path, Resources: limits})
	if err != nil {
		return nil, fmt.Errorf("cgroup %s: %w", path, err)
	}
	return m, nil
}

// PrepareTask implements runtime.Runtime.
func (r *Runtime) PrepareTask(_ context.Context, task runtime.Task) (string, error) {
	if !runtime.ValidID(task.ID) {
		return "", fmt.Errorf("task id %q: %w", task.ID, runtime.ErrInvalid)
	}
	limits := &cgroups.Resources{CpuPeriod: cfsPeriod, CpuQuota: -1, Memory: -1}
	unlimited := int64(-1)
	limits.PidsLimit = &unlimited
	if task.CPUUnits > 0 {
		// The kernel takes no quota below a millisecond.
		limits.CpuQuota = max(task.CPUUnits*cfsPeriod/unitsPerCPU, 1000)
	}
	if task.MemoryBytes > 0 {
		limits.Memory = task.MemoryBytes
	}
	if task.PidsLimit > 0 {
		limits.PidsLimit = &task.PidsLimit
	}
	path := r.taskCgroup(task.ID)
	m, err := cgroupManager(path, limits)
	if err != nil {
		return "", err
	}
	if err := m.Apply(-1); err != nil { // no process: it only makes the directories
		return "", fmt.Errorf("task %q: make cgroup: %w", task.ID, err)
	}
	r.quota.Lock()
	defer r.quota.Unlock()
	if err := errors.Join(r.noteQuota(task.ID, limits.CpuQuota), m.Set(limits)); err != nil {
		return "", fmt.Errorf("task %q: set limits: %w", task.ID, err)
	}
	return path, nil
}

// RemoveTask implements runtime.Runtime.
func (r *Runtime) RemoveTask(ctx context.Context, taskID string) error {
	if !runtime.ValidID(taskID) {
		return fmt.Errorf("task id %q: %w", taskID, runtime.ErrInvalid)
	}
	records, err := r.client.ContainerService().List(r.scoped(ctx), fmt.Sprintf("labels.%q==%s", labelTask, taskID))
	if err != nil {
		return fmt.Errorf("remove task %q: %w", taskID, err)
	}
	if len(records) > 0 {
		return fmt.Errorf("remove task %q: container %q exists", taskID, records[0].ID)
	}
	// containerd ends the shim with the last container, unless it forgot it over the death of an agent.
	err = r.endShims(ctx, func(id string, _ int) bool { return id != taskID && !strings.HasPrefix(id, taskID+"-") })
	if err := errors.Join(err, r.endForgottenShims(ctx)); err != nil {
		return fmt.Errorf("remove task %q: %w", taskID, err)
	}
	if err := errors.Join(removeCgroup(r.taskCgroup(taskID)), r.noteQuota(taskID, unlimited)); err != nil {
		return fmt.Errorf("remove task %q: %w", taskID, err)
	}
	return nil
}

// removeCgroup removes a cgroup with all below it, in every hierarchy. One that is not there is no error.
func removeCgroup(path string) error {
	var errs []error
	for _, root := range hierarchies() {
		errs = append(errs, cgroups.RemovePath(filepath.Join(root, path)))
	}
	return errors.Join(errs...)
}

// hierarchies are the directories in which a cgroup's path is to be found: one with cgroup v2, one for each
// controller with v1.
func hierarchies() []string {
	if cgroups.IsCgroup2UnifiedMode() {
		return []string{cgroupMount}
	}
	entries, err := os.ReadDir(cgroupMount)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		dir := filepath.Join(cgroupMount, e.Name())
		var fs unix.Statfs_t
		// Between the mounts there may be plain directories, of a hierarchy that is not mounted here.
		if unix.Statfs(dir, &fs) == nil && (fs.Type == unix.CGROUP_SUPER_MAGIC || fs.Type == unix.CGROUP2_SUPER_MAGIC) {
			out = append(out, dir)
		}
	}
	return out
}

// oomKills reads how many processes of a cgroup the OOM killer has ended. It is zero when the cgroup is gone.
func oomKills(path string) uint64 {
	file := filepath.Join(cgroupMount, "memory", path, "memory.oom_control")
	if cgroups.IsCgroup2UnifiedMode() {
		file = filepath.Join(cgroupMount, path, "memory.events")
	}
	f, err := os.Open(file)
	if err != nil {
		return 0
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), "oom_kill "); ok {
			n, err := strconv.ParseUint(value, 10, 64)
			if err == nil {
				return n
			}
		}
	}
	return 0
}

// purgeCgroups removes every cgroup of the instance, and the directory that instances share when it is empty.
func (r *Runtime) purgeCgroups() error {
	err := removeCgroup(r.cgroupRoot)
	for _, root := range hierarchies() {
		// Fails, as it should, while another instance is there.
		_ = os.Remove(filepath.Join(root, filepath.Dir(r.cgroupRoot)))
	}
	return err
}
