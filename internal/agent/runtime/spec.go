package runtime

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// Spec is everything about a container that is decided before it runs. It is a plain value that survives JSON, and
// equal Specs make equal containers.
type Spec struct {
	// ID is unique in the Berth instance: letters, digits, '-', '_', '.', at most 76 characters.
	ID string
	// TaskID groups containers: those of one task share one supervisor process.
	TaskID string
	// Name is the container's name in the task definition; for List and for people.
	Name string
	// Image is Image.Name as EnsureImage returned it.
	Image string

	// Args is the final argument vector, entry point and command already combined. Empty Args are ErrInvalid.
	Args []string
	// Env is the whole environment as NAME=value, later entries win. PATH is added when it is missing.
	Env []string
	// Cwd is the working directory, made when it is not in the image. Empty is "/".
	Cwd string
	// User is "name", "uid", either with ":group" or ":gid", looked up in the image's own passwd and group files, with
	// the user's supplementary groups. Empty is root.
	User     string
	Hostname string
	Labels   map[string]string

	// NetNSPath, PIDNSPath and IPCNSPath are namespaces to join (a bind mount or /proc/PID/ns/…). Without NetNSPath the
	// container has a namespace with nothing but a loopback device; without the others it has its own.
	NetNSPath string
	PIDNSPath string
	IPCNSPath string

	// CgroupParent is what PrepareTask returned.
	CgroupParent string
	// CPUShares is the relative weight, 1024 for one vCPU's worth; zero is the least, 2, as on ECS.
	CPUShares int64
	// MemoryBytes is the hard limit, MemoryReservationBytes the soft one. Zero is none.
	MemoryBytes            int64
	MemoryReservationBytes int64
	// MemorySwapBytes is memory plus swap, as Docker counts. Nil is MemoryBytes, which is no swap, -1 is unlimited.
	MemorySwapBytes *int64
	// Swappiness is 0 to 100; nil leaves the host's. A cgroup v2 host has no such setting and ignores it.
	Swappiness *int64
	// PidsLimit is the most processes and threads; zero is no limit.
	PidsLimit int64
	Rlimits   []Rlimit

	// CapAdd and CapDrop change Docker's default set; names are as in ECS ("SYS_PTRACE", "ALL").
	CapAdd  []string
	CapDrop []string
	// Privileged gives all capabilities and devices, and takes away seccomp, masked and read-only paths.
	Privileged bool
	// NoNewPrivileges keeps set-user-ID programs from gaining anything.
	NoNewPrivileges bool
	// Unconfined runs without the seccomp profile.
	Unconfined bool
	// ReadonlyRootfs makes the image's file system read-only; mounts keep their own mode.
	ReadonlyRootfs bool

	Mounts []Mount
	// SecretsDir is a directory of the host, on a tmpfs, with what must not be in a Spec: the file "env" holds variables
	// as NAME=value with a NUL after each, which the container's process, and every program that Exec runs, gets in
	// addition to Env and before it. The directory and everything in it becomes the container's user's when the container
	// starts; it must exist then. Empty is none.
	SecretsDir string `json:",omitempty"`
	// ShmBytes is the size of /dev/shm; zero is Docker's 64 MiB.
	ShmBytes int64
	Devices  []Device
	// Init puts a small init in front of Args that forwards signals and reaps orphans, as Docker's --init does.
	Init bool
	// Sysctls are namespaced kernel parameters ("net.core.somaxconn"). Those of net. land in NetNSPath when one is given.
	Sysctls map[string]string
	// TTY gives the container a terminal; its output is then one stream. Without a Log.Binary there is no terminal.
	TTY bool
	Log Log
}

// Hash identifies the content of a Spec.
func (s Spec) Hash() string {
	// A struct of strings, numbers, slices and maps always marshals, and maps are written in order of their keys.
	data, err := json.Marshal(s)
	if err != nil {
		panic("runtime: spec does not marshal: " + err.Error())
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Rlimit is one ulimit; Name is as in ECS ("nofile"). -1 is unlimited.
type Rlimit struct {
	Name string
	Soft int64
	Hard int64
}

// MountType sorts mounts.
type MountType string

// The kinds of mounts.
const (
	MountBind  MountType = "bind"
	MountTmpfs MountType = "tmpfs"
)

// Mount is one mount of a container. They are made in the order of their depth, so the order given does not matter
// for nested ones.
type Mount struct {
	Type MountType
	// Source is a host path for MountBind; it must exist at Start.
	Source string
	// Target is an absolute path in the container, made when it is missing.
	Target   string
	ReadOnly bool
	// Options are further mount options: for tmpfs "size=64m", "mode=1777", "noexec"; for bind "rshared".
	Options []string
	// CopyUp fills an empty Source with what the image has at Target, with owners and modes, before the first start:
	// what Docker does for volumes. Source must then be a directory.
	CopyUp bool
}

// Device gives a host device to a container.
type Device struct {
	HostPath      string
	ContainerPath string // empty is HostPath
	Permissions   string // of "rwm"; empty is all
}

// Log says where standard output and error go.
type Log struct {
	// Binary is a program on the host, started beside each run of the container by the engine and not by the agent, so
	// it outlives the agent. It speaks containerd's logging protocol: stdout on descriptor 3, stderr on 4, and it closes
	// 5 when it is ready, and Start waits for that. Its streams end when the container is removed or restarted, not when it
	// exits, and SIGTERM comes with their end: the program ignores that, reads to the end and leaves within ten seconds.
	// Empty throws output away.
	Binary string
	// Args become its arguments: each key followed by its value, the pairs in no particular order. It also finds the
	// container's ID in the environment, in CONTAINER_ID.
	Args map[string]string
}
