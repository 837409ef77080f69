package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
)

// describeHost writes the header: figures mean nothing without it.
func (b *bench) describeHost(ctx context.Context, begun time.Time, load string) {
	var uts unix.Utsname
	kernel := "unknown"
	if unix.Uname(&uts) == nil {
		kernel = unix.ByteSliceToString(uts.Release[:])
	}
	var out strings.Builder
	fmt.Fprintf(&out, "Measured %s in %s with `test/bench`.\n\n", begun.UTC().Format("2006-01-02 15:04 UTC"), time.Since(begun).Round(time.Second))
	table(&out, []string{"", ""}, [][]string{
		{"cores", fmt.Sprint(runtime.NumCPU())},
		{"memory", memory()},
		{"kernel", kernel},
		{"cgroups", cgroupMode()},
		{"Go", runtime.Version()},
		{"containerd", version(ctx, "containerd", "--version")},
		{"runc", version(ctx, "runc", "--version")},
		{"crun", version(ctx, "crun", "--version")},
		{"load average before and after", load + "; " + loadAverage()},
	})
	b.report.header = out.String()
}

func memory() string {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return "unknown"
	}
	return fmt.Sprintf("%.1f GiB", float64(info.Totalram)*float64(info.Unit)/(1<<30))
}

func cgroupMode() string {
	if cgroups.IsCgroup2UnifiedMode() {
		return "v2"
	}
	if _, err := os.Stat("/sys/fs/cgroup/unified"); err == nil {
		return "v1, hybrid"
	}
	return "v1"
}

// version is the first line that a program says about itself.
func version(ctx context.Context, program string, args ...string) string {
	out, err := exec.CommandContext(ctx, program, args...).Output()
	if err != nil {
		return "not here"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}

func loadAverage() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(data))[:3], " ")
}
