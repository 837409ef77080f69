package store

import (
	"container/heap"
	"context"
	"sync"
)

// waiters are those who wait for a revision, the nearest first, so that a publication wakes only whom it concerns.
type waiters []*waiter

type waiter struct {
	rev     int64
	reached chan struct{}
	index   int // position in the heap, -1 when it has left
}

func (ws *waiters) add(rev int64) *waiter {
	w := &waiter{rev: rev, reached: make(chan struct{})}
	heap.Push(ws, w)
	return w
}

func (ws *waiters) remove(w *waiter) {
	if w.index >= 0 {
		heap.Remove(ws, w.index)
	}
}

func (ws *waiters) reach(rev int64) {
	for len(*ws) > 0 && (*ws)[0].rev <= rev {
		close(heap.Pop(ws).(*waiter).reached)
	}
}

// Len, Less, Swap, Push and Pop are for container/heap.
func (ws waiters) Len() int           { return len(ws) }
func (ws waiters) Less(i, j int) bool { return ws[i].rev < ws[j].rev }
func (ws waiters) Swap(i, j int) {
	ws[i], ws[j] = ws[j], ws[i]
	ws[i].index, ws[j].index = i, j
}

func (ws *waiters) Push(x any) {
	w := x.(*waiter)
	w.index = len(*ws)
	*ws = append(*ws, w)
}

func (ws *waiters) Pop() any {
	last := len(*ws) - 1
	w := (*ws)[last]
	(*ws)[last] = nil
	*ws = (*ws)[:last]
	w.index = -1
	return w
}

// turns makes the local writers that fight over one key take turns: n writers retrying freely need about n²/2 commits to
// get n through, in turns little more than n. A writer meets it only after it has lost once, and holds one turn at a
// time, so nobody can wait in a circle.
type turns struct {
	mu   sync.Mutex
	held map[string]*turn
}

type turn struct {
	token chan struct{} // holds one value while somebody has the turn
	users int
}

// take waits for the turn of the key and returns how to give it back.
func (t *turns) take(ctx context.Context, key string) (release func(), err error) {
	t.mu.Lock()
	u := t.held[key]
	if u == nil {
		u = &turn{token: make(chan struct{}, 1)}
		t.held[key] = u
	}
	u.users++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if u.users--; u.users == 0 {
			delete(t.held, key)
		}
	}
	select {
	case u.token <- struct{}{}:
		return func() { <-u.token; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
