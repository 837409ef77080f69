package secretsmanager

import (
	"context"
	"sync"
	"time"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// accesses writes down on which day a secret was read last, behind the back of
// whoever reads it: no read waits for it, and a secret is written once a day for
// it however often it is read.
type accesses struct {
	store *store.Store

	mu      sync.Mutex
	writing map[string]bool // versions that are being written
	wg      sync.WaitGroup
}

// At most so many writes are under way, and none takes longer. One that is left
// out is made up for by the next read.
const (
	maxNotes  = 16
	noteLimit = 10 * time.Second
)

func newAccesses(s *store.Store) *accesses {
	return &accesses{store: s, writing: map[string]bool{}}
}

// note remembers that a version was read now.
func (a *accesses) note(s *model.Secret, v *model.SecretVersion) {
	today := dayOf(time.Now())
	if s.AccessedOn != nil && !s.AccessedOn.Before(today) && v.AccessedOn != nil && !v.AccessedOn.Before(today) {
		return
	}
	key := v.Key()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.writing[key] || len(a.writing) >= maxNotes {
		return
	}
	a.writing[key] = true
	a.wg.Go(func() {
		a.write(s.Key(), key, s.ARN, today)
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.writing, key)
	})
}

// write fails quietly: what is lost is a day.
func (a *accesses) write(secret, version, arn string, today time.Time) {
	ctx, cancel := context.WithTimeout(context.Background(), noteLimit)
	defer cancel()
	_, _ = a.store.Update(ctx, func(tx *store.Tx) error {
		s, found := records.Secrets.Get(tx, secret)
		if !found || s.ARN != arn || !records.SecretVersions.Has(tx, version) {
			return nil
		}
		if err := records.Secrets.Edit(tx, secret, func(s *model.Secret) error { s.AccessedOn = &today; return nil }); err != nil {
			return err
		}
		return records.SecretVersions.Edit(tx, version, func(v *model.SecretVersion) error { v.AccessedOn = &today; return nil })
	})
}

func (a *accesses) wait() { a.wg.Wait() }
