package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// pollPause is how often a followed task is looked at.
const pollPause = 100 * time.Millisecond

// step is one line of the list of phases.
type step struct {
	ok     bool
	phase  string
	detail string
	took   time.Duration // zero when it is not known
}

// phases tells what is new about one task since it was last looked at. Times
// are those that the API reports, not when we happened to look.
type phases struct {
	def  *types.TaskDefinition
	said map[string]bool
}

func newPhases(def *types.TaskDefinition) *phases {
	return &phases{def: def, said: map[string]bool{}}
}

// once says a step unless it was said.
func (p *phases) once(steps *[]step, key string, when bool, s step) {
	if when && !p.said[key] {
		p.said[key] = true
		*steps = append(*steps, s)
	}
}

// observe returns the steps that t shows and that were not returned before.
func (p *phases) observe(t *types.Task) []step {
	var steps []step
	status := aws.ToString(t.LastStatus)
	if ip := address(t); ip != "" {
		p.once(&steps, "network", status != "PROVISIONING" && t.ConnectivityAt != nil || t.PullStartedAt != nil,
			step{true, "Network", strings.TrimSpace(ip + " " + aws.ToString(t.AvailabilityZone)), between(t.CreatedAt, t.ConnectivityAt)})
	}
	p.once(&steps, "pull", t.PullStoppedAt != nil,
		step{true, "Images", p.images(), between(t.PullStartedAt, t.PullStoppedAt)})
	for _, c := range p.inOrder(t.Containers) {
		name := aws.ToString(c.Name)
		switch aws.ToString(c.LastStatus) {
		case running:
			p.once(&steps, "running "+name, true, step{true, "Container", name + " RUNNING" + healthWord(c.HealthStatus), 0})
			p.once(&steps, "healthy "+name, c.HealthStatus == types.HealthStatusHealthy, step{true, "Health", name + " HEALTHY", 0})
		case stopped:
			// A container without either was never started, which is no event.
			p.once(&steps, "stopped "+name, c.ExitCode != nil || c.Reason != nil, containerEnd(c))
		}
	}
	p.once(&steps, "running", t.StartedAt != nil, step{true, "Task", short(taskID(t)) + " RUNNING", between(t.CreatedAt, t.StartedAt)})
	p.once(&steps, "deprovisioning", status == "DEPROVISIONING", step{true, "Containers", "stopped", between(t.StoppingAt, t.ExecutionStoppedAt)})
	if status == stopped {
		p.once(&steps, "end", true, step{
			succeeded(t, p.def), "Task", strings.TrimSpace(short(taskID(t)) + " STOPPED " + endReason(t)),
			between(firstOf(t.StoppingAt, t.CreatedAt), t.StoppedAt),
		})
	}
	return steps
}

// endReason is why a task ended, in ECS's words, unless a container's line has
// said them.
func endReason(t *types.Task) string {
	reason := aws.ToString(t.StoppedReason)
	for _, c := range t.Containers {
		if aws.ToString(c.Reason) == reason {
			return string(t.StopCode)
		}
	}
	return reason
}

func healthWord(h types.HealthStatus) string {
	if h == types.HealthStatusUnhealthy {
		return " UNHEALTHY"
	}
	return ""
}

func containerEnd(c types.Container) step {
	s := step{ok: true, phase: "Container", detail: aws.ToString(c.Name) + " STOPPED"}
	switch {
	case c.ExitCode != nil && *c.ExitCode == 0:
		s.detail = aws.ToString(c.Name) + " COMPLETE (exit 0)"
	case c.ExitCode != nil:
		s.ok, s.detail = false, fmt.Sprintf("%s (exit %d)", s.detail, *c.ExitCode)
	default:
		s.ok = false
	}
	if c.Reason != nil {
		s.detail += ": " + *c.Reason
	}
	return s
}

// inOrder sorts containers as they start: as they depend on each other, as far
// as one level tells, else as they are defined.
func (p *phases) inOrder(containers []types.Container) []types.Container {
	if p.def == nil {
		return containers
	}
	place := map[string]int{}
	for i, c := range p.def.ContainerDefinitions {
		place[aws.ToString(c.Name)] = i + len(p.def.ContainerDefinitions)*len(c.DependsOn)
	}
	sorted := slices.Clone(containers)
	slices.SortStableFunc(sorted, func(a, b types.Container) int { return place[aws.ToString(a.Name)] - place[aws.ToString(b.Name)] })
	return sorted
}

// images lists the images of the definition, each once.
func (p *phases) images() string {
	if p.def == nil {
		return ""
	}
	var all []string
	for _, c := range p.def.ContainerDefinitions {
		if image := aws.ToString(c.Image); !slices.Contains(all, image) {
			all = append(all, image)
		}
	}
	return strings.Join(all, ", ")
}

func between(from, to *time.Time) time.Duration {
	if from == nil || to == nil || to.Before(*from) {
		return 0
	}
	return to.Sub(*from)
}

func firstOf(times ...*time.Time) *time.Time {
	for _, t := range times {
		if t != nil {
			return t
		}
	}
	return nil
}

// succeeded reports whether a task ended as its containers wanted: it ran, and
// no essential container failed.
func succeeded(t *types.Task, def *types.TaskDefinition) bool {
	if t.StartedAt == nil {
		return false
	}
	for _, c := range t.Containers {
		if c.ExitCode != nil && *c.ExitCode != 0 && essential(def, aws.ToString(c.Name)) {
			return t.StopCode == types.TaskStopCodeUserInitiated
		}
	}
	return true
}

func essential(def *types.TaskDefinition, container string) bool {
	if def == nil {
		return true
	}
	for _, c := range def.ContainerDefinitions {
		if aws.ToString(c.Name) == container {
			return c.Essential == nil || *c.Essential
		}
	}
	return true
}

// line lays out a step; who says whose step it is when several tasks are
// followed.
func (s step) line(p *printer, who string) string {
	mark := p.paint("32", "✓")
	if !s.ok {
		mark = p.paint("31", "✗")
	}
	line := fmt.Sprintf(" %s %s%-10s %s", mark, who, s.phase, s.detail)
	if s.took > 0 {
		line += p.paint("2", "  "+seconds(s.took))
	}
	return line
}

// seconds prints a duration as people compare them.
func seconds(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	default:
		return d.Round(time.Second).String()
	}
}

// follower looks at tasks and prints their phases.
type follower struct {
	clients *clients
	p       *printer
	quiet   bool // print nothing
	cluster string
	defs    definitions
	each    map[string]*phases
}

func newFollower(c *clients, p *printer, quiet bool, cluster string, defs definitions) *follower {
	return &follower{c, p, quiet, cluster, defs, map[string]*phases{}}
}

// look returns the tasks as they are, and what is new about each.
func (f *follower) look(ctx context.Context, arns []string) ([]types.Task, [][]step, error) {
	tasks, failures, err := f.clients.describe(ctx, f.cluster, arns)
	if err != nil {
		return nil, nil, err
	}
	if len(failures) > 0 {
		return nil, nil, fmt.Errorf("task %s: %s", lastPart(aws.ToString(failures[0].Arn)), aws.ToString(failures[0].Reason))
	}
	news := make([][]step, len(tasks))
	for i := range tasks {
		seen, ok := f.each[taskID(&tasks[i])]
		if !ok {
			def, err := f.defs.get(ctx, f.clients, aws.ToString(tasks[i].TaskDefinitionArn))
			if err != nil {
				return nil, nil, err
			}
			seen = newPhases(def)
			f.each[taskID(&tasks[i])] = seen
		}
		news[i] = seen.observe(&tasks[i])
	}
	return tasks, news, nil
}

// follow looks until done holds for each task, and returns them as they were
// last seen.
func (f *follower) follow(ctx context.Context, arns []string, done func(*types.Task) bool) ([]types.Task, error) {
	ticker := time.NewTicker(pollPause)
	defer ticker.Stop()
	for {
		tasks, news, err := f.look(ctx, arns)
		if err != nil {
			return nil, err
		}
		waiting := ""
		for i := range tasks {
			who := ""
			if len(arns) > 1 {
				who = short(taskID(&tasks[i])) + " "
			}
			f.print(who, news[i])
			if !done(&tasks[i]) {
				waiting = who + aws.ToString(tasks[i].LastStatus)
				for _, c := range tasks[i].Containers {
					if text := pullWord(&c); text != "" {
						waiting += "  " + aws.ToString(c.Name) + " " + text
					}
				}
			}
		}
		if waiting == "" {
			f.p.clear()
			return tasks, nil
		}
		if !f.quiet {
			f.p.live(" … %s", waiting)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			f.p.clear()
			return tasks, ctx.Err()
		}
	}
}

func (f *follower) print(who string, news []step) {
	if f.quiet {
		return
	}
	for _, s := range news {
		f.p.clear()
		f.p.say("%s", s.line(f.p, who))
	}
}
