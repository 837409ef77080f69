package metadata

import (
	"context"
	"net/netip"
	"time"

	"berth.dev/berth/internal/agent/credentials"
)

// Source is where answers come from. It is asked by many goroutines at once.
type Source interface {
	// Task returns the task as it is now, and false when the host does not have it (any more).
	Task(taskID string) (TaskView, bool)
	// Stats returns the newest statistics of a container, or an error when there are none (yet, or any more).
	Stats(ctx context.Context, containerID string) (Stats, error)
	// Credentials returns those of the task's role, nil while there are none, when id is that under which the task's
	// containers ask for them, and false for every other id.
	Credentials(taskID, id string) (c *credentials.Credentials, known bool)
}

// TaskView is what a task may know about itself. Zero values are left out of answers.
type TaskView struct {
	Cluster          string // ARN
	ARN              string
	Family, Revision string
	ServiceName      string  // only of a service's tasks
	DesiredStatus    string  // RUNNING, STOPPED
	KnownStatus      string  // NONE, PULLED, CREATED, RUNNING, STOPPED …
	CPU              float64 // vCPUs
	Memory           int64   // MiB
	LaunchType       string
	AvailabilityZone string
	VPCID            string

	PullStartedAt, PullStoppedAt, ExecutionStoppedAt time.Time

	// EphemeralStorageReserved and EphemeralStorageUsed are in MiB; both are left out when nothing is reserved.
	EphemeralStorageReserved, EphemeralStorageUsed int64
	FaultInjectionEnabled                          bool

	Tags       map[string]string
	Network    *NetworkView // of all its containers; nil when each has its own, and for network mode none
	Containers []ContainerView
}

// NetworkView is a network interface: the task's, which all its containers share, or a container's in network mode bridge.
type NetworkView struct {
	Mode    string     // awsvpc, bridge, host
	Address netip.Addr // invalid in network mode host
	// Subnet and what follows are of network mode awsvpc only.
	Subnet           netip.Prefix
	MAC              string
	PrivateDNSName   string
	DomainNameServer []string
	SearchDomains    []string
}

// ContainerView is one container of the task.
type ContainerView struct {
	// ID names the container in paths (ECS_CONTAINER_METADATA_URI_V4 ends with it), as DockerId, and to Source.Stats.
	ID            string
	ARN           string
	Name          string
	DockerName    string // empty means Name, as on Fargate
	Image         string
	ImageID       string            // sha256:…
	Labels        map[string]string // the user's; those of ECS are added
	DesiredStatus string
	KnownStatus   string
	ExitCode      *int
	CPU           int64 // cpu units
	Memory        int64 // MiB; zero means no limit of its own
	Ports         []PortView
	Network       *NetworkView // in network mode bridge

	CreatedAt, StartedAt, FinishedAt time.Time

	// RestartCount is nil for a container without a restart policy.
	RestartCount *int
	// Health is nil for a container without a health check.
	Health      *HealthView
	Volumes     []VolumeView
	LogDriver   string
	LogOptions  map[string]string
	Snapshotter string // overlayfs
}

// PortView is one port that a container maps.
type PortView struct {
	ContainerPort, HostPort uint16
	Protocol                string
	HostIP                  string
}

// HealthView is the latest result of a container's health check.
type HealthView struct {
	Status   string // HEALTHY, UNHEALTHY, UNKNOWN
	Since    time.Time
	ExitCode int
	Output   string
}

// VolumeView is one mount of a container.
type VolumeView struct {
	DockerName  string `json:",omitempty"`
	Source      string `json:",omitempty"`
	Destination string `json:",omitempty"`
}

// Stats are two samples of a container, a second or so apart. The first answer of a container has only the newer one, and
// no rates.
type Stats struct{ Previous, Current Sample }

// Sample is what a container had used at one moment. Times are in nanoseconds, sizes in bytes; zero when not known.
type Sample struct {
	Read                             time.Time
	CPUTotal, CPUKernel, CPUUser     uint64
	CPUPerCPU                        []uint64
	SystemCPU                        uint64 // time used by the whole host, on all its CPUs
	OnlineCPUs                       uint32
	Periods, ThrottledPeriods        uint64
	ThrottledTime                    uint64
	MemoryUsage, MemoryMax, MemLimit uint64
	MemoryStats                      map[string]uint64 // as in memory.stat
	PIDs, PIDsLimit                  uint64
	BlockIO                          []BlockIO
	// Networks has the task's interfaces by name. All containers of a task report the same.
	Networks map[string]Interface
}

// BlockIO is how much a container read from or wrote to one device.
type BlockIO struct {
	Major, Minor uint64
	Op           string // Read, Write
	Bytes, Count uint64
}

// Interface is the counters of one network interface.
type Interface struct {
	RxBytes, RxPackets, RxErrors, RxDropped uint64
	TxBytes, TxPackets, TxErrors, TxDropped uint64
}
