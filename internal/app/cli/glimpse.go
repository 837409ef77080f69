package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// Statuses between RUNNING and STOPPED, and before RUNNING.
const (
	provisioning   = "PROVISIONING"
	activating     = "ACTIVATING"
	deactivating   = "DEACTIVATING"
	stopping       = "STOPPING"
	deprovisioning = "DEPROVISIONING"
)

// defaultStopTimeout is how long a container has after SIGTERM unless its
// definition says so.
const defaultStopTimeout = 30 * time.Second

// glimpse is a service with its tasks and targets as they were at one moment.
type glimpse struct {
	at      time.Time
	service types.Service
	tasks   []types.Task // oldest first; stopped ones too, as long as ECS tells
	targets []target
	// deployment is the service deployment that brings the service to its
	// newest revision; nil when ECS does not tell.
	deployment *types.ServiceDeployment

	groups   map[string]groupSettings
	defs     definitions
	draining map[string]time.Time // since when a task was seen draining
	leaving  map[string]time.Time // since when a task was seen on its way out
	ttl      time.Duration        // of the service's names
}

// target is the worst that a load balancer says of a task, and whether any has
// it at all.
func (g *glimpse) target(t *types.Task) (target, bool) {
	worst := []elbtypes.TargetHealthStateEnum{
		elbtypes.TargetHealthStateEnumDraining, elbtypes.TargetHealthStateEnumUnhealthy, elbtypes.TargetHealthStateEnumUnused,
		elbtypes.TargetHealthStateEnumInitial, elbtypes.TargetHealthStateEnumHealthy,
	}
	ip, found, best := address(t), false, target{}
	for _, one := range g.targets {
		if ip != "" && one.address == ip && (!found || slices.Index(worst, one.state) < slices.Index(worst, best.state)) {
			found, best = true, one
		}
	}
	return best, found
}

// viaBalancer tells whether tasks of the service become targets by their own
// address, so that their health is told task by task.
func (g *glimpse) viaBalancer(t *types.Task) bool {
	return len(g.service.LoadBalancers) > 0 && address(t) != ""
}

// healthy tells whether a task runs and everybody who checks it is content.
func (g *glimpse) healthy(t *types.Task) bool {
	if aws.ToString(t.LastStatus) != running || aws.ToString(t.DesiredStatus) != running {
		return false
	}
	if t.HealthStatus == types.HealthStatusUnhealthy || t.HealthStatus == types.HealthStatusUnknown && g.checked(t) != nil {
		return false
	}
	if !g.viaBalancer(t) {
		return true
	}
	one, ok := g.target(t)
	return ok && one.state == elbtypes.TargetHealthStateEnumHealthy
}

// checked is the health check of an essential container of a task.
func (g *glimpse) checked(t *types.Task) *types.HealthCheck {
	def := g.defs[aws.ToString(t.TaskDefinitionArn)]
	if def == nil {
		return nil
	}
	for _, c := range def.ContainerDefinitions {
		if c.HealthCheck != nil && (c.Essential == nil || *c.Essential) {
			return c.HealthCheck
		}
	}
	return nil
}

// wait is what a task waits for, and how long that still takes at most.
type wait struct {
	what string
	left time.Duration // negative when nobody can tell
}

func (w wait) String() string {
	if w.left < 0 {
		return w.what
	}
	return w.what + ", " + countdown(w.left) + " left"
}

// countdown is a duration in whole seconds, rounded up: it ends when 0 s is
// reached, not before.
func countdown(d time.Duration) string {
	return (d + time.Second - 1).Truncate(time.Second).String()
}

// wait is what a task waits for on its way to being healthy, or gone; empty
// when it waits for nothing.
func (g *glimpse) wait(t *types.Task) wait {
	unknown := func(what string) wait { return wait{what, -1} }
	for i := range t.Containers {
		if text := pullWord(&t.Containers[i]); text != "" {
			return unknown("its images: " + text)
		}
	}
	switch status := aws.ToString(t.LastStatus); {
	case status == stopped:
		return wait{}
	case status == provisioning:
		return unknown("its network interface")
	case status == "PENDING":
		return unknown("its node")
	case status == activating && t.PullStoppedAt == nil:
		return unknown("its images")
	case status == activating:
		return unknown("its containers to start")
	case status == deprovisioning:
		return unknown("its network interface to go")
	case status == stopping:
		return g.stopWait(t)
	case status == deactivating, aws.ToString(t.DesiredStatus) == stopped:
		return g.drainWait(t)
	}
	return g.healthWait(t)
}

// drainWait is what comes before SIGTERM: the deregistration delay, and the
// time for which resolvers may remember the task's address.
func (g *glimpse) drainWait(t *types.Task) wait {
	id := taskID(t)
	if one, ok := g.target(t); ok {
		since, seen := g.draining[id]
		if one.state != elbtypes.TargetHealthStateEnumDraining || !seen {
			return wait{"the load balancer to let it go", -1}
		}
		return wait{"deregistration delay", g.remaining(since, g.groups[one.group].delay)}
	}
	if since, seen := g.leaving[id]; seen && g.remaining(since, g.ttl) > 0 {
		return wait{"resolvers to forget its name", g.remaining(since, g.ttl)}
	}
	return wait{"its containers to end", -1}
}

// stopWait is the time between SIGTERM and SIGKILL.
func (g *glimpse) stopWait(t *types.Task) wait {
	longest := defaultStopTimeout
	if def := g.defs[aws.ToString(t.TaskDefinitionArn)]; def != nil {
		for _, c := range def.ContainerDefinitions {
			if c.StopTimeout != nil {
				longest = max(longest, time.Duration(*c.StopTimeout)*time.Second)
			}
		}
	}
	if t.StoppingAt == nil {
		return wait{"its end after SIGTERM", -1}
	}
	return wait{"its end after SIGTERM (stopTimeout)", g.remaining(*t.StoppingAt, longest)}
}

// healthWait is what a running task waits for until it counts as healthy.
func (g *glimpse) healthWait(t *types.Task) wait {
	began := firstOf(t.StartedAt, t.CreatedAt, &g.at)
	if check := g.checked(t); check != nil && t.HealthStatus != types.HealthStatusHealthy {
		w := wait{"container health check every " + (time.Duration(aws.ToInt32(check.Interval)) * time.Second).String(), -1}
		if left := g.remaining(*began, time.Duration(aws.ToInt32(check.StartPeriod))*time.Second); left > 0 {
			return wait{w.what + ", start period", left}
		}
		return w
	}
	if !g.viaBalancer(t) {
		return wait{}
	}
	one, ok := g.target(t)
	settings := g.groups[one.group]
	every := ""
	if settings.interval > 0 {
		every = " every " + settings.interval.String()
	}
	switch {
	case !ok:
		return wait{"its place in the load balancer", -1}
	case one.state == elbtypes.TargetHealthStateEnumInitial:
		w := wait{strings.TrimSpace("health check " + settings.check + every), -1}
		if left := g.remaining(*began, time.Duration(settings.passes)*settings.interval); left > 0 {
			w.left = left
		}
		return w
	case one.state == elbtypes.TargetHealthStateEnumUnhealthy:
		grace := time.Duration(aws.ToInt32(g.service.HealthCheckGracePeriodSeconds)) * time.Second
		if left := g.remaining(*began, grace); left > 0 {
			return wait{"health check" + every + " to pass; grace period", left}
		}
		return wait{"its replacement: " + one.words(), -1}
	case one.state == elbtypes.TargetHealthStateEnumUnused:
		return wait{"a listener that leads to its target group", -1}
	}
	return wait{}
}

// remaining is what is left of a span since a moment; never negative.
func (g *glimpse) remaining(since time.Time, span time.Duration) time.Duration {
	return max(0, span-g.at.Sub(since))
}

// failedTask tells whether a task stopped though nobody wanted it to: not
// because the service has fewer or newer tasks now, nor because a person
// stopped it.
func failedTask(t *types.Task) bool {
	if aws.ToString(t.DesiredStatus) != stopped {
		return false
	}
	reason := aws.ToString(t.StoppedReason)
	return t.StopCode != types.TaskStopCodeUserInitiated && !strings.HasPrefix(reason, "Scaling activity initiated")
}

// watcher takes glimpses of one service.
type watcher struct {
	clients *clients
	cluster string
	name    string
	defs    definitions
	groups  map[string]groupSettings
	// bound is what groups was read for.
	bound    string
	ended    map[string]types.Task // tasks that cannot change any more, by ARN
	draining map[string]time.Time
	leaving  map[string]time.Time
	ttl      time.Duration
}

func newWatcher(c *clients, cluster, service string) *watcher {
	return &watcher{
		clients: c, cluster: cluster, name: service,
		defs: definitions{}, ended: map[string]types.Task{}, draining: map[string]time.Time{}, leaving: map[string]time.Time{},
	}
}

// look takes a glimpse.
func (w *watcher) look(ctx context.Context) (*glimpse, error) {
	s, err := w.clients.service(ctx, w.cluster, w.name)
	if err != nil {
		return nil, err
	}
	g := &glimpse{service: *s, defs: w.defs, draining: w.draining, leaving: w.leaving}
	if g.tasks, err = w.tasks(ctx); err != nil {
		return nil, err
	}
	if g.targets, err = w.clients.targets(ctx, s); err != nil {
		return nil, err
	}
	if err := w.settings(ctx, s); err != nil {
		return nil, err
	}
	g.groups, g.ttl, g.at = w.groups, w.ttl, time.Now()
	for i := range g.tasks {
		t := &g.tasks[i]
		if aws.ToString(t.DesiredStatus) == stopped && aws.ToString(t.LastStatus) != stopped {
			since(w.leaving, taskID(t), g.at)
		}
		if one, ok := g.target(t); ok && one.state == elbtypes.TargetHealthStateEnumDraining {
			since(w.draining, taskID(t), g.at)
		}
	}
	g.deployment, err = w.deployment(ctx, s)
	return g, err
}

// since remembers when a task was first seen in a state.
func since(seen map[string]time.Time, task string, at time.Time) {
	if _, ok := seen[task]; !ok {
		seen[task] = at
	}
}

// deployment describes the service's current deployment, if it has one.
func (w *watcher) deployment(ctx context.Context, s *types.Service) (*types.ServiceDeployment, error) {
	if s.CurrentServiceDeployment == nil {
		return nil, nil //nolint:nilnil // nothing is under way
	}
	out, err := w.clients.ecs.DescribeServiceDeployments(ctx, &ecs.DescribeServiceDeploymentsInput{
		ServiceDeploymentArns: []string{*s.CurrentServiceDeployment},
	})
	if err != nil {
		return nil, explained(err)
	}
	if len(out.ServiceDeployments) == 0 {
		return nil, nil //nolint:nilnil // it was over in the meantime
	}
	return &out.ServiceDeployments[0], nil
}

// tasks describes the service's tasks, those that have stopped only once.
func (w *watcher) tasks(ctx context.Context) ([]types.Task, error) {
	var ask []string
	var all []types.Task
	for _, desired := range []types.DesiredStatus{types.DesiredStatusRunning, types.DesiredStatusStopped} {
		arns, err := w.clients.ofService(ctx, w.cluster, w.name, desired)
		if err != nil {
			return nil, err
		}
		for _, arn := range arns {
			if t, ok := w.ended[arn]; ok {
				all = append(all, t)
			} else if !slices.Contains(ask, arn) { // it may have moved from one list to the other
				ask = append(ask, arn)
			}
		}
	}
	fresh, _, err := w.clients.describe(ctx, w.cluster, ask)
	if err != nil {
		return nil, err
	}
	for i := range fresh {
		t := &fresh[i]
		if aws.ToString(t.LastStatus) == stopped {
			w.ended[aws.ToString(t.TaskArn)] = *t
		}
		if _, err := w.defs.get(ctx, w.clients, aws.ToString(t.TaskDefinitionArn)); err != nil && ctx.Err() != nil {
			return nil, err
		}
	}
	all = append(all, fresh...)
	slices.SortFunc(all, func(a, b types.Task) int {
		if order := aws.ToTime(a.CreatedAt).Compare(aws.ToTime(b.CreatedAt)); order != 0 {
			return order
		}
		return strings.Compare(taskID(&a), taskID(&b))
	})
	return all, nil
}

// settings reads those of the service's target groups and names, anew when it
// has others.
func (w *watcher) settings(ctx context.Context, s *types.Service) error {
	var bound strings.Builder
	for _, l := range s.LoadBalancers {
		bound.WriteString(aws.ToString(l.TargetGroupArn) + " ")
	}
	for _, r := range s.ServiceRegistries {
		bound.WriteString(aws.ToString(r.RegistryArn) + " ")
	}
	if w.groups != nil && bound.String() == w.bound {
		return nil
	}
	b, err := w.clients.balancersOf(ctx, *s)
	if err != nil {
		return err
	}
	if w.groups, err = w.clients.groupSettings(ctx, b); err != nil {
		return err
	}
	w.ttl, err = w.clients.ttl(ctx, s)
	w.bound = bound.String()
	return err
}
