package imagestore

import (
	"context"
	"sync"

	"github.com/opencontainers/go-digest"
)

// leases keep the collector away from blobs that somebody is about to rely on.
// Whoever looks for a blob, links it or names it in an image holds it meanwhile;
// the collector takes away only what nobody holds, and during one pass nothing
// that was held since the pass began, because its records are older than that.
type leases struct {
	mu   sync.Mutex
	of   map[string]*lease
	seen map[string]struct{} // held since the pass began; nil between passes
}

type lease struct {
	holders int
	going   chan struct{} // closed when the collector is done with the blob
}

// hold keeps blobs until release is called. It waits for the collector when that
// is just taking one away.
func (l *leases) hold(blobs ...digest.Digest) (release func()) {
	for _, d := range blobs {
		l.take(string(d))
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, d := range blobs {
			of := l.of[string(d)]
			if of.holders--; of.holders == 0 {
				delete(l.of, string(d))
			}
		}
	}
}

func (l *leases) take(d string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		of := l.of[d]
		switch {
		case of == nil:
			of = &lease{}
			l.of[d] = of
		case of.going != nil:
			l.mu.Unlock()
			<-of.going
			l.mu.Lock()
			continue
		}
		of.holders++
		if l.seen != nil {
			l.seen[d] = struct{}{}
		}
		return
	}
}

// begin starts a pass of the collector; what it knows must be read afterwards.
func (l *leases) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = make(map[string]struct{})
}

func (l *leases) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = nil
}

// without runs fn while nobody holds the blob, or reports false when somebody
// does or did since the pass began.
func (l *leases) without(d digest.Digest, fn func() error) (bool, error) {
	l.mu.Lock()
	if _, seen := l.seen[string(d)]; seen || l.of[string(d)] != nil {
		l.mu.Unlock()
		return false, nil
	}
	of := &lease{going: make(chan struct{})}
	l.of[string(d)] = of
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.of, string(d))
		close(of.going)
	}()
	return true, fn()
}

// turns let one at a time work on an upload.
type turns struct {
	mu sync.Mutex
	of map[string]*turn
}

type turn struct {
	free    chan struct{} // holds a value when it is nobody's turn
	waiting int           // who has or waits for the turn
	adopted bool          // this process knows all that was written to the upload
}

// take waits for the turn.
func (t *turns) take(ctx context.Context, id string) (*turn, error) {
	t.mu.Lock()
	of := t.of[id]
	if of == nil {
		of = &turn{free: make(chan struct{}, 1)}
		of.free <- struct{}{}
		t.of[id] = of
	}
	of.waiting++
	t.mu.Unlock()
	select {
	case <-of.free:
		return of, nil
	case <-ctx.Done():
		t.mu.Lock()
		defer t.mu.Unlock()
		t.drop(id, of)
		return nil, ctx.Err()
	}
}

// try takes the turn if it is nobody's.
func (t *turns) try(id string) (*turn, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	of := t.of[id]
	if of == nil {
		of = &turn{free: make(chan struct{}, 1)}
		t.of[id] = of
	} else if of.waiting > 0 {
		return nil, false
	} else {
		<-of.free // nobody waits, so it is there
	}
	of.waiting++
	return of, true
}

// release ends a turn. What is known of an upload is forgotten with it.
func (t *turns) release(id string, of *turn, gone bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if gone {
		of.adopted = false
	}
	t.drop(id, of)
	of.free <- struct{}{}
}

func (t *turns) drop(id string, of *turn) {
	if of.waiting--; of.waiting == 0 && !of.adopted {
		delete(t.of, id)
	}
}
