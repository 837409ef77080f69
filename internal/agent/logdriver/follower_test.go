package logdriver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/agent/helper/spool"
	"berth.dev/berth/internal/base/fault"
)

var errAway = errors.New("the control plane is away")

// server is a Sink that keeps a high-water mark for each source, as the control plane does.
type server struct {
	// before is asked before a batch is stored, after once it is stored; an error is what the agent sees. Both may be nil.
	before, after func() error
	// away makes every call fail.
	away atomic.Bool

	mu      sync.Mutex
	marks   map[string]uint64
	events  []Event
	batches []int
	faults  []string // what was wrong with the calls
}

func (s *server) EnsureStream(context.Context, Source, bool) error { return nil }

func (s *server) Deliver(ctx context.Context, of Source, events []Event) error {
	if s.before != nil {
		if err := s.before(); err != nil {
			return err
		}
	}
	if s.away.Load() {
		return errAway
	}
	s.store(of.ID, events)
	if s.after != nil {
		return s.after()
	}
	return nil
}

func (s *server) store(source string, events []Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.marks == nil {
		s.marks = map[string]uint64{}
	}
	s.check(events)
	s.batches = append(s.batches, len(events))
	for _, e := range events {
		if e.Seq > s.marks[source] {
			s.marks[source] = e.Seq
			s.events = append(s.events, e)
		}
	}
}

// check notes what breaks the contract of Deliver.
func (s *server) check(events []Event) {
	size := 0
	for i, e := range events {
		size += len(e.Message) + eventOverheadBytes
		if e.Message == "" || !utf8.ValidString(e.Message) || len(e.Message) > maxEventBytes {
			s.faults = append(s.faults, fmt.Sprintf("event of %d bytes, valid UTF-8: %v", len(e.Message), utf8.ValidString(e.Message)))
		}
		if i > 0 && (e.Seq <= events[i-1].Seq || e.Timestamp.Before(events[i-1].Timestamp)) {
			s.faults = append(s.faults, fmt.Sprintf("event %d at %v after %d at %v", e.Seq, e.Timestamp, events[i-1].Seq, events[i-1].Timestamp))
		}
	}
	if n := len(events); n == 0 || n > maxBatchEvents || size > maxBatchBytes || events[n-1].Timestamp.Sub(events[0].Timestamp) >= maxBatchSpan {
		s.faults = append(s.faults, fmt.Sprintf("batch of %d events, %d bytes", n, size))
	}
}

func (s *server) messages() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var messages []string
	for _, e := range s.events {
		messages = append(messages, e.Message)
	}
	return messages
}

// started is a follower in a bubble, with a spool whose writer is the test.
func started(t *testing.T, m meta, sink Sink) (*follower, *spool.Writer) {
	root := t.TempDir()
	m.ID, m.Source = "c", "src"
	if err := m.create(root); err != nil {
		t.Fatal(err)
	}
	f := newFollower(filepath.Join(root, "c"), m, sink, slog.New(slog.DiscardHandler))
	w, err := spool.OpenWriter(f.dir, 1<<20, time.Now().UnixNano())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); f.run(ctx) }()
	t.Cleanup(func() { cancel(); <-done; w.Close() })
	return f, w
}

func write(t *testing.T, f *follower, w *spool.Writer, lines ...string) {
	t.Helper()
	for _, line := range lines {
		w.Append(spool.Record{Kind: spool.Line, Stream: spool.Stdout, Time: time.Now().UnixNano(), Payload: []byte(line)})
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	f.kick()
}

func TestFollower_GathersLinesOfATenthOfASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		f, w := started(t, meta{}, s)
		synctest.Wait()
		write(t, f, w, "one")
		time.Sleep(gather / 2)
		write(t, f, w, "two")
		synctest.Wait()
		if got := s.messages(); len(got) != 0 {
			t.Errorf("delivered %q before the batch had gathered", got)
		}
		time.Sleep(gather)
		synctest.Wait()
		if diff := cmp.Diff([]int{2}, s.batches); diff != "" {
			t.Errorf("batches (-want +got):\n%s", diff)
		}
	})
}

func TestFollower_BacksOffAndDeliversWhenTheServerIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var mu sync.Mutex
		var called []time.Duration
		s := &server{before: func() error {
			mu.Lock()
			defer mu.Unlock()
			called = append(called, time.Since(start))
			return nil
		}}
		s.away.Store(true)
		f, w := started(t, meta{}, s)
		write(t, f, w, "kept")
		time.Sleep(time.Minute)
		synctest.Wait()
		mu.Lock()
		calls := slices.Clone(called)
		mu.Unlock()
		tried := len(calls)
		if tried < 30 || tried > 45 {
			t.Errorf("%d tries in a minute, at %v", tried, calls)
		}
		for i := 8; i < tried; i++ {
			if gap := calls[i] - calls[i-1]; gap < maxBackoff*3/4 || gap > maxBackoff {
				t.Errorf("tries %v and %v are %v apart", calls[i-1], calls[i], gap)
			}
		}
		s.away.Store(false)
		time.Sleep(maxBackoff)
		synctest.Wait()
		if diff := cmp.Diff([]string{"kept"}, s.messages()); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

func TestFollower_ThrowsAwayWhatIsRefusedForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refuse atomic.Bool
		refuse.Store(true)
		s := &server{before: func() error {
			if refuse.Load() {
				return fault.New(fault.NotFound, "the group was deleted")
			}
			return nil
		}}
		f, w := started(t, meta{}, s)
		write(t, f, w, "a", "b")
		time.Sleep(time.Second)
		synctest.Wait()
		refuse.Store(false)
		write(t, f, w, "c")
		time.Sleep(time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]string{"c"}, s.messages()); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if want := (Stats{Delivered: 1, Refused: 2}); f.stats != want {
			t.Errorf("stats %+v, want %+v", f.stats, want)
		}
	})
}

func TestFollower_CutsBatchesAtTheLimitsOfPutLogEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		f, w := started(t, meta{}, s)
		write(t, f, w, "yesterday")
		time.Sleep(25 * time.Hour)
		s.away.Store(true)
		write(t, f, w, "before the outage")
		time.Sleep(25 * time.Hour)
		lines := make([]string, 25_000)
		for i := range lines {
			lines[i] = fmt.Sprint("line ", i)
		}
		write(t, f, w, lines...)
		for range 100 {
			write(t, f, w, strings.Repeat("x", spool.MaxPayload))
		}
		s.away.Store(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := len(s.events); got != 2+25_000+100 || len(s.faults) > 0 {
			t.Errorf("%d events, faults %v", got, s.faults)
		}
		if len(s.batches) < 6 {
			t.Errorf("batches of %v", s.batches)
		}
	})
}

func TestFollower_MultilineEventEndsWithItsAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		f, w := started(t, meta{Multiline: `^\[`}, s)
		write(t, f, w, "[1] first", " more")
		time.Sleep(multilineAge - time.Second)
		write(t, f, w, " and more")
		time.Sleep(time.Second / 2)
		synctest.Wait()
		if got := s.messages(); len(got) != 0 {
			t.Errorf("delivered %q too early", got)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]string{"[1] first\n more\n and more\n"}, s.messages()); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

func TestFollower_TellsOfDroppedLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		f, w := started(t, meta{}, s)
		w.Append(spool.Record{Kind: spool.Partial, Stream: spool.Stdout, Payload: []byte("half a line")})
		w.Append(spool.DroppedRecord(spool.Stdout, 0, 3))
		write(t, f, w, "next line")
		time.Sleep(time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]string{"half a line", "next line"}, s.messages()); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.stats.Dropped != 3 {
			t.Errorf("%d lines were told as dropped, want 3", f.stats.Dropped)
		}
	})
}

func TestFollower_DrainNoticesADeadLogger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		f, w := started(t, meta{}, s) // nobody holds the lock: this logger was killed
		w.Append(spool.Record{Kind: spool.Partial, Stream: spool.Stderr, Payload: []byte("killed in the midst of a li")})
		write(t, f, w, "last line")
		if err := f.drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"last line", "killed in the midst of a li"}, s.messages()); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

func TestFollower_DrainEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, w := started(t, meta{}, &server{before: func() error { return errAway }})
		write(t, f, w, "undeliverable")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := f.drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want that of the deadline", err)
		}
	})
}

func TestFollower_DeletesDeliveredSegments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, w := started(t, meta{}, &server{})
		for range 300 {
			write(t, f, w, strings.Repeat("x", spool.MaxPayload))
			time.Sleep(time.Second)
		}
		synctest.Wait()
		found, err := filepath.Glob(filepath.Join(f.dir, "*.seg"))
		if err != nil || len(found) != 1 {
			t.Errorf("segments %v, %v; want the newest only", found, err)
		}
		if _, err := os.Stat(filepath.Join(f.dir, "checkpoint")); err != nil {
			t.Error(err)
		}
	})
}
