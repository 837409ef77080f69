package sim_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"berth.dev/berth/internal/control/deployment"
	"berth.dev/berth/internal/data/kv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

// The definitions that services are given. Tasks of "missing" cannot be
// started, those of "exits" end at once and those of "short" after a while;
// those of "unready" run and fail the load balancer's health check.
var (
	serviceFamilies  = []string{"one", "one", "two", "deaf", "short", "exits", "missing"}
	balancedFamilies = []string{"one", "one", "two", "missing", "unready"} // with the container that is balanced
)

func (c *cluster) pickFamily(balanced bool) string {
	families := serviceFamilies
	if balanced {
		families = balancedFamilies
	}
	return families[c.random.IntN(len(families))]
}

// works tells whether tasks of the family stay.
func works(family string) bool { return family == "one" || family == "two" || family == "deaf" }

// contested is a kv on which some transactions take their time, so that others
// come first, and some have an outcome that their writer never hears of. It
// befalls those whose context says so.
type contested struct {
	kv.KV
	c *cluster
}

type contestedKey struct{}

// Txn implements kv.KV.
func (k contested) Txn(ctx context.Context, t kv.Txn) (kv.TxnResult, error) {
	if ctx.Value(contestedKey{}) == nil {
		return k.KV.Txn(ctx, t)
	}
	lot := k.c.lot()
	if lot%3 == 0 {
		time.Sleep(time.Duration(lot%97) * time.Millisecond)
	}
	k.c.stop(ctx, lot/100)
	res, err := k.KV.Txn(ctx, t)
	k.c.stop(ctx, lot/1000)
	if err == nil && lot%16 == 1 {
		return kv.TxnResult{}, errUnheard
	}
	return res, err
}

var errUnheard = errors.New("the answer was lost")

// lot draws a number for whoever asks, until the script is over.
func (c *cluster) lot() uint64 {
	c.lots.Lock()
	defer c.lots.Unlock()
	if c.calm {
		return 2
	}
	return c.chance.Uint64()
}

// isCalm tells whether the script is over.
func (c *cluster) isCalm() bool {
	c.lots.Lock()
	defer c.lots.Unlock()
	return c.calm
}

// actOnService does what a user of services may do.
func (c *cluster) actOnService() {
	if c.server == nil {
		return
	}
	name := fmt.Sprintf("svc%d", c.random.IntN(2))
	s, exists := c.service(name)
	switch k := c.random.IntN(10); {
	case !exists || s.Status == model.ServiceInactive:
		c.createService(name)
	case s.Status == model.ServiceDraining:
	case k < 4:
		c.updateService(name, &ecsapi.UpdateServiceInput{TaskDefinition: new(c.pickFamily(len(s.Revision.LoadBalancers) > 0))})
	case k < 6:
		c.updateService(name, &ecsapi.UpdateServiceInput{DesiredCount: new(int32(c.random.IntN(4)))})
	case k < 7:
		c.updateService(name, &ecsapi.UpdateServiceInput{ForceNewDeployment: new(true)})
	case k < 8:
		c.updateService(name, &ecsapi.UpdateServiceInput{DeploymentConfiguration: c.configuration()})
	case k < 9:
		c.stopDeployment(s)
	default:
		c.journal.add("script DeleteService %s", name)
		if _, err := c.server.ecs.DeleteService(c.t.Context(), &ecsapi.DeleteServiceInput{Service: new(name), Force: new(true)}); err != nil {
			c.t.Errorf("DeleteService: %v", err)
		}
	}
}

// service is the newest of that name.
func (c *cluster) service(name string) (newest *model.Service, found bool) {
	for s := range records.Services.All(c.server.store.Snapshot()) {
		if s.Name == name && (newest == nil || newest.CreatedAt.Before(s.CreatedAt)) {
			newest = s
		}
	}
	return newest, newest != nil
}

func (c *cluster) configuration() *ecsapi.DeploymentConfiguration {
	pick := func(of ...int32) *int32 { return &of[c.random.IntN(len(of))] }
	return &ecsapi.DeploymentConfiguration{
		MinimumHealthyPercent: pick(0, 50, 100), MaximumPercent: pick(150, 200),
		DeploymentCircuitBreaker: &ecsapi.DeploymentCircuitBreaker{Enable: new(c.random.IntN(3) > 0), Rollback: new(c.random.IntN(3) > 0)},
	}
}

func (c *cluster) createService(name string) {
	balanced := c.random.IntN(2) == 0
	family := c.pickFamily(balanced)
	desired := c.random.IntN(4)
	c.journal.add("script CreateService %s of %s, %d tasks", name, family, desired)
	var balancers []ecsapi.LoadBalancer
	if balanced {
		balancers = []ecsapi.LoadBalancer{{TargetGroupArn: new(groupARN), ContainerName: new("app"), ContainerPort: new(int32(80))}}
	}
	_, err := c.server.ecs.CreateService(c.t.Context(), &ecsapi.CreateServiceInput{
		LoadBalancers: balancers,
		ServiceName:   new(name), TaskDefinition: new(family), DesiredCount: new(int32(desired)), //nolint:gosec // small
		LaunchType: ecsapi.LaunchType("FARGATE"), DeploymentConfiguration: c.configuration(),
		NetworkConfiguration: &ecsapi.NetworkConfiguration{AwsvpcConfiguration: &ecsapi.AwsVpcConfiguration{Subnets: c.subnets}},
	})
	if err != nil {
		c.t.Errorf("CreateService: %v", err)
	}
}

func (c *cluster) updateService(name string, in *ecsapi.UpdateServiceInput) {
	in.Service = new(name)
	c.journal.add("script UpdateService %s: %+v", name, in)
	if _, err := c.server.ecs.UpdateService(c.t.Context(), in); err != nil {
		c.t.Errorf("UpdateService: %v", err)
	}
}

// stopDeployment asks for the end of the deployment that is under way, if any.
func (c *cluster) stopDeployment(s *model.Service) {
	list, err := c.server.ecs.ListServiceDeployments(c.t.Context(), &ecsapi.ListServiceDeploymentsInput{
		Service: &s.Name, Status: []ecsapi.ServiceDeploymentStatus{model.ServiceDeploymentInProgress},
	})
	if err != nil {
		c.t.Errorf("ListServiceDeployments: %v", err)
		return
	}
	if len(list.ServiceDeployments) == 0 {
		return
	}
	how := []ecsapi.StopServiceDeploymentStopType{"ROLLBACK", "ABORT"}[c.random.IntN(2)]
	c.journal.add("script StopServiceDeployment of %s: %s", s.Name, how)
	_, err = c.server.ecs.StopServiceDeployment(c.t.Context(), &ecsapi.StopServiceDeploymentInput{
		ServiceDeploymentArn: list.ServiceDeployments[0].ServiceDeploymentArn, StopType: how,
	})
	var over *ecsapi.ConflictException // it has ended in between
	if err != nil && !errors.As(err, &over) {
		c.t.Errorf("StopServiceDeployment: %v", err)
	}
}

// settleServices looks at the services after everything was healed: what can
// work has come to work by itself. What cannot is given a definition that can,
// and comes to work as well.
func (c *cluster) settleServices() {
	for s := range records.Services.All(c.server.store.Snapshot()) {
		c.converge(s.ID)
		c.checkService(s.ID, false)
		if now, _ := records.Services.Get(c.server.store.Snapshot(), s.ID); now.Status != model.ServiceActive {
			continue
		}
		c.updateService(s.Name, &ecsapi.UpdateServiceInput{
			TaskDefinition: new("one"), DesiredCount: new(int32(2)), ForceNewDeployment: new(true),
			DeploymentConfiguration: &ecsapi.DeploymentConfiguration{MinimumHealthyPercent: new(int32(50)), MaximumPercent: new(int32(200))},
		})
		c.converge(s.ID)
		c.checkService(s.ID, true)
	}
}

// converge waits until the service is what it should be: for ten minutes, or
// if its tasks cannot work, until the circuit breaker must have found out.
func (c *cluster) converge(id string) {
	for waited := time.Duration(0); waited < 10*time.Minute; waited += 2 * time.Second {
		if c.serviceProblem(id) == "" || waited > 40*time.Second && !works(c.family(id)) {
			return
		}
		c.tend()
		time.Sleep(2 * time.Second)
	}
}

// family is of what the service's newest deployment makes tasks.
func (c *cluster) family(id string) string {
	def := c.primary(id).revision.Spec.TaskDefinitionARN
	return def[strings.LastIndexByte(def, '/')+1 : strings.LastIndexByte(def, ':')]
}

func (c *cluster) checkService(id string, must bool) {
	s, _ := records.Services.Get(c.server.store.Snapshot(), id)
	problem := c.serviceProblem(id)
	if problem == "" {
		return
	}
	primary, family := c.primary(id), c.family(id)
	_, blocked := s.Progress.Said["blocked"]
	switch {
	case c.full(id): // standalone tasks have the room, and nobody ends them
	case blocked && !must: // by percentages that allow nothing, which AWS leaves to the user
	case must || works(family) && primary.RolloutState != model.RolloutFailed:
		c.t.Errorf("service %s (%s) does not come to what it should be: %s", s.Name, id, problem)
		for e := range records.ServiceEvents.Prefix(c.server.store.Snapshot(), id+"/") {
			c.journal.add("event  %s %s", e.CreatedAt.Format("04:05.000"), e.Message)
		}
	case primary.RolloutState == model.RolloutInProgress && s.DeploymentConfiguration.CircuitBreaker.Enable && s.DesiredCount > 0 &&
		family != "short" && primary.RollbackOf == "":
		c.t.Errorf("service %s (%s): the circuit breaker does not end %s, which has %d failures", s.Name, id, primary.ID, primary.BreakerFailures)
	}
}

// full reports whether the newest thing that hindered the service was that the
// nodes have no room.
func (c *cluster) full(id string) bool {
	full := false
	for e := range records.ServiceEvents.Prefix(c.server.store.Snapshot(), id+"/") {
		switch {
		case strings.Contains(e.Message, "Capacity is unavailable"):
			full = true
		case strings.Contains(e.Message, "has reached a steady state"), strings.Contains(e.Message, "unable to place a task"):
			full = false
		}
	}
	return full
}

type deploymentOf struct {
	*model.Deployment
	revision *model.ServiceRevision
}

func (c *cluster) primary(id string) (newest deploymentOf) {
	for d := range records.Deployments.Prefix(c.server.store.Snapshot(), id+"/") {
		if d.Status == model.DeploymentPrimary {
			newest.Deployment = d
		}
	}
	if newest.Deployment != nil {
		newest.revision, _ = records.ServiceRevisions.Get(c.server.store.Snapshot(), newest.RevisionID)
	}
	return newest
}

// serviceProblem says how a service differs from what it should be.
func (c *cluster) serviceProblem(id string) string {
	snap := c.server.store.Snapshot()
	s, _ := records.Services.Get(snap, id)
	running, other := 0, 0
	primary := c.primary(id)
	for t := range records.Tasks.By(snap, records.OpenTasksByService, id) {
		if t.LastStatus() == model.TaskRunning && t.DesiredStatus == model.TaskRunning && primary.Deployment != nil && t.StartedBy == primary.ID {
			running++
		} else {
			other++
		}
	}
	switch {
	case s.Status == model.ServiceInactive && running+other == 0:
		return ""
	case s.Status != model.ServiceActive:
		return fmt.Sprintf("it is %s with %d tasks", s.Status, running+other)
	case running != s.DesiredCount || other != 0:
		return fmt.Sprintf("%d tasks of %s run, %d others are there, %d should run", running, primary.ID, other, s.DesiredCount)
	case primary.RolloutState != model.RolloutCompleted:
		return fmt.Sprintf("%s is %s", primary.ID, primary.RolloutState)
	case !s.Progress.Steady:
		return "it is not steady"
	}
	for d := range records.Deployments.Prefix(snap, id+"/") {
		if d.Status == model.DeploymentActive {
			return d.ID + " is still there"
		}
	}
	return ""
}

// deleteServices ends them, so that nothing starts tasks any more.
func (c *cluster) deleteServices() {
	for s := range records.Services.All(c.server.store.Snapshot()) {
		if s.Status != model.ServiceActive {
			continue
		}
		if _, err := c.server.ecs.DeleteService(c.t.Context(), &ecsapi.DeleteServiceInput{Service: &s.Name, Force: new(true)}); err != nil {
			c.t.Errorf("DeleteService: %v", err)
		}
		c.converge(s.ID)
		if problem := c.serviceProblem(s.ID); problem != "" {
			c.t.Errorf("service %s (%s) was deleted: %s", s.Name, s.ID, problem)
		}
	}
}

// boundsWatch sees what the deployment loop does to services, and that it
// keeps their bounds.
type boundsWatch struct {
	mu  sync.Mutex
	bad []string
}

func (w *boundsWatch) run(ctx context.Context, s *store.Store) {
	watch := s.Watch(ctx, records.Tasks, records.Services)
	for before := watch.Snapshot(); ; {
		snap, changes, err := watch.Next(ctx)
		if err != nil {
			return
		}
		touched := map[string]bool{}
		for _, change := range changes {
			if t, ok := records.Tasks.Get(snap, change.Key); ok && change.Table == records.Tasks.Name() && t.ServiceID != "" {
				touched[t.ServiceID] = true
				w.checkReleased(snap, t)
			}
		}
		for id := range touched {
			w.look(before, snap, id)
		}
		before = snap
	}
}

// look compares two states of a service. Several commits may lie between them,
// so what others did in between is given to the loop's credit.
func (w *boundsWatch) look(before, after *store.Snapshot, id string) {
	was, _ := records.Services.Get(before, id)
	is, ok := records.Services.Get(after, id)
	if !ok || was == nil || is.Status != model.ServiceActive || was.Status != model.ServiceActive {
		return
	}
	started, stopped, lost, healthyNow, occupying, now := 0, 0, 0, 0, 0, time.Now()
	for t := range records.Tasks.By(after, records.OpenTasksByService, id) {
		if !records.Tasks.Has(before, t.ID) {
			started++
		}
		if model.TaskStatusRank(t.LastStatus()) < model.TaskStatusRank(model.TaskDeactivating) {
			occupying++
		}
		if counts(after, t, now) {
			healthyNow++
		}
	}
	for old := range records.Tasks.By(before, records.OpenTasksByService, id) {
		t, ok := records.Tasks.Get(after, old.ID)
		switch {
		case !ok || counts(after, t, now):
		case t.DesiredStatus == model.TaskStopped && t.StopCode == model.StopServiceSchedulerInitiated:
			// A task that came to be healthy while its end was being written is
			// not a healthy one that was stopped.
			if counts(before, old, *t.StopDecidedAt) {
				stopped++
			}
		case counts(before, old, now):
			lost++
		}
	}
	lower := func(s *model.Service) int {
		return (s.DesiredCount*s.DeploymentConfiguration.MinimumHealthyPercent + 99) / 100
	}
	upper := func(s *model.Service) int { return s.DesiredCount * s.DeploymentConfiguration.MaximumPercent / 100 }
	w.mu.Lock()
	defer w.mu.Unlock()
	if least := min(lower(was), lower(is)); stopped > 0 && healthyNow+lost < least {
		w.bad = append(w.bad, fmt.Sprintf("%s service %s: %d tasks were stopped and left %d healthy ones, fewer than %d",
			time.Now().Format("04:05.000"), is.Name, stopped, healthyNow+lost, least))
	}
	if most := max(upper(was), upper(is)); started > 0 && occupying > most {
		w.bad = append(w.bad, fmt.Sprintf("%s service %s: %d tasks were started and made %d, more than %d",
			time.Now().Format("04:05.000"), is.Name, started, occupying, most))
	}
}

// counts tells whether a task has counted towards the lower bound since at.
func counts(r store.Reader, t *model.Task, at time.Time) bool {
	if t.DesiredStatus != model.TaskRunning || t.LastStatus() != model.TaskRunning || t.Observed.StartedAt == nil {
		return false
	}
	if len(t.LoadBalancers) == 0 {
		return at.Sub(*t.Observed.StartedAt) >= deployment.DefaultHealthyAfter
	}
	for target := range records.Targets.By(r, records.TargetsByTask, t.ID) {
		return target.DeregisteredAt == nil && target.Health.State == model.TargetHealthy && !target.Health.ChangedAt.After(at)
	}
	return false
}

// The target group of all services that have one.
const (
	groupID  = "targetgroup/web/0123456789abcdef"
	groupARN = "arn:aws:elasticloadbalancing:us-east-1:123456789012:" + groupID

	checkTakes = 700 * time.Millisecond
	drainTakes = 3 * time.Second
)

// putBalancer makes the target group, and what makes it one of a load
// balancer.
func putBalancer(tx *store.Tx) {
	vpc := ""
	for v := range records.VPCs.All(tx) {
		vpc = v.ID
	}
	records.TargetGroups.Put(tx, &model.TargetGroup{ID: groupID, ARN: groupARN, Name: "web", Protocol: "HTTP", Port: 80, TargetType: "ip", VPCID: vpc})
	records.Listeners.Put(tx, &model.Listener{ID: "listener/app/web/1/2", LoadBalancerID: "app/web/1", DefaultActions: []model.BalancerAction{
		{Type: "forward", TargetGroups: []model.WeightedTarget{{TargetGroupARN: groupARN, Weight: 1}}},
	}})
}

// balance does what a load balancer does: it finds out how healthy targets
// are, and lets connections end of those that are taken out.
func balance(ctx context.Context, s *store.Store) {
	watch := s.Watch(ctx, records.Targets)
	for t := range records.Targets.All(watch.Snapshot()) {
		attend(ctx, s, t)
	}
	for {
		snap, changes, err := watch.Next(ctx)
		if err != nil {
			return
		}
		for _, change := range changes {
			if t, ok := records.Targets.Get(snap, change.Key); ok {
				attend(ctx, s, t)
			}
		}
	}
}

// attend sets a target's state, or deletes it, when it is time for that.
func attend(ctx context.Context, s *store.Store, seen *model.Target) {
	same := func(tx *store.Tx) (*model.Target, bool) {
		t, ok := records.Targets.Get(tx, seen.Key())
		return t, ok && t.RegisteredAt.Equal(seen.RegisteredAt) && (t.DeregisteredAt == nil) == (seen.DeregisteredAt == nil)
	}
	after, do := checkTakes, func(tx *store.Tx) error {
		t, ok := same(tx)
		if !ok {
			return nil
		}
		task, ok := records.Tasks.Get(tx, t.TaskID)
		state := model.TargetUnhealthy
		if ok && !task.Stopped() && task.Family != "unready" {
			state = model.TargetHealthy
		}
		return records.Targets.Edit(tx, t.Key(), func(t *model.Target) error {
			t.Health = model.TargetHealth{State: state, Description: "Health checks failed", ChangedAt: new(tx.Now())}
			return nil
		})
	}
	switch {
	case seen.DeregisteredAt != nil:
		after, do = drainTakes, func(tx *store.Tx) error {
			if _, ok := same(tx); ok {
				records.Targets.Delete(tx, seen.Key())
			}
			return nil
		}
	case seen.Health.State == model.TargetHealthy || seen.Health.State == model.TargetUnhealthy:
		return
	}
	time.AfterFunc(after, func() {
		if ctx.Err() == nil {
			_, _ = s.Update(ctx, do) // it fails only when the server dies
		}
	})
}

// checkReleased: no node was told to end a task that a load balancer still led
// to.
func (w *boundsWatch) checkReleased(r store.Reader, t *model.Task) {
	if !t.Released || t.Observed.Status == model.TaskStopped {
		return
	}
	for target := range records.Targets.By(r, records.TargetsByTask, t.ID) {
		w.mu.Lock()
		w.bad = append(w.bad, fmt.Sprintf("%s task %s may be ended while it is target %s", time.Now().Format("04:05.000"), t.ID, target.Key()))
		w.mu.Unlock()
	}
}
