package fake

import (
	"context"
	"errors"
	"time"
)

// Verb names a method of runtime.Runtime.
type Verb string

// The verbs.
const (
	EnsureImage Verb = "EnsureImage"
	PrepareTask Verb = "PrepareTask"
	Create      Verb = "Create"
	Start       Verb = "Start"
	Restart     Verb = "Restart"
	Status      Verb = "Status"
	List        Verb = "List"
	Wait        Verb = "Wait"
	Kill        Verb = "Kill"
	Remove      Verb = "Remove"
	RemoveTask  Verb = "RemoveTask"
	Exec        Verb = "Exec"
	Attach      Verb = "Attach"
	Stats       Verb = "Stats"
	Info        Verb = "Info"
	Purge       Verb = "Purge"
)

// Verbs are all verbs, for tests that strike at each.
var Verbs = [...]Verb{
	EnsureImage, PrepareTask, Create, Start, Restart, Status, List, Wait, Kill, Remove, RemoveTask, Exec, Attach, Stats, Info, Purge,
}

// Mode is what a fault does.
type Mode int

// The modes. Before and after refer to the verb's effect on the World.
const (
	FailBefore  Mode = iota // return Err; nothing has happened
	FailAfter               // return Err although it has happened, as when an answer is lost
	HangBefore              // block until the context ends or the agent crashes; nothing has happened
	HangAfter               // the same, although it has happened
	CrashBefore             // the agent dies; nothing has happened
	CrashAfter              // the agent dies; it has happened
)

// String names the mode.
func (m Mode) String() string {
	return [...]string{"fail before", "fail after", "hang before", "hang after", "crash before", "crash after"}[m]
}

func (m Mode) after() bool { return m == FailAfter || m == HangAfter || m == CrashAfter }

// Fault strikes one call.
type Fault struct {
	Verb Verb
	// ID is the container, task or image reference it strikes; empty is any.
	ID string
	// Skip is how many matching calls pass unharmed first.
	Skip int
	Mode Mode
	// Err is what the failing modes return; nil is ErrInjected.
	Err error
}

// ErrInjected is the error of a fault that names none.
var ErrInjected = errors.New("fake: injected fault")

// ErrCrashed is returned by every verb of a Runtime whose agent has crashed.
var ErrCrashed = errors.New("fake: agent crashed")

// take finds the fault that strikes this call and spends it. The world is locked.
func (w *World) take(verb Verb, id string) *Fault {
	for i, f := range w.faults {
		if f.Verb != verb || (f.ID != "" && f.ID != id) {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		w.faults = append(w.faults[:i:i], w.faults[i+1:]...)
		return f
	}
	return nil
}

// do runs one verb of one life: latency, then the fault's part before, the effect, the fault's part after. The effect
// runs with the world locked and must not block.
func (r *Runtime) do(ctx context.Context, verb Verb, id string, effect func() error) error {
	err := r.attempt(ctx, verb, id, effect)
	w := r.world
	w.mu.Lock()
	defer w.mu.Unlock()
	call := Call{At: time.Now(), Verb: verb, ID: id, Life: r.life}
	if err != nil {
		call.Err = err.Error()
	}
	w.history = append(w.history, call)
	return err
}

func (r *Runtime) attempt(ctx context.Context, verb Verb, id string, effect func() error) error {
	w := r.world
	w.mu.Lock()
	fault, delay := w.take(verb, id), w.latency(verb, id)
	w.mu.Unlock()

	if err := r.sleep(ctx, delay); err != nil {
		return err
	}
	if fault != nil && !fault.Mode.after() {
		return r.strike(ctx, fault)
	}
	w.mu.Lock()
	err := effect()
	w.mu.Unlock()
	if fault != nil {
		return r.strike(ctx, fault)
	}
	return err
}

// strike does what the fault does to the caller; it never returns nil.
func (r *Runtime) strike(ctx context.Context, f *Fault) error {
	switch f.Mode { //nolint:exhaustive // the others need nothing here
	case HangBefore, HangAfter:
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.crashed:
			return ErrCrashed
		}
	case CrashBefore, CrashAfter:
		r.Crash()
		return ErrCrashed
	}
	if f.Err != nil {
		return f.Err
	}
	return ErrInjected
}

// sleep waits for d, or returns early with the reason to.
func (r *Runtime) sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-r.crashed:
		return ErrCrashed
	case <-ctx.Done():
		return ctx.Err()
	default:
	}
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-r.crashed:
		return ErrCrashed
	case <-ctx.Done():
		return ctx.Err()
	}
}
