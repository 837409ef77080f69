package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/spf13/cobra"
)

// whyLines is how much of each container's log is shown.
const whyLines = 20

func newWhy(e *environment) *cobra.Command {
	var cluster string
	cmd := &cobra.Command{
		Use: "why TASK|SERVICE|FAMILY", Short: "Say why a task or a service is as it is", Args: arguments(cobra.ExactArgs(1)),
		Long: `Put on one screen why a task is as it is: its status, what ECS says about its end and what
that means, its containers, and their last log lines. A family means its newest task.

Of a service: whether it is steady, what it waits for, what ECS said, and the task that
failed last.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := e.connect(cmd)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			if isService, err := e.whyService(ctx, c, cluster, args[0]); isService {
				return err
			}
			s, err := c.investigate(ctx, cluster, args[0])
			if err != nil {
				return err
			}
			if e.output == formJSON {
				return e.writeJSON(map[string]any{"task": awsShape(s.task), "advice": s.advice(), "logs": s.logs})
			}
			s.print(newPrinter(e.out), time.Now())
			return nil
		},
	}
	clusterFlag(cmd, &cluster)
	outputFlag(e, cmd)
	cmd.ValidArgsFunction = e.completeTasksAndServices
	return cmd
}

// story is what is known about one task.
type story struct {
	task *types.Task
	def  *types.TaskDefinition
	logs []logLine
}

// investigate finds the task and collects what is known about it.
func (c *clients) investigate(ctx context.Context, cluster, typed string) (*story, error) {
	arn, err := c.resolve(ctx, cluster, typed)
	if none, ok := errors.AsType[*noTask](err); ok {
		arn, err = c.newest(ctx, cluster, typed, none)
	}
	if err != nil {
		return nil, err
	}
	tasks, failures, err := c.describe(ctx, cluster, []string{arn})
	if err != nil {
		return nil, err
	}
	if len(tasks) == 0 {
		reason := aws.ToString(failures[0].Reason)
		return nil, fmt.Errorf("task %s: %s: %s", lastPart(arn), reason, explain(reason).Meaning)
	}
	return c.storyOf(ctx, &tasks[0])
}

// storyOf adds a task's definition and its last log lines.
func (c *clients) storyOf(ctx context.Context, t *types.Task) (*story, error) {
	s := &story{task: t}
	var err error
	if s.def, err = (definitions{}).get(ctx, c, aws.ToString(s.task.TaskDefinitionArn)); err != nil {
		return nil, err
	}
	source := &streamLogs{client: c.logs, streams: streamsOf(s.def, taskID(s.task)), tail: whyLines, tokens: map[string]string{}}
	if s.logs, err = source.next(ctx); err != nil {
		return nil, explained(err)
	}
	return s, nil
}

// newest is the task of a family that was started last.
func (c *clients) newest(ctx context.Context, cluster, family string, none error) (string, error) {
	arns, err := c.everyTask(ctx, cluster, family)
	if err != nil {
		return "", err
	}
	tasks, _, err := c.describe(ctx, cluster, arns)
	if err != nil {
		return "", err
	}
	if len(tasks) == 0 {
		return "", none
	}
	last := slices.MaxFunc(tasks, func(a, b types.Task) int { return aws.ToTime(a.CreatedAt).Compare(aws.ToTime(b.CreatedAt)) })
	return aws.ToString(last.TaskArn), nil
}

// culprit is the container that explains the task's end best: one that ECS
// gives a reason for (rather its own than that another failed), else an
// essential one that failed, else an essential one that ended.
func (s *story) culprit() *types.Container {
	rank := func(c *types.Container) int {
		switch {
		case c.Reason != nil && !strings.HasPrefix(*c.Reason, "TaskDependencyError"):
			return 4
		case c.Reason != nil:
			return 3
		case c.ExitCode != nil && *c.ExitCode != 0 && essential(s.def, aws.ToString(c.Name)):
			return 2
		case c.ExitCode != nil && essential(s.def, aws.ToString(c.Name)):
			return 1
		}
		return 0
	}
	var best *types.Container
	for i := range s.task.Containers {
		c := &s.task.Containers[i]
		if r := rank(c); r > 0 && (best == nil || r > rank(best)) {
			best = c
		}
	}
	return best
}

// advice is the best explanation of a stopped task.
func (s *story) advice() advice {
	if aws.ToString(s.task.LastStatus) != stopped {
		if s.task.HealthStatus == types.HealthStatusUnhealthy {
			return explain("unhealthy")
		}
		return advice{}
	}
	if s.task.StopCode == types.TaskStopCodeUserInitiated {
		return advice{Meaning: "Somebody stopped it."}
	}
	c := s.culprit()
	if c != nil && c.Reason != nil {
		if a := explain(*c.Reason); a.Meaning != "" {
			return a
		}
	}
	if a := explain(aws.ToString(s.task.StoppedReason)); a.Meaning != "" {
		return a
	}
	if c != nil && c.ExitCode != nil {
		a := explainExit(*c.ExitCode)
		a.Meaning = "Container " + aws.ToString(c.Name) + ": " + a.Meaning
		return a
	}
	return advice{}
}

// print lays the story out for a person.
func (s *story) print(p *printer, now time.Time) {
	t := s.task
	p.say("%s  %s  %s", p.paint("1", "Task "+taskID(t)), lastPart(aws.ToString(t.TaskDefinitionArn)), clusterOf(t))
	p.say("")
	status := aws.ToString(t.LastStatus)
	fact := func(name, format string, args ...any) {
		if text := fmt.Sprintf(format, args...); text != "" {
			p.say("  %-10s %s", name, text)
		}
	}
	if desired := aws.ToString(t.DesiredStatus); desired != status {
		fact("Status", "%s, on its way to %s", status, desired)
	} else {
		fact("Status", "%s", status)
	}
	fact("Health", "%s", strings.TrimPrefix(health(t), "-"))
	fact("Stop code", "%s", t.StopCode)
	fact("Reason", "%s", aws.ToString(t.StoppedReason))
	fact("Address", "%s", strings.TrimSpace(address(t)+" "+aws.ToString(t.AvailabilityZone)))
	fact("URL", "%s", s.links())
	fact("Times", "%s", s.times(now))
	if a := s.advice(); a.Meaning != "" {
		p.say("")
		p.say("  %s", p.paint("33", "What it means"))
		p.advise(a)
	}
	p.say("")
	p.say("  %s", p.paint("33", "Containers")+" (* essential)")
	for line := range strings.Lines(columns(s.containers())) {
		p.say("   %s", strings.TrimRight(line, "\n"))
	}
	s.printLogs(p)
}

// links are shown while the task answers there.
func (s *story) links() string {
	if aws.ToString(s.task.LastStatus) != running {
		return ""
	}
	return strings.Join(urls(s.task, s.def), " ")
}

// times tells the task's life in one line.
func (s *story) times(now time.Time) string {
	t := s.task
	if t.CreatedAt == nil {
		return ""
	}
	parts := []string{"created " + age(now.Sub(*t.CreatedAt)) + " ago"}
	if t.StartedAt != nil {
		parts = append(parts, "started after "+seconds(t.StartedAt.Sub(*t.CreatedAt)))
	} else if t.StoppedAt != nil {
		parts = append(parts, "never started")
	}
	if t.StoppedAt != nil {
		parts = append(parts, "stopped "+age(now.Sub(*t.StoppedAt))+" ago")
		if ran := between(t.StartedAt, firstOf(t.ExecutionStoppedAt, t.StoppedAt)); ran > 0 {
			parts = append(parts, "ran "+seconds(ran))
		}
	}
	return strings.Join(parts, ", ")
}

func (s *story) containers() [][]string {
	rows := [][]string{{"NAME", "STATUS", "EXIT", "HEALTH", "IMAGE", "REASON"}}
	for _, c := range s.task.Containers {
		exit := "-"
		if c.ExitCode != nil {
			exit = fmt.Sprint(*c.ExitCode)
		}
		checked := "-"
		if c.HealthStatus != "" && c.HealthStatus != types.HealthStatusUnknown {
			checked = string(c.HealthStatus)
		}
		name := aws.ToString(c.Name)
		if essential(s.def, name) {
			name += "*"
		}
		reason := aws.ToString(c.Reason)
		if reason != "" && reason == aws.ToString(s.task.StoppedReason) {
			reason = "(as above)"
		}
		rows = append(rows, []string{name, dash(aws.ToString(c.LastStatus)), exit, checked, dash(aws.ToString(c.Image)), firstLine(reason)})
	}
	return rows
}

func (s *story) printLogs(p *printer) {
	p.say("")
	if len(s.logs) == 0 {
		p.say("  No log lines: a container's output is kept when it has an awslogs configuration.")
		return
	}
	p.say("  %s", p.paint("33", "Last log lines"))
	for _, l := range s.logs[max(0, len(s.logs)-whyLines):] {
		p.say("   %s %s", p.paint("2", l.Source+" |"), strings.TrimRight(l.Message, "\n"))
	}
}
