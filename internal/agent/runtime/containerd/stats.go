package containerd

import (
	"bufio"
	"context"
	"fmt"
	"os"
	goruntime "runtime"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/agent/runtime"
)

// Stats implements runtime.Runtime.
func (r *Runtime) Stats(ctx context.Context, id string) (runtime.Stats, error) {
	record, err := r.load(r.scoped(ctx), id)
	if err != nil {
		return runtime.Stats{}, err
	}
	status, err := r.status(r.scoped(ctx), record)
	if err != nil {
		return runtime.Stats{}, err
	}
	if status.State != runtime.StateRunning {
		return runtime.Stats{}, fmt.Errorf("container %q: %w", id, runtime.ErrNotRunning)
	}
	path := cgroupPath(record.spec)
	m, err := cgroupManager(path, &cgroups.Resources{})
	if err != nil {
		return runtime.Stats{}, err
	}
	read, err := m.GetStats()
	if err != nil {
		return runtime.Stats{}, fmt.Errorf("container %q: read cgroup: %w", id, err)
	}
	system, err := hostCPU()
	if err != nil {
		return runtime.Stats{}, fmt.Errorf("container %q: read the host's cpu time: %w", id, err)
	}
	out := runtime.Stats{
		Read: time.Now(),
		CPU: runtime.CPUStats{
			Usage: read.CpuStats.CpuUsage.TotalUsage, UsageUser: read.CpuStats.CpuUsage.UsageInUsermode,
			UsageKern: read.CpuStats.CpuUsage.UsageInKernelmode, PerCPU: read.CpuStats.CpuUsage.PercpuUsage,
			System: system, OnlineCPUs: uint32(goruntime.NumCPU()),
			ThrottlingPeriods: read.CpuStats.ThrottlingData.Periods,
			ThrottledPeriods:  read.CpuStats.ThrottlingData.ThrottledPeriods,
			ThrottledTime:     read.CpuStats.ThrottlingData.ThrottledTime,
		},
		Memory: runtime.MemoryStats{
			Usage: read.MemoryStats.Usage.Usage, MaxUsage: read.MemoryStats.Usage.MaxUsage,
			Limit: read.MemoryStats.Usage.Limit, Failcnt: read.MemoryStats.Usage.Failcnt,
			OOMKills: oomKills(path), Detail: read.MemoryStats.Stats,
		},
		Pids:  runtime.PidsStats{Current: read.PidsStats.Current, Limit: read.PidsStats.Limit},
		BlkIO: blockIO(read.BlkioStats),
	}
	if host := hostMemory(); host > 0 && out.Memory.Limit > host {
		out.Memory.Limit = host // "no limit" is a huge number in the kernel's files; Docker shows the host's memory
	}
	return out, nil
}

// blockIO puts the kernel's rows, one for each device and direction, into one for each device.
func blockIO(read cgroups.BlkioStats) []runtime.BlkIOStats {
	var out []runtime.BlkIOStats
	device := func(e cgroups.BlkioStatEntry) *runtime.BlkIOStats {
		for i := range out {
			if out[i].Major == e.Major && out[i].Minor == e.Minor {
				return &out[i]
			}
		}
		out = append(out, runtime.BlkIOStats{Major: e.Major, Minor: e.Minor})
		return &out[len(out)-1]
	}
	for _, e := range read.IoServiceBytesRecursive {
		switch strings.ToLower(e.Op) {
		case "read":
			device(e).ReadBytes = e.Value
		case "write":
			device(e).WriteBytes = e.Value
		}
	}
	for _, e := range read.IoServicedRecursive {
		switch strings.ToLower(e.Op) {
		case "read":
			device(e).ReadOps = e.Value
		case "write":
			device(e).WriteOps = e.Value
		}
	}
	return out
}

// userHZ is the unit of /proc/stat, which is the same on every architecture that Go runs on.
const userHZ = 100

// hostCPU is the time of all CPUs in all states in nanoseconds, summed as Docker sums it.
func hostCPU() (uint64, error) {
	f, err := os.Open("/proc/stat")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 8 || fields[0] != "cpu" {
			continue
		}
		var ticks uint64
		for _, field := range fields[1:8] {
			n, err := strconv.ParseUint(field, 10, 64)
			if err != nil {
				return 0, err
			}
			ticks += n
		}
		return ticks * (uint64(time.Second) / userHZ), nil
	}
	return 0, fmt.Errorf("/proc/stat has no line cpu: %w", lines.Err())
}

func hostMemory() uint64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	return uint64(info.Totalram) * uint64(info.Unit)
}
