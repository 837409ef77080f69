package model

import (
	"slices"
	"time"
)

// Statuses of a task, in the only order in which they may occur
// (behaviour/task-lifecycle.md §1). A task may skip some, but never goes back.
const (
	TaskProvisioning   = "PROVISIONING"
	TaskPending        = "PENDING"
	TaskActivating     = "ACTIVATING"
	TaskRunning        = "RUNNING"
	TaskDeactivating   = "DEACTIVATING"
	TaskStopping       = "STOPPING"
	TaskDeprovisioning = "DEPROVISIONING"
	TaskStopped        = "STOPPED"
)

var taskStatuses = [...]string{
	TaskProvisioning, TaskPending, TaskActivating, TaskRunning,
	TaskDeactivating, TaskStopping, TaskDeprovisioning, TaskStopped,
}

// TaskStatusRank orders task statuses: a task only moves to a higher rank.
// It is -1 for anything that is not a status.
func TaskStatusRank(status string) int { return slices.Index(taskStatuses[:], status) }

// Stop codes of a task.
const (
	StopTaskFailedToStart         = "TaskFailedToStart"
	StopEssentialContainerExited  = "EssentialContainerExited"
	StopUserInitiated             = "UserInitiated"
	StopServiceSchedulerInitiated = "ServiceSchedulerInitiated"
	StopTerminationNotice         = "TerminationNotice"
)

// Launch types.
const (
	LaunchFargate = "FARGATE"
	LaunchEC2     = "EC2"
)

// Health statuses of containers and tasks.
const (
	HealthUnknown   = "UNKNOWN"
	HealthHealthy   = "HEALTHY"
	HealthUnhealthy = "UNHEALTHY"
)

// Statuses of a container as the API shows them, in order.
const (
	ContainerPending = "PENDING"
	ContainerRunning = "RUNNING"
	ContainerStopped = "STOPPED"
)

// Task is one run of a task definition.
//
// RunTask writes the spec, the placement and the network interface in the
// transaction that accepts the task, and nothing changes them afterwards.
// Desired is written by whoever decides that the task ends, once. Observed is
// what the node reported, merged by Observe.
type Task struct {
	ID          string    `json:"id"` // 32 hex digits
	ARN         string    `json:"taskArn"`
	ClusterName string    `json:"clusterName"`
	CreatedAt   time.Time `json:"createdAt"`

	// Spec.
	TaskDefinitionARN    string          `json:"taskDefinitionArn"`
	Family               string          `json:"family"`
	Revision             int             `json:"revision"`
	LaunchType           string          `json:"launchType"`
	CapacityProviderName string          `json:"capacityProviderName,omitempty"`
	PlatformVersion      string          `json:"platformVersion,omitempty"`
	CPU                  string          `json:"cpu,omitempty"`
	Memory               string          `json:"memory,omitempty"`
	EphemeralStorageGiB  int32           `json:"ephemeralStorageGiB,omitempty"`
	Group                string          `json:"group,omitempty"`
	StartedBy            string          `json:"startedBy,omitempty"`
	EnableExecuteCommand bool            `json:"enableExecuteCommand,omitempty"`
	Overrides            TaskOverride    `json:"overrides"`
	Containers           []TaskContainer `json:"containers"`
	Tags                 []Tag           `json:"tags,omitempty"`

	// Placement.
	InstanceID       string `json:"instanceId"`
	AvailabilityZone string `json:"availabilityZone,omitempty"`
	ENIID            string `json:"eniId,omitempty"`
	ReservedCPU      int64  `json:"reservedCpu"`       // units held on the instance until the task has stopped
	ReservedMemory   int64  `json:"reservedMemoryMiB"` // MiB likewise
	// CPUArchitecture is the instance's, in the words of the attribute
	// ecs.cpu-architecture.
	CPUArchitecture string `json:"cpuArchitecture,omitempty"`
	// NetworkInterface is a copy of the interface named by ENIID. The record
	// goes when the task has stopped; a stopped task still shows what it had.
	NetworkInterface *NetworkInterface `json:"networkInterface,omitempty"`
	// Volume is the EBS volume of a task whose definition has one that is
	// configured at launch.
	Volume *TaskVolume `json:"volume,omitempty"`

	// Service, for a task of one. What the service registers a task with is
	// its own copy: the service may change.
	ServiceID     string                `json:"serviceId,omitempty"`
	ServiceName   string                `json:"serviceName,omitempty"`
	LoadBalancers []ServiceLoadBalancer `json:"loadBalancers,omitempty"`
	Registries    []ServiceRegistry     `json:"serviceRegistries,omitempty"`
	// ProtectedUntil keeps scale-in and deployments from stopping the task.
	ProtectedUntil *time.Time `json:"protectedUntil,omitempty"`
	// Registered is set when the targets loop has registered the task with
	// everything that it is to be registered with.
	Registered bool `json:"registered,omitempty"`
	// Released is set when a task that is to stop is in no load balancer and
	// no name any more. Until then a task with LoadBalancers or Registries is
	// not told to stop: see Ends.
	Released bool `json:"released,omitempty"`

	// DeregisteredAt is when the task was taken out of its load balancers and
	// names, which is when the wait for Released begins.
	DeregisteredAt *time.Time `json:"deregisteredAt,omitempty"`

	// Settled is set when the task has stopped and the deployment loop has
	// drawn its conclusions from that.
	Settled bool `json:"settled,omitempty"`

	// HostPorts are the fixed ports that the task holds on its instance until
	// it has stopped, such as "80/tcp".
	HostPorts []string `json:"hostPorts,omitempty"`

	// Desired.
	DesiredStatus string     `json:"desiredStatus"` // RUNNING or STOPPED
	StopCode      string     `json:"stopCode,omitempty"`
	StoppedReason string     `json:"stoppedReason,omitempty"`
	StopDecidedAt *time.Time `json:"stopDecidedAt,omitempty"`

	// Observed.
	Observed TaskObserved `json:"observed"`
	// Lost is set while the task has ended for users but its node has not
	// confirmed it.
	Lost bool `json:"lost,omitempty"`

	// Version starts at 1 and grows by one with every change that a user can see.
	Version int64 `json:"version"`
}

// Key identifies the task in the store.
func (t *Task) Key() string { return t.ID }

// Ends reports whether the node may end the task: it is to stop, and nothing
// leads to it any more. Between the two it is DEACTIVATING for users.
func (t *Task) Ends() bool {
	return t.DesiredStatus == TaskStopped && (t.Released || len(t.LoadBalancers) == 0 && len(t.Registries) == 0)
}

// LastStatus is the status that users see. A task that is to stop and that
// something leads to is DEACTIVATING until that is over, and then STOPPING,
// whatever its node has said of it meanwhile.
func (t *Task) LastStatus() string {
	if t.DesiredStatus != TaskStopped || len(t.LoadBalancers) == 0 && len(t.Registries) == 0 {
		return t.Observed.Status
	}
	shown := TaskDeactivating
	if t.Released {
		shown = TaskStopping
	}
	if TaskStatusRank(t.Observed.Status) < TaskStatusRank(shown) {
		return shown
	}
	return t.Observed.Status
}

// Health is the task's health: UNHEALTHY when an essential container is, else
// UNKNOWN when one with a check has no answer yet or none has a check, else
// HEALTHY.
func (t *Task) Health() string {
	health := HealthUnknown
	for i := range t.Containers {
		if !t.Containers[i].Essential {
			continue
		}
		c, ok := t.Observed.Container(t.Containers[i].Name)
		if !ok || c.HealthStatus == "" {
			continue
		}
		switch c.HealthStatus {
		case HealthUnhealthy:
			return HealthUnhealthy
		case HealthUnknown:
			return HealthUnknown
		default:
			health = HealthHealthy
		}
	}
	return health
}

// Stopped reports whether the task has reached its end.
func (t *Task) Stopped() bool { return t.Observed.Status == TaskStopped }

// TaskContainer gives a container of a task its identities.
type TaskContainer struct {
	Name      string `json:"name"`
	ID        string `json:"id"`        // UUID, the last part of the container's ARN
	RuntimeID string `json:"runtimeId"` // the engine's name for it: <task id>-<10 digits>
	Image     string `json:"image"`
	// ImageDigest pins what a tag in Image means: a service's tasks of one
	// revision all run what the first of them found. Empty: the tag decides.
	ImageDigest string `json:"imageDigest,omitempty"`

	// What the definition says after the overrides, so that a task can be
	// described when its definition is gone.
	Essential         bool   `json:"essential,omitempty"`
	CPU               int32  `json:"cpu,omitempty"`
	Memory            *int32 `json:"memory,omitempty"`
	MemoryReservation *int32 `json:"memoryReservation,omitempty"`
}

// TaskOverride is what RunTask changes of a task definition.
type TaskOverride struct {
	ContainerOverrides []ContainerOverride `json:"containerOverrides,omitempty"`
	CPU                string              `json:"cpu,omitempty"`
	Memory             string              `json:"memory,omitempty"`
	ExecutionRoleARN   string              `json:"executionRoleArn,omitempty"`
	TaskRoleARN        string              `json:"taskRoleArn,omitempty"`
	EphemeralStorage   *EphemeralStorage   `json:"ephemeralStorage,omitempty"`
}

// ContainerOverride is what RunTask changes of one container.
type ContainerOverride struct {
	Name                 string                `json:"name"`
	Command              []string              `json:"command,omitempty"`
	Environment          []KeyValuePair        `json:"environment,omitempty"`
	EnvironmentFiles     []EnvironmentFile     `json:"environmentFiles,omitempty"`
	CPU                  *int32                `json:"cpu,omitempty"`
	Memory               *int32                `json:"memory,omitempty"`
	MemoryReservation    *int32                `json:"memoryReservation,omitempty"`
	ResourceRequirements []ResourceRequirement `json:"resourceRequirements,omitempty"`
}

// TaskObserved is the whole state of a task as its node knows it. A node
// always reports everything, so a lost report costs nothing.
type TaskObserved struct {
	// Seq grows with every report that the node's journal makes for this task.
	Seq    uint64 `json:"seq,omitempty"`
	Status string `json:"status"`

	// StopCode and StoppedReason say why the node itself ended the task; empty
	// when it only followed the desired status.
	StopCode      string `json:"stopCode,omitempty"`
	StoppedReason string `json:"stoppedReason,omitempty"`

	ENIAttached        bool       `json:"eniAttached,omitempty"`
	VolumesMounted     bool       `json:"volumesMounted,omitempty"`
	ConnectivityAt     *time.Time `json:"connectivityAt,omitempty"`
	PullStartedAt      *time.Time `json:"pullStartedAt,omitempty"`
	PullStoppedAt      *time.Time `json:"pullStoppedAt,omitempty"`
	StartedAt          *time.Time `json:"startedAt,omitempty"`
	StoppingAt         *time.Time `json:"stoppingAt,omitempty"`
	ExecutionStoppedAt *time.Time `json:"executionStoppedAt,omitempty"`
	StoppedAt          *time.Time `json:"stoppedAt,omitempty"`

	Containers []ContainerObserved `json:"containers,omitempty"`
}

// ContainerObserved is one container as its node knows it.
type ContainerObserved struct {
	Name         string     `json:"name"`
	Status       string     `json:"status"`
	ImageDigest  string     `json:"imageDigest,omitempty"`
	ImageSource  string     `json:"imageSource,omitempty"` // where the image was found: containerd, docker or registry
	PID          int        `json:"pid,omitempty"`
	ExitCode     *int32     `json:"exitCode,omitempty"`
	Reason       string     `json:"reason,omitempty"`
	HealthStatus string     `json:"healthStatus,omitempty"`
	HealthOutput string     `json:"healthOutput,omitempty"` // the tail of the last health check's output
	RestartCount int        `json:"restartCount,omitempty"`
	StartedAt    *time.Time `json:"startedAt,omitempty"`
	FinishedAt   *time.Time `json:"finishedAt,omitempty"`
	// Pull is how far the image has come, while it is being pulled.
	Pull *PullProgress `json:"pull,omitempty"`
	// ExecAgent is there for tasks with EnableExecuteCommand.
	ExecAgent *ManagedAgent `json:"execAgent,omitempty"`
	// Bindings are the ports of the host that lead to the container.
	Bindings []NetworkBinding `json:"networkBindings,omitempty"`
}

// PullProgress counts what of an image has arrived. Total is zero until the
// manifest is known.
type PullProgress struct {
	Bytes      int64 `json:"bytes"`
	Total      int64 `json:"total"`
	Layers     int   `json:"layers"`
	LayersDone int   `json:"layersDone"`
}

// Statuses of a managed agent.
const (
	AgentPending = "PENDING"
	AgentRunning = "RUNNING"
	AgentStopped = "STOPPED"
)

// ManagedAgent is what runs commands for ExecuteCommand in a container. Here
// the node does that itself, so it runs while the container does, unless
// Reason says why it cannot.
type ManagedAgent struct {
	Status    string     `json:"lastStatus"`
	StartedAt *time.Time `json:"lastStartedAt,omitempty"`
	Reason    string     `json:"reason,omitempty"`
}

// NetworkBinding is a port of the host that leads to a container.
type NetworkBinding struct {
	BindIP        string `json:"bindIP"`
	ContainerPort int32  `json:"containerPort"`
	HostPort      int32  `json:"hostPort"`
	Protocol      string `json:"protocol"`
	// The ranges of a port mapping with a containerPortRange, such as
	// "8000-8010"; the two ports are zero then.
	ContainerPortRange string `json:"containerPortRange,omitempty"`
	HostPortRange      string `json:"hostPortRange,omitempty"`
}

// Container returns the observation of the container of that name.
func (o *TaskObserved) Container(name string) (*ContainerObserved, bool) {
	for i := range o.Containers {
		if o.Containers[i].Name == name {
			return &o.Containers[i], true
		}
	}
	return nil, false
}

// Observe merges a node's report into the task and reports whether anything
// changed. It keeps three things true: a report that is not newer than the
// last one changes nothing, the status never goes back, and a task that has
// stopped stays as it is. The first decision to stop the task, the user's or
// the node's, keeps its code and reason. The last report may come again with
// how far images have come since.
func (t *Task) Observe(now time.Time, report TaskObserved) bool {
	if t.Stopped() || report.Seq < t.Observed.Seq {
		return false
	}
	if report.Seq == t.Observed.Seq {
		return t.observePulls(report)
	}
	if TaskStatusRank(report.Status) < TaskStatusRank(t.Observed.Status) {
		report.Status = t.Observed.Status
	}
	t.Observed = report
	if report.StopCode != "" {
		t.DecideStop(now, report.StopCode, report.StoppedReason)
	}
	if report.Status == TaskStopped {
		t.DesiredStatus = TaskStopped
	}
	t.Version++
	return true
}

// observePulls takes over how far images have come. It is progress and no
// change of the task: the version stays.
func (t *Task) observePulls(report TaskObserved) bool {
	containers, news := slices.Clone(t.Observed.Containers), false
	for i := range containers {
		c, ok := report.Container(containers[i].Name)
		if !ok || c.Pull == nil || containers[i].Pull != nil && *containers[i].Pull == *c.Pull {
			continue
		}
		containers[i].Pull, news = new(*c.Pull), true
	}
	if news {
		t.Observed.Containers = containers
	}
	return news
}

// Pulling reports whether the report says how far an image has come.
func (o *TaskObserved) Pulling() bool {
	return slices.ContainsFunc(o.Containers, func(c ContainerObserved) bool { return c.Pull != nil })
}

// DecideStop records that the task is to end and why. Only the first decision
// counts; it reports whether this was it.
func (t *Task) DecideStop(now time.Time, code, reason string) bool {
	if t.DesiredStatus == TaskStopped {
		return false
	}
	t.DesiredStatus = TaskStopped
	t.StopCode = code
	t.StoppedReason = reason
	t.StopDecidedAt = &now
	t.Version++
	return true
}

// Assignment is everything a node needs to run a task: the node never asks
// the control plane for more.
type Assignment struct {
	Task             Task             `json:"task"`
	TaskDefinition   TaskDefinition   `json:"taskDefinition"`
	NetworkInterface *AssignedNetwork `json:"networkInterface,omitempty"`
	Region           string           `json:"region"`
	AccountID        string           `json:"accountId"`
	ClusterARN       string           `json:"clusterArn"`
}

// AssignedNetwork is a task's network interface as its node must make it.
type AssignedNetwork struct {
	NetworkInterface
	VPCCIDR    string `json:"vpcCidr"`
	SubnetCIDR string `json:"subnetCidr"`
}

// Lose ends a task whose node is out of reach: the control plane decides what
// nobody can observe. The task's network interface stays allocated until the
// node has confirmed the end, because the node may still run it.
func (t *Task) Lose(now time.Time, reason string) {
	if t.Stopped() {
		return
	}
	t.DecideStop(now, StopTerminationNotice, reason)
	t.Observed.Status = TaskStopped
	t.Observed.StoppedAt = &now
	t.Lost = true
	t.Version++
}

// Confirm takes the final report of a node that is back after its task was
// lost: how the containers really ended. When the task ended stays what users
// were told.
func (t *Task) Confirm(report TaskObserved) {
	t.Lost = false
	t.Observed.Seq = max(t.Observed.Seq, report.Seq)
	t.Observed.Containers = report.Containers
	t.Version++
}
