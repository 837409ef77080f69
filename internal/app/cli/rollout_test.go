package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// seen is what a follower of these moments is told, and how it ends.
func seen(r *rollout, moments ...*glimpse) string {
	var b bytes.Buffer
	p := newPrinter(&b)
	for _, g := range moments {
		changes, end := r.observe(g)
		for _, c := range changes {
			p.say("%s", c.line(p, ""))
		}
		if end != "" {
			p.say("%s", end)
			break
		}
	}
	return b.String()
}

// before is the service with revision 1 alone; following begins with it.
func before() *glimpse {
	return aGlimpse(aService(3, 1), []types.Task{aTask(1, 1, "RUNNING"), aTask(2, 1, "RUNNING"), aTask(3, 1, "RUNNING")},
		aTarget(1, "healthy"), aTarget(2, "healthy"), aTarget(3, "healthy"))
}

func following(s types.Service) *rollout {
	r := newRollout(before())
	r.follow(&s)
	return r
}

// afterwards is the service with revision 2 alone.
func afterwards() *glimpse {
	gone := func(number int) types.Task {
		t := leaving(aTask(number, 1, "STOPPED"))
		t.StoppedAt = after(4500)
		return t
	}
	return aGlimpse(aService(3, 2), []types.Task{
		gone(1), gone(2), gone(3), aTask(11, 2, "RUNNING"), aTask(12, 2, "RUNNING"), aTask(13, 2, "RUNNING"),
	}, aTarget(11, "healthy"), aTarget(12, "healthy"), aTarget(13, "healthy"))
}

// failing is revision 2 with so many tasks that ended.
func failing(count int) *glimpse {
	s := aService(3, 2, 1)
	s.Deployments[0].RolloutState, s.Deployments[0].FailedTasks = types.DeploymentRolloutStateInProgress, int32(count)
	tasks := []types.Task{aTask(1, 1, "RUNNING"), aTask(2, 1, "RUNNING"), aTask(3, 1, "RUNNING")}
	for i := range count {
		tasks = append(tasks, crashed(aTask(11+i, 2, "STOPPED")))
	}
	g := aGlimpse(s, tasks, aTarget(1, "healthy"), aTarget(2, "healthy"), aTarget(3, "healthy"))
	g.deployment = &types.ServiceDeployment{
		Status:                   types.ServiceDeploymentStatusInProgress,
		DeploymentCircuitBreaker: &types.ServiceDeploymentCircuitBreaker{FailureCount: int32(count), Threshold: 3},
	}
	return g
}

const (
	failedReason = "ECS deployment circuit breaker: tasks failed to start."
	backID       = 3
)

// rollingBack is revision 2 given up for revision 1, as deployment 3.
func rollingBack(state types.DeploymentRolloutState) *glimpse {
	g := failing(3)
	g.service.Deployments = append([]types.Deployment{{
		Id: aws.String(deploymentID(backID)), Status: aws.String(primary), RolloutState: state, TaskDefinition: definitionARN(1), DesiredCount: 3,
		RolloutStateReason: aws.String("ECS deployment circuit breaker: rolling back to deploymentId " + deploymentID(1) + "."), CreatedAt: after(3000),
	}}, g.service.Deployments...)
	failed := &g.service.Deployments[1]
	failed.Status, failed.RolloutState, failed.RolloutStateReason = aws.String("ACTIVE"), types.DeploymentRolloutStateFailed, aws.String(failedReason)
	g.service.TaskDefinition = definitionARN(1)
	g.service.Events = []types.ServiceEvent{
		{Id: aws.String("e2"), CreatedAt: after(3000), Message: aws.String("(service my-service) rolling back to deployment " + deploymentID(1) + ".")},
		{Id: aws.String("e1"), CreatedAt: after(3000), Message: aws.String("(service my-service) (deployment " + deploymentID(2) + ") deployment failed: tasks failed to start.")},
	}
	return g
}

func TestRollout_Completes(t *testing.T) {
	golden(t, "rollout-completed", seen(following(midway().service), before(), midway(), midway(), afterwards()))
}

func TestRollout_RollsBack(t *testing.T) {
	full := []*glimpse{failing(0), failing(1), failing(3), rollingBack(types.DeploymentRolloutStateInProgress), rollingBack(types.DeploymentRolloutStateCompleted)}
	golden(t, "rollout-rolled-back", seen(following(failing(0).service), full...))

	// What a slow poll sees of it ends the same.
	for name, moments := range map[string][]*glimpse{
		"only the end":          {rollingBack(types.DeploymentRolloutStateCompleted)},
		"not the failed one":    {failing(3), without(rollingBack(types.DeploymentRolloutStateCompleted), 2)},
		"neither it nor reason": {failing(3), silently(without(rollingBack(types.DeploymentRolloutStateCompleted), 2))},
	} {
		if got := seen(following(failing(0).service), moments...); !strings.HasSuffix(got, rolledBack+"\n") {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// without leaves out a deployment that ECS lists no more.
func without(g *glimpse, revision int) *glimpse {
	var left []types.Deployment
	for _, d := range g.service.Deployments {
		if aws.ToString(d.Id) != deploymentID(revision) {
			left = append(left, d)
		}
	}
	g.service.Deployments = left
	return g
}

// silently leaves out the reason, so that only events tell.
func silently(g *glimpse) *glimpse {
	g.service.Deployments[0].RolloutStateReason = nil
	return g
}

func TestRollout_OtherEnds(t *testing.T) {
	stalled := failing(3)
	stalled.service.Deployments[0].RolloutState, stalled.service.Deployments[0].RolloutStateReason = types.DeploymentRolloutStateFailed, aws.String(failedReason)
	another := aGlimpse(aService(3, 3, 1), before().tasks)
	another.service.Deployments[0].RolloutState = types.DeploymentRolloutStateInProgress
	coming := failing(3)
	coming.service.Deployments[0].RolloutState = types.DeploymentRolloutStateFailed
	coming.deployment.Status = types.ServiceDeploymentStatusRollbackRequested
	for name, c := range map[string]struct {
		moment *glimpse
		want   string
	}{
		"a failure without rollback":      {stalled, undeployed},
		"another deployment came":         {another, superseded},
		"a rollback that has yet to come": {coming, ""},
	} {
		if _, end := following(failing(0).service).observe(c.moment); end != c.want {
			t.Errorf("%s: %q, want %q", name, end, c.want)
		}
	}
}

func TestRollout_View(t *testing.T) {
	p := newPrinter(&bytes.Buffer{})
	show := func(r *rollout, moments ...*glimpse) string {
		var lines []string
		for _, g := range moments {
			r.observe(g)
			lines = r.view(p, g, 12340*time.Millisecond)
		}
		return strings.Join(lines, "\n") + "\n"
	}
	golden(t, "view-midway", show(following(midway().service), before(), midway()))
	golden(t, "view-failing", show(following(failing(0).service), failing(2)))
	golden(t, "view-rollback", show(following(failing(0).service), failing(3), rollingBack(types.DeploymentRolloutStateInProgress)))

	many := aService(50, 2)
	many.Deployments[0].RolloutState = types.DeploymentRolloutStateInProgress
	var tasks []types.Task
	for i := range 50 {
		tasks = append(tasks, aTask(i+1, 2, "PENDING"))
	}
	golden(t, "view-many", show(following(many), aGlimpse(many, tasks)))
}

// A bar is never wider than what it stands for, and shows every state that
// there is.
func TestBar(t *testing.T) {
	p := newPrinter(&bytes.Buffer{})
	for _, c := range []struct {
		healthy, alive, all int
		want                string
	}{
		{0, 0, 0, ""}, {1, 2, 3, "■■□"}, {3, 3, 3, "■■■"}, {1, 1, 100, "■" + strings.Repeat("□", 19)}, {100, 100, 100, strings.Repeat("■", 20)},
	} {
		if got := bar(p, c.healthy, c.alive, c.all); got != c.want {
			t.Errorf("%d of %d of %d: %s, want %s", c.healthy, c.alive, c.all, got, c.want)
		}
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		line    string
		columns int
		want    string
	}{
		{"short", 10, "short"},
		{"too long", 3, "too"},
		{"→→→→", 2, "→→"},
		{"\x1b[31mred\x1b[0m and more", 5, "\x1b[31mred\x1b[0m a"},
		{"\x1b[31mred", 2, "\x1b[31mre\x1b[0m"},
	} {
		if got := cut(c.line, c.columns); got != c.want {
			t.Errorf("%q in %d columns: %q, want %q", c.line, c.columns, got, c.want)
		}
	}
}

// What a block showed is taken back line by line before the next is shown.
func TestPrinter_Block(t *testing.T) {
	var b bytes.Buffer
	p := &printer{w: &b, terminal: true}
	p.block([]string{"one", "two", "three"})
	p.block([]string{"four"})
	p.clear()
	p.clear()
	if want := "\r\x1b[Jone\ntwo\nthree" + "\r\x1b[2A\x1b[J" + "four" + "\r\x1b[J"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
	b.Reset()
	pipe := newPrinter(&b)
	pipe.block([]string{"nothing"})
	pipe.clear()
	if b.Len() > 0 {
		t.Errorf("a pipe gets %q", b.String())
	}
}

func TestSettled(t *testing.T) {
	g := before()
	if !g.settled(3) || g.settled(2) || midway().settled(3) {
		t.Error("three healthy tasks are settled as three, and nothing else is")
	}
	g.tasks[0].LastStatus = aws.String("DEPROVISIONING")
	if g.settled(3) {
		t.Error(fmt.Sprint("a task that goes is settled: ", aws.ToString(g.tasks[0].LastStatus)))
	}
}
