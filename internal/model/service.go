package model

import "time"

// Statuses of a service.
const (
	ServiceActive   = "ACTIVE"
	ServiceDraining = "DRAINING"
	ServiceInactive = "INACTIVE"
)

// Scheduling strategies.
const (
	SchedulingReplica = "REPLICA"
	SchedulingDaemon  = "DAEMON"
)

// Deployment controllers. ECS's own is the only one that Berth has so far.
const ControllerECS = "ECS"

// Service keeps a number of tasks running.
//
// The provider writes the spec. The deployment loop writes Status when a
// draining service has no tasks left, and what its memory of launches needs.
// What a task needs to start is in the ServiceRevision of its deployment, so
// that an old deployment's tasks are still replaced as they were.
type Service struct {
	// ID is unique over the life of the store: a name may be used again when
	// its service is INACTIVE.
	ID          string    `json:"id"`
	Name        string    `json:"serviceName"`
	ARN         string    `json:"serviceArn"`
	ClusterName string    `json:"clusterName"`
	Status      string    `json:"status"`
	CreatedAt   time.Time `json:"createdAt"`
	CreatedBy   string    `json:"createdBy,omitempty"`
	// EndedAt is when the service became INACTIVE.
	EndedAt *time.Time `json:"endedAt,omitempty"`

	// Spec of the service as a whole; changing it starts no deployment.
	DesiredCount            int                     `json:"desiredCount"`
	SchedulingStrategy      string                  `json:"schedulingStrategy"`
	DeploymentController    string                  `json:"deploymentController"`
	DeploymentConfiguration DeploymentConfiguration `json:"deploymentConfiguration"`
	PlacementConstraints    []PlacementConstraint   `json:"placementConstraints,omitempty"`
	PlacementStrategy       []PlacementStrategy     `json:"placementStrategy,omitempty"`
	HealthCheckGraceSeconds *int32                  `json:"healthCheckGracePeriodSeconds,omitempty"`
	RoleARN                 string                  `json:"roleArn,omitempty"`
	PropagateTags           string                  `json:"propagateTags,omitempty"` // TASK_DEFINITION, SERVICE or NONE
	EnableECSManagedTags    bool                    `json:"enableECSManagedTags,omitempty"`
	EnableExecuteCommand    bool                    `json:"enableExecuteCommand,omitempty"`
	ZoneRebalancing         string                  `json:"availabilityZoneRebalancing,omitempty"` // ENABLED or DISABLED
	Tags                    []Tag                   `json:"tags,omitempty"`

	// Resources tells how far what ECS itself makes for the service is, such as
	// its load balancer: see ResourcesProvisioning. The provider sets it when it
	// makes an express service, and control/express from then on.
	Resources string `json:"resources,omitempty"`

	// PlatformVersion is as it was asked for, such as LATEST.
	PlatformVersion string `json:"platformVersion,omitempty"`

	// Revision is what the newest deployment runs: the spec that starts a
	// deployment when it changes.
	Revision RevisionSpec `json:"revision"`

	// Token makes a repeated CreateService answer the same.
	ClientToken string `json:"clientToken,omitempty"`

	// EventSeq numbers the service's events.
	EventSeq uint64 `json:"eventSeq,omitempty"`
	// Progress is the deployment loop's memory.
	Progress ServiceProgress `json:"progress"`
}

// Key identifies the service in the store.
func (s *Service) Key() string { return s.ID }

// RevisionSpec is what tasks of a service are made of: what a new deployment
// is needed for.
type RevisionSpec struct {
	TaskDefinitionARN        string                         `json:"taskDefinitionArn"`
	LaunchType               string                         `json:"launchType,omitempty"`
	CapacityProviderStrategy []CapacityProviderStrategyItem `json:"capacityProviderStrategy,omitempty"`
	PlatformVersion          string                         `json:"platformVersion,omitempty"` // as resolved, Fargate only
	Network                  *NetworkConfiguration          `json:"networkConfiguration,omitempty"`
	LoadBalancers            []ServiceLoadBalancer          `json:"loadBalancers,omitempty"`
	Registries               []ServiceRegistry              `json:"serviceRegistries,omitempty"`
	Volumes                  []VolumeConfiguration          `json:"volumeConfigurations,omitempty"`
}

// NetworkConfiguration says where tasks' interfaces go.
type NetworkConfiguration struct {
	Subnets        []string `json:"subnets"`
	SecurityGroups []string `json:"securityGroups,omitempty"`
	PublicIP       bool     `json:"assignPublicIp,omitempty"`
}

// ServiceLoadBalancer has tasks registered as targets.
type ServiceLoadBalancer struct {
	TargetGroupARN string `json:"targetGroupArn"`
	ContainerName  string `json:"containerName"`
	ContainerPort  int32  `json:"containerPort"`
}

// ServiceRegistry has tasks registered as instances of a Cloud Map service.
type ServiceRegistry struct {
	RegistryARN   string `json:"registryArn"`
	Port          int32  `json:"port,omitempty"`
	ContainerName string `json:"containerName,omitempty"`
	ContainerPort int32  `json:"containerPort,omitempty"`
}

// PlacementStrategy orders the instances that could take a task.
type PlacementStrategy struct {
	Type  string `json:"type"` // random, spread or binpack
	Field string `json:"field,omitempty"`
}

// DeploymentConfiguration bounds how tasks are replaced, in percent of the
// desired count.
type DeploymentConfiguration struct {
	MinimumHealthyPercent int               `json:"minimumHealthyPercent"`
	MaximumPercent        int               `json:"maximumPercent"`
	CircuitBreaker        *CircuitBreaker   `json:"deploymentCircuitBreaker,omitempty"`
	Alarms                *DeploymentAlarms `json:"alarms,omitempty"`
}

// CircuitBreaker ends a deployment whose tasks keep failing.
type CircuitBreaker struct {
	Enable   bool `json:"enable"`
	Rollback bool `json:"rollback"`
}

// DeploymentAlarms end a deployment while which an alarm fires.
type DeploymentAlarms struct {
	AlarmNames []string `json:"alarmNames,omitempty"`
	Enable     bool     `json:"enable"`
	Rollback   bool     `json:"rollback"`
}

// ServiceProgress is what the deployment loop remembers of a service between
// its decisions. rules/rollout reads and writes it; nobody else.
type ServiceProgress struct {
	// Steady is true since the last "has reached a steady state" event.
	Steady   bool       `json:"steady,omitempty"`
	SteadyAt *time.Time `json:"steadyAt,omitempty"`
	// Said remembers when an event was said, by its cause, so that it is not
	// repeated while the cause lasts.
	Said map[string]time.Time `json:"said,omitempty"`
	// Rebalancing is true while tasks are moved between zones.
	Rebalancing bool `json:"rebalancing,omitempty"`
}

// Statuses of a deployment as DescribeServices shows it.
const (
	DeploymentPrimary  = "PRIMARY"
	DeploymentActive   = "ACTIVE"
	DeploymentInactive = "INACTIVE"
)

// Rollout states of a deployment.
const (
	RolloutInProgress = "IN_PROGRESS"
	RolloutCompleted  = "COMPLETED"
	RolloutFailed     = "FAILED"
)

// Statuses of a service deployment (DescribeServiceDeployments).
const (
	ServiceDeploymentPending            = "PENDING"
	ServiceDeploymentInProgress         = "IN_PROGRESS"
	ServiceDeploymentSuccessful         = "SUCCESSFUL"
	ServiceDeploymentStopRequested      = "STOP_REQUESTED"
	ServiceDeploymentStopped            = "STOPPED"
	ServiceDeploymentRollbackRequested  = "ROLLBACK_REQUESTED"
	ServiceDeploymentRollbackInProgress = "ROLLBACK_IN_PROGRESS"
	ServiceDeploymentRollbackSuccessful = "ROLLBACK_SUCCESSFUL"
	ServiceDeploymentRollbackFailed     = "ROLLBACK_FAILED"
)

// Deployment brings a service to one revision. It is what AWS shows twice: as
// an entry of DescribeServices.deployments (ID, Status, RolloutState) and as a
// service deployment (ServiceDeploymentARN, its status).
//
// The provider makes it, marks its predecessor ACTIVE, and may request its
// end (Requested). Everything else is the deployment loop's. Counts of tasks
// are derived and never stored.
type Deployment struct {
	ID          string `json:"id"` // ecs-svc/<19 digits>; startedBy of its tasks
	ServiceID   string `json:"serviceId"`
	ClusterName string `json:"clusterName"`
	// Number orders the deployments of a service, from 1.
	Number     uint64    `json:"number"`
	RevisionID string    `json:"revisionId"` // key of the ServiceRevision
	CreatedAt  time.Time `json:"createdAt"`
	UpdatedAt  time.Time `json:"updatedAt"`

	Status             string `json:"status"`
	RolloutState       string `json:"rolloutState"`
	RolloutStateReason string `json:"rolloutStateReason,omitempty"`

	// Failed counts tasks in a row that could not be launched, never ran or
	// were stopped for failed health checks; 0 again once one runs.
	FailedTasks int `json:"failedTasks,omitempty"`
	// Breaker is the circuit breaker's count; it stops when it has triggered
	// or the deployment has completed.
	BreakerFailures  int  `json:"breakerFailures,omitempty"`
	BreakerTriggered bool `json:"breakerTriggered,omitempty"`
	// RanOnce: a task of the deployment has reached RUNNING.
	RanOnce bool `json:"ranOnce,omitempty"`
	// Counted are the ids of tasks that failed a health check, that
	// BreakerFailures and FailedTasks include already, and that have not
	// stopped yet. Once they have, Task.Settled remembers it.
	Counted map[string]bool `json:"counted,omitempty"`
	// Throttle delays launches of this deployment.
	Throttle LaunchThrottle `json:"throttle,omitzero"`

	// The service deployment. A rollback is part of the deployment that it
	// rolls back on AWS's service deployment view, and a deployment of its own
	// in DescribeServices: RollbackOf names the failed deployment's ID.
	ServiceDeploymentID     string     `json:"serviceDeploymentId"` // 21 characters, url-safe
	ServiceDeploymentStatus string     `json:"serviceDeploymentStatus"`
	StatusReason            string     `json:"statusReason,omitempty"`
	StartedAt               *time.Time `json:"startedAt,omitempty"`
	FinishedAt              *time.Time `json:"finishedAt,omitempty"`
	StoppedAt               *time.Time `json:"stoppedAt,omitempty"`
	SourceRevisionIDs       []string   `json:"sourceRevisionIds,omitempty"`
	RollbackOf              string     `json:"rollbackOf,omitempty"`
	RollbackReason          string     `json:"rollbackReason,omitempty"`
	RollbackRevisionID      string     `json:"rollbackRevisionId,omitempty"`
	RollbackStartedAt       *time.Time `json:"rollbackStartedAt,omitempty"`
	// Requested is what StopServiceDeployment asks for: ROLLBACK or ABORT.
	Requested string `json:"requested,omitempty"`
	// DesiredAtCompletion etc. freeze the counts that a revision summary shows
	// when the deployment is over.
	Frozen *RevisionCounts `json:"frozen,omitempty"`
	// Config is the service's deployment configuration when this began.
	Config DeploymentConfiguration `json:"config"`
}

// Key identifies the deployment in the store; those of a service sort by age.
func (d *Deployment) Key() string { return DeploymentKey(d.ServiceID, d.Number) }

// LaunchThrottle remembers launches that came to nothing. A new deployment
// begins without one.
type LaunchThrottle struct {
	// Failures are attempts in a row of which no task reached RUNNING.
	Failures int `json:"failures,omitempty"`
	// Exits are attempts in a row of which a task ended soon after it had
	// reached RUNNING.
	Exits int `json:"exits,omitempty"`
	// Unplaced are attempts in a row for which no place was found.
	Unplaced int `json:"unplaced,omitempty"`
	// NextAt is when the next task may be launched; nil: at once.
	NextAt *time.Time `json:"nextAt,omitempty"`
}

// RevisionCounts are the tasks of a revision.
type RevisionCounts struct {
	Requested int `json:"requested"`
	Running   int `json:"running"`
	Pending   int `json:"pending"`
}

// ServiceRevision is a snapshot of a RevisionSpec, immutable but for the
// digests that the first task resolves.
type ServiceRevision struct {
	ID          string       `json:"id"` // 16 to 19 decimal digits
	ARN         string       `json:"arn"`
	ServiceID   string       `json:"serviceId"`
	ServiceARN  string       `json:"serviceArn"`
	ClusterName string       `json:"clusterName"`
	CreatedAt   time.Time    `json:"createdAt"`
	Spec        RevisionSpec `json:"spec"`
	// Images are the containers' images with the digests that the first
	// running task resolved.
	Images []RevisionImage `json:"images,omitempty"`
}

// Key identifies the revision in the store.
func (r *ServiceRevision) Key() string { return r.ID }

// RevisionImage is one container's image.
type RevisionImage struct {
	ContainerName string `json:"containerName"`
	Image         string `json:"image"`
	ImageDigest   string `json:"imageDigest,omitempty"`
}

// ServiceEvent is one line of a service's events. Rows of a service sort by
// age; the newest 100 are kept.
type ServiceEvent struct {
	ServiceID string    `json:"serviceId"`
	Seq       uint64    `json:"seq"`
	ID        string    `json:"id"` // UUID
	CreatedAt time.Time `json:"createdAt"`
	Message   string    `json:"message"`
}

// Key identifies the event in the store.
func (e *ServiceEvent) Key() string { return ServiceEventKey(e.ServiceID, e.Seq) }
