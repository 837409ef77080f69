package documents_test

import (
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
	k, err := documents.Open(documents.Config{
		Dir: dir, Consumers: map[string]documents.Consumer{"a": a.take, "b": b.take}, Log: slog.New(slog.DiscardHandler),
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
	dir := t.TempDir()
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
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		k, a, _, stop := run(t, dir)
		a.expect(t)
		k.Apply([]documents.Document{doc("a", "x", "1")}, true)
		a.expect(t, `{"x":1}`)
		stop()
	})
	data, err := os.ReadFile(filepath.Join(dir, "a.json"))
	if want := `{"x":1}`; err != nil || string(data) != want {
		t.Errorf("on disk: %q, %v; want %q", data, err, want)
	}
	if info, err := os.Stat(filepath.Join(dir, "a.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(fmt.Errorf("mode %v: %w", info.Mode(), err))
	}
}
