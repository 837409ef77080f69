package task

import (
	"time"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/model"
)

// Event is something that happened to a task. Exactly the members that belong
// to its Kind are set.
type Event struct {
	Kind      EventKind
	At        time.Time
	Container string

	Path    string                 // attached: the namespace; prepared: the cgroup
	Address string                 // connected: the container's
	Ports   []model.NetworkBinding // connected: those that lead to it
	Image   *runtime.Image         // pulled
	Status  *runtime.Status        // started: as the runtime describes it
	Exit    *runtime.Exit          // exited
	Restart int                    // started: the number of the restart, 0 at first
	Reason  string                 // failed: the words that the user sees
	Check   *checkResult           // checked
}

// EventKind names what happened.
type EventKind string

// The events.
const (
	EventAttached  EventKind = "attached"
	EventPrepared  EventKind = "prepared"
	EventFetched   EventKind = "fetched"
	EventPulling   EventKind = "pulling"
	EventPulled    EventKind = "pulled"
	EventCreated   EventKind = "created"
	EventConnected EventKind = "connected"
	EventStarted   EventKind = "started"
	EventExited    EventKind = "exited"
	EventChecked   EventKind = "checked"
	EventSignalled EventKind = "signalled"
	EventKilled    EventKind = "killed"
	EventRemoved   EventKind = "removed"
	EventReleased  EventKind = "released"
	// EventFailed says that a container can never start, or with no container
	// that the task cannot.
	EventFailed EventKind = "failed"
)

// oomReason is what the container's reason says after the kernel killed it for
// want of memory (behaviour/task-definitions.md §5.3).
const oomReason = "OutOfMemoryError: Container killed due to memory usage"

// Apply folds an event into the state. It is a pure function, and applying an
// event again changes nothing that matters.
func Apply(a *model.Assignment, s State, e Event) State {
	s = s.clone()
	if e.Container == "" {
		applyTask(&s, e)
		return s
	}
	c := s.container(e.Container)
	def, ok := a.TaskDefinition.Container(e.Container)
	if c == nil || !ok {
		return s
	}
	applyContainer(&s, c, def, e)
	return s
}

func applyTask(s *State, e Event) {
	switch e.Kind { //nolint:exhaustive // the others need nothing here
	case EventAttached:
		s.Attached, s.NetNSPath = true, e.Path
		s.connected(e.At)
	case EventPrepared:
		s.Prepared, s.CgroupPath = true, e.Path
	case EventFetched:
		s.Fetched = true
	case EventReleased:
		s.Released = true
	case EventFailed:
		if s.StopCode == "" {
			s.StopCode, s.StoppedReason = model.StopTaskFailedToStart, truncate(e.Reason)
		}
	}
}

// connected notes when the task was first connected. Images are looked for
// while the interface is being made, and AWS's connectivityAt is never later
// than its pullStartedAt.
func (s *State) connected(at time.Time) {
	if s.ConnectivityAt == nil {
		s.ConnectivityAt = new(at)
	}
}

func applyContainer(s *State, c *ContainerState, def *model.ContainerDefinition, e Event) {
	switch e.Kind { //nolint:exhaustive // the others need nothing here
	case EventPulling:
		s.connected(e.At)
		if s.PullStartedAt == nil {
			s.PullStartedAt = new(e.At)
		}
	case EventPulled:
		c.Image = e.Image
		c.Phase = max(c.Phase, PhasePulled)
		s.PullStoppedAt = new(e.At)
	case EventCreated:
		c.Phase = max(c.Phase, PhaseCreated)
	case EventConnected:
		c.Connected, c.Address, c.Bindings = true, e.Address, e.Ports
	case EventStarted:
		applyStarted(c, e)
	case EventExited:
		applyExited(s, c, def, e)
	case EventChecked:
		if c.Phase == PhaseRunning && c.StartedAt != nil && def.HealthCheck != nil {
			c.Health = c.Health.next(*def.HealthCheck, e.At.Sub(*c.StartedAt), *e.Check)
		}
	case EventSignalled:
		if c.SignalledAt == nil {
			c.SignalledAt = new(e.At)
		}
	case EventKilled:
		c.KilledAt = new(e.At)
	case EventRemoved:
		c.Phase, c.PID = PhaseRemoved, 0
	case EventFailed:
		c.Phase, c.PID, c.Final = max(c.Phase, PhaseExited), 0, true
		c.Reason = truncate(e.Reason)
	}
}

func applyStarted(c *ContainerState, e Event) {
	if c.Phase == PhaseRemoved || e.Restart < c.Restarts {
		return
	}
	if c.Phase >= PhaseRunning && c.RanOnce && e.Restart == c.Restarts {
		return // known already
	}
	c.Phase, c.RanOnce, c.Restarts = PhaseRunning, true, e.Restart
	c.PID, c.StartedAt = e.Status.PID, new(e.Status.StartedAt)
	if e.Status.StartedAt.IsZero() {
		c.StartedAt = new(e.At)
	}
	c.ExitCode, c.ExitedAt, c.Reason, c.Health = nil, nil, "", Health{}
}

func applyExited(s *State, c *ContainerState, def *model.ContainerDefinition, e Event) {
	if c.Phase != PhaseRunning {
		return
	}
	code := int32(e.Exit.Code) //nolint:gosec // exit codes are at most 255
	c.Phase, c.PID, c.ExitCode, c.ExitedAt = PhaseExited, 0, &code, new(e.Exit.At)
	if e.Exit.OOMKilled {
		c.Reason = oomReason
	}
	if e.Exit.Lost {
		// Nobody knows the exit code, so no restart policy can judge it.
		c.Final = true
		c.Reason = "ContainerVanishedError: the container's end was not seen: its host restarted or its supervisor was killed"
	}
	if def.IsEssential() && s.ExecutionStoppedAt == nil && !restartable(def, c) {
		s.ExecutionStoppedAt = new(e.Exit.At)
	}
}
