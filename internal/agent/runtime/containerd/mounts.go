package containerd

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"berth.dev/berth/internal/agent/runtime"
)

// mounts are Docker's own, except where one of the container's stands in the same place, and then the container's,
// outer before inner.
func (r *Runtime) mounts(spec runtime.Spec) []specs.Mount {
	shm := spec.ShmBytes
	if shm == 0 {
		shm = defaultShm
	}
	readOnly := "ro"
	if spec.Privileged {
		readOnly = "rw"
	}
	base := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", readOnly}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", readOnly}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", fmt.Sprintf("size=%d", shm)}},
	}
	if spec.Init || spec.SecretsDir != "" {
		base = append(base, specs.Mount{Destination: initTarget, Type: "bind", Source: r.cfg.InitPath, Options: []string{"bind", "ro", "nosuid", "nodev"}})
	}
	if spec.SecretsDir != "" {
		base = append(base, specs.Mount{
			Destination: secretsTarget, Type: "bind", Source: spec.SecretsDir,
			Options: []string{"bind", "ro", "nosuid", "nodev", "noexec", "rprivate"},
		})
	}
	own := slices.Clone(spec.Mounts)
	slices.SortStableFunc(own, func(a, b runtime.Mount) int { return depth(a.Target) - depth(b.Target) })
	for _, m := range own {
		base = slices.DeleteFunc(base, func(b specs.Mount) bool { return b.Destination == path.Clean(m.Target) })
	}
	for _, m := range own {
		base = append(base, mountOf(m))
	}
	return base
}

func depth(target string) int { return strings.Count(path.Clean(target), "/") }

func mountOf(m runtime.Mount) specs.Mount {
	mode := "rw"
	if m.ReadOnly {
		mode = "ro"
	}
	out := specs.Mount{Destination: path.Clean(m.Target)}
	if m.Type == runtime.MountTmpfs {
		out.Type, out.Source, out.Options = "tmpfs", "tmpfs", append(tmpfsDefaults(m.Options), m.Options...)
	} else {
		out.Type, out.Source, out.Options = "bind", m.Source, append([]string{"rbind"}, m.Options...)
		if !slices.ContainsFunc(m.Options, isPropagation) {
			out.Options = append(out.Options, "rprivate")
		}
	}
	if !slices.Contains(out.Options, "ro") && !slices.Contains(out.Options, "rw") {
		out.Options = append(out.Options, mode)
	}
	return out
}

// tmpfsDefaults are Docker's options of a tmpfs, except those that the container's options contradict.
func tmpfsDefaults(options []string) []string {
	var out []string
	for _, name := range []string{"exec", "suid", "dev"} {
		if !slices.Contains(options, name) && !slices.Contains(options, "no"+name) {
			out = append(out, "no"+name)
		}
	}
	return out
}

func isPropagation(option string) bool {
	switch option {
	case "private", "rprivate", "shared", "rshared", "slave", "rslave":
		return true
	}
	return false
}

// propagation is the mode of the root file system that the mounts' own modes need.
func propagation(mounts []runtime.Mount) string {
	mode := ""
	for _, m := range mounts {
		switch {
		case slices.Contains(m.Options, "shared"), slices.Contains(m.Options, "rshared"):
			return "rshared"
		case slices.Contains(m.Options, "slave"), slices.Contains(m.Options, "rslave"):
			mode = "rslave"
		}
	}
	return mode
}
