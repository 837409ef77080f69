package task

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/model"
)

// TestMachine runs Next and Apply in a world without goroutines, in which
// every step may succeed, fail or be forgotten, processes end when they like,
// and the agent dies at any moment. After some time the user stops the task,
// and it must then end whatever happens.
func TestMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		for range rapid.IntRange(0, 60).Draw(t, "moves") {
			m.move()
		}
		m.a.Task.DesiredStatus = model.TaskStopped
		m.decide()
		// From here the world only goes forward: no more crashes and failures.
		for i := 0; m.s.Status != model.TaskStopped; i++ {
			if i > 200 {
				t.Fatalf("the task does not end: %+v", m.s)
			}
			m.forward()
		}
		m.checkEnd()
	})
}

// machine is a task, its host and the oracle that watches both.
type machine struct {
	t   *rapid.T
	a   model.Assignment
	s   State // what the agent knows
	now time.Time

	saved State // what its journal knows, which may be behind

	busy  map[string]Step // what the agent does
	plan  Plan
	heard bool // the control plane was heard by this agent

	// The host, which outlives agents.
	real map[string]*process
}

// process is a container as the host has it.
type process struct {
	created, running bool
	connected        bool // on the bridge network
	ended            bool
	restarts, starts int
	exit             runtime.Exit
	told             bool // the agent was told of the exit
	removed          bool
	// unknown: an agent died before its journal knew of the container. It is
	// found again by Create and Start, or else just removed.
	unknown   bool
	startedAt time.Time
}

func newMachine(t *rapid.T) *machine {
	m := &machine{t: t, a: drawTask(t), now: epoch, busy: map[string]Step{}, real: map[string]*process{}, heard: true}
	for _, def := range m.a.TaskDefinition.ContainerDefinitions {
		m.real[def.Name] = &process{}
	}
	m.s = NewState(&m.a)
	m.saved = m.s
	m.decide()
	return m
}

// drawTask makes a task whose containers depend only on earlier ones.
func drawTask(t *rapid.T) model.Assignment {
	a := model.Assignment{Task: model.Task{ID: "t", ARN: "arn:task/t", DesiredStatus: model.TaskRunning}}
	a.TaskDefinition.NetworkMode = rapid.SampledFrom([]string{modeAwsvpc, modeBridge, modeHost, modeNone}).Draw(t, "mode")
	if a.TaskDefinition.NetworkMode == modeAwsvpc {
		a.NetworkInterface = &model.AssignedNetwork{}
	}
	n := rapid.IntRange(1, 4).Draw(t, "containers")
	for i := range n {
		essential := i == n-1 || rapid.Bool().Draw(t, "essential")
		def := model.ContainerDefinition{Name: fmt.Sprintf("c%d", i), Essential: &essential}
		for j := range i {
			if !rapid.Bool().Draw(t, "depends") {
				continue
			}
			conditions := []string{model.ConditionStart, model.ConditionHealthy}
			if !a.TaskDefinition.ContainerDefinitions[j].IsEssential() {
				conditions = append(conditions, model.ConditionComplete, model.ConditionSuccess)
			}
			def.DependsOn = append(def.DependsOn, model.ContainerDependency{
				ContainerName: fmt.Sprintf("c%d", j), Condition: rapid.SampledFrom(conditions).Draw(t, "condition"),
			})
		}
		if i > 0 && modeOf(&a) == modeBridge && rapid.Bool().Draw(t, "links") {
			def.Links = []string{fmt.Sprintf("c%d:alias", rapid.IntRange(0, i-1).Draw(t, "link"))}
		}
		if modeOf(&a) == modeBridge {
			alone := rapid.Bool().Draw(t, "without a network")
			def.DisableNetworking = &alone
		}
		retries, none := int32(2), int32(0)
		def.HealthCheck = &model.HealthCheck{Command: []string{"CMD"}, Retries: &retries}
		if rapid.Bool().Draw(t, "policy") {
			period := int32(rapid.IntRange(0, 20).Draw(t, "period"))
			def.RestartPolicy = &model.ContainerRestartPolicy{Enabled: true, RestartAttemptPeriod: &period, IgnoredExitCodes: []int32{3}}
		}
		if rapid.Bool().Draw(t, "limited") {
			limit := int32(rapid.IntRange(1, 30).Draw(t, "startTimeout"))
			def.StartTimeout = &limit
		}
		if rapid.Bool().Draw(t, "impatient") {
			def.StopTimeout = &none
		}
		a.TaskDefinition.ContainerDefinitions = append(a.TaskDefinition.ContainerDefinitions, def)
	}
	return a
}

// decide asks Next, checks its answer, and begins every step.
func (m *machine) decide() {
	subjects := map[string]bool{}
	for subject := range m.busy {
		subjects[subject] = true
	}
	before := m.s
	m.plan = Next(Input{Now: m.now, Assignment: &m.a, State: m.s, Busy: subjects, MayStart: m.heard})
	m.take(m.plan.State)
	if m.s.StopCode != "" && before.StopCode != "" && m.s.StopCode != before.StopCode {
		m.t.Fatalf("the stop code went from %s to %s", before.StopCode, m.s.StopCode)
	}
	for _, step := range m.plan.Steps {
		if _, busy := m.busy[step.subject()]; busy {
			m.t.Fatalf("step %v on what a step works on", step)
		}
		m.busy[step.subject()] = step
		if step.Kind == StepRemove || step.Kind == StepRelease {
			m.saved = m.s // these wait for the journal
		}
		m.checkStep(step)
	}
	m.checkStall()
}

// take takes a state over; the status must not go back.
func (m *machine) take(s State) {
	if model.TaskStatusRank(s.Status) < model.TaskStatusRank(m.s.Status) {
		m.t.Fatalf("the status went from %s to %s", m.s.Status, s.Status)
	}
	m.s = s
}

func (m *machine) apply(e Event) {
	e.At = m.now
	m.take(Apply(&m.a, m.s, e))
}

// checkStep holds a step against what the host really has.
func (m *machine) checkStep(step Step) {
	switch step.Kind { //nolint:exhaustive // the others need nothing here
	case StepSignal:
		for _, def := range m.a.TaskDefinition.ContainerDefinitions {
			for _, dep := range dependencies(&def) {
				if dep.ContainerName == step.Container && m.real[def.Name].running && !m.real[def.Name].unknown {
					m.t.Fatalf("%s gets its stop signal while %s, which depends on it, runs", step.Container, def.Name)
				}
			}
		}
	case StepAttach, StepPrepare, StepPull, StepCreate, StepConnect, StepStart:
		if !m.heard {
			m.t.Fatalf("%s begins before the control plane was heard", step.Kind)
		}
		if def, ok := m.a.TaskDefinition.Container(step.Container); ok && step.Kind == StepConnect && modeIn(&m.a, def) != modeBridge {
			m.t.Fatalf("%s in network mode %s is connected", step.Container, modeIn(&m.a, def))
		}
	case StepRelease:
		for name, p := range m.real {
			if p.running || p.created && !p.removed {
				m.t.Fatalf("the network is released while %s exists", name)
			}
		}
	}
}

// checkStall fails when nothing can ever happen again and the task has not
// ended.
func (m *machine) checkStall() {
	if m.s.Status == model.TaskStopped || len(m.busy) > 0 || !m.plan.WakeAt.IsZero() || !m.heard {
		return
	}
	for _, p := range m.real {
		if p.running || p.ended && !p.told {
			return
		}
	}
	m.t.Fatalf("nothing will ever happen to the task again: %+v", m.s)
}

// move is one thing that happens.
func (m *machine) move() {
	switch rapid.SampledFrom([]string{"forward", "forward", "forward", "forward", "fail", "exit", "check", "wait", "crash", "hear", "save"}).Draw(m.t, "move") {
	case "forward":
		m.forward()
		return
	case "fail":
		if step, ok := m.pick(); ok && mayFail(step) {
			delete(m.busy, step.subject())
			if rapid.Bool().Draw(m.t, "although done") {
				m.effect(step)
				if step.Kind == StepStart || step.Kind == StepRestart {
					m.exit(step.Container, 137) // the engine kills what it could not start
					m.real[step.Container].told = true
				}
			}
			m.apply(Event{Kind: EventFailed, Container: step.Container, Reason: "it failed"})
		}
	case "exit":
		if name, ok := m.running(); ok {
			m.exit(name, rapid.SampledFrom([]uint32{0, 1, 3}).Draw(m.t, "code"))
		}
	case "check":
		if name, ok := m.running(); ok && m.s.container(name).Phase == PhaseRunning {
			m.apply(Event{Kind: EventChecked, Container: name, Check: &checkResult{OK: rapid.Bool().Draw(m.t, "ok")}})
		}
	case "wait":
		m.now = m.now.Add(time.Duration(rapid.IntRange(1, 40).Draw(m.t, "seconds")) * time.Second)
	case "crash":
		m.crash()
	case "hear":
		m.heard = true
	case "save":
		m.saved = m.s
	}
	m.decide()
}

func mayFail(s Step) bool {
	return !slices.Contains([]StepKind{StepSignal, StepKill, StepRemove, StepRelease}, s.Kind)
}

// forward finishes a step, or tells an exit, or lets time pass until the
// machine wants to be asked.
func (m *machine) forward() {
	m.heard = m.heard || m.a.Task.DesiredStatus == model.TaskStopped
	step, busy := m.pick()
	switch {
	case busy:
		delete(m.busy, step.subject())
		m.apply(m.effect(step))
	case m.tell():
	case !m.plan.WakeAt.IsZero():
		m.now = m.plan.WakeAt
	}
	m.decide()
}

func (m *machine) pick() (Step, bool) {
	if len(m.busy) == 0 {
		return Step{}, false
	}
	return m.busy[rapid.SampledFrom(slices.Sorted(maps.Keys(m.busy))).Draw(m.t, "step")], true
}

func (m *machine) running() (string, bool) {
	var names []string
	for name, p := range m.real {
		if p.running {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "", false
	}
	slices.Sort(names)
	return rapid.SampledFrom(names).Draw(m.t, "process"), true
}

// exit ends a process; the agent learns it later.
func (m *machine) exit(name string, code uint32) {
	p := m.real[name]
	p.running, p.ended, p.told = false, true, false
	p.exit = runtime.Exit{Code: code, At: m.now}
}

// tell tells the agent of one exit that it may know about.
func (m *machine) tell() bool {
	for _, name := range slices.Sorted(maps.Keys(m.real)) {
		if p := m.real[name]; p.ended && !p.told && m.s.container(name).Phase == PhaseRunning {
			p.told = true
			m.apply(Event{Kind: EventExited, Container: name, Exit: &p.exit})
			return true
		}
	}
	return false
}

// effect is what a step does to the host, and the event that says so. It may
// have been done before by an agent that died.
func (m *machine) effect(step Step) Event {
	p := m.real[step.Container]
	e := Event{Container: step.Container, Restart: step.Restart}
	switch step.Kind { //nolint:exhaustive // the others need nothing here
	case StepAttach:
		e.Kind = EventAttached
	case StepPrepare:
		e.Kind = EventPrepared
	case StepPull:
		e.Kind, e.Image = EventPulled, &runtime.Image{}
	case StepCreate:
		e.Kind = EventCreated
		p.created = true
	case StepConnect:
		e.Kind, e.Address = EventConnected, "172.17.0.4"
		p.connected = true
	case StepStart, StepRestart:
		e.Kind = EventStarted
		m.start(p, step)
		e.Status = &runtime.Status{PID: 1, StartedAt: p.startedAt, Restarts: p.restarts}
	case StepSignal:
		e.Kind = EventSignalled
		if p.running && rapid.Bool().Draw(m.t, "obeys") {
			m.exit(step.Container, 143)
		}
	case StepKill:
		e.Kind = EventKilled
		if p.running {
			m.exit(step.Container, 137)
		}
	case StepRemove:
		e.Kind = EventRemoved
		if p.running && !p.unknown {
			m.t.Fatalf("%s is removed while it runs", step.Container)
		}
		p.removed, p.running = true, false
	case StepRelease:
		e.Kind = EventReleased
	}
	return e
}

// start runs a process as the runtime's contract says, and counts.
func (m *machine) start(p *process, step Step) {
	if !p.created || p.removed {
		m.t.Fatalf("%s is started but does not exist", step.Container)
	}
	if p.starts > 0 && step.Restart <= p.restarts {
		p.unknown = false
		return // running or ended already: adopted
	}
	if p.running {
		m.t.Fatalf("%s is restarted while it runs", step.Container)
	}
	p.starts++
	p.restarts = step.Restart
	p.running, p.ended, p.told, p.startedAt = true, false, false, m.now
	def, _ := m.a.TaskDefinition.Container(step.Container)
	if modeIn(&m.a, def) == modeBridge && !p.connected {
		m.t.Fatalf("%s starts without its network", step.Container)
	}
	if p.starts > 1 && (def.RestartPolicy == nil || !def.RestartPolicy.Enabled) {
		m.t.Fatalf("%s was started %d times without a restart policy", step.Container, p.starts)
	}
	p.unknown = false
	for _, dep := range dependencies(def) {
		if m.real[dep.ContainerName].starts == 0 {
			m.t.Fatalf("%s starts before %s", step.Container, dep.ContainerName)
		}
	}
}

// crash ends the agent. The steps under way were taken or were not; the next
// agent begins with what the journal knows and adopts what runs, as
// runner.adopt does.
func (m *machine) crash() {
	for _, subject := range slices.Sorted(maps.Keys(m.busy)) {
		if rapid.Bool().Draw(m.t, "done") {
			m.effect(m.busy[subject])
		}
	}
	clear(m.busy)
	m.heard = false
	m.s = m.saved
	for i, c := range slices.Clone(m.s.Containers) {
		p := m.real[c.Name]
		p.unknown = p.unknown || c.Phase < PhaseCreated && p.starts > 0
		p.told = c.Phase >= PhaseExited
		if c.Phase < PhaseRunning { // it is connected again, as the host may have been restarted
			m.s.Containers[i].Connected = false
		}
		restarted := c.Phase == PhaseExited && c.RanOnce && m.a.TaskDefinition.ContainerDefinitions[i].RestartPolicy != nil && p.restarts > c.Restarts
		if c.Phase != PhaseCreated && c.Phase != PhaseRunning && !restarted || p.starts == 0 {
			continue
		}
		m.apply(Event{Kind: EventStarted, Container: c.Name, Restart: p.restarts, Status: &runtime.Status{PID: 1, StartedAt: p.startedAt}})
		if p.ended {
			p.told = true
			m.apply(Event{Kind: EventExited, Container: c.Name, Exit: &p.exit})
		}
	}
}

// checkEnd looks at a task that has stopped.
func (m *machine) checkEnd() {
	s := m.s
	if len(m.plan.Steps) > 0 || !m.plan.WakeAt.IsZero() {
		m.t.Fatalf("a stopped task has plans: %+v", m.plan)
	}
	var order []string
	last := time.Time{}
	for _, stamp := range []struct {
		name string
		at   *time.Time
	}{{"StartedAt", s.StartedAt}, {"StoppingAt", s.StoppingAt}, {"StoppedAt", s.StoppedAt}} {
		if stamp.at == nil {
			continue
		}
		order = append(order, stamp.name)
		if stamp.at.Before(last) {
			m.t.Fatalf("the times of %s do not follow each other", strings.Join(order, ", "))
		}
		last = *stamp.at
	}
	if s.StoppedAt == nil {
		m.t.Fatal("a stopped task has no stoppedAt")
	}
	if s.StartedAt != nil && s.ExecutionStoppedAt == nil {
		m.t.Fatal("a task that has run has no executionStoppedAt")
	}
	for name, p := range m.real {
		if p.running || p.created && !p.removed {
			m.t.Fatalf("%s is left behind", name)
		}
		c := s.container(name)
		if c.Phase != PhaseRemoved {
			m.t.Fatalf("%s is not known to be removed", name)
		}
	}
}
