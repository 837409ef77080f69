package kvtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"berth.dev/berth/internal/data/kv"
)

var errEnough = errors.New("seen enough")

// history renders what a watch delivers from one revision to another, which must be the last: "7:+a=1,-b 8:-a".
func history(t testing.TB, db kv.KV, prefix string, from, to int64) string {
	t.Helper()
	var out []string
	err := db.Watch(t.Context(), prefix, from, func(batch []kv.Commit) error {
		for _, c := range batch {
			out = append(out, render(c))
			if c.Rev >= to {
				return errEnough
			}
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Errorf("watch %q from %d: %v", prefix, from, err)
	}
	return strings.Join(out, " ")
}

func render(c kv.Commit) string {
	var events []string
	for _, e := range c.Events {
		s := "-" + e.Pair.Key
		if !e.Deleted {
			s = fmt.Sprintf("+%s=%s", e.Pair.Key, e.Pair.Value)
		}
		if e.Pair.ModRev != c.Rev {
			s += fmt.Sprintf("(of revision %d)", e.Pair.ModRev)
		}
		events = append(events, s)
	}
	return fmt.Sprintf("%d:%s", c.Rev, strings.Join(events, ","))
}

func testWatchFromOldRevision(t *testing.T, db kv.KV) {
	r := do(t, db, kv.Put("w/a", []byte("1"))).Rev
	do(t, db, kv.Put("x", nil))
	do(t, db, kv.Put("w/a", []byte("2")), kv.Put("x", nil), kv.Put("w/b", []byte("1")))
	do(t, db, kv.Delete("w/a"), kv.Delete("w/none"))
	do(t, db, kv.Put("w", nil))
	last := do(t, db, kv.Put("w/c", []byte("1"))).Rev
	want(t, "below a prefix", history(t, db, "w/", r, last),
		fmt.Sprintf("%d:+w/a=1 %d:+w/a=2,+w/b=1 %d:-w/a %d:+w/c=1", r, r+2, r+3, r+5))
	want(t, "from a later revision", history(t, db, "w/", r+3, last), fmt.Sprintf("%d:-w/a %d:+w/c=1", r+3, r+5))
	want(t, "everything from the beginning", history(t, db, "", 1, r+1), fmt.Sprintf("%d:+w/a=1 %d:+x=", r, r+1))
}

// testWatchWholeRevisions follows live while transactions of several keys are made.
func testWatchWholeRevisions(t *testing.T, db kv.KV) {
	const commits, width = 200, 20
	from := do(t, db).Rev + 1
	var writer sync.WaitGroup
	defer writer.Wait() // a watch may see a commit before its writer gets the answer
	writer.Go(func() {
		for i := range commits {
			var ops []kv.Op
			for j := range width {
				ops = append(ops, kv.Put(fmt.Sprintf("k%02d", j), fmt.Append(nil, i)))
			}
			if _, err := db.Txn(t.Context(), kv.Txn{Then: ops}); err != nil {
				t.Errorf("txn: %v", err)
				return
			}
		}
	})
	next := from
	err := db.Watch(t.Context(), "", from, func(batch []kv.Commit) error {
		for _, c := range batch {
			if c.Rev != next || len(c.Events) != width {
				return fmt.Errorf("revision %d with %d events, want %d with %d", c.Rev, len(c.Events), next, width)
			}
			if next++; next == from+commits {
				return errEnough
			}
		}
		return nil
	})
	wantErr(t, "watch", err, errEnough)
}

func testWatchFromFuture(t *testing.T, db kv.KV) {
	r := do(t, db, kv.Put("a", nil)).Rev
	seen := make(chan string, 1)
	var watcher sync.WaitGroup
	defer watcher.Wait()
	watcher.Go(func() {
		err := db.Watch(t.Context(), "", r+3, func(batch []kv.Commit) error {
			seen <- render(batch[0])
			return errEnough
		})
		wantErr(t, "watch", err, errEnough)
	})
	for range 3 {
		do(t, db, kv.Put("a", nil))
	}
	want(t, "first event", <-seen, fmt.Sprintf("%d:+a=", r+3))
}

func testWatchEnds(t *testing.T, db kv.KV) {
	r := do(t, db, kv.Put("a", nil)).Rev
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	calls := 0
	err := db.Watch(ctx, "", r, func([]kv.Commit) error {
		calls++
		cancel()
		return nil
	})
	wantErr(t, "with its context", err, context.Canceled)
	want(t, "calls", calls, 1)
	wantErr(t, "with deliver's error", db.Watch(t.Context(), "", r, func([]kv.Commit) error { return errEnough }), errEnough)
}
