package documents

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"berth.dev/berth/internal/agent/seal"
	"berth.dev/berth/internal/base/telemetry"
)

// Consumer makes a set of documents true, by key. It must not change the set.
// Calls for one kind never overlap.
type Consumer func(ctx context.Context, docs map[string]json.RawMessage) error

// Document is a change: a new body, or none when the document is gone.
type Document struct {
	Kind, Key string
	Body      json.RawMessage
}

// Config is what a Keeper is made of.
type Config struct {
	// Dir is where the newest sets are kept, one file a kind, sealed with Key:
	// some hold keys.
	Dir string
	Key *seal.Key
	// Consumers by kind. Documents of other kinds are ignored: they are a newer
	// control plane's.
	Consumers map[string]Consumer
	Log       *slog.Logger
}

// Keeper holds the newest documents.
type Keeper struct {
	cfg  Config
	wake map[string]chan struct{} // by kind; the set may differ from what was handed over

	mu   sync.Mutex
	sets map[string]map[string]json.RawMessage // by kind and key; a kind that is not known yet is absent
}

// Open returns a Keeper that knows what is on disk.
func Open(cfg Config) (*Keeper, error) {
	k := &Keeper{cfg: cfg, wake: map[string]chan struct{}{}, sets: map[string]map[string]json.RawMessage{}}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	for kind := range cfg.Consumers {
		k.wake[kind] = make(chan struct{}, 1)
		data, err := k.read(kind)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var set map[string]json.RawMessage
		if err == nil {
			err = json.Unmarshal(data, &set)
		}
		if err != nil {
			// The control plane sends it again; until then nothing is known.
			cfg.Log.Error("the documents of a kind cannot be read from disk", "kind", kind, telemetry.Path, k.path(kind), telemetry.Error, err)
			continue
		}
		k.sets[kind] = set
		k.signal(kind)
	}
	return k, nil
}

func (k *Keeper) path(kind string) string { return filepath.Join(k.cfg.Dir, kind+".sealed") }

// clear is where an earlier agent kept a set, not sealed. It is read once more,
// because the control plane may be away, and goes with the first that is saved.
func (k *Keeper) clear(kind string) string { return filepath.Join(k.cfg.Dir, kind+".json") }

func (k *Keeper) read(kind string) ([]byte, error) {
	data, err := k.cfg.Key.ReadFile(k.path(kind))
	if errors.Is(err, fs.ErrNotExist) {
		return os.ReadFile(k.clear(kind))
	}
	return data, err
}

func (k *Keeper) signal(kind string) {
	select {
	case k.wake[kind] <- struct{}{}:
	default:
	}
}

// Apply takes what the control plane says: everything when complete is set,
// as at the beginning of each session, else what changed. It never blocks.
func (k *Keeper) Apply(changes []Document, complete bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	changed := map[string]map[string]json.RawMessage{}
	if complete {
		for kind := range k.cfg.Consumers {
			changed[kind] = map[string]json.RawMessage{}
		}
	}
	for _, c := range changes {
		if _, ok := k.cfg.Consumers[c.Kind]; !ok {
			continue
		}
		set, ok := changed[c.Kind]
		if !ok {
			// Sets that were handed over are never changed.
			set = map[string]json.RawMessage{}
			maps.Copy(set, k.sets[c.Kind])
			changed[c.Kind] = set
		}
		if len(c.Body) == 0 {
			delete(set, c.Key)
		} else {
			set[c.Key] = c.Body
		}
	}
	for kind, set := range changed {
		k.sets[kind] = set
		k.signal(kind)
	}
}

// Run hands the sets to their consumers until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for kind, consume := range k.cfg.Consumers {
		g.Go(func() error { return k.serve(ctx, kind, consume) })
	}
	return g.Wait()
}

const (
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
)

func (k *Keeper) serve(ctx context.Context, kind string, consume Consumer) error {
	pause := firstPause
	var again <-chan time.Time
	for {
		select {
		case <-k.wake[kind]:
		case <-again:
		case <-ctx.Done():
			return nil
		}
		k.mu.Lock()
		set := k.sets[kind]
		k.mu.Unlock()
		again = nil
		if err := errors.Join(consume(ctx, set), k.save(kind, set)); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			k.cfg.Log.WarnContext(ctx, "documents were not made true; trying again", "kind", kind, "pause", pause, telemetry.Error, err)
			again = time.After(pause)
			pause = min(2*pause, lastPause)
			continue
		}
		pause = firstPause
	}
}

func (k *Keeper) save(kind string, set map[string]json.RawMessage) error {
	data, err := json.Marshal(set)
	if err != nil {
		return fmt.Errorf("encoding the documents of kind %s: %w", kind, err)
	}
	if err := k.cfg.Key.WriteFile(k.path(kind), data); err != nil {
		return err
	}
	if err := os.Remove(k.clear(kind)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
