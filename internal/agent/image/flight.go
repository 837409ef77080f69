package image

import (
	"context"
	"sync"
	"time"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/model"
)

const (
	// progressEvery is how often one who waits is told how far an image has come, when that has changed.
	progressEvery = time.Second
	// progressAgain is after how many of those it is told again although nothing has: a report may have been superseded.
	progressAgain = 10
)

// flights lets concurrent callers share one piece of work. Unlike x/sync's singleflight, the work belongs to nobody in
// particular: it goes on while anybody waits and its context ends when the last one has gone.
type flights struct {
	mu  sync.Mutex
	all map[string]*flight
}

type flight struct {
	cancel   context.CancelFunc
	done     chan struct{}
	image    runtime.Image
	err      error
	progress progress

	owner   *flights
	waiting map[*asker]bool // guarded by owner.mu
}

// asker is one who waits for an image.
type asker struct {
	taskID, container string
	progress          func(model.PullProgress)
}

// work makes an image available. It may ask the flight in whose name.
type work func(context.Context, *flight) (runtime.Image, error)

// do returns the result of work for key, from a piece of work in progress when there is one.
func (f *flights) do(ctx context.Context, key string, who *asker, work work) (runtime.Image, error) {
	fl := f.join(ctx, key, who, work)
	if err := fl.wait(ctx, who); err == nil {
		return fl.image, fl.err
	}
	f.mu.Lock()
	delete(fl.waiting, who)
	abandoned := len(fl.waiting) == 0
	if abandoned && f.all[key] == fl {
		delete(f.all, key) // the next caller starts anew instead of joining what is being given up
	}
	f.mu.Unlock()
	if abandoned {
		fl.cancel()
	}
	return runtime.Image{}, ctx.Err()
}

// join takes part in the work for key, and begins it when nobody has.
func (f *flights) join(ctx context.Context, key string, who *asker, work work) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl, ok := f.all[key]
	if !ok {
		shared, cancel := context.WithCancel(context.WithoutCancel(ctx))
		fl = &flight{owner: f, cancel: cancel, done: make(chan struct{}), waiting: map[*asker]bool{}}
		if f.all == nil {
			f.all = map[string]*flight{}
		}
		f.all[key] = fl
		go func() {
			fl.image, fl.err = work(shared, fl)
			f.forget(key, fl)
			cancel()
			close(fl.done)
		}()
	}
	fl.waiting[who] = true
	return fl
}

func (f *flights) forget(key string, fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all[key] == fl {
		delete(f.all, key)
	}
}

// wait returns nil when the work is done, or ctx's error. It tells who waits how far the work has come.
func (fl *flight) wait(ctx context.Context, who *asker) error {
	var tick <-chan time.Time
	if who.progress != nil {
		ticker := time.NewTicker(progressEvery)
		defer ticker.Stop()
		tick = ticker.C
	}
	var told model.PullProgress
	for unchanged := 0; ; {
		select {
		case <-fl.done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-tick:
		}
		now := fl.progress.snapshot()
		if unchanged++; now == told && unchanged < progressAgain || now == (model.PullProgress{}) {
			continue
		}
		told, unchanged = now, 0
		who.progress(now)
	}
}

// asker is one of those who wait now. The first of them may be gone, and its task with it.
func (fl *flight) asker() (asker, bool) {
	fl.owner.mu.Lock()
	defer fl.owner.mu.Unlock()
	for who := range fl.waiting {
		if who.taskID != "" {
			return *who, true
		}
	}
	return asker{}, false
}
