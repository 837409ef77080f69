package rollout

import (
	"slices"
	"time"

	"berth.dev/berth/internal/model"
)

// state is what a live task is good for.
type state int

const (
	pending   state = iota // not RUNNING yet, or ending
	waiting                // RUNNING, and not yet known to be healthy
	healthy                // counts towards the lower bound
	unhealthy              // is to be replaced
)

// Ranks at which it changes what a task is good for.
var (
	rankRunning      = model.TaskStatusRank(model.TaskRunning)
	rankDeactivating = model.TaskStatusRank(model.TaskDeactivating)
	rankStopping     = model.TaskStatusRank(model.TaskStopping)
)

// task is one that has not stopped.
type task struct {
	*model.Task
	deployment *model.Deployment // nil: its record is gone
	state      state
	rank       int  // of LastStatus
	live       bool // shall run, and has not begun to end
	occupying  bool // counts towards the upper bound
	draining   bool // its instance is to be empty
	protected  bool
	chosen     bool   // is to be stopped by this decision
	reason     string // of its stop when it is unhealthy
	message    string // the event about that

	inZone, onInstance *int // live tasks where it is; see order
}

func (p *planner) view(t *model.Task) *task {
	rank := model.TaskStatusRank(t.LastStatus())
	v := &task{
		Task: t, deployment: p.byID[t.StartedBy], rank: rank,
		occupying: rank < rankDeactivating,
		protected: t.ProtectedUntil != nil && t.ProtectedUntil.After(p.now),
	}
	v.live = v.occupying && t.DesiredStatus == model.TaskRunning
	if i, known := p.in.Instances[t.InstanceID]; known && !i.Active {
		v.draining = true
	}
	if v.live && rank == rankRunning {
		p.assess(v)
	}
	return v
}

// assess says what a RUNNING task is good for (services-deployments.md §1): it
// must be HEALTHY as far as it has a health check, and healthy for all its
// load balancers; with neither it must have lasted for a while. What is
// unhealthy within the grace period is waited for.
func (p *planner) assess(v *task) {
	started := p.now
	if v.Observed.StartedAt != nil {
		started = *v.Observed.StartedAt
	}
	checks := p.in.Checked[v.TaskDefinitionARN]
	if len(checks) == 0 && len(v.LoadBalancers) == 0 {
		v.state = waiting
		if due := started.Add(p.in.HealthyAfter); p.now.Before(due) {
			p.wake(due)
		} else {
			v.state = healthy
		}
		return
	}
	container, balancer := p.containerHealth(v, checks), p.targetHealth(v)
	switch {
	case container == unhealthy || balancer == unhealthy:
		v.state = unhealthy
		if due := started.Add(p.grace()); p.now.Before(due) {
			p.wake(due)
			v.state = waiting
		}
	case container == healthy && balancer == healthy:
		v.state = healthy
	default:
		v.state = waiting
	}
}

func (p *planner) grace() time.Duration {
	if s := p.service.HealthCheckGraceSeconds; s != nil {
		return time.Duration(*s) * time.Second
	}
	return 0
}

func (p *planner) containerHealth(v *task, checks []string) state {
	s := healthy
	for i := range v.Observed.Containers {
		c := &v.Observed.Containers[i]
		if !slices.Contains(checks, c.Name) {
			continue
		}
		switch c.HealthStatus {
		case model.HealthHealthy:
		case model.HealthUnhealthy:
			v.reason, v.message = ReasonContainerHealth, FailedContainerHealth(p.service.Name, v.ID)
			return unhealthy
		default:
			s = waiting
		}
	}
	return s
}

// targetHealth is over all target groups that the task is to be in.
func (p *planner) targetHealth(v *task) state {
	s := healthy
	targets := p.in.Targets[v.ID]
	for _, lb := range v.LoadBalancers {
		found := false
		for i := range targets {
			t := &targets[i]
			if t.GroupARN != lb.TargetGroupARN {
				continue
			}
			found = true
			switch t.State {
			case model.TargetHealthy:
			case model.TargetUnhealthy:
				v.reason = ReasonTargetHealth(t.GroupARN)
				v.message = UnhealthyTarget(p.service.Name, v.ID, t.EC2InstanceID, t.Port, t.GroupARN, t.Reason)
				return unhealthy
			default:
				s = waiting
			}
		}
		if !found {
			s = waiting
		}
	}
	return s
}
