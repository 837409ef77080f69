package rollout_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/rollout"
)

// history is a service whose tasks live, fail and die at random while
// decisions are applied in part, in whole or late.
type history struct {
	t       *rapid.T
	now     time.Time
	in      rollout.Input
	next    int
	settled map[string]bool
	faults  bool
	// bad revisions have tasks that never come to be healthy.
	bad map[string]string
	log []string
}

func (h *history) note(format string, args ...any) {
	h.log = append(h.log, h.now.Format("04:05.000 ")+fmt.Sprintf(format, args...))
}

func (h *history) fatalf(format string, args ...any) {
	h.t.Helper()
	for _, line := range h.log[max(0, len(h.log)-100):] {
		h.t.Log(line)
	}
	h.t.Fatalf(format, args...)
}

func newHistory(t *rapid.T) *history {
	h := &history{t: t, now: begun, settled: map[string]bool{}, bad: map[string]string{}, faults: true}
	minimum := rapid.SampledFrom([]int{0, 50, 66, 75, 100}).Draw(t, "minimum")
	maximum := rapid.SampledFrom([]int{100, 110, 125, 150, 200}).Draw(t, "maximum")
	h.in = input(rapid.IntRange(0, 9).Draw(t, "desired"), minimum, maximum, false)
	h.in.Service.DeploymentConfiguration.CircuitBreaker = &model.CircuitBreaker{
		Enable: rapid.Bool().Draw(t, "breaker"), Rollback: rapid.Bool().Draw(t, "rollback"),
	}
	for i := range 3 {
		h.in.Instances[fmt.Sprint("i", i)] = rollout.Instance{Active: true, Eligible: true, Zone: string(rune('a' + i))}
	}
	if rapid.IntRange(0, 3).Draw(t, "kind") == 0 {
		h.in.Service.SchedulingStrategy = model.SchedulingDaemon
		h.in.Service.DeploymentConfiguration.MaximumPercent = 100
	}
	if rapid.Bool().Draw(t, "zones") {
		h.in.Service.ZoneRebalancing = "ENABLED"
		h.zones()
	}
	h.in.Checked["checked"] = []string{"app"}
	h.in.Deployments[0].RolloutState, h.in.Deployments[0].ServiceDeploymentStatus = model.RolloutInProgress, model.ServiceDeploymentPending
	return h
}

// zones are those of the instances that take tasks.
func (h *history) zones() {
	h.in.Zones = nil
	for _, id := range []string{"i0", "i1", "i2"} {
		if i := h.in.Instances[id]; i.Active {
			h.in.Zones = append(h.in.Zones, i.Zone)
		}
	}
}

func (h *history) primary() *model.Deployment { return h.in.Deployments[len(h.in.Deployments)-1] }

func (h *history) wanted() int {
	if h.in.Service.SchedulingStrategy != model.SchedulingDaemon {
		return h.in.Service.DesiredCount
	}
	n := 0
	for _, i := range h.in.Instances {
		if i.Eligible {
			n++
		}
	}
	return n
}

// counts are what the bounds are about, by their definition.
func (h *history) counts() (healthyTasks, occupying int) {
	for _, t := range h.in.Tasks {
		switch t.LastStatus() {
		case model.TaskPending:
			occupying++
		case model.TaskRunning:
			occupying++
			ok := t.Observed.Containers[0].HealthStatus == model.HealthHealthy
			if t.DesiredStatus == model.TaskRunning && ok {
				healthyTasks++
			}
		}
	}
	return healthyTasks, occupying
}

// decide plans and applies some of it. It reports whether there was anything
// to do.
func (h *history) decide() bool {
	// Retries of placement are what a change of anything may bring.
	h.in.RetryPlacement = h.faults && rapid.IntRange(0, 3).Draw(h.t, "retry") == 0
	d := rollout.Plan(h.now, h.in)
	did := !d.Empty() || d.Changed(h.in.Service)
	if did {
		h.note("%d/%d%%/%d%%: %+v", h.wanted(), h.in.Service.DeploymentConfiguration.MinimumHealthyPercent, h.in.Service.DeploymentConfiguration.MaximumPercent, d)
	}
	for _, changed := range d.Deployments {
		i := slices.IndexFunc(h.in.Deployments, func(o *model.Deployment) bool { return o.ID == changed.ID })
		before := h.in.Deployments[i]
		h.in.Deployments[i] = changed
		if changed.BreakerTriggered && !before.BreakerTriggered && changed.BreakerFailures < rollout.Threshold(h.wanted()) {
			h.fatalf("the breaker triggered after %d failures", changed.BreakerFailures)
		}
	}
	if d.Create != nil {
		d.Create.ID = fmt.Sprintf("ecs-svc/%d", d.Create.Number)
		h.in.Deployments = append(h.in.Deployments, d.Create)
	}
	s := *h.in.Service
	s.Progress = d.Progress
	if d.Status != "" {
		s.Status = d.Status
	}
	h.in.Service = &s
	for _, id := range d.Settle {
		h.in.Tasks = slices.DeleteFunc(h.in.Tasks, func(t *model.Task) bool { return t.ID == id })
	}
	for _, id := range d.Adopt {
		h.edit(id, func(t *model.Task) { t.StartedBy = h.primary().ID })
	}
	h.applyStops(d)
	h.applyStarts(d)
	return did
}

func (h *history) edit(id string, fn func(*model.Task)) {
	for i, t := range h.in.Tasks {
		if t.ID == id {
			c := *t
			c.Observed.Containers = slices.Clone(t.Observed.Containers)
			fn(&c)
			h.in.Tasks[i] = &c
		}
	}
}

// applyStops does some of the stops, one after the other.
func (h *history) applyStops(d rollout.Decision) {
	for _, stop := range d.Stops {
		if h.faults && rapid.IntRange(0, 4).Draw(h.t, "skip") == 0 {
			continue
		}
		before, _ := h.counts()
		h.edit(stop.TaskID, func(t *model.Task) {
			if t.DesiredStatus == model.TaskStopped {
				h.fatalf("%s is stopped again", t.ID)
			}
			unhealthyTask := t.Observed.Status == model.TaskRunning && t.Observed.Containers[0].HealthStatus == model.HealthUnhealthy
			if t.ProtectedUntil != nil && t.ProtectedUntil.After(h.now) && !unhealthyTask && h.in.Service.Status == model.ServiceActive {
				h.fatalf("%s is protected", t.ID)
			}
			t.DesiredStatus, t.StopCode, t.StoppedReason = model.TaskStopped, model.StopServiceSchedulerInitiated, stop.Reason
		})
		after, _ := h.counts()
		lower := (h.wanted()*h.in.Service.DeploymentConfiguration.MinimumHealthyPercent + 99) / 100
		eligible := h.in.Service.SchedulingStrategy != model.SchedulingDaemon || h.in.Instances[h.task(stop.TaskID).InstanceID].Eligible
		if h.in.Service.Status == model.ServiceActive && after < before && after < lower && eligible {
			h.fatalf("stopping %s leaves %d healthy tasks, fewer than %d", stop.TaskID, after, lower)
		}
	}
}

func (h *history) task(id string) *model.Task {
	return h.in.Tasks[slices.IndexFunc(h.in.Tasks, func(t *model.Task) bool { return t.ID == id })]
}

func (h *history) applyStarts(d rollout.Decision) {
	for _, start := range d.Starts {
		count := start.Count
		if h.faults {
			switch rapid.IntRange(0, 5).Draw(h.t, "place") {
			case 0:
				continue
			case 1:
				r := rollout.Refused(h.now, h.in, start, count, "no room")
				s := *h.in.Service
				s.Progress = r.Progress
				h.in.Service = &s
				for i := range h.in.Deployments {
					if r.Deployment != nil && h.in.Deployments[i].ID == r.Deployment.ID {
						h.in.Deployments[i] = r.Deployment
					}
				}
				continue
			case 2:
				count = rapid.IntRange(1, count).Draw(h.t, "part")
			}
		}
		for range count {
			h.next++
			instance := fmt.Sprint("i", h.next%3)
			if start.InstanceID != "" {
				instance = start.InstanceID
			}
			if start.Zone != "" {
				instance = fmt.Sprint("i", start.Zone[0]-'a')
			}
			if !h.in.Instances[instance].Active { // placement takes only these
				for id, i := range h.in.Instances {
					if i.Active {
						instance = id
					}
				}
			}
			h.in.Tasks = append(h.in.Tasks, &model.Task{
				ID: fmt.Sprintf("t%03d", h.next), StartedBy: start.DeploymentID, InstanceID: instance, AvailabilityZone: string(rune('a' + instance[1] - '0')),
				TaskDefinitionARN: "checked", CreatedAt: h.now, DesiredStatus: model.TaskRunning,
				Observed: model.TaskObserved{Status: model.TaskPending, Containers: []model.ContainerObserved{{Name: "app", HealthStatus: model.HealthUnknown}}},
			})
		}
		_, occupying := h.counts()
		if upper := h.wanted() * h.in.Service.DeploymentConfiguration.MaximumPercent / 100; occupying > upper {
			h.fatalf("starting %d of %s makes %d, more than %d", count, start.DeploymentID, occupying, upper)
		}
	}
}

func (h *history) revision(t *model.Task) string {
	for _, d := range h.in.Deployments {
		if d.ID == t.StartedBy {
			return d.RevisionID
		}
	}
	return ""
}

// live moves a task a step on its way: the way of its revision, or by a fault
// another one.
func (h *history) live(id string, kind int) {
	h.edit(id, func(t *model.Task) {
		c := &t.Observed.Containers[0]
		end := func(code string) {
			t.Observed.Status, t.DesiredStatus = model.TaskStopped, model.TaskStopped
			if t.StopCode == "" {
				t.StopCode = code
			}
			now := h.now
			t.Observed.StoppedAt = &now
		}
		bad := h.bad[h.revision(t)]
		now := h.now
		switch {
		case t.DesiredStatus == model.TaskStopped && t.Observed.Status != model.TaskStopping && t.Observed.Status != model.TaskStopped:
			t.Observed.Status = model.TaskStopping
		case t.DesiredStatus == model.TaskStopped:
			end("")
		case kind == 1:
			end(model.StopTerminationNotice)
		case t.Observed.Status == model.TaskPending && (bad == "gone" || kind == 2):
			end(model.StopTaskFailedToStart)
		case t.Observed.Status == model.TaskPending:
			t.Observed.Status, t.Observed.StartedAt = model.TaskRunning, &now
		case bad == "exited" || kind == 3:
			end(model.StopEssentialContainerExited)
		case bad == "sick" || kind == 4:
			c.HealthStatus = model.HealthUnhealthy
		case c.HealthStatus == model.HealthUnknown || kind == 5:
			c.HealthStatus = model.HealthHealthy
		}
		h.note("%s of %s: %s, desired %s, %s", t.ID, t.StartedBy, t.Observed.Status, t.DesiredStatus, c.HealthStatus)
	})
}

// act is one random event of the world.
func (h *history) act() {
	service := *h.in.Service
	switch k := rapid.IntRange(0, 19).Draw(h.t, "act"); {
	case k < 12:
		if len(h.in.Tasks) > 0 {
			h.live(rapid.SampledFrom(h.ids()).Draw(h.t, "task"), rapid.IntRange(0, 9).Draw(h.t, "fault"))
		}
	case k < 13:
		service.DesiredCount = rapid.IntRange(0, 9).Draw(h.t, "desired")
		h.note("desired count %d", service.DesiredCount)
	case k < 15:
		last := h.primary()
		if last.Number > 6 {
			return
		}
		old := *last
		old.Status = model.DeploymentActive
		h.in.Deployments[len(h.in.Deployments)-1] = &old
		d := deployment(last.Number+1, model.DeploymentPrimary, model.RolloutInProgress)
		h.in.Deployments = append(h.in.Deployments, d)
		h.bad[d.RevisionID] = rapid.SampledFrom([]string{"", "", "", "gone", "exited", "sick"}).Draw(h.t, "bad")
		h.note("deployment %s, tasks will be %q", d.ID, h.bad[d.RevisionID])
	case k < 16:
		if len(h.in.Tasks) > 0 {
			id := rapid.SampledFrom(h.ids()).Draw(h.t, "protect")
			until := h.now.Add(time.Duration(rapid.IntRange(1, 60).Draw(h.t, "for")) * time.Second)
			h.edit(id, func(t *model.Task) { t.ProtectedUntil = &until })
		}
	case k < 17:
		id := fmt.Sprint("i", rapid.IntRange(0, 2).Draw(h.t, "instance"))
		i := h.in.Instances[id]
		i.Active = !i.Active || id == "i0"
		i.Eligible = i.Active
		h.in.Instances[id] = i
		h.zones()
		h.note("instance %s: %+v", id, i)
	case k < 18:
		if p := h.primary(); p.RolloutState == model.RolloutInProgress && p.Requested == "" {
			c := *p
			c.Requested = rapid.SampledFrom([]string{"ROLLBACK", "ABORT"}).Draw(h.t, "request")
			h.in.Deployments[len(h.in.Deployments)-1] = &c
		}
	default:
		h.now = h.now.Add(time.Duration(rapid.IntRange(1, 30).Draw(h.t, "time")) * time.Second)
	}
	h.in.Service = &service
}

// settle plays on without further faults until nothing is left to do: tasks go
// their way, and time passes when nothing else does.
func (h *history) settle() {
	h.faults = false
	for step := 0; ; step++ {
		if step > 1000 {
			h.fatalf("it does not settle")
		}
		moved := false
		for rounds := 0; h.decide(); rounds++ {
			moved = true
			if rounds > 50 {
				h.fatalf("decisions at one time do not end")
			}
		}
		if h.unsettleable() && step > 200 {
			return
		}
		before := fmt.Sprint(h.states())
		for _, id := range h.ids() {
			kind := 0
			if h.bad[h.revision(h.task(id))] == "" && h.task(id).Observed.Containers[0].HealthStatus == model.HealthUnhealthy {
				kind = 5 // it recovers
			}
			h.live(id, kind)
		}
		if fmt.Sprint(h.states()) != before {
			h.now = h.now.Add(100 * time.Millisecond)
			continue
		}
		d := rollout.Plan(h.now, h.in)
		switch {
		case moved:
			h.now = h.now.Add(100 * time.Millisecond)
		case d.WakeAt.IsZero() || d.WakeAt.Sub(h.now) > time.Hour:
			return
		default:
			h.now = d.WakeAt
		}
	}
}

func (h *history) ids() (ids []string) {
	for _, t := range h.in.Tasks {
		ids = append(ids, t.ID)
	}
	return ids
}

func (h *history) states() (all []string) {
	for _, t := range h.in.Tasks {
		all = append(all, t.ID+t.Observed.Status+t.DesiredStatus+t.Observed.Containers[0].HealthStatus)
	}
	return all
}

// unsettleable: the newest revision does not work and nobody gives it up.
func (h *history) unsettleable() bool {
	p := h.primary()
	return h.bad[p.RevisionID] != "" && p.RolloutState != model.RolloutFailed && (p.RollbackOf != "" || !h.in.Service.DeploymentConfiguration.CircuitBreaker.Enable ||
		p.RolloutState == model.RolloutCompleted)
}

// blocked: the configuration allows neither a stop nor a start, which AWS
// leaves to the user.
func (h *history) blocked() bool {
	_, said := h.in.Service.Progress.Said["blocked"]
	return said
}

// Whatever happens, the service's own actions keep the bounds, protected tasks
// are spared and the breaker has its reasons; and when nothing more happens,
// the service comes to what it should be.
func TestPlan_Histories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newHistory(t)
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			h.act()
			if rapid.Bool().Draw(t, "decide") {
				h.decide()
			}
		}
		h.settle()
		h.check()
	})
}

func (h *history) check() {
	p := h.primary()
	if h.unsettleable() || h.blocked() {
		return
	}
	wanted := h.wanted()
	if p.RolloutState == model.RolloutFailed {
		return
	}
	if p.RolloutState != model.RolloutCompleted {
		h.fatalf("%s is %s", p.ID, p.RolloutState)
	}
	upper := wanted * h.in.Service.DeploymentConfiguration.MaximumPercent / 100
	healthyTasks, occupying := h.counts()
	if healthyTasks != wanted || occupying != wanted || len(h.in.Tasks) != wanted {
		h.fatalf("%d tasks, %d healthy, want %d (at most %d)", occupying, healthyTasks, wanted, upper)
	}
	for _, t := range h.in.Tasks {
		if t.StartedBy != p.ID {
			h.fatalf("%s is of %s", t.ID, t.StartedBy)
		}
	}
	for _, d := range h.in.Deployments[:len(h.in.Deployments)-1] {
		if d.Status != model.DeploymentInactive {
			h.fatalf("%s is %s", d.ID, d.Status)
		}
	}
	if !h.in.Service.Progress.Steady {
		h.fatalf("not steady")
	}
	if d := rollout.Plan(h.now, h.in); !d.Empty() || d.Changed(h.in.Service) {
		h.fatalf("a settled service has something to do: %+v", d)
	}
}
