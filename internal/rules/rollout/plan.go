package rollout

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"berth.dev/berth/internal/model"
)

const (
	// batch is how many tasks one decision stops, takes notice of or adopts at
	// most, and finding how many of them unhealthy it mentions: what a
	// transaction can carry. The rest is decided again.
	batch    = 30
	mentions = 10

	// repeat is when a message is said again whose cause lasts.
	repeat = 6 * time.Hour
)

// planner is one call of Plan.
type planner struct {
	now     time.Time
	in      Input
	service *model.Service

	deployments []*model.Deployment          // as they are to become; those that are own may be changed
	own         map[string]bool              // by id: deployments holds a copy
	byID        map[string]*model.Deployment // current ones
	primary     *model.Deployment

	tasks []*task // all of the input that have not stopped
	ended []*model.Task

	healthy   int // tasks that count towards the lower bound and are not chosen to stop
	occupying int // tasks that count towards the upper bound
	ending    int // of these, those that are to stop already
	lower     int
	upper     int
	desired   int // what the service wants; the eligible instances for a DAEMON

	ordered *order          // see order
	held    bool            // the lower bound keeps a task that should stop
	wanting bool            // tasks are to be launched, now or when they may be
	said    map[string]bool // causes that last

	out Decision
}

// Plan decides what is to be done for a service at now.
func Plan(now time.Time, in Input) Decision {
	p := newPlanner(now, in)
	switch {
	case in.Service.Status == model.ServiceInactive:
		p.takeNotice()
	case in.Service.Status == model.ServiceDraining:
		p.takeNotice()
		p.drain()
	case p.primary == nil || in.Service.Resources == model.ResourcesProvisioning:
		p.takeNotice() // what its tasks are made of is not known yet
	default:
		p.begin()
		p.takeNotice()
		p.noticeHealth()
		if p.judge() {
			break // the new deployment is planned when it is there
		}
		if in.Service.SchedulingStrategy == model.SchedulingDaemon {
			p.daemon()
		} else {
			p.replicas()
		}
	}
	return p.decision()
}

func newPlanner(now time.Time, in Input) *planner {
	p := &planner{
		now: now, in: in, service: in.Service,
		deployments: slices.Clone(in.Deployments), own: map[string]bool{}, byID: map[string]*model.Deployment{},
		said: map[string]bool{},
	}
	p.out.Progress = in.Service.Progress
	p.out.Progress.Said = maps.Clone(in.Service.Progress.Said)
	for _, d := range in.Deployments {
		p.byID[d.ID] = d
		if d.Status == model.DeploymentPrimary {
			p.primary = d
		}
	}
	adopting := p.primary != nil && p.primary.RollbackOf != ""
	p.tasks = make([]*task, 0, len(in.Tasks))
	for _, t := range in.Tasks {
		if t.Stopped() {
			if !t.Settled {
				p.ended = append(p.ended, t)
			}
			continue
		}
		v := p.view(t)
		if adopting && v.live && v.deployment != nil && v.deployment.ID != p.primary.ID && v.deployment.RevisionID == p.primary.RevisionID {
			v.deployment = p.primary
			p.out.Adopt = append(p.out.Adopt, t.ID)
		}
		p.tasks = append(p.tasks, v)
		if v.occupying {
			p.occupying++
			if !v.live {
				p.ending++
			}
		}
		if v.state == healthy {
			p.healthy++
		}
	}
	slices.Sort(p.out.Adopt)
	slices.SortFunc(p.ended, func(a, b *model.Task) int { return strings.Compare(a.ID, b.ID) })
	if len(p.ended) > batch {
		p.ended = p.ended[:batch]
	}
	return p
}

// edit returns a deployment that may be changed.
func (p *planner) edit(id string) *model.Deployment {
	d := p.byID[id]
	if d == nil || p.own[id] {
		return d
	}
	c := *d
	c.Counted = maps.Clone(d.Counted)
	p.own[id] = true
	p.byID[id] = &c
	for i := range p.deployments {
		if p.deployments[i].ID == id {
			p.deployments[i] = &c
		}
	}
	if p.primary != nil && p.primary.ID == id {
		p.primary = &c
	}
	for _, t := range p.tasks {
		if t.deployment == d {
			t.deployment = &c
		}
	}
	return &c
}

// decision gathers what has changed.
func (p *planner) decision() Decision {
	for i, d := range p.in.Deployments {
		if next := p.deployments[i]; next != d && !reflect.DeepEqual(next, d) {
			next.UpdatedAt = p.now
			p.out.Deployments = append(p.out.Deployments, next)
		}
	}
	lasting := p.wanting || p.primary != nil && p.primary.RolloutState == model.RolloutFailed
	for key := range p.out.Progress.Said {
		if !p.said[key] && !(lasting && strings.HasPrefix(key, launchCause)) {
			delete(p.out.Progress.Said, key)
		}
	}
	if len(p.out.Progress.Said) == 0 {
		p.out.Progress.Said = nil
	}
	p.out.Stops = p.out.Stops[:min(batch, len(p.out.Stops))]
	p.out.Adopt = p.out.Adopt[:min(batch, len(p.out.Adopt))]
	return p.out
}

// Changed reports whether the decision gives the service another progress.
func (d *Decision) Changed(s *model.Service) bool { return !reflect.DeepEqual(d.Progress, s.Progress) }

func (p *planner) event(message string) { p.out.Events = append(p.out.Events, message) }

// launchCause begins the names of causes that last until launches succeed, or
// another deployment takes the place of one that was given up.
const launchCause = "launch:"

// say is event for a cause that lasts: it is said once, and again when it has
// lasted for six hours.
func (p *planner) say(cause, message string) {
	p.said[cause] = true
	if at, known := p.out.Progress.Said[cause]; known && p.now.Before(at.Add(repeat)) {
		p.wake(at.Add(repeat))
		return
	}
	if p.out.Progress.Said == nil {
		p.out.Progress.Said = map[string]time.Time{}
	}
	p.out.Progress.Said[cause] = p.now
	p.wake(p.now.Add(repeat))
	p.event(message)
}

// wake asks to decide again at that time.
func (p *planner) wake(at time.Time) {
	if at.After(p.now) && (p.out.WakeAt.IsZero() || at.Before(p.out.WakeAt)) {
		p.out.WakeAt = at
	}
}

// begin brings deployments on their way that others have made or superseded.
func (p *planner) begin() {
	for _, d := range p.in.Deployments {
		switch {
		case d.ID == p.primary.ID:
			if d.ServiceDeploymentStatus == model.ServiceDeploymentPending {
				e := p.edit(d.ID)
				e.ServiceDeploymentStatus, e.StartedAt = model.ServiceDeploymentInProgress, &p.now
			}
			if d.RolloutState == model.RolloutInProgress && d.RolloutStateReason == "" {
				e := p.edit(d.ID)
				e.RolloutStateReason = reasonInProgress(e)
			}
		case d.Status != model.DeploymentInactive && d.RolloutState == model.RolloutInProgress:
			p.conclude(d.ID, model.ServiceDeploymentStopped, "A new deployment of the service was started.")
		}
	}
}

// conclude ends a service deployment that is under way, and with a rollback
// the one that it rolls back.
func (p *planner) conclude(id, status, reason string) {
	d := p.byID[id]
	if d == nil || concluded(d.ServiceDeploymentStatus) {
		return
	}
	e := p.edit(id)
	e.ServiceDeploymentStatus = status
	if reason != "" {
		e.StatusReason = reason
	}
	e.FinishedAt = &p.now
	if status == model.ServiceDeploymentStopped {
		e.StoppedAt = &p.now
	}
	if d.RollbackOf != "" {
		p.conclude(d.RollbackOf, status, reason)
	}
}

func concluded(status string) bool {
	switch status {
	case model.ServiceDeploymentSuccessful, model.ServiceDeploymentStopped,
		model.ServiceDeploymentRollbackSuccessful, model.ServiceDeploymentRollbackFailed:
		return true
	}
	return false
}

// drain ends every task of a service that is being deleted, and the service
// itself as soon as nothing of it serves any more.
func (p *planner) drain() {
	left := 0
	for _, t := range p.tasks {
		if t.occupying {
			left++
		}
		if t.live {
			p.stop(t, ReasonScaling(t.StartedBy))
		}
	}
	if left > 0 || p.service.Resources != "" { // what ECS made for it must go first
		return
	}
	p.out.Status = model.ServiceInactive
	for _, d := range p.in.Deployments {
		if d.Status == model.DeploymentInactive {
			continue
		}
		p.conclude(d.ID, model.ServiceDeploymentStopped, "The service was deleted.")
		p.edit(d.ID).Status = model.DeploymentInactive
	}
}

// stop chooses a task; it no longer counts for anything that is decided after.
func (p *planner) stop(t *task, reason string) {
	p.out.Stops = append(p.out.Stops, Stop{TaskID: t.ID, Reason: reason, Pending: t.state == pending})
	if t.state == healthy {
		p.healthy--
	}
	t.chosen = true
}

// leave makes old deployments INACTIVE of which nothing is left, unless one is
// about to get tasks. It reports whether only the primary one remains.
func (p *planner) leave() bool {
	busy := map[string]bool{}
	for _, t := range p.tasks {
		if t.deployment != nil && t.rank < rankStopping {
			busy[t.deployment.ID] = true
		}
	}
	for _, s := range p.out.Starts {
		busy[s.DeploymentID] = true
	}
	alone := true
	for _, d := range p.in.Deployments {
		switch {
		case d.ID == p.primary.ID || d.Status == model.DeploymentInactive:
		case busy[d.ID]:
			alone = false
		default:
			p.edit(d.ID).Status = model.DeploymentInactive
		}
	}
	return alone
}

// settle ends the deployment and says that the state is steady, if whole is
// true: there are exactly the tasks that should be, all healthy.
func (p *planner) settle(whole bool) {
	whole = p.leave() && whole
	if whole && p.primary.RolloutState == model.RolloutInProgress {
		d := p.edit(p.primary.ID)
		d.RolloutState, d.RolloutStateReason = model.RolloutCompleted, reasonCompleted(d)
		d.FailedTasks, d.Counted = 0, nil
		d.Frozen = &model.RevisionCounts{Requested: p.desired, Running: p.desired}
		status := model.ServiceDeploymentSuccessful
		if d.RollbackOf != "" {
			status = model.ServiceDeploymentRollbackSuccessful
		}
		p.conclude(d.ID, status, "")
		p.event(DeploymentCompleted(p.service.Name, d.ID))
	}
	progress := &p.out.Progress
	if !whole || p.primary.RolloutState != model.RolloutCompleted {
		progress.Steady = false
		return
	}
	if !progress.Steady || progress.SteadyAt == nil || !p.now.Before(progress.SteadyAt.Add(repeat)) {
		progress.Steady, progress.SteadyAt = true, &p.now
		p.event(SteadyState(p.service.Name))
	}
	p.wake(progress.SteadyAt.Add(repeat))
}
