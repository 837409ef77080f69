package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// viewTasks is how many tasks of a deployment are shown one by one.
const viewTasks = 8

// view is the state of a rollout as a block of lines: each deployment with its
// tasks, how they are, what they wait for and how long.
func (r *rollout) view(p *printer, g *glimpse, since time.Duration) []string {
	title := r.to
	if r.from != "" && r.from != r.to {
		title = r.from + " → " + r.to
	}
	lines := []string{fmt.Sprintf(" %s  %s  %s", p.paint("1", serviceName(&g.service)), title, p.paint("2", seconds(since)))}
	for i := range g.service.Deployments {
		lines = append(lines, r.viewDeployment(p, g, &g.service.Deployments[i])...)
	}
	if line := r.viewBreaker(g); line != "" {
		lines = append(lines, "   "+p.paint("33", line))
	}
	return lines
}

func (r *rollout) viewDeployment(p *printer, g *glimpse, d *types.Deployment) []string {
	which := "old"
	switch {
	case aws.ToString(d.Id) == r.rollback:
		which = "back"
	case aws.ToString(d.Id) == r.id:
		which = "new"
	}
	var tasks, alive, healthy int
	var rest []string
	for i := range g.tasks {
		t := &g.tasks[i]
		if aws.ToString(t.StartedBy) != aws.ToString(d.Id) || aws.ToString(t.LastStatus) == stopped {
			continue
		}
		tasks++
		if aws.ToString(t.LastStatus) == running && aws.ToString(t.DesiredStatus) == running {
			alive++
		}
		ok := g.healthy(t)
		if ok {
			healthy++
		}
		if tasks <= viewTasks {
			rest = append(rest, viewTask(p, g, t, ok))
		}
	}
	if tasks > viewTasks {
		rest = append(rest, p.paint("2", fmt.Sprintf("       … and %d more", tasks-viewTasks)))
	}
	head := fmt.Sprintf("   %-4s %s  %s %d/%d", which, definitionName(d.TaskDefinition), bar(p, healthy, alive, int(max(d.DesiredCount, int32(tasks)))), healthy, d.DesiredCount) //nolint:gosec // a small number
	if d.FailedTasks > 0 {
		head += p.paint("31", fmt.Sprintf("  %d failed", d.FailedTasks))
	}
	if tasks == 0 && d.DesiredCount > 0 && d.RolloutState == types.DeploymentRolloutStateInProgress {
		head += "  " + p.paint("33", "waits for: ") + g.launchWait(aws.ToString(d.Id))
	}
	return append([]string{head}, rest...)
}

// bar draws healthy, running and awaited tasks.
func bar(p *printer, healthy, alive, all int) string {
	const widest = 20
	scale := func(n int) int {
		if all <= widest {
			return n
		}
		return (n*widest + all - 1) / all
	}
	h, a := scale(healthy), scale(max(alive, healthy))
	return p.paint("32", strings.Repeat("■", h)) + p.paint("33", strings.Repeat("■", a-h)) + p.paint("2", strings.Repeat("□", max(0, min(all, widest)-a)))
}

func viewTask(p *printer, g *glimpse, t *types.Task, healthy bool) string {
	line := "       " + short(taskID(t)) + "  " + fmt.Sprintf("%-14s", aws.ToString(t.LastStatus))
	if healthy {
		return line + p.paint("32", "healthy")
	}
	if w := g.wait(t); w.what != "" {
		return line + p.paint("33", "waits for: ") + w.String()
	}
	return strings.TrimRight(line, " ")
}

// launchWait is what a deployment that has no task waits for. How long
// launches are put off after failures ECS does not tell, so what is told is
// how long ago the last one was.
func (g *glimpse) launchWait(deployment string) string {
	var last *types.Task
	for i := range g.tasks {
		t := &g.tasks[i]
		if aws.ToString(t.StartedBy) == deployment && failedTask(t) && t.StoppedAt != nil && (last == nil || t.StoppedAt.After(*last.StoppedAt)) {
			last = t
		}
	}
	newest := ""
	if len(g.service.Events) > 0 {
		newest = aws.ToString(g.service.Events[0].Message)
	}
	switch {
	case last != nil:
		return "the next attempt, put off because tasks fail; the last failed " + countdown(g.at.Sub(*last.StoppedAt)) + " ago"
	case strings.Contains(newest, "throttled"):
		return "the next attempt; operations are throttled"
	case strings.Contains(newest, "unable to place"):
		return "a node with room"
	}
	return "its first task"
}

// viewBreaker says how close the circuit breaker is to opening.
func (r *rollout) viewBreaker(g *glimpse) string {
	if len(r.failures) == 0 || r.failed != "" {
		return ""
	}
	if d := g.deployment; d != nil && d.DeploymentCircuitBreaker != nil && d.DeploymentCircuitBreaker.Threshold > 0 {
		return fmt.Sprintf("circuit breaker: %d of %d failures", d.DeploymentCircuitBreaker.FailureCount, d.DeploymentCircuitBreaker.Threshold)
	}
	return ""
}
