package credentials

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"berth.dev/berth/internal/agent/seal"
	"berth.dev/berth/internal/agent/session"
	"berth.dev/berth/internal/base/telemetry"
)

// Credentials are those of one session of a role.
type Credentials struct {
	RoleARN         string    `json:"roleArn"`
	AccessKeyID     string    `json:"accessKeyId"`
	SecretAccessKey string    `json:"secretAccessKey"`
	SessionToken    string    `json:"sessionToken"`
	Expires         time.Time `json:"expires"`
}

// String never shows what is secret, so that Credentials can be logged by
// accident.
func (c Credentials) String() string { return c.RoleARN + "/" + c.AccessKeyID + "/***" }

// GoString is String, for %#v.
func (c Credentials) GoString() string { return c.String() }

// Config is what a Keeper is made of. All is required.
type Config struct {
	Dir string // for the sealed files
	Key *seal.Key
	// Fetch asks the control plane for credentials of a task's role. A
	// *session.Refused is final for a task that starts.
	Fetch func(ctx context.Context, taskID string) (Credentials, error)
	Log   *slog.Logger
}

// Keeper holds the credentials of every task of this node. It is safe for
// concurrent use.
type Keeper struct {
	cfg Config

	mu      sync.Mutex
	tasks   map[string]*held
	running *running // nil unless Run runs
}

// held is what is known of one task. Keeper.mu guards it.
type held struct {
	Credentials Credentials `json:"credentials"`
	IssuedAt    time.Time   `json:"issuedAt"` // by this node's clock; zero: there were none yet

	kept bool               // a task of this agent's life
	stop context.CancelFunc // ends the renewal, when that was begun
}

// running is what exists only while Run runs.
type running struct {
	ctx   context.Context
	group sync.WaitGroup
}

// Open returns a Keeper that knows what an earlier agent left. What cannot be
// opened is removed: it is fetched again.
func Open(cfg Config) (*Keeper, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening task credentials: %w", err)
	}
	entries, err := os.ReadDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("opening task credentials: %w", err)
	}
	k := &Keeper{cfg: cfg, tasks: map[string]*held{}}
	for _, entry := range entries {
		h := &held{}
		data, err := cfg.Key.ReadFile(k.file(entry.Name()))
		if err == nil {
			err = json.Unmarshal(data, h)
		}
		if err != nil {
			cfg.Log.Warn("the credentials of a task cannot be opened and are fetched again", telemetry.TaskID, entry.Name(), telemetry.Error, err)
			if err := os.Remove(k.file(entry.Name())); err != nil {
				return nil, fmt.Errorf("opening task credentials: %w", err)
			}
			continue
		}
		k.tasks[entry.Name()] = h
	}
	return k, nil
}

func (k *Keeper) file(taskID string) string { return filepath.Join(k.cfg.Dir, taskID) }

// Run renews credentials until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	r := &running{ctx: ctx}
	k.mu.Lock()
	k.running = r
	for id, h := range k.tasks {
		if h.kept {
			k.launch(id, h)
		}
	}
	k.mu.Unlock()
	<-ctx.Done()
	k.mu.Lock()
	k.running = nil
	k.mu.Unlock()
	r.group.Wait()
	return nil
}

// launch begins the renewal of a task's credentials; k.mu is held.
func (k *Keeper) launch(taskID string, h *held) {
	if k.running == nil || h.stop != nil {
		return
	}
	ctx, cancel := context.WithCancel(k.running.ctx)
	h.stop = cancel
	k.running.group.Go(func() {
		defer cancel()
		k.renew(ctx, taskID, h)
	})
}

// Get returns the credentials of a task, and false while it has none that are
// valid.
func (k *Keeper) Get(taskID string) (Credentials, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h, ok := k.tasks[taskID]
	if !ok || !h.valid() {
		return Credentials{}, false
	}
	return h.Credentials, true
}

func (h *held) valid() bool { return !h.IssuedAt.IsZero() && time.Now().Before(h.Credentials.Expires) }

// Obtain returns when the task has credentials, which are renewed from then
// on. It waits for a control plane that is away; the error is a
// *session.Refused with the words for the user, or ctx's.
func (k *Keeper) Obtain(ctx context.Context, taskID string) error {
	if _, ok := k.Get(taskID); !ok {
		c, err := session.Insist(ctx, func(ctx context.Context) (Credentials, error) { return k.cfg.Fetch(ctx, taskID) })
		if err != nil {
			return err
		}
		k.store(ctx, taskID, nil, c)
	}
	k.Keep(taskID)
	return nil
}

// Keep renews the credentials of a task that an earlier agent started. Those
// that it left are served at once.
func (k *Keeper) Keep(taskID string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := k.of(taskID)
	h.kept = true
	k.launch(taskID, h)
}

// of returns what is held of a task; k.mu is held.
func (k *Keeper) of(taskID string) *held {
	h, ok := k.tasks[taskID]
	if !ok {
		h = &held{}
		k.tasks[taskID] = h
	}
	return h
}

// Forget ends what is known of a task.
func (k *Keeper) Forget(taskID string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if h, ok := k.tasks[taskID]; ok && h.stop != nil {
		h.stop()
	}
	delete(k.tasks, taskID)
	if err := os.Remove(k.file(taskID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Sweep forgets every task that is not known.
func (k *Keeper) Sweep(known map[string]bool) error {
	k.mu.Lock()
	var gone []string
	for id := range k.tasks {
		if !known[id] {
			gone = append(gone, id)
		}
	}
	k.mu.Unlock()
	var errs []error
	for _, id := range gone {
		errs = append(errs, k.Forget(id))
	}
	return errors.Join(errs...)
}

// store takes new credentials over, in memory and on disk. A disk that does
// not take them keeps no task from having them. Renewed is what they are a
// renewal of: a task that was forgotten meanwhile gets none.
func (k *Keeper) store(ctx context.Context, taskID string, renewed *held, c Credentials) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if renewed != nil && k.tasks[taskID] != renewed {
		return
	}
	h := k.of(taskID)
	h.Credentials, h.IssuedAt = c, time.Now()
	data, err := json.Marshal(h)
	if err == nil {
		err = k.cfg.Key.WriteFile(k.file(taskID), data)
	}
	if err != nil {
		k.cfg.Log.WarnContext(ctx, "the credentials of a task are not on disk", telemetry.TaskID, taskID, telemetry.Error, err)
	}
}

const (
	// renewAfter is what AWS does with sessions of six hours.
	renewAfter = time.Hour
	// A renewal that failed is tried again soon, and then more seldom; one that
	// was refused may be allowed again, when its role is repaired.
	firstPause, lastPause, refusedPause = time.Second, time.Minute, 2 * time.Minute
	fetchPatience                       = 30 * time.Second
)

// due is when the credentials are to be renewed.
func (h *held) due() time.Time {
	if h.IssuedAt.IsZero() {
		return time.Time{}
	}
	return h.IssuedAt.Add(min(renewAfter, h.Credentials.Expires.Sub(h.IssuedAt)/2))
}

// renew is the life of a task's credentials.
func (k *Keeper) renew(ctx context.Context, taskID string, h *held) {
	pause := firstPause
	k.mu.Lock()
	wait := time.Until(h.due())
	k.mu.Unlock()
	for {
		// A little earlier or later than the others, which began together when
		// the host did.
		if wait > firstPause {
			wait -= rand.N(wait / 10)
		}
		select {
		case <-time.After(max(wait, 0)):
		case <-ctx.Done():
			return
		}
		fetchCtx, cancel := context.WithTimeout(ctx, fetchPatience)
		c, err := k.cfg.Fetch(fetchCtx, taskID)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			k.store(ctx, taskID, h, c)
			k.mu.Lock()
			wait, pause = max(time.Until(h.due()), firstPause), firstPause
			k.mu.Unlock()
		case session.IsRefused(err):
			k.cfg.Log.WarnContext(ctx, "the credentials of a task are not renewed", telemetry.TaskID, taskID, telemetry.Error, err)
			wait = refusedPause
		default:
			wait = pause
			pause = min(2*pause, lastPause)
		}
	}
}
