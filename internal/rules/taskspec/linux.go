package taskspec

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"berth.dev/berth/internal/model"
)

var capabilities = []string{
	"ALL", "AUDIT_CONTROL", "AUDIT_WRITE", "BLOCK_SUSPEND", "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER",
	"FSETID", "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE", "LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "MKNOD",
	"NET_ADMIN", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID",
	"SYS_ADMIN", "SYS_BOOT", "SYS_CHROOT", "SYS_MODULE", "SYS_NICE", "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO",
	"SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "SYSLOG", "WAKE_ALARM",
}

var tmpfsOptions = []string{
	"defaults", "ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync", "async", "dirsync",
	"remount", "mand", "nomand", "atime", "noatime", "diratime", "nodiratime", "bind", "rbind", "unbindable",
	"runbindable", "private", "rprivate", "shared", "rshared", "slave", "rslave", "relatime", "norelatime",
	"strictatime", "nostrictatime", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol",
}

var ulimitNames = []string{
	"core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio",
	"rttime", "sigpending", "stack",
}

// sysctlPattern matches the kernel parameters that belong to a namespace and
// so cannot reach beyond the task.
var sysctlPattern = regexp.MustCompile(`^(kernel\.(msgmax|msgmnb|msgmni|sem|shmall|shmmax|shmmni|shm_rmid_forced)|fs\.mqueue\.[a-z0-9_.-]+|net\.[A-Za-z0-9_./-]+)$`)

func validateLinux(def *model.TaskDefinition, c *model.ContainerDefinition) error {
	if err := validateSysctls(def, c); err != nil {
		return err
	}
	p := c.LinuxParameters
	if p == nil {
		return nil
	}
	if p.Capabilities != nil {
		for _, name := range slices.Concat(p.Capabilities.Add, p.Capabilities.Drop) {
			if !slices.Contains(capabilities, name) {
				return client("Invalid capability '%s' for container '%s'.", name, c.Name)
			}
		}
	}
	for _, d := range p.Devices {
		if d.HostPath == "" {
			return client("Device.hostPath should not be null or empty.")
		}
		for _, permission := range d.Permissions {
			if allowed := []string{"read", "write", "mknod"}; !slices.Contains(allowed, permission) {
				return invalidChoice("linuxParameters.devices.permissions", permission, allowed)
			}
		}
	}
	if p.SharedMemorySize != nil && *p.SharedMemorySize < 0 {
		return client("Invalid 'sharedMemorySize' setting for container '%s'.", c.Name)
	}
	if p.MaxSwap != nil && *p.MaxSwap < 0 {
		return client("Invalid 'maxSwap' setting for container '%s'.", c.Name)
	}
	if p.Swappiness != nil && (*p.Swappiness < 0 || *p.Swappiness > 100) {
		return client("Invalid 'swappiness' setting for container '%s'.", c.Name)
	}
	return validateTmpfs(c, p.Tmpfs)
}

func validateTmpfs(c *model.ContainerDefinition, mounts []model.Tmpfs) error {
	for _, t := range mounts {
		if !strings.HasPrefix(t.ContainerPath, "/") {
			return client("Tmpfs.containerPath should be an absolute path for container '%s'.", c.Name)
		}
		if t.Size <= 0 {
			return client("Tmpfs.size should be greater than 0 for container '%s'.", c.Name)
		}
		for _, option := range t.MountOptions {
			if name, _, _ := strings.Cut(option, "="); !slices.Contains(tmpfsOptions, name) {
				return client("Invalid tmpfs mount option '%s' for container '%s'.", option, c.Name)
			}
		}
	}
	return nil
}

func validateSysctls(def *model.TaskDefinition, c *model.ContainerDefinition) error {
	seen := map[string]bool{}
	for _, s := range c.SystemControls {
		if !sysctlPattern.MatchString(s.Namespace) || strings.Contains(s.Namespace, "..") {
			return client("Invalid namespaced kernel parameter '%s' for container '%s'.", s.Namespace, c.Name)
		}
		if s.Value == "" {
			return client("The value of the kernel parameter '%s' should not be null or empty.", s.Namespace)
		}
		if seen[s.Namespace] {
			return client("The kernel parameter '%s' is set more than once for container '%s'.", s.Namespace, c.Name)
		}
		seen[s.Namespace] = true
		if def.NetworkMode == NetworkHost && strings.HasPrefix(s.Namespace, "net.") {
			return client("The kernel parameter '%s' is not supported when networkMode=host.", s.Namespace)
		}
		if def.IPCMode == "host" && !strings.HasPrefix(s.Namespace, "net.") {
			return client("The kernel parameter '%s' is not supported when ipcMode=host.", s.Namespace)
		}
	}
	return nil
}

func validateUlimits(_ *model.TaskDefinition, c *model.ContainerDefinition) error {
	seen := map[string]bool{}
	for _, u := range c.Ulimits {
		if !slices.Contains(ulimitNames, u.Name) {
			return invalidChoice("ulimits.name", u.Name, ulimitNames)
		}
		if seen[u.Name] {
			return client("The ulimit '%s' is set more than once for container '%s'.", u.Name, c.Name)
		}
		seen[u.Name] = true
		if u.SoftLimit < -1 || u.HardLimit < -1 || u.HardLimit >= 0 && (u.SoftLimit > u.HardLimit || u.SoftLimit < 0) {
			return client("The soft limit of the ulimit '%s' cannot be greater than its hard limit for container '%s'.", u.Name, c.Name)
		}
	}
	return nil
}

// validUser accepts what Docker does: a name or a number, each with a group.
func validUser(user string) bool {
	name, group, hasGroup := strings.Cut(user, ":")
	return name != "" && (!hasGroup || group != "") && validID(name) && validID(group)
}

// validID refuses numbers that no kernel has; names are for the image to know.
func validID(s string) bool {
	n, err := strconv.ParseInt(s, 10, 64)
	return err != nil || n >= 0 && n <= 1<<31-1
}
