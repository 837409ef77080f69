package deployment

import (
	"context"
	"sync"
)

// queue hands keys to workers: a key that is added ten times is handed out
// once, and one that is added while it is worked on again afterwards.
type queue struct {
	mu    sync.Mutex
	cond  *sync.Cond
	order []string
	want  map[string]bool // those in order, or to be put there; true: room may have been found
	busy  map[string]bool
	over  bool
}

func newQueue() *queue {
	q := &queue{want: map[string]bool{}, busy: map[string]bool{}}
	q.cond = sync.NewCond(&q.mu)
	return q
}

// add asks for key to be worked on. room says that there may be room for tasks
// that had none.
func (q *queue) add(key string, room bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	was, known := q.want[key]
	q.want[key] = was || room
	if !known && !q.busy[key] {
		q.order = append(q.order, key)
		q.cond.Signal()
	}
}

// next waits for a key. It returns false when the queue is over.
func (q *queue) next() (key string, room, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.order) == 0 && !q.over {
		q.cond.Wait()
	}
	if q.over {
		return "", false, false
	}
	key, q.order = q.order[0], q.order[1:]
	room = q.want[key]
	delete(q.want, key)
	q.busy[key] = true
	return key, room, true
}

// done gives a key back.
func (q *queue) done(key string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.busy, key)
	if _, again := q.want[key]; again {
		q.order = append(q.order, key)
		q.cond.Signal()
	}
}

// closeWhen ends the queue with ctx.
func (q *queue) closeWhen(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.over = true
		q.cond.Broadcast()
	})
}
