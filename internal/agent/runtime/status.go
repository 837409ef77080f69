package runtime

import "time"

// State is where a container is in its life. It only moves forward, except that Restart takes it back to created.
type State string

// The states.
const (
	StateCreated State = "created"
	StateRunning State = "running"
	StateExited  State = "exited"
)

// Status describes a container as the engine sees it now.
type Status struct {
	ID       string
	TaskID   string
	Name     string
	Image    string
	Labels   map[string]string // those of the Spec
	SpecHash string

	State     State
	PID       int       // on the host; zero unless running
	CreatedAt time.Time // of the container
	StartedAt time.Time // of the current run; zero before it
	Restarts  int       // how often Restart has run it
	Exit      *Exit     // of the current run; nil unless exited
}

// Exit is how a run ended.
type Exit struct {
	Code uint32 // 128 plus the signal's number when a signal ended it
	At   time.Time
	// OOMKilled says that the kernel killed a process of this container for want of memory during this run.
	OOMKilled bool
	// Lost says that nobody saw the exit (the host restarted, or the container's supervisor was killed): Code is
	// LostExitCode and At the moment that it was noticed.
	Lost bool
}

// LostExitCode is the code of an exit that nobody saw.
const LostExitCode = 255

// ExecSpec is a program to run inside a running container.
type ExecSpec struct {
	Args []string
	Env  []string // added to the container's own
	User string   // empty is the container's
	Cwd  string   // empty is the container's
}

// MaxExecOutput is how much of a program's output ExecResult keeps; the rest is read and dropped.
const MaxExecOutput = 64 << 10

// ExecResult is how the program ended and the beginning of its output, stdout and stderr in the order of arrival.
type ExecResult struct {
	ExitCode uint32
	Output   []byte
}

// Stats is the resource use of a container at one moment. The ECS metadata endpoint shows it in Docker's form.
type Stats struct {
	Read time.Time

	CPU    CPUStats
	Memory MemoryStats
	Pids   PidsStats
	BlkIO  []BlkIOStats
}

// CPUStats counts nanoseconds since the container began.
type CPUStats struct {
	Usage      uint64
	UsageUser  uint64
	UsageKern  uint64
	PerCPU     []uint64 // empty on cgroup v2
	System     uint64   // all CPUs of the host, all states, since boot: Docker's system_cpu_usage
	OnlineCPUs uint32

	ThrottlingPeriods uint64 // periods with a quota in force
	ThrottledPeriods  uint64
	ThrottledTime     uint64
}

// MemoryStats is in bytes.
type MemoryStats struct {
	Usage    uint64
	MaxUsage uint64 // zero where the kernel does not keep it
	Limit    uint64 // the host's memory when the container has none
	Failcnt  uint64
	OOMKills uint64
	// Detail is the kernel's memory.stat, keys as this host's cgroup version spells them.
	Detail map[string]uint64
}

// PidsStats counts processes and threads. Limit zero is none.
type PidsStats struct {
	Current uint64
	Limit   uint64
}

// BlkIOStats is one device's traffic since the container began.
type BlkIOStats struct {
	Major, Minor          uint64
	ReadBytes, WriteBytes uint64
	ReadOps, WriteOps     uint64
}
