package credentials_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"berth.dev/berth/internal/agent/credentials"
	"berth.dev/berth/internal/agent/seal"
	"berth.dev/berth/internal/agent/session"
)

const canary = "kanarienvogel-4711"

// server is a control plane as credentials know it: it issues one after the
// other, valid for life.
type server struct {
	mu     sync.Mutex
	life   time.Duration
	err    error
	issued []time.Time
	asked  int
}

func (s *server) fetch(_ context.Context, taskID string) (credentials.Credentials, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.err != nil {
		return credentials.Credentials{}, s.err
	}
	s.issued = append(s.issued, time.Now())
	return credentials.Credentials{
		RoleARN: "arn:aws:iam::123456789012:role/" + taskID, AccessKeyID: fmt.Sprint("ASIA", len(s.issued)),
		SecretAccessKey: canary, SessionToken: canary, Expires: time.Now().Add(s.life),
	}, nil
}

func (s *server) set(life time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.life, s.err = life, err
}

func (s *server) count() (issued, asked int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.issued), s.asked
}

// agent is one life of an agent, with the key of its node.
type agent struct {
	*credentials.Keeper
	stop func()
}

func begin(t *testing.T, dir string, s *server) agent {
	t.Helper()
	key, err := seal.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	k, err := credentials.Open(credentials.Config{Dir: filepath.Join(dir, "credentials"), Key: key, Fetch: s.fetch, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	return agent{k, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}}
}

var errAway = errors.New("the control plane is away")

// A task has credentials that are never about to expire, for as long as there
// is a control plane.
func TestKeeper_RenewsLongBeforeTheEnd(t *testing.T) {
	for _, life := range []time.Duration{15 * time.Minute, time.Hour, 6 * time.Hour, 12 * time.Hour} {
		t.Run(life.String(), func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				s := &server{life: life}
				a := begin(t, dir, s)
				defer a.stop()
				if err := a.Obtain(t.Context(), "t1"); err != nil {
					t.Fatal(err)
				}
				// What SDKs are handed is good for 15 minutes at least, or for half of
				// what a role that is so short can have.
				least := min(15*time.Minute, life/2)
				for range 24 * 60 {
					time.Sleep(time.Minute)
					c, ok := a.Get("t1")
					if left := time.Until(c.Expires); !ok || left < least {
						t.Fatalf("%v are left of %v (%v)", left, life, ok)
					}
				}
				n, _ := s.count()
				if want := int(24 * time.Hour / min(time.Hour, life/2)); n < want || n > want*5/4+1 {
					t.Errorf("issued %d times in a day, want about %d", n, want)
				}
			})
		})
	}
}

// An outage is bridged as long as the credentials last, and then there are
// none until it is over.
func TestKeeper_ServesThroughAnOutage(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := &server{life: 6 * time.Hour}
		a := begin(t, dir, s)
		defer func() { a.stop() }()
		if err := a.Obtain(t.Context(), "t1"); err != nil {
			t.Fatal(err)
		}
		first, _ := a.Get("t1")
		s.set(6*time.Hour, errAway)
		time.Sleep(3 * time.Hour)
		if c, ok := a.Get("t1"); !ok || c != first {
			t.Errorf("in the outage: %v, %v", c, ok)
		}
		// The agent is started again meanwhile.
		a.stop()
		a = begin(t, dir, s)
		a.Keep("t1")
		if c, ok := a.Get("t1"); !ok || c.AccessKeyID != first.AccessKeyID || c.SecretAccessKey != canary || !c.Expires.Equal(first.Expires) {
			t.Errorf("the next agent has %v, %v", c, ok)
		}
		time.Sleep(time.Until(first.Expires))
		if c, ok := a.Get("t1"); ok {
			t.Errorf("expired ones are served: %v", c)
		}
		s.set(6*time.Hour, nil)
		time.Sleep(2 * time.Minute)
		if c, ok := a.Get("t1"); !ok || c.AccessKeyID == first.AccessKeyID {
			t.Errorf("after the outage: %v, %v", c, ok)
		}
	})
}

// A role that is refused says so at once; one that is refused later leaves the
// task what it has, and may be repaired.
func TestKeeper_Refused(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		no := &session.Refused{Text: "ECS was unable to assume the role"}
		s := &server{life: time.Hour, err: no}
		a := begin(t, dir, s)
		defer a.stop()
		if err := a.Obtain(t.Context(), "t1"); !errors.Is(err, no) {
			t.Errorf("got %v", err)
		}
		if _, ok := a.Get("t1"); ok {
			t.Error("there are credentials")
		}
		s.set(time.Hour, nil)
		if err := a.Obtain(t.Context(), "t1"); err != nil {
			t.Fatal(err)
		}
		s.set(time.Hour, no)
		time.Sleep(45 * time.Minute)
		if _, ok := a.Get("t1"); !ok {
			t.Error("what it had is gone")
		}
		s.set(time.Hour, nil)
		time.Sleep(5 * time.Minute)
		if c, ok := a.Get("t1"); !ok || time.Until(c.Expires) < 50*time.Minute {
			t.Errorf("after the repair: %v", time.Until(c.Expires))
		}
	})
}

// Obtain waits for a control plane that is away, but not longer than its
// caller.
func TestObtain_WaitsForTheControlPlane(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := &server{err: errAway}
		a := begin(t, dir, s)
		defer a.stop()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := a.Obtain(ctx, "t1"); !errors.Is(err, errAway) {
			t.Errorf("got %v", err)
		}
		if _, asked := s.count(); asked < 10 || asked > 100 {
			t.Errorf("asked %d times in a minute", asked)
		}
		time.AfterFunc(time.Hour, func() { s.set(time.Hour, nil) })
		if err := a.Obtain(t.Context(), "t1"); err != nil {
			t.Error(err)
		}
	})
}

// Nothing of a task is left after it, and nothing is in clear before.
func TestKeeper_OnDisk(t *testing.T) {
	dir := t.TempDir()
	files := func() (names []string) {
		entries, err := os.ReadDir(filepath.Join(dir, "credentials"))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	synctest.Test(t, func(t *testing.T) {
		s := &server{life: time.Hour}
		a := begin(t, dir, s)
		for _, id := range []string{"t1", "t2", "t3"} {
			if err := a.Obtain(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			if bytes.Contains(data, []byte(canary)) {
				t.Errorf("%s has it in clear", path)
			}
			if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", path, info.Mode(), err)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		if err := a.Forget("t1"); err != nil {
			t.Error(err)
		}
		if err := a.Forget("never"); err != nil {
			t.Error(err)
		}
		if got := files(); !slices.Equal(got, []string{"t2", "t3"}) {
			t.Errorf("left %q", got)
		}
		issued, _ := s.count()
		time.Sleep(40 * time.Minute)
		if n, _ := s.count(); n != issued+2 {
			t.Errorf("%d were renewed, want those of two tasks", n-issued)
		}
		a.stop()
		// What does not open is as if it were not there; what nobody knows goes.
		if err := os.WriteFile(filepath.Join(dir, "credentials", "t2"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		a = begin(t, dir, s)
		if _, ok := a.Get("t2"); ok {
			t.Error("damaged ones are served")
		}
		if err := a.Sweep(map[string]bool{"t2": true}); err != nil {
			t.Error(err)
		}
		if got := files(); len(got) != 0 {
			t.Errorf("left %q", got)
		}
		a.stop()
	})
	c := credentials.Credentials{SecretAccessKey: canary, SessionToken: canary}
	if s := fmt.Sprintf("%v %+v %#v %s", c, c, c, c); bytes.Contains([]byte(s), []byte(canary)) {
		t.Errorf("a log would say %s", s)
	}
}
