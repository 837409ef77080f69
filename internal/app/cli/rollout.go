package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// Ends of a deployment.
const (
	completed  = "COMPLETED"
	rolledBack = "ROLLED_BACK"
	undeployed = "FAILED"
	superseded = "SUPERSEDED"
)

// rollout follows one deployment of a service over glimpses, and tells what is
// new since the one before.
type rollout struct {
	id       string // of the deployment
	prior    string // the deployment before it; empty for a new service
	from, to string // task definitions, from empty for a new service
	said     map[string]bool

	// failed is why the deployment failed; empty while it has not.
	failed string
	// rollback is the deployment that takes the failed one back.
	rollback string
	// failures are its tasks that stopped though nobody wanted them to.
	failures []types.Task
	// heard are the service's events since it began, oldest first.
	heard []types.ServiceEvent
}

// newRollout begins to follow; what is in before is no news.
func newRollout(before *glimpse) *rollout {
	r := &rollout{said: map[string]bool{}}
	if before == nil {
		return r
	}
	r.from = definitionName(before.service.TaskDefinition)
	if d := primaryOf(&before.service); d != nil {
		r.prior = aws.ToString(d.Id)
	}
	for i := range before.tasks {
		t := &before.tasks[i]
		// What has stopped or is about to is not this deployment's doing.
		r.said["known "+taskID(t)] = aws.ToString(t.DesiredStatus) == stopped
		r.said["running "+taskID(t)] = t.StartedAt != nil
		r.said["healthy "+taskID(t)] = before.healthy(t)
	}
	for _, e := range before.service.Events {
		r.said["event "+aws.ToString(e.Id)] = true
	}
	return r
}

// follow says which deployment it is about.
func (r *rollout) follow(s *types.Service) {
	if d := primaryOf(s); d != nil {
		r.id, r.to = aws.ToString(d.Id), definitionName(d.TaskDefinition)
	}
}

// change is a line about what happened.
type change struct {
	step
	// minor ones are left out where the state is shown live.
	minor bool
	// task is one that failed, whose log explains it.
	task *types.Task
}

// observe returns what is new, and how the deployment ended once it has.
func (r *rollout) observe(g *glimpse) (changes []change, end string) {
	changes = r.tasks(g)
	changes = append(changes, r.events(g)...)
	more, end := r.judge(g)
	return append(changes, more...), end
}

// once appends a change unless it was said.
func (r *rollout) once(changes *[]change, key string, c change) {
	if !r.said[key] {
		r.said[key] = true
		*changes = append(*changes, c)
	}
}

func minor(ok bool, phase, detail string) change {
	return change{step: step{ok, phase, detail, 0}, minor: true}
}

func major(ok bool, phase, detail string) change {
	return change{step: step{ok, phase, detail, 0}}
}

// tasks tells what is new about the service's tasks.
func (r *rollout) tasks(g *glimpse) []change {
	var changes []change
	for i := range g.tasks {
		t := &g.tasks[i]
		id := taskID(t)
		if r.said["known "+id] {
			continue
		}
		who := short(id) + " " + definitionName(t.TaskDefinitionArn)
		status := aws.ToString(t.LastStatus)
		if t.StartedAt != nil && !r.said["running "+id] {
			c := minor(true, "Task", who+" RUNNING")
			c.took = between(t.CreatedAt, t.StartedAt)
			r.once(&changes, "running "+id, c)
		}
		if g.viaBalancer(t) && g.healthy(t) {
			r.once(&changes, "healthy "+id, minor(true, "Target", who+" healthy"))
		}
		if one, ok := g.target(t); ok && one.state == elbtypes.TargetHealthStateEnumUnhealthy {
			r.once(&changes, "unhealthy "+id, minor(false, "Target", who+" "+one.words()))
		}
		if failedTask(t) {
			if status == stopped && r.mine(t) {
				r.failures = append(r.failures, *t)
			}
			if status == stopped {
				r.once(&changes, "failed "+id, change{step: step{false, "Task", who + " STOPPED: " + aws.ToString(t.StoppedReason) + r.count(g), 0}, task: t})
			}
		} else if aws.ToString(t.DesiredStatus) == stopped {
			what := who + " leaves"
			if w := g.wait(t); w.what != "" && status != stopped {
				what += ": " + w.String()
			}
			r.once(&changes, "leaves "+id, minor(true, "Task", what))
			if status == stopped {
				r.once(&changes, "stopped "+id, minor(true, "Task", who+" STOPPED"))
			}
		}
		if status == stopped {
			r.said["known "+id] = true
		}
	}
	return changes
}

// mine tells whether a task belongs to the deployment.
func (r *rollout) mine(t *types.Task) bool { return aws.ToString(t.StartedBy) == r.id }

// count is how close the circuit breaker is.
func (r *rollout) count(g *glimpse) string {
	if d := g.deployment; d != nil && d.DeploymentCircuitBreaker != nil && d.DeploymentCircuitBreaker.Threshold > 0 && r.failed == "" {
		return fmt.Sprintf(" (%d of %d failures)", len(r.failures), d.DeploymentCircuitBreaker.Threshold)
	}
	return ""
}

// telling are words of events that say more than tasks and targets do.
var telling = []string{"unable", "throttled", "failed to register", "failed to describe", "failed container health checks", "is unhealthy in", "not AZ balanced"} //nolint:gochecknoglobals // a constant list

// events tells those that say something is amiss, and remembers all.
func (r *rollout) events(g *glimpse) []change {
	var changes []change
	for _, e := range slices.Backward(g.service.Events) { // AWS lists the newest first
		key := "event " + aws.ToString(e.Id)
		if r.said[key] {
			continue
		}
		r.said[key] = true
		r.heard = append(r.heard, e)
		message := aws.ToString(e.Message)
		if slices.ContainsFunc(telling, func(word string) bool { return strings.Contains(message, word) }) {
			changes = append(changes, major(false, "Event", message))
		}
	}
	return changes
}

// judge tells whether the deployment is over. Its own rollout state says so
// while the service lists it; after that, what took its place does.
func (r *rollout) judge(g *glimpse) (changes []change, end string) {
	newest := primaryOf(&g.service)
	if newest == nil || aws.ToString(newest.Id) == r.prior && r.prior != r.id {
		return nil, "" // what is told is from before the deployment
	}
	if r.rollback != "" {
		return nil, r.judgeRollback(g)
	}
	d := deploymentOf(&g.service, r.id)
	if d != nil && d.RolloutState == types.DeploymentRolloutStateFailed && r.failed == "" {
		r.fail(&changes, g, aws.ToString(d.RolloutStateReason))
	}
	if aws.ToString(newest.Id) == r.id {
		switch {
		case d.RolloutState == types.DeploymentRolloutStateCompleted:
			return changes, completed
		case r.failed != "" && !rollsBack(g):
			return changes, undeployed
		}
		return changes, ""
	}
	if r.failed == "" && !r.isRollback(g, newest) {
		return changes, superseded
	}
	if r.failed == "" {
		r.fail(&changes, g, "")
	}
	r.rollback = aws.ToString(newest.Id)
	changes = append(changes, major(false, "Rollback", "to "+definitionName(newest.TaskDefinition)+", deployment "+r.rollback))
	return changes, r.judgeRollback(g)
}

func (r *rollout) judgeRollback(g *glimpse) string {
	switch d := deploymentOf(&g.service, r.rollback); {
	case d == nil:
		return superseded
	case d.RolloutState == types.DeploymentRolloutStateCompleted:
		return rolledBack
	case d.RolloutState == types.DeploymentRolloutStateFailed:
		return undeployed
	}
	return ""
}

// fail remembers and tells why the deployment failed: in the words of its
// rollout state, else, when ECS lists it no more, in those of the event.
func (r *rollout) fail(changes *[]change, g *glimpse, reason string) {
	if reason == "" {
		reason = aws.ToString(r.failureEvent())
	}
	if reason == "" && g.deployment != nil {
		reason = aws.ToString(g.deployment.StatusReason)
	}
	if reason == "" {
		reason = "deployment " + r.id + " failed."
	}
	r.failed = reason
	*changes = append(*changes, major(false, "Deployment", reason))
}

// failureEvent is what ECS said when the deployment failed; nil when it has
// not.
func (r *rollout) failureEvent() *string {
	for _, e := range r.heard {
		if strings.Contains(aws.ToString(e.Message), "(deployment "+r.id+") deployment failed") {
			return e.Message
		}
	}
	return nil
}

// rollsBack tells whether a rollback is still to come.
func rollsBack(g *glimpse) bool {
	if g.deployment == nil {
		return false
	}
	return g.deployment.Status == types.ServiceDeploymentStatusRollbackRequested || g.deployment.Status == types.ServiceDeploymentStatusRollbackInProgress
}

// isRollback tells whether the newest deployment takes ours back, as ECS says
// in its reason, or in the event of our deployment's failure.
func (r *rollout) isRollback(g *glimpse, newest *types.Deployment) bool {
	if strings.Contains(aws.ToString(newest.RolloutStateReason), "rolling back to deploymentId") {
		return true
	}
	return r.failureEvent() != nil || rollsBack(g)
}
