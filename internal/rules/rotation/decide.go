package rotation

import (
	"fmt"
	"slices"
	"time"

	"berth.dev/berth/internal/model"
)

// Limit is how long a rotation's task may run; AWS's functions end after 15
// minutes, and a task must be placed and its image pulled first.
const Limit = time.Hour

// The first pause after a failure and the longest; each is twice the one
// before. A task that nobody had room for is asked for sooner: nodes are away
// for a moment when their control plane starts again.
const (
	firstPause    = time.Minute
	unplacedPause = 5 * time.Second
	lastPause     = time.Hour
)

// Act is what is to be done for a secret.
type Act int

// The acts.
const (
	// Wait for a change, or until At.
	Wait Act = iota
	// Launch a task that makes Version.
	Launch
	// Complete the rotation: its version becomes current.
	Complete
	// Retry later, because of Reason.
	Retry
	// Stop the task, because of Reason.
	Stop
	// Forget a rotation that was cancelled.
	Forget
)

// Plan is one step.
type Plan struct {
	Act     Act
	Version string    // to make; empty: a new id
	Reason  string    // that users see
	At      time.Time // when to decide again; zero: when something changes
	// Unplaced is true of a Retry whose task was never made for want of room.
	Unplaced bool
}

// State is what a decision looks at.
type State struct {
	Secret *model.Secret
	// Task is the one that Secret.Rotation.TaskID names; nil: there is none any
	// more.
	Task *model.Task
	// Made is true when the version of the rotation in progress exists.
	Made bool
	Now  time.Time
}

// Decide says what the next step is.
func Decide(s State) Plan {
	r := s.Secret.Rotation
	switch {
	case r == nil:
		return Plan{}
	case r.TaskID != "":
		return s.running(r)
	case !r.Enabled:
		if r.VersionID != "" {
			return Plan{Act: Forget}
		}
		return Plan{}
	case s.Secret.DeletedAt != nil:
		return Plan{} // it goes on when the secret is restored
	case r.VersionID != "":
		if r.RetryAt != nil && r.RetryAt.After(s.Now) {
			return Plan{At: *r.RetryAt}
		}
		return Plan{Act: Launch, Version: r.VersionID}
	case r.NextAt == nil:
		return Plan{}
	case r.NextAt.After(s.Now):
		return Plan{At: *r.NextAt}
	}
	plan := Plan{Act: Launch}
	if s.Secret.Stages.Rotating() {
		plan.Version = s.Secret.Stages[model.StagePending] // what an earlier rotation has left
	}
	return plan
}

func (s State) running(r *model.SecretRotation) Plan {
	if s.Task == nil {
		if !r.Enabled {
			return Plan{Act: Forget}
		}
		return Plan{Act: Retry, Reason: "what became of the task is not known any more"}
	}
	if s.Task.Stopped() {
		switch reason := s.failure(r); {
		case !r.Enabled:
			return Plan{Act: Forget}
		case reason != "":
			return Plan{Act: Retry, Reason: reason}
		}
		return Plan{Act: Complete}
	}
	end := s.Task.CreatedAt.Add(Limit)
	switch {
	case s.Task.DesiredStatus == model.TaskStopped:
		return Plan{}
	case !r.Enabled:
		return Plan{Act: Stop, Reason: "Rotation of the secret was cancelled"}
	case !s.Now.Before(end):
		return Plan{Act: Stop, Reason: fmt.Sprintf("Rotation of the secret took longer than %s", Limit)}
	}
	return Plan{At: end}
}

// failure says why the stopped task has not rotated the secret; empty: it has.
func (s State) failure(r *model.SecretRotation) string {
	for i := range s.Task.Containers {
		if !s.Task.Containers[i].Essential {
			continue
		}
		c, found := s.Task.Observed.Container(s.Task.Containers[i].Name)
		switch {
		case !found || c.ExitCode == nil:
			return fmt.Sprintf("the task stopped: %s", s.stopped())
		case *c.ExitCode != 0:
			return fmt.Sprintf("container %s of the task exited with %d", c.Name, *c.ExitCode)
		}
	}
	if !s.Made || !slices.ContainsFunc(s.Secret.Stages.Of(r.VersionID), func(label string) bool {
		return label == model.StagePending || label == model.StageCurrent
	}) {
		return fmt.Sprintf("the task ended and stored no version %s with the label %s", r.VersionID, model.StagePending)
	}
	return ""
}

// stopped is why the task stopped, as users see it.
func (s State) stopped() string {
	for _, reason := range []string{s.Task.Observed.StoppedReason, s.Task.StoppedReason} {
		if reason != "" {
			return reason
		}
	}
	return "before it had an exit code"
}

// Apply makes the secret what it is after a plan was carried out. taskID is
// the task of a launch.
func Apply(s *model.Secret, p Plan, taskID string, now time.Time) {
	r := *s.Rotation
	switch p.Act {
	case Launch:
		r.VersionID, r.TaskID, r.RetryAt = p.Version, taskID, nil
	case Complete:
		s.Stages = s.Stages.Complete(r.VersionID)
		s.ChangedAt = now
		r.LastAt, r.NextAt = &now, Next(&r, now)
		r.VersionID, r.TaskID, r.Failure, r.Failures, r.RetryAt = "", "", "", 0, nil
	case Retry:
		r.TaskID, r.Failure = "", p.Reason
		if r.VersionID == "" {
			r.VersionID = p.Version
		}
		first := firstPause
		if p.Unplaced {
			first = unplacedPause
		}
		r.RetryAt = new(now.Add(pause(first, r.Failures)))
		r.Failures++
	case Forget:
		r.VersionID, r.TaskID, r.Failures, r.RetryAt = "", "", 0, nil
	default:
		return
	}
	s.Rotation = &r
}

// pause is how long to wait after so many failures before this one.
func pause(first time.Duration, failures int) time.Duration {
	p := first
	for ; failures > 0 && p < lastPause; failures-- {
		p *= 2
	}
	return min(p, lastPause)
}
