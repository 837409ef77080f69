package rollout

import (
	"time"

	"berth.dev/berth/internal/model"
)

// Input is everything that is known of one service at one time. Plan changes
// none of it.
type Input struct {
	Service *model.Service
	// Deployments are all of the service, oldest first. The last one that is
	// PRIMARY is what the service is to become.
	Deployments []*model.Deployment
	// Tasks are those that have not stopped, and those that have and are not
	// Settled yet, in any order.
	Tasks []*model.Task
	// Targets are the targets of tasks by task id.
	Targets map[string][]Target
	// Checked names the essential containers with a health check by the ARN of
	// the task definition.
	Checked map[string][]string
	// Instances are those of the service's tasks, and for a DAEMON service
	// also those that could have one, by id. One that is missing is gone.
	Instances map[string]Instance
	// Zones are those in which tasks can be placed, for a service whose zones
	// are to be balanced.
	Zones []string
	// HealthyAfter is how long a task without load balancer and health check
	// must have been RUNNING to count as healthy.
	HealthyAfter time.Duration
	// RetryPlacement: room may have been found since the last attempt, so one
	// that failed for want of room need not wait.
	RetryPlacement bool
	// Alarms that are in ALARM and were not when the deployment began.
	Alarms []string
}

// Target is how a load balancer sees a task.
type Target struct {
	GroupARN string
	Port     int32
	// State is healthy, unhealthy, initial or empty; Reason is AWS's sentence
	// for it.
	State  string
	Reason string
	// EC2InstanceID names the target when it is not the task's own address.
	EC2InstanceID string
}

// Instance is a host as a service sees it.
type Instance struct {
	Active   bool   // neither draining nor deregistered
	Zone     string // empty: serves every zone
	Eligible bool   // a DAEMON service wants a task here
}

// Decision is what is to be done now. It is safe to do any part of it, as
// long as the records of the Input are unchanged; what is left out is decided
// again. Deployments, Progress and Settle belong together.
type Decision struct {
	// Deployments that changed, whole.
	Deployments []*model.Deployment
	// Create is a deployment to make: complete but for its ID and
	// ServiceDeploymentID-independent identity. Its predecessor is in
	// Deployments already.
	Create *model.Deployment
	// Progress is the service's new one.
	Progress model.ServiceProgress
	// Status is the service's new one; empty: unchanged.
	Status string
	// Events in the order in which they are said.
	Events []string
	// Settle are stopped tasks whose end is taken notice of.
	Settle []string
	// Adopt are tasks of the primary deployment's own revision that an earlier
	// deployment started: they become the primary's.
	Adopt []string

	Stops  []Stop
	Starts []Start

	// WakeAt is when to decide again though nothing has changed; zero: never.
	WakeAt time.Time
}

// Stop ends a task.
type Stop struct {
	TaskID string
	Reason string // stoppedReason, with the code ServiceSchedulerInitiated
	// Pending tasks have not run, and are only counted in the event.
	Pending bool
	// Zone is set when the task is stopped to balance zones.
	Zone string
}

// Start launches tasks.
type Start struct {
	DeploymentID string
	Count        int
	// Replaced of them stand in for unhealthy tasks.
	Replaced int
	// Zone they must be in; empty: any.
	Zone string
	// InstanceID they must be on; empty: any.
	InstanceID string
}

// Empty reports whether there is nothing to do but to wait.
func (d *Decision) Empty() bool {
	return len(d.Deployments) == 0 && d.Create == nil && d.Status == "" && len(d.Events) == 0 &&
		len(d.Settle) == 0 && len(d.Adopt) == 0 && len(d.Stops) == 0 && len(d.Starts) == 0
}
