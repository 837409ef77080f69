package image

import (
	"context"
	"sync"

	"berth.dev/berth/internal/agent/runtime"
)

// flights lets concurrent callers share one piece of work. Unlike x/sync's singleflight, the work belongs to nobody in
// particular: it goes on while anybody waits and its context ends when the last one has gone.
type flights struct {
	mu  sync.Mutex
	all map[string]*flight
}

type flight struct {
	waiting int
	cancel  context.CancelFunc
	done    chan struct{}
	image   runtime.Image
	err     error
}

// do returns the result of work for key, from a piece of work in progress when there is one.
func (f *flights) do(ctx context.Context, key string, work func(context.Context) (runtime.Image, error)) (runtime.Image, error) {
	f.mu.Lock()
	fl, ok := f.all[key]
	if !ok {
		shared, cancel := context.WithCancel(context.WithoutCancel(ctx))
		fl = &flight{cancel: cancel, done: make(chan struct{})}
		if f.all == nil {
			f.all = map[string]*flight{}
		}
		f.all[key] = fl
		go func() {
			fl.image, fl.err = work(shared)
			f.forget(key, fl)
			cancel()
			close(fl.done)
		}()
	}
	fl.waiting++
	f.mu.Unlock()

	select {
	case <-fl.done:
		return fl.image, fl.err
	case <-ctx.Done():
	}
	f.mu.Lock()
	fl.waiting--
	abandoned := fl.waiting == 0
	if abandoned && f.all[key] == fl {
		delete(f.all, key) // the next caller starts anew instead of joining what is being given up
	}
	f.mu.Unlock()
	if abandoned {
		fl.cancel()
	}
	return runtime.Image{}, ctx.Err()
}

func (f *flights) forget(key string, fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all[key] == fl {
		delete(f.all, key)
	}
}
