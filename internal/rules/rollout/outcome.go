package rollout

import (
	"fmt"
	"strings"

	"berth.dev/berth/internal/model"
)

// Threshold is how many failures the circuit breaker takes for a service of
// that many tasks.
func Threshold(desired int) int { return min(max((desired+1)/2, 3), 200) }

// verdict is why a deployment ends before it is complete.
type verdict struct {
	state    string // rolloutStateReason
	event    string // why, in the event
	status   string // statusReason of the service deployment
	origin   string // begins the rollback's rolloutStateReason
	rollback bool
}

// judge ends a deployment that failed or that a user stopped, and reports
// whether another one takes its place.
func (p *planner) judge() bool {
	if p.primary.RolloutState != model.RolloutInProgress {
		return false
	}
	v, ended := p.verdict()
	if !ended {
		return false
	}
	d := p.edit(p.primary.ID)
	d.RolloutState, d.RolloutStateReason = model.RolloutFailed, v.state
	p.event(DeploymentFailed(p.service.Name, d.ID, v.event))
	d.Frozen = p.counts()
	if !v.rollback {
		p.conclude(d.ID, model.ServiceDeploymentStopped, v.status)
		return false
	}
	d.RollbackReason, d.RollbackStartedAt = v.status, &p.now
	source := p.rollbackSource()
	if source == nil {
		p.conclude(d.ID, model.ServiceDeploymentRollbackFailed, v.status+" No rollback candidate was found to run the rollback.")
		return false
	}
	d.ServiceDeploymentStatus, d.StatusReason, d.RollbackRevisionID = model.ServiceDeploymentRollbackInProgress, v.status, source.RevisionID
	d.Status = model.DeploymentActive
	p.event(RollingBack(p.service.Name, source.ID))
	p.out.Create = &model.Deployment{
		ServiceID: d.ServiceID, ClusterName: d.ClusterName, Number: p.deployments[len(p.deployments)-1].Number + 1,
		RevisionID: source.RevisionID, CreatedAt: p.now, UpdatedAt: p.now,
		Status: model.DeploymentPrimary, RolloutState: model.RolloutInProgress,
		RolloutStateReason:  fmt.Sprintf("%s: rolling back to deploymentId %s.", v.origin, source.ID),
		ServiceDeploymentID: d.ServiceDeploymentID, ServiceDeploymentStatus: model.ServiceDeploymentRollbackInProgress,
		StatusReason: v.status, StartedAt: &p.now, SourceRevisionIDs: []string{d.RevisionID},
		RollbackOf: d.ID, RollbackReason: v.status, RollbackRevisionID: source.RevisionID, RollbackStartedAt: &p.now,
		Config: d.Config,
	}
	p.out.Progress.Steady = false
	return true
}

// verdict says whether the deployment is over, and why. A rollback is not
// judged: there is nothing better to return to, so it is tried until it works.
func (p *planner) verdict() (verdict, bool) {
	d, config := p.primary, p.service.DeploymentConfiguration
	switch d.Requested {
	case "ROLLBACK":
		return verdict{
			state: "ECS deployment was stopped and is rolled back.", event: "rollback was requested",
			status: "Service deployment rolled back because of a request to stop it.", origin: "ECS deployment stop requested",
			rollback: d.RollbackOf == "",
		}, true
	case "ABORT":
		return verdict{
			state: "ECS deployment was stopped.", event: "deployment was stopped",
			status: "Service deployment stopped because of a request to stop it.",
		}, true
	}
	if d.RollbackOf != "" {
		return verdict{}, false
	}
	if a := config.Alarms; a != nil && a.Enable && len(p.in.Alarms) > 0 {
		names := strings.Join(p.in.Alarms, ", ")
		return verdict{
			state: "ECS deployment alarms: alarm(s) detected: " + names + ".", event: "alarm(s) detected",
			status: "Service deployment rolled back because of alarm(s) detected: " + names + ".", origin: "ECS deployment alarms",
			rollback: a.Rollback,
		}, true
	}
	if b := config.CircuitBreaker; b != nil && b.Enable && d.BreakerFailures >= Threshold(p.wanted()) {
		p.edit(d.ID).BreakerTriggered = true
		return verdict{
			state: "ECS deployment circuit breaker: tasks failed to start.", event: "tasks failed to start",
			status: "Service deployment rolled back because the circuit breaker threshold was exceeded.", origin: "ECS deployment circuit breaker",
			rollback: b.Rollback,
		}, true
	}
	return verdict{}, false
}

// wanted is the service's desired count; for a DAEMON its instances.
func (p *planner) wanted() int {
	if p.service.SchedulingStrategy != model.SchedulingDaemon {
		return p.service.DesiredCount
	}
	n := 0
	for _, i := range p.in.Instances {
		if i.Eligible {
			n++
		}
	}
	return n
}

// rollbackSource is the newest deployment that was completed.
func (p *planner) rollbackSource() *model.Deployment {
	var source *model.Deployment
	for _, d := range p.deployments {
		if d.RolloutState == model.RolloutCompleted {
			source = d
		}
	}
	return source
}

// counts are the tasks of the primary deployment's revision.
func (p *planner) counts() *model.RevisionCounts {
	c := &model.RevisionCounts{Requested: p.wanted()}
	for _, t := range p.tasks {
		switch {
		case !t.live || t.deployment == nil || t.deployment.ID != p.primary.ID:
		case t.state == pending:
			c.Pending++
		default:
			c.Running++
		}
	}
	return c
}
