package task

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"berth.dev/berth/internal/model"
)

// StepKind names what a step does.
type StepKind string

// The steps. All are idempotent.
const (
	StepAttach  StepKind = "attach"  // make the network interface
	StepPrepare StepKind = "prepare" // make cgroup, volumes and files
	StepFetch   StepKind = "fetch"   // get what the task's roles give it
	StepPull    StepKind = "pull"    // find the image
	StepCreate  StepKind = "create"  // make the container
	StepConnect StepKind = "connect" // give the container its place on the bridge network
	StepStart   StepKind = "start"   // run its process
	StepRestart StepKind = "restart" // run it again, as a restart policy says
	StepSignal  StepKind = "signal"  // send the stop signal
	StepKill    StepKind = "kill"    // send SIGKILL
	StepRemove  StepKind = "remove"  // take the container away
	StepRelease StepKind = "release" // take network, cgroup and volumes away
)

// Step is one thing to do, for the task or for one of its containers.
type Step struct {
	Kind      StepKind
	Container string // empty for the task
	Restart   int    // the number of the restart, for StepRestart
}

// subject is what a step works on; at most one step works on it at a time.
// The task's own steps each are a subject: attaching and preparing overlap.
func (s Step) subject() string {
	if s.Container == "" {
		return "task/" + string(s.Kind)
	}
	return "container/" + s.Container
}

// Input is everything that Next looks at.
type Input struct {
	Now        time.Time
	Assignment *model.Assignment
	State      State
	// Busy holds the subjects of the steps under way.
	Busy map[string]bool
	// MayStart is false until the control plane has been heard from: then what
	// runs is looked after but nothing new begins.
	MayStart bool
}

// Plan is what Next decided.
type Plan struct {
	State  State     // with the statuses and decisions that follow from the input
	Steps  []Step    // to be taken now
	WakeAt time.Time // when to ask again at the latest; zero when only an event can change anything
}

// defaultStopTimeout is ECS_CONTAINER_STOP_TIMEOUT's default.
const defaultStopTimeout = 30

// Next decides what is to be done for a task. It is a pure function.
func Next(in Input) Plan {
	p := planner{Input: in, a: in.Assignment, s: in.State.clone()}
	if !p.stopping() {
		p.decideStop()
	}
	if p.stopping() {
		p.planStop()
	} else {
		p.planStart()
	}
	return Plan{State: p.s, Steps: p.steps, WakeAt: p.wakeAt}
}

type planner struct {
	Input
	a      *model.Assignment
	s      State
	steps  []Step
	wakeAt time.Time
}

func (p *planner) stopping() bool {
	return p.s.StopCode != "" || p.a.Task.DesiredStatus == model.TaskStopped
}

func (p *planner) step(s Step) {
	if !p.Busy[s.subject()] {
		p.steps = append(p.steps, s)
	}
}

func (p *planner) wake(at time.Time) {
	if !at.IsZero() && (p.wakeAt.IsZero() || at.Before(p.wakeAt)) {
		p.wakeAt = at
	}
}

func (p *planner) def(i int) *model.ContainerDefinition {
	return &p.a.TaskDefinition.ContainerDefinitions[i]
}

// stop records this node's decision to end the task. Only the first counts.
func (p *planner) stop(code, reason string) {
	if p.s.StopCode == "" {
		p.s.StopCode, p.s.StoppedReason = code, truncate(reason)
	}
}

// maxReason is where AWS cuts reasons (behaviour/task-lifecycle.md §4).
const maxReason = 1024

func truncate(s string) string {
	if len(s) > maxReason {
		return strings.ToValidUTF8(s[:maxReason], "") // no half of a character
	}
	return s
}

// decideStop ends the task when an essential container is over or when the
// task can never start.
func (p *planner) decideStop() {
	for i := range p.s.Containers {
		c, def := &p.s.Containers[i], p.def(i)
		if c.Phase != PhaseExited || !def.IsEssential() {
			continue
		}
		if !c.RanOnce {
			p.stop(model.StopTaskFailedToStart, c.Reason)
			return
		}
		if restartable(def, c) && !p.stopping() {
			continue
		}
		p.stop(model.StopEssentialContainerExited, "Essential container in task exited")
		return
	}
	for i := range p.s.Containers {
		c, def := &p.s.Containers[i], p.def(i)
		if c.Phase >= PhaseCreated {
			continue
		}
		if v := resolve(p.Now, p.a, &p.s, def); v.never != "" {
			c.Reason = truncate(fmt.Sprintf("TaskDependencyError: Task dependencies cannot be resolved, taskArn: %s: %s", p.a.Task.ARN, v.never))
			p.stop(model.StopTaskFailedToStart, c.Reason)
			return
		}
	}
}

// restartable reports whether the container's restart policy runs it again
// (behaviour/task-definitions.md §5.4): the exit code is not ignored, and the
// run that just ended lasted for the attempt period at least.
func restartable(def *model.ContainerDefinition, c *ContainerState) bool {
	policy := def.RestartPolicy
	if policy == nil || !policy.Enabled || c.Phase != PhaseExited || !c.RanOnce || c.Final {
		return false
	}
	if c.ExitCode == nil || c.StartedAt == nil || c.ExitedAt == nil || slices.Contains(policy.IgnoredExitCodes, *c.ExitCode) {
		return false
	}
	return c.ExitedAt.Sub(*c.StartedAt) >= seconds(policy.RestartAttemptPeriod, 300)
}

func (p *planner) planStart() {
	networked := p.a.NetworkInterface != nil
	if networked && !p.s.Attached && p.MayStart {
		p.step(Step{Kind: StepAttach})
	}
	if !p.s.Prepared && p.MayStart {
		p.step(Step{Kind: StepPrepare})
	}
	if p.fetching() && p.MayStart {
		p.step(Step{Kind: StepFetch})
	}
	for i := range p.s.Containers {
		p.planContainerStart(&p.s.Containers[i], p.def(i))
	}
	p.advanceStart(networked)
}

func (p *planner) planContainerStart(c *ContainerState, def *model.ContainerDefinition) {
	if c.Phase == PhaseExited {
		if restartable(def, c) {
			p.step(Step{Kind: StepRestart, Container: c.Name, Restart: c.Restarts + 1})
		}
		return
	}
	if c.Phase >= PhaseRunning || !p.MayStart {
		return
	}
	if c.Phase < PhaseCreated {
		v := resolve(p.Now, p.a, &p.s, def)
		p.wake(v.expiry)
		if !v.ready {
			return
		}
	}
	switch c.Phase { //nolint:exhaustive // the others need nothing here
	case PhaseNone:
		// Only a login has to be there first: images are found while secrets are fetched.
		if def.RepositoryCredentials == nil || !p.fetching() {
			p.step(Step{Kind: StepPull, Container: c.Name})
		}
	case PhasePulled:
		// The container names the namespace that it will join; only its start
		// needs it to be there.
		if p.s.Prepared && !p.fetching() {
			p.step(Step{Kind: StepCreate, Container: c.Name})
		}
	case PhaseCreated:
		switch mode := modeIn(p.a, def); {
		case !p.s.Prepared: // its volumes are gone with the host's last run
		case mode == modeAwsvpc && !p.s.Attached:
		case mode == modeBridge && !c.Connected:
			p.step(Step{Kind: StepConnect, Container: c.Name})
		default:
			p.step(Step{Kind: StepStart, Container: c.Name})
		}
	}
}

// advanceStart derives the status of a task that is not stopping. A task
// without an interface of its own skips PROVISIONING, ACTIVATING and
// DEPROVISIONING (behaviour/task-lifecycle.md §1).
func (p *planner) advanceStart(networked bool) {
	if networked && !p.s.Attached {
		return
	}
	p.s.advance(model.TaskPending)
	running := true
	for i := range p.s.Containers {
		c := &p.s.Containers[i]
		if networked && c.Phase >= PhaseCreated && c.Phase < PhaseRemoved {
			p.s.advance(model.TaskActivating)
		}
		if c.Phase != PhaseRunning && !(c.Phase == PhaseExited && (c.RanOnce || !p.def(i).IsEssential())) {
			running = false
		}
	}
	if running && p.s.Status != model.TaskRunning {
		p.s.advance(model.TaskRunning)
		p.s.StartedAt = new(p.Now)
	}
}

func (p *planner) planStop() {
	// A container that was never started will not be; one with a step under
	// way is waited for.
	for i := range p.s.Containers {
		c := &p.s.Containers[i]
		if c.Phase < PhaseRunning && !p.Busy[Step{Container: c.Name}.subject()] {
			c.Phase = PhaseExited
		}
	}
	ended, removed := true, true
	for i := range p.s.Containers {
		c := &p.s.Containers[i]
		ended = ended && p.over(c)
		removed = removed && c.Phase == PhaseRemoved
		if c.Phase == PhaseRunning {
			p.advanceStopping()
			p.planContainerStop(c, p.def(i))
		}
	}
	if !ended {
		return
	}
	if p.s.StartedAt != nil || p.s.StoppingAt != nil {
		p.advanceStopping()
		if p.s.ExecutionStoppedAt == nil {
			p.s.ExecutionStoppedAt = new(p.Now)
		}
	}
	if p.a.NetworkInterface != nil {
		p.s.advance(model.TaskDeprovisioning)
	}
	for i := range p.s.Containers {
		if c := &p.s.Containers[i]; c.Phase != PhaseRemoved {
			p.step(Step{Kind: StepRemove, Container: c.Name})
		}
	}
	if !removed {
		return
	}
	for _, kind := range [...]StepKind{StepAttach, StepPrepare, StepFetch} {
		if p.Busy[Step{Kind: kind}.subject()] {
			return
		}
	}
	if !p.s.Released {
		p.step(Step{Kind: StepRelease})
		return
	}
	if p.s.Status != model.TaskStopped {
		p.s.advance(model.TaskStopped)
		p.s.StoppedAt = new(p.Now)
	}
}

// over reports whether a container of a stopping task has ended for good: one
// that is being restarted has not.
func (p *planner) over(c *ContainerState) bool {
	return c.Phase == PhaseRemoved || c.ended() && !p.Busy[Step{Container: c.Name}.subject()]
}

func (p *planner) advanceStopping() {
	p.s.advance(model.TaskStopping)
	if p.s.StoppingAt == nil {
		p.s.StoppingAt = new(p.Now)
	}
}

func (p *planner) planContainerStop(c *ContainerState, def *model.ContainerDefinition) {
	switch {
	case c.SignalledAt == nil:
		if p.mayStop(c.Name) {
			p.step(Step{Kind: StepSignal, Container: c.Name})
		}
	case c.KilledAt == nil:
		deadline := c.SignalledAt.Add(seconds(def.StopTimeout, defaultStopTimeout))
		if p.Now.Before(deadline) {
			p.wake(deadline)
			return
		}
		p.step(Step{Kind: StepKill, Container: c.Name})
	}
}
