package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// whyEvents is how many events explain a service.
const whyEvents = 8

// whyService explains a service. It reports false when there is none of that
// name, so that a task or a family may be meant.
func (e *environment) whyService(ctx context.Context, c *clients, cluster, name string) (bool, error) {
	if strings.Contains(name, ":task/") || len(name) == fullID { // a task that is named in full
		return false, nil
	}
	g, err := newWatcher(c, cluster, name).look(ctx)
	if _, none := errors.AsType[*noService](err); none {
		return false, nil
	}
	if err != nil {
		return true, err
	}
	var failed *story
	if t := g.lastFailure(); t != nil {
		if failed, err = c.storyOf(ctx, t); err != nil {
			return true, err
		}
	}
	state, reasons := g.reasons()
	if e.output == formJSON {
		out := map[string]any{"service": awsShape(g.service), "state": state, "reasons": reasons}
		if failed != nil {
			out["lastFailedTask"] = map[string]any{"task": awsShape(failed.task), "advice": failed.advice(), "logs": failed.logs}
		}
		return true, e.writeJSON(out)
	}
	g.explain(newPrinter(e.out), failed)
	return true, nil
}

// lastFailure is the task that failed last.
func (g *glimpse) lastFailure() *types.Task {
	var last *types.Task
	for i := range g.tasks {
		t := &g.tasks[i]
		if failedTask(t) && aws.ToString(t.LastStatus) == stopped && (last == nil || aws.ToTime(t.StoppedAt).After(aws.ToTime(last.StoppedAt))) {
			last = t
		}
	}
	return last
}

// reasons says how a service is, and why it is not steady.
func (g *glimpse) reasons() (state string, all []string) {
	s := &g.service
	d := primaryOf(s)
	healthy := 0
	for i := range g.tasks {
		t := &g.tasks[i]
		if g.healthy(t) {
			healthy++
		}
		if w := g.wait(t); w.what != "" {
			all = append(all, fmt.Sprintf("task %s (%s, %s) waits for: %s", short(taskID(t)), definitionName(t.TaskDefinitionArn), aws.ToString(t.LastStatus), w))
		}
	}
	if d != nil && d.RolloutState != types.DeploymentRolloutStateCompleted && d.RolloutStateReason != nil {
		all = append([]string{*d.RolloutStateReason}, all...)
	}
	if missing := int(s.DesiredCount) - int(s.RunningCount) - int(s.PendingCount); missing > 0 && d != nil {
		all = append(all, fmt.Sprintf("%d tasks are still to be started; it waits for: %s", missing, g.launchWait(aws.ToString(d.Id))))
	}
	switch {
	case aws.ToString(s.Status) != "ACTIVE":
		state = "it is " + aws.ToString(s.Status) + ", on its way to INACTIVE"
	case len(all) == 0 && healthy >= int(s.DesiredCount):
		state = "it is steady"
	default:
		state = "it is not steady"
	}
	return state, all
}

// explain puts on one screen why a service is as it is.
func (g *glimpse) explain(p *printer, failed *story) {
	s := &g.service
	p.say("%s  %s  %s", p.paint("1", "Service "+serviceName(s)), definitionName(s.TaskDefinition), lastPart(aws.ToString(s.ClusterArn)))
	p.say("")
	state, reasons := g.reasons()
	p.say("  %d of %d tasks run, and %s.", s.RunningCount, s.DesiredCount, state)
	for _, r := range reasons {
		p.say("   · %s", r)
	}
	if len(reasons) > 0 && len(s.Events) > 0 {
		if a := explain(aws.ToString(s.Events[0].Message)); a.Meaning != "" {
			p.say("")
			p.say("  %s", p.paint("33", "What it means"))
			p.advise(a)
		}
	}
	if len(s.Events) > 0 {
		p.say("")
		p.say("  %s", p.paint("33", "What ECS said"))
		for line := range strings.Lines(g.eventLines(p, whyEvents)) {
			p.say("   %s", strings.TrimRight(line, "\n"))
		}
	}
	if failed != nil {
		p.say("")
		p.say("  %s", p.paint("33", "The task that failed last"))
		failed.brief(p)
		p.hint("berth why %s", short(taskID(failed.task)))
	}
}
