package runtime

import (
	"context"
	"syscall"
)

// Runtime runs the containers of one Berth instance on this host. All methods may be called concurrently.
//
// Two calls about one container are serialised by the runtime, except Wait, Stats, Status, Exec and Attach, which never delay
// Kill. A context that ends makes a call return early; what the call had begun may be done or not, and repeating the
// call is always right.
type Runtime interface {
	// EnsureImage makes the image available for Create and says what it is. Concurrent calls for one reference share
	// one pull. A failure to get it is a *PullError.
	EnsureImage(ctx context.Context, req ImageRequest) (Image, error)

	// PrepareTask makes the cgroup that holds all containers of a task, with the task's limits, and returns its path
	// for Spec.CgroupParent. Repeating it sets the limits again.
	PrepareTask(ctx context.Context, task Task) (cgroupParent string, err error)

	// Create makes a container without starting anything. The network namespace need not exist yet. When a container
	// with the same ID and the same Spec.Hash exists, it is left as it is, running or not; when the hash differs, Create
	// fails with ErrConflict.
	Create(ctx context.Context, spec Spec) error

	// Start runs the container's process and returns when it runs. A container that is running, or that has run and
	// exited, is left alone: look at the returned Status. A program that is not in the image, a working directory that
	// cannot be entered and the like are a *StartError; the container is then still StateCreated.
	Start(ctx context.Context, id string) (Status, error)

	// Restart runs an exited container again, in its own file system, as its n-th restart (n counts from 1). When
	// Status.Restarts is n already, it does what Start does. The caller takes the exit of the earlier run from Wait or
	// Status first: Restart forgets it.
	Restart(ctx context.Context, id string, n int) (Status, error)

	// Status describes one container, or fails with ErrNotFound.
	Status(ctx context.Context, id string) (Status, error)

	// List describes every container of this Berth instance, whoever made it, in order of ID.
	List(ctx context.Context) ([]Status, error)

	// Wait returns the exit of the container's current run, at once when it has already exited, and blocks while it
	// is running or not yet started. It works on containers made by an earlier process. A container that is removed
	// while somebody waits makes Wait return ErrNotFound.
	Wait(ctx context.Context, id string) (Exit, error)

	// Kill sends a signal to the container's first process; SIGKILL goes to all its processes. It is not an error when
	// the container is not running (any more), but one that does not exist is ErrNotFound.
	Kill(ctx context.Context, id string, sig syscall.Signal) error

	// Remove takes away the container, killing it when it runs, with its file system, its cgroup and its output
	// plumbing. Removing what is not there succeeds.
	Remove(ctx context.Context, id string) error

	// RemoveTask takes away the task's cgroup. All its containers must have been removed. Removing what is not there
	// succeeds.
	RemoveTask(ctx context.Context, taskID string) error

	// Exec runs a program inside a running container and waits for it, without input and without a terminal. When ctx
	// ends first, the program and everything it started are killed and the error is ctx's. A program that cannot be
	// started is an error. A container that does not run is ErrNotRunning.
	Exec(ctx context.Context, id string, exec ExecSpec) (ExecResult, error)

	// Attach runs a program inside a running container and returns when it runs. ctx is for the start alone; the caller
	// must Close what is returned. A program that cannot be run is ErrProgram, a container that does not run is
	// ErrNotRunning. What a process that dies has attached is killed by the next one that comes.
	Attach(ctx context.Context, id string, spec AttachSpec) (Process, error)

	// Stats reads the resource use of a running container, or fails with ErrNotRunning.
	Stats(ctx context.Context, id string) (Stats, error)

	// Info says what runs underneath; `berth doctor` shows it.
	Info(ctx context.Context) (Info, error)

	// Purge kills and removes every container, task cgroup, image and lease of this Berth instance.
	Purge(ctx context.Context) error
}

// Task names a task and the limits that its containers share.
type Task struct {
	ID string
	// CPUUnits is the task's hard limit in cpu units, 1024 for one vCPU, set as a CFS quota with a period of 100 ms.
	// Zero is no limit.
	CPUUnits int64
	// MemoryBytes is the hard limit of all containers together. Zero is no limit.
	MemoryBytes int64
	// PidsLimit is the most processes and threads of all containers together. Zero is no limit.
	PidsLimit int64
}

// Info says what a runtime is made of.
type Info struct {
	Name           string // "containerd", "fake"
	Version        string // of the engine
	Address        string // where the engine answers
	Private        bool   // the engine was started by Berth and ends with `berth down --purge`
	OCIRuntime     string // "runc", "crun": chosen once, when the agent starts
	OCIPath        string // the program
	OCIReason      string // why this one was chosen, or why the faster one was not
	CgroupVersion  int    // 1 (also the hybrid layout) or 2
	Snapshotter    string // "overlayfs", "native"
	SeccompEnabled bool   // the kernel filters system calls
}
