package compose

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/go-units"
)

// linux is what the kernel is asked for; nil when it is nothing.
func (w *work) linux(container *ecstypes.ContainerDefinition) *ecstypes.LinuxParameters {
	p := &ecstypes.LinuxParameters{InitProcessEnabled: w.s.Init, Tmpfs: w.tmpfs(), Devices: w.devices()}
	if add, drop := capabilities(w.s.CapAdd), capabilities(w.s.CapDrop); len(add)+len(drop) > 0 {
		p.Capabilities = &ecstypes.KernelCapabilities{Add: add, Drop: drop}
		if slices.ContainsFunc(add, func(name string) bool { return name != "SYS_PTRACE" }) {
			w.host("cap_add")
		}
	}
	if w.s.ShmSize > 0 {
		p.SharedMemorySize = aws.Int32(int32(mebibytes(int64(w.s.ShmSize)))) //nolint:gosec // MiB of memory
		w.host("shm_size")
	}
	if p.InitProcessEnabled == nil && p.Capabilities == nil && p.SharedMemorySize == nil && len(p.Tmpfs)+len(p.Devices) == 0 {
		return nil
	}
	return p
}

// capabilities are named without CAP_.
func capabilities(names []string) []string {
	var out []string
	for _, name := range names {
		out = append(out, strings.TrimPrefix(strings.ToUpper(name), "CAP_"))
	}
	return out
}

// defaultTmpfs is the size of a tmpfs for which the file says none, in MiB:
// ECS wants one, the kernel would take half of the memory.
const defaultTmpfs = 64

// tmpfs are those of tmpfs: and of volumes of that type.
func (w *work) tmpfs() []ecstypes.Tmpfs {
	var out []ecstypes.Tmpfs
	unsized := func(at string) {
		w.not(at, "ECS wants a size, and it says none: it has %d MiB", defaultTmpfs)
	}
	for i, text := range w.s.Tmpfs {
		at := fmt.Sprintf("%s.tmpfs[%d]", w.at, i)
		path, options, _ := strings.Cut(text, ":")
		t := ecstypes.Tmpfs{ContainerPath: aws.String(path)}
		for option := range strings.SplitSeq(options, ",") {
			name, value, _ := strings.Cut(option, "=")
			switch name {
			case "":
			case "size":
				bytes, err := units.RAMInBytes(value)
				if err != nil {
					w.not(at, "%q is no size", value)
					continue
				}
				t.Size = int32(mebibytes(bytes)) //nolint:gosec // MiB of memory
			default:
				t.MountOptions = append(t.MountOptions, option)
			}
		}
		if t.Size == 0 {
			unsized(at)
			t.Size = defaultTmpfs
		}
		out = append(out, t)
	}
	for i, v := range w.s.Volumes {
		if v.Type != types.VolumeTypeTmpfs {
			continue
		}
		t := ecstypes.Tmpfs{ContainerPath: aws.String(v.Target)}
		if v.Tmpfs != nil {
			t.Size = int32(mebibytes(int64(v.Tmpfs.Size))) //nolint:gosec // MiB of memory
			if v.Tmpfs.Mode != 0 {
				t.MountOptions = append(t.MountOptions, fmt.Sprintf("mode=%04o", v.Tmpfs.Mode))
			}
		}
		if v.ReadOnly {
			t.MountOptions = append(t.MountOptions, "ro")
		}
		if t.Size == 0 {
			unsized(fmt.Sprintf("%s.volumes[%d].tmpfs.size", w.at, i))
			t.Size = defaultTmpfs
		}
		out = append(out, t)
	}
	return out
}

func (w *work) devices() []ecstypes.Device {
	var out []ecstypes.Device
	for i, d := range w.s.Devices {
		if !strings.HasPrefix(d.Source, "/") {
			w.not(fmt.Sprintf("%s.devices[%d]", w.at, i), "ECS gives devices by their paths; there are no CDI devices")
			continue
		}
		one := ecstypes.Device{HostPath: aws.String(d.Source)}
		if d.Target != "" && d.Target != d.Source {
			one.ContainerPath = aws.String(d.Target)
		}
		for letter, permission := range map[string]ecstypes.DeviceCgroupPermission{"r": ecstypes.DeviceCgroupPermissionRead, "w": ecstypes.DeviceCgroupPermissionWrite, "m": ecstypes.DeviceCgroupPermissionMknod} {
			if strings.Contains(d.Permissions, letter) {
				one.Permissions = append(one.Permissions, permission)
			}
		}
		slices.Sort(one.Permissions)
		out = append(out, one)
		w.host("devices")
	}
	return out
}

func (w *work) ulimits() []ecstypes.Ulimit {
	var out []ecstypes.Ulimit
	for _, name := range slices.Sorted(maps.Keys(w.s.Ulimits)) {
		u := w.s.Ulimits[name]
		soft, hard := u.Soft, u.Hard
		if u.Single != 0 {
			soft, hard = u.Single, u.Single
		}
		out = append(out, ecstypes.Ulimit{Name: ecstypes.UlimitName(name), SoftLimit: int32of(soft), HardLimit: int32of(hard)})
		if name != "nofile" {
			w.host("ulimits")
		}
	}
	return out
}

// int32of is the nearest number that ECS takes; -1 is unlimited.
func int32of(n int) int32 { return int32(within(int64(n), -1, math.MaxInt32)) } //nolint:gosec // within the range

// health is the container's health check; nil leaves it without one: ECS does
// not read the image's.
func (w *work) health() *ecstypes.HealthCheck {
	h := w.s.HealthCheck
	if h == nil || h.Disable || len(h.Test) > 0 && h.Test[0] == "NONE" {
		return nil
	}
	at := w.at + ".healthcheck"
	if len(h.Test) == 0 {
		w.not(at, "ECS does not read the image's health check, and this one has no test")
		return nil
	}
	clamp := func(member string, n, low, high int64) *int32 {
		fits := within(n, low, high)
		if fits != n {
			w.not(at+"."+member, "ECS has %d to %d: it is %d", low, high, fits)
		}
		return aws.Int32(int32(fits)) //nolint:gosec // within the range
	}
	seconds := func(member string, d *types.Duration, otherwise, low, high int64) *int32 {
		if d == nil {
			return aws.Int32(int32(otherwise)) //nolint:gosec // a constant
		}
		return clamp(member, secondsOf(*d), low, high)
	}
	// Compose's defaults, which are not ECS's.
	out := &ecstypes.HealthCheck{
		Command: h.Test, Interval: seconds("interval", h.Interval, 30, 5, 300), Timeout: seconds("timeout", h.Timeout, 30, 2, 60), Retries: aws.Int32(3),
	}
	if h.Retries != nil {
		out.Retries = clamp("retries", int64(min(*h.Retries, 1000)), 1, 10) //nolint:gosec // at most 1000
	}
	if h.StartPeriod != nil && *h.StartPeriod > 0 {
		out.StartPeriod = seconds("start_period", h.StartPeriod, 0, 0, 300)
	}
	return out
}

// restart lets the container restart inside its task when that is asked for.
// That a service starts new tasks in the place of those that end is always so.
func (w *work) restart() *ecstypes.ContainerRestartPolicy {
	condition, retries, _ := strings.Cut(w.s.Restart, ":")
	if retries != "" {
		w.not(w.at+".restart", "ECS goes on trying; its circuit breaker ends a deployment that does not succeed")
	}
	var window *types.Duration
	if d := w.s.Deploy; d != nil && d.RestartPolicy != nil {
		if d.RestartPolicy.Condition != "" {
			condition = d.RestartPolicy.Condition
		}
		window = d.RestartPolicy.Window
	}
	if condition != types.RestartPolicyOnFailure {
		if window != nil {
			w.not(w.at+".deploy.restart_policy.window", "it is for the condition on-failure; the service starts a new task whenever one ends")
		}
		return nil
	}
	policy := &ecstypes.ContainerRestartPolicy{Enabled: aws.Bool(true), IgnoredExitCodes: []int32{0}}
	if !w.jobs[w.s.Name] {
		w.not(w.at+".restart", "on-failure restarts the container in its task; when it ends with 0 the task ends, and the service starts another")
	}
	if window != nil {
		n := secondsOf(*window)
		fits := within(n, 60, 1800)
		if n != fits {
			w.not(w.at+".deploy.restart_policy.window", "ECS has 60 to 1800 seconds: it is %d", fits)
		}
		policy.RestartAttemptPeriod = aws.Int32(int32(fits)) //nolint:gosec // within the range
	}
	return policy
}
