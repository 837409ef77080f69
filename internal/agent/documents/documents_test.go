package documents_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"berth.dev/berth/internal/agent/documents"
	"berth.dev/berth/internal/agent/seal"
)

// consumer notes the sets it gets, and fails when told to.
type consumer struct {
	mu    sync.Mutex
	got   []string
	fails int
}

func (c *consumer) take(_ context.Context, docs map[string]json.RawMessage) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	data, err := json.Marshal(docs)
	if err != nil {
		return err
	}
	if c.fails > 0 {
		c.fails--
		c.got = append(c.got, "failed")
		return errors.New("no")
	}
	c.got = append(c.got, string(data))
	return nil
}

func (c *consumer) expect(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Equal(c.got, want) {
		t.Errorf("got %q, want %q", c.got, want)
	}
	c.got = nil
}

// run opens a keeper with consumers of the kinds a and b and runs it.
func run(t *testing.T, dir string) (k *documents.Keeper, a, b *consumer, stop func()) {
	t.Helper()
	a, b = &consumer{}, &consumer{}
	key, err := seal.Open(filepath.Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	k, err = documents.Open(documents.Config{
		Dir: dir, Key: key, Consumers: map[string]documents.Consumer{"a": a.take, "b": b.take}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	return k, a, b, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func doc(kind, key, body string) documents.Document {
	return documents.Document{Kind: kind, Key: key, Body: json.RawMessage(body)}
}

func TestKeeper(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "documents")
	synctest.Test(t, func(t *testing.T) {
		k, a, b, stop := run(t, dir)
		a.expect(t) // nothing is known yet
		k.Apply([]documents.Document{doc("a", "x", "1"), doc("later", "x", "1")}, true)
		a.expect(t, `{"x":1}`)
		b.expect(t, `{}`) // known to be empty
		k.Apply([]documents.Document{doc("a", "y", "2")}, false)
		a.expect(t, `{"x":1,"y":2}`)
		b.expect(t)
		k.Apply([]documents.Document{doc("a", "x", "")}, false)
		a.expect(t, `{"y":2}`)
		stop()
	})
	// The next agent knows it without a control plane.
	synctest.Test(t, func(t *testing.T) {
		k, a, b, stop := run(t, dir)
		a.expect(t, `{"y":2}`)
		b.expect(t, `{}`)
		k.Apply(nil, true)
		a.expect(t, `{}`)
		stop()
	})
}

func TestKeeper_AConsumerThatFailsIsCalledAgainWithTheNewest(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "documents")
	synctest.Test(t, func(t *testing.T) {
		k, a, _, stop := run(t, dir)
		a.fails = 2
		k.Apply([]documents.Document{doc("a", "x", "1")}, true)
		a.expect(t, "failed")
		k.Apply([]documents.Document{doc("a", "x", "2")}, false)
		a.expect(t, "failed") // woken by the change
		time.Sleep(time.Second)
		a.expect(t, `{"x":2}`)
		time.Sleep(time.Minute)
		a.expect(t)
		stop()
	})
}

// A file that cannot be read is as if there were none.
func TestOpen_ADamagedFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "documents")
	file := filepath.Join(dir, "a.sealed")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(file, []byte("{"), 0o600)); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		k, a, _, stop := run(t, dir)
		a.expect(t)
		k.Apply([]documents.Document{doc("a", "x", "1")}, true)
		a.expect(t, `{"x":1}`)
		stop()
	})
	synctest.Test(t, func(t *testing.T) {
		_, a, _, stop := run(t, dir)
		a.expect(t, `{"x":1}`)
		stop()
	})
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(fmt.Errorf("mode %v: %w", info.Mode(), err))
	}
}

// Nothing of a document is in clear on disk, and what an earlier agent left so
// is used once and then gone.
func TestKeeper_OnDiskEverythingIsSealed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "documents")
	before, after := `{"x":"canary before"}`, `"canary after"`
	if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "a.json"), []byte(before), 0o600)); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		k, a, _, stop := run(t, dir)
		a.expect(t, before)
		k.Apply([]documents.Document{doc("a", "x", after)}, true)
		a.expect(t, `{"x":"canary after"}`)
		stop()
	})
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		t.Fatal(entries, err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil || bytes.Contains(data, []byte("canary")) {
			t.Errorf("%s is in clear: %q, %v", e.Name(), data, err)
		}
	}
}
