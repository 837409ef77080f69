package containerd

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/pkg/cap"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runtime-spec/specs-go"

	"berth.dev/berth/internal/agent/runtime"
)

const (
	// ociVersion is what crun of Debian 12 understands; the runtime-spec library would write a newer one.
	ociVersion = "1.0.2"
	// shimGroup is the annotation by which runc's shim puts containers into one process.
	shimGroup = "io.containerd.runc.v2.group"
	// initTarget is where Spec.Init's program is seen in the container: below /dev, which is always ours.
	initTarget = "/dev/init"
	// secretsTarget is where Spec.SecretsDir is seen.
	secretsTarget = "/dev/berth"
	// defaultPath is Docker's.
	defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	// defaultShm is Docker's size of /dev/shm in bytes.
	defaultShm = 64 << 20
)

// defaultCapabilities are Docker's.
var defaultCapabilities = [...]string{
	"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
	"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}

// maskedPaths and readonlyPaths are Docker's.
var (
	maskedPaths = [...]string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap",
		"/sys/firmware",
	}
	readonlyPaths = [...]string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// buildSpec writes the OCI runtime's description of the container. u is the user, already looked up in the image.
func (r *Runtime) buildSpec(ctx context.Context, spec runtime.Spec, u specs.User) (*specs.Spec, error) {
	invalid := func(err error) error {
		return fmt.Errorf("container %q: %w: %w", spec.ID, err, runtime.ErrInvalid)
	}
	caps, err := capabilities(spec)
	if err != nil {
		return nil, invalid(err)
	}
	if (spec.Init || spec.SecretsDir != "") && r.cfg.InitPath == "" {
		return nil, fmt.Errorf("container %q: no init program is configured", spec.ID)
	}
	score := 0
	s := &specs.Spec{
		Version:  ociVersion,
		Hostname: spec.Hostname,
		Root:     &specs.Root{Path: "rootfs", Readonly: spec.ReadonlyRootfs},
		Process: &specs.Process{
			Terminal: terminal(spec), Args: launch(spec, spec.Init, spec.Args), Env: environment(spec.Env, spec.TTY), Cwd: workdir(spec.Cwd), User: u,
			NoNewPrivileges: spec.NoNewPrivileges, OOMScoreAdj: &score, Rlimits: rlimits(spec.Rlimits),
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Permitted: caps, Effective: caps},
		},
		Mounts:      r.mounts(spec),
		Annotations: map[string]string{shimGroup: spec.TaskID},
		Linux: &specs.Linux{
			CgroupsPath: cgroupPath(spec), Namespaces: namespacesOf(spec), Resources: resources(spec), Sysctl: spec.Sysctls,
			RootfsPropagation: propagation(spec.Mounts),
		},
	}
	if err := devices(ctx, s, spec); err != nil {
		return nil, invalid(err)
	}
	if !spec.Privileged {
		s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = maskedPaths[:], readonlyPaths[:]
		if !spec.Unconfined {
			s.Linux.Seccomp = seccomp.DefaultProfile(s) // reads the capabilities that are in s
		}
	}
	return s, nil
}

// launch puts what starts a program in front of it: what adds the secrets to its environment, and the init process.
func launch(spec runtime.Spec, init bool, args []string) []string {
	var before []string
	if spec.SecretsDir != "" {
		before = append(before, "env", path.Join(secretsTarget, "env"))
	}
	if init {
		before = append(before, "init")
	}
	if before == nil {
		return args
	}
	return slices.Concat([]string{initTarget}, before, []string{"--"}, args)
}

// terminal tells whether the container gets one: the shim has nobody to give the other end to when output is thrown away.
func terminal(spec runtime.Spec) bool { return spec.TTY && spec.Log.Binary != "" }

// cgroupPath is the container's own cgroup below the task's.
func cgroupPath(spec runtime.Spec) string { return path.Join("/", spec.CgroupParent, spec.ID) }

func workdir(cwd string) string {
	if cwd == "" {
		return "/"
	}
	return cwd
}

// environment lets later entries win, at the place of the first, and adds what Docker adds.
func environment(env []string, tty bool) []string {
	at := map[string]int{}
	var out []string
	add := func(entry string) {
		name, _, _ := strings.Cut(entry, "=")
		if i, ok := at[name]; ok {
			out[i] = entry
			return
		}
		at[name] = len(out)
		out = append(out, entry)
	}
	add(defaultPath)
	if tty {
		add("TERM=xterm")
	}
	for _, entry := range env {
		add(entry)
	}
	return out
}

func rlimits(limits []runtime.Rlimit) []specs.POSIXRlimit {
	var out []specs.POSIXRlimit
	for _, l := range limits {
		// -1 becomes the largest number, which is the kernel's "unlimited".
		out = append(out, specs.POSIXRlimit{Type: "RLIMIT_" + strings.ToUpper(l.Name), Soft: uint64(l.Soft), Hard: uint64(l.Hard)})
	}
	return out
}

// capabilities is Docker's default set with the additions, then without the drops; ALL stands for all of them.
func capabilities(spec runtime.Spec) ([]string, error) {
	known, err := cap.Current()
	if err != nil {
		return nil, fmt.Errorf("read this process's capabilities: %w", err)
	}
	if spec.Privileged {
		return known, nil
	}
	parse := func(names []string) (set []string, all bool, err error) {
		for _, name := range names {
			name = strings.ToUpper(name)
			if name == "ALL" {
				all = true
				continue
			}
			if name = "CAP_" + strings.TrimPrefix(name, "CAP_"); !slices.Contains(cap.Known(), name) {
				return nil, false, fmt.Errorf("unknown capability: %q", name)
			}
			set = append(set, name)
		}
		return set, all, nil
	}
	adds, addAll, err := parse(spec.CapAdd)
	if err != nil {
		return nil, err
	}
	drops, dropAll, err := parse(spec.CapDrop)
	if err != nil {
		return nil, err
	}
	base := defaultCapabilities[:]
	switch {
	case addAll:
		base = known
	case dropAll:
		base, drops = nil, nil
	}
	set := map[string]bool{}
	for _, c := range base {
		set[c] = true
	}
	for _, c := range drops {
		delete(set, c)
	}
	// An addition wins over a drop, as with Docker's ALL.
	for _, c := range adds {
		set[c] = true
	}
	return slices.Sorted(maps.Keys(set)), nil
}

// namespacesOf joins what is given and makes what is not.
func namespacesOf(spec runtime.Spec) []specs.LinuxNamespace {
	out := []specs.LinuxNamespace{
		{Type: specs.MountNamespace},
		{Type: specs.UTSNamespace},
		{Type: specs.PIDNamespace, Path: spec.PIDNSPath},
		{Type: specs.IPCNamespace, Path: spec.IPCNSPath},
		{Type: specs.NetworkNamespace, Path: spec.NetNSPath},
	}
	// Docker's defaults: with cgroup v2 a container sees its own cgroup as the root, with v1 the host's.
	if cgroups.IsCgroup2UnifiedMode() && !spec.Privileged {
		out = append(out, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	return out
}

// resources are the limits of the container's own cgroup.
func resources(spec runtime.Spec) *specs.LinuxResources {
	// Two is the least that the kernel takes, and what ECS gives a container that asks for none.
	shares := uint64(max(spec.CPUShares, 2))
	out := &specs.LinuxResources{
		CPU:     &specs.LinuxCPU{Shares: &shares},
		Memory:  &specs.LinuxMemory{},
		Devices: []specs.LinuxDeviceCgroup{{Allow: spec.Privileged, Access: "rwm"}},
	}
	if spec.MemoryBytes > 0 {
		out.Memory.Limit = &spec.MemoryBytes
		if swapAccounting() {
			swap := spec.MemoryBytes
			if spec.MemorySwapBytes != nil {
				swap = *spec.MemorySwapBytes
			}
			out.Memory.Swap = &swap
		}
	}
	if spec.MemoryReservationBytes > 0 {
		out.Memory.Reservation = &spec.MemoryReservationBytes
	}
	if spec.Swappiness != nil && !cgroups.IsCgroup2UnifiedMode() {
		swappiness := uint64(*spec.Swappiness)
		out.Memory.Swappiness = &swappiness
	}
	if spec.PidsLimit > 0 {
		out.Pids = &specs.LinuxPids{Limit: &spec.PidsLimit}
	}
	return out
}

// devices adds the devices that every container has and those that were asked for.
func devices(ctx context.Context, s *specs.Spec, spec runtime.Spec) error {
	if spec.Privileged {
		return oci.WithHostDevices(ctx, nil, nil, s)
	}
	if err := oci.WithDefaultUnixDevices(ctx, nil, nil, s); err != nil {
		return err
	}
	// mknod is among the default capabilities; making a node gives no access to what it names.
	for _, kind := range []string{"c", "b"} {
		s.Linux.Resources.Devices = append(s.Linux.Resources.Devices, specs.LinuxDeviceCgroup{Allow: true, Type: kind, Access: "m"})
	}
	for _, d := range spec.Devices {
		permissions, target := d.Permissions, d.ContainerPath
		if permissions == "" {
			permissions = "rwm"
		}
		if target == "" {
			target = d.HostPath
		}
		if err := oci.WithDevices(d.HostPath, target, permissions)(ctx, nil, nil, s); err != nil {
			return fmt.Errorf("device %s: %w", d.HostPath, err)
		}
	}
	return nil
}
