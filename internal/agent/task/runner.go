package task

import (
	"context"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/model"
)

// message is something that a runner must consider. Exactly one member is set
// in most of them.
type message struct {
	event   *Event
	done    string      // the subject of a step that has ended
	desired *model.Task // what the control plane wants now
	mayMake bool
	forget  bool // the control plane does not know the task
	acked   uint64
	// progress of an image that is being pulled
	progress *progress
}

// runner owns one task: it alone reads and writes the fields below, in run.
type runner struct {
	e    *Engine
	id   string
	log  *slog.Logger
	view atomic.Pointer[View]

	mail mailbox

	a       model.Assignment
	s       State
	busy    map[string]bool
	awaits  map[string]context.CancelFunc // of the steps under way that a task that stops gives up, by subject
	runs    map[string]*watchedRun        // of the containers that run
	known   <-chan struct{}               // closed when the journal knows the task
	saved   <-chan struct{}               // closed when the newest state is durable
	serving map[string]context.CancelFunc // of the endpoints, by container, or "" for the task's
	mayMake bool
	orphan  bool
	acked   uint64
	pulls   map[string]model.PullProgress // of images that are being pulled, by container
	told    <-chan struct{}               // the state with which pulls were reported last, by its channel

	wg sync.WaitGroup
}

func newRunner(e *Engine, a model.Assignment, s State) *runner {
	r := &runner{
		e: e, id: a.Task.ID, a: a, s: s,
		log:     e.cfg.Log.With(telemetry.TaskID, a.Task.ID),
		mail:    mailbox{wake: make(chan struct{}, 1)},
		busy:    map[string]bool{},
		awaits:  map[string]context.CancelFunc{},
		serving: map[string]context.CancelFunc{},
		pulls:   map[string]model.PullProgress{},
		runs:    map[string]*watchedRun{},
		mayMake: e.mayMake,
	}
	r.publish()
	return r
}

func (r *runner) send(m message) { r.mail.put(m) }

// run is the life of the runner. It ends when the task is over and the control
// plane knows it, or when the agent ends.
func (r *runner) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer r.wg.Wait()
	defer cancel()
	r.known = r.e.saver.put(r.record())
	r.saved = r.known
	r.adopt(ctx)
	for {
		wakeAt := r.decide(ctx)
		if r.over() {
			// What the saver still writes would bring the record back.
			if !await(ctx, r.saved) {
				return
			}
			if err := r.e.saver.drop(r.id); err != nil {
				r.log.ErrorContext(ctx, "the journal keeps a task that has ended", telemetry.Error, err)
			}
			r.e.forget(r)
			return
		}
		if !r.wait(ctx, wakeAt) {
			return
		}
	}
}

func (r *runner) over() bool {
	return r.s.Status == model.TaskStopped && len(r.busy) == 0 && (r.orphan || r.acked >= r.s.Seq)
}

// decide asks Next and begins what it says.
func (r *runner) decide(ctx context.Context) time.Time {
	plan := Next(Input{Now: time.Now(), Assignment: &r.a, State: r.s, Busy: r.busy, MayStart: r.mayMake})
	r.commit(plan.State)
	r.pullingStill(ctx)
	r.watch(ctx)
	if r.s.StopCode != "" || r.a.Task.DesiredStatus == model.TaskStopped {
		for _, cancel := range r.awaits {
			cancel()
		}
	}
	for _, step := range plan.Steps {
		r.begin(ctx, step)
	}
	return plan.WakeAt
}

// commit takes a new state over and hands it to the journal when it differs
// from the last; a difference that users can see has a new sequence number.
func (r *runner) commit(s State) {
	s.Seq = r.s.Seq
	if reflect.DeepEqual(s, r.s) {
		return
	}
	if !reflect.DeepEqual(s.Observed(&r.a), r.s.Observed(&r.a)) || s.Seq == 0 {
		s.Seq++
	}
	r.s = s
	r.publish()
	r.saved = r.e.saver.put(r.record())
}

func (r *runner) record() Record { return Record{Assignment: r.a, State: r.s} }

func (r *runner) publish() {
	a := r.a
	r.view.Store(&View{Assignment: &a, State: r.s})
}

// wait blocks until there is something to consider and takes it in. It
// reports whether the agent still lives.
func (r *runner) wait(ctx context.Context, wakeAt time.Time) bool {
	var timer <-chan time.Time
	if !wakeAt.IsZero() {
		t := time.NewTimer(time.Until(wakeAt))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-r.mail.wake:
		for _, m := range r.mail.take() {
			r.consider(ctx, m)
		}
	case <-timer:
	case <-ctx.Done():
		return false
	}
	return ctx.Err() == nil
}

func (r *runner) consider(ctx context.Context, m message) {
	if m.done != "" {
		delete(r.busy, m.done)
		delete(r.awaits, m.done)
	}
	if m.progress != nil {
		r.pulling(ctx, *m.progress)
	}
	if m.event != nil {
		delete(r.pulls, m.event.Container)
		r.commit(Apply(&r.a, r.s, *m.event))
	}
	if m.desired != nil {
		r.want(m.desired)
	}
	if m.mayMake {
		r.mayMake = true
	}
	if m.forget {
		r.orphan = true
		r.a.Task.DecideStop(time.Now(), model.StopTerminationNotice, "The control plane does not know the task.")
	}
	r.acked = max(r.acked, m.acked)
}

// want follows the control plane's desire, which never goes back to RUNNING.
func (r *runner) want(t *model.Task) {
	if t.DesiredStatus != model.TaskStopped || r.a.Task.DesiredStatus == model.TaskStopped {
		return
	}
	r.a.Task.DesiredStatus, r.a.Task.StopCode, r.a.Task.StoppedReason = t.DesiredStatus, t.StopCode, t.StoppedReason
	r.publish()
	r.saved = r.e.saver.put(r.record())
}

// mailbox is an unbounded queue: senders never block, so a runner that is
// being told things can never wait for one that tells.
type mailbox struct {
	mu    sync.Mutex
	queue []message
	wake  chan struct{}
}

func (b *mailbox) put(m message) {
	b.mu.Lock()
	b.queue = append(b.queue, m)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *mailbox) take() []message {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.queue
	b.queue = nil
	return out
}
