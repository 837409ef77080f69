package memkv_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"berth.dev/berth/internal/data/kv"
	"berth.dev/berth/internal/data/kv/kvtest"
	"berth.dev/berth/internal/data/kv/memkv"
)

func TestContract(t *testing.T) {
	kvtest.Run(t, func(testing.TB) kv.KV { return memkv.New(0) })
}

func TestLease_InFakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := memkv.New(0)
		id, err := db.Grant(t.Context(), 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Txn(t.Context(), kv.Txn{Then: []kv.Op{kv.PutLease("a", nil, id)}}); err != nil {
			t.Fatal(err)
		}
		alive := func() bool {
			synctest.Wait()
			res, err := db.Range(t.Context(), kv.Query{Key: "a"})
			if err != nil {
				t.Fatal(err)
			}
			return len(res.Pairs) == 1
		}
		time.Sleep(9 * time.Second) // fake time: this is the event
		if err := db.KeepAlive(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * time.Second)
		if !alive() {
			t.Error("the lease expired although it was kept alive")
		}
		time.Sleep(time.Second)
		if alive() {
			t.Error("the lease did not expire")
		}
	})
}

func TestRetain_CompactsAutomatically(t *testing.T) {
	db := memkv.New(100)
	for range 1000 {
		if _, err := db.Txn(t.Context(), kv.Txn{Then: []kv.Op{kv.Put("a", nil)}}); err != nil {
			t.Fatal(err)
		}
	}
	err := db.Watch(t.Context(), "", 500, func([]kv.Commit) error { return nil })
	if !errors.Is(err, kv.ErrCompacted) {
		t.Errorf("watch from a revision long gone: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := 0
	err = db.Watch(ctx, "", 1001-99, func(batch []kv.Commit) error {
		seen += len(batch)
		cancel()
		return nil
	})
	if seen != 100 || !errors.Is(err, context.Canceled) {
		t.Errorf("the last 100 revisions: got %d, %v", seen, err)
	}
}
