package task

import (
	"context"
	"log/slog"
	"maps"
	"reflect"
	"sync"
	"time"

	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/model"
)

// saver writes states to the journal behind the runners' backs and reports
// them when they are durable. Many tasks share one write, and only the newest
// state of each is written.
type saver struct {
	journal Journal
	report  func(string, model.TaskObserved)
	log     *slog.Logger
	wake    chan struct{}

	mu      sync.Mutex
	pending map[string]*save
	durable map[string]model.TaskObserved
}

type save struct {
	record Record
	done   chan struct{} // closed when this state, or a newer one, is durable and reported
}

func newSaver(j Journal, report func(string, model.TaskObserved), log *slog.Logger) *saver {
	return &saver{
		journal: j, report: report, log: log,
		wake:    make(chan struct{}, 1),
		pending: map[string]*save{},
		durable: map[string]model.TaskObserved{},
	}
}

// put asks for a state to be written; the channel is closed when it is.
func (v *saver) put(r Record) <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	p, ok := v.pending[r.Assignment.Task.ID]
	if !ok {
		p = &save{done: make(chan struct{})}
		v.pending[r.Assignment.Task.ID] = p
	}
	p.record = r
	select {
	case v.wake <- struct{}{}:
	default:
	}
	return p.done
}

// drop forgets a task that has ended.
func (v *saver) drop(taskID string) error {
	v.mu.Lock()
	delete(v.pending, taskID)
	delete(v.durable, taskID)
	v.mu.Unlock()
	return v.journal.Delete(taskID)
}

func (v *saver) reports() map[string]model.TaskObserved {
	v.mu.Lock()
	defer v.mu.Unlock()
	return maps.Clone(v.durable)
}

func (v *saver) run(ctx context.Context) {
	for {
		select {
		case <-v.wake:
		case <-ctx.Done():
			return
		}
		v.mu.Lock()
		batch := v.pending
		v.pending = map[string]*save{}
		v.mu.Unlock()
		v.write(ctx, batch)
	}
}

// write makes a batch durable. A journal that cannot be written (the disk is
// full) is tried again: nothing is reported and nothing removed meanwhile.
func (v *saver) write(ctx context.Context, batch map[string]*save) {
	records := make([]Record, 0, len(batch))
	for _, s := range batch {
		records = append(records, s.record)
	}
	wait := 100 * time.Millisecond
	for len(records) > 0 {
		err := v.journal.Put(records)
		if err == nil {
			break
		}
		v.log.ErrorContext(ctx, "the journal of tasks cannot be written", telemetry.Error, err)
		if !pause(ctx, wait) {
			return
		}
		wait = min(2*wait, 10*time.Second)
	}
	for id, s := range batch {
		observed := s.record.State.Observed(&s.record.Assignment)
		v.mu.Lock()
		before, known := v.durable[id]
		v.durable[id] = observed
		v.mu.Unlock()
		// Once, and before what waits for it goes on: that reports how far a pull
		// is under the same number, which this would take back.
		if !known || !reflect.DeepEqual(before, observed) {
			v.report(id, observed)
		}
		close(s.done)
	}
}

// pause waits and reports whether ctx still lives.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
