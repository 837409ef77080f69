package logdriver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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
	"pgregory.net/rapid"

	"berth.dev/berth/internal/agent/helper/capture"
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

func (s *server) EnsureStream(context.Context, string, string, bool) error { return nil }

func (s *server) Deliver(ctx context.Context, group, stream, source string, events []Event) error {
	if s.before != nil {
		if err := s.before(); err != nil {
			return err
		}
	}
	if s.away.Load() {
		return errAway
	}
	s.store(source, events)
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

// step is a write of a container to one of its streams, after a pause.
type step struct {
	pause time.Duration
	data  []byte
}

// history is all that happens to one container's log.
type history struct {
	multiline string
	segment   int64
	limit     uint64
	writes    [2][]step
	// calls is what happens to each call of Deliver in turn; after the last one all go well.
	calls []outcome
	// crashes are the moments, each after the one before, at which the agent is killed.
	crashes []time.Duration
	// away is how long the host is without an agent each time.
	away time.Duration
}

type outcome int

const (
	fine outcome = iota
	failsBefore
	failsAfter
	killedBefore
	killedAfter
)

// play runs a history in a bubble and returns what the server has at the end.
func play(t *testing.T, h history) *server {
	dir := t.TempDir()
	s := &server{}
	synctest.Test(t, func(t *testing.T) {
		m := meta{ID: "c", Group: "g", Stream: "s", Source: "src", Multiline: h.multiline}
		if err := m.create(dir); err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(dir, "c")
		cfg := capture.Config{Dir: dir, LimitBytes: h.limit, SegmentBytes: h.segment}
		var container sync.WaitGroup
		var readers [2]*io.PipeReader
		for i, steps := range h.writes {
			r, w := io.Pipe()
			readers[i] = r
			container.Go(func() {
				for _, step := range steps {
					time.Sleep(step.pause) // of the bubble's clock
					if _, err := w.Write(step.data); err != nil {
						t.Errorf("writing to stream %d: %v", i, err)
					}
				}
				w.Close()
			})
		}
		ready := make(readiness)
		container.Go(func() {
			if err := capture.Run(cfg, readers[0], readers[1], ready, nil); err != nil {
				t.Errorf("capture: %v", err)
			}
		})
		<-ready // as the shim does before it starts the container
		follow(t, dir, m, s, h)
		container.Wait()
	})
	return s
}

// readiness is a ready pipe.
type readiness chan struct{}

func (r readiness) Close() error { close(r); return nil }

// follow is one agent after another until everything is delivered.
func follow(t *testing.T, dir string, m meta, s *server, h history) {
	calls, crashes := h.calls, h.crashes
	for done := false; !done; {
		ctx, kill := context.WithCancel(t.Context())
		died := func(o outcome) error {
			switch o {
			case killedBefore, killedAfter:
				kill()
				return ctx.Err()
			case failsBefore, failsAfter:
				return errAway
			}
			return nil
		}
		var now outcome
		s.before = func() error {
			now = fine
			if len(calls) > 0 {
				now, calls = calls[0], calls[1:]
			}
			if now == failsBefore || now == killedBefore {
				return died(now)
			}
			return nil
		}
		s.after = func() error { return died(now) }
		if len(crashes) > 0 {
			timer := time.AfterFunc(crashes[0], kill)
			defer timer.Stop()
			crashes = crashes[1:]
		}
		f := newFollower(dir, m, s, slog.New(slog.DiscardHandler))
		var agent sync.WaitGroup
		agent.Go(func() { f.run(ctx) })
		agent.Go(func() {
			for ctx.Err() == nil { // instead of inotify, which no bubble knows
				f.kick()
				sleep(ctx, 20*time.Millisecond)
			}
		})
		done = f.drain(ctx) == nil
		kill()
		agent.Wait()
		time.Sleep(h.away) // of the bubble's clock
	}
}

func drawHistory(t *rapid.T) history {
	h := history{
		segment: rapid.Int64Range(200, 100_000).Draw(t, "segment"),
		limit:   rapid.Uint64Range(1000, 1<<20).Draw(t, "limit"),
		calls:   rapid.SliceOfN(rapid.SampledFrom([]outcome{fine, fine, failsBefore, failsAfter, killedBefore, killedAfter}), 0, 12).Draw(t, "calls"),
	}
	if rapid.Bool().Draw(t, "leaves the host alone") {
		h.away = time.Duration(rapid.Int64Range(0, int64(8*time.Second)).Draw(t, "away"))
	}
	for range rapid.IntRange(0, 5).Draw(t, "crashes") {
		h.crashes = append(h.crashes, time.Duration(rapid.Int64Range(0, int64(6*time.Second)).Draw(t, "crash")))
	}
	return h
}

// chunks cuts data at random places, with random pauses.
func chunks(t *rapid.T, data []byte) []step {
	var steps []step
	for len(data) > 0 {
		n := rapid.IntRange(1, len(data)).Draw(t, "chunk")
		if len(steps) > 20 {
			n = len(data)
		}
		var pause time.Duration
		if rapid.Bool().Draw(t, "pauses") {
			pause = time.Duration(rapid.Int64Range(0, int64(7*time.Second)).Draw(t, "pause"))
		}
		steps, data = append(steps, step{pause, data[:n]}), data[n:]
	}
	return steps
}

// wanted is the events that a stream's bytes must become.
func wanted(data []byte) []string {
	var events []string
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		var event strings.Builder
		for _, r := range string(line) {
			if event.Len()+utf8.RuneLen(r) > maxEventBytes {
				events = append(events, event.String())
				event.Reset()
			}
			event.WriteRune(r)
		}
		if event.Len() > 0 {
			events = append(events, event.String())
		}
	}
	return events
}

// TestFollower_EachLineOnce is the law of this package: whatever the container writes, however it is cut, whenever the agent
// is killed and whatever becomes of the calls, the server has each line once and in order.
func TestFollower_EachLineOnce(t *testing.T) {
	// The two streams use different letters, so that an event tells where it came from. \xff is not UTF-8, and the others
	// take two and three bytes, so that records and events end in the midst of characters.
	alphabets := [2][]string{{"a", "b", "é", "\xff"}, {"A", "B", "世"}}
	rapid.Check(t, func(rt *rapid.T) {
		h := drawHistory(rt)
		var want [2][]string
		for i, letters := range alphabets {
			var data []byte
			for range rapid.IntRange(0, 12).Draw(rt, "lines") {
				letter := rapid.SampledFrom(letters).Draw(rt, "letter")
				length := rapid.OneOf(rapid.IntRange(0, 50), rapid.IntRange(16_000, 17_000), rapid.IntRange(0, 300_000)).Draw(rt, "length")
				data = append(data, rapid.SampledFrom(letters).Draw(rt, "first")...)
				data = append(data, strings.Repeat(letter, length/len(letter))...)
				data = append(data, strings.Repeat("\n", rapid.IntRange(1, 2).Draw(rt, "newlines"))...)
			}
			if len(data) > 0 && rapid.Bool().Draw(rt, "unterminated") {
				data = bytes.TrimRight(data, "\n")
			}
			h.writes[i], want[i] = chunks(rt, data), wanted(data)
		}
		s := play(t, h)
		var got [2][]string
		for _, message := range s.messages() {
			stream := 0
			if r, _ := utf8.DecodeRuneInString(message); strings.ContainsRune("AB世", r) {
				stream = 1
			}
			got[stream] = append(got[stream], message)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Errorf("events differ (-written +stored):\n%.2000s", diff)
		}
		if len(s.faults) > 0 {
			rt.Errorf("the server was called wrongly: %v", s.faults)
		}
	})
}

// TestFollower_MultilineEachLineOnce is the same law where lines make events together: pauses around the age at which an
// event is ended, and the agent is killed before and after such an event was stored.
func TestFollower_MultilineEachLineOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := drawHistory(rt)
		h.multiline = "START"
		var want [2][]string
		for i, name := range []string{"out", "err"} {
			var data []byte
			for n := range rapid.IntRange(0, 25).Draw(rt, "lines") {
				line := fmt.Sprintf("%s %d", name, n)
				if rapid.Bool().Draw(rt, "first line") {
					line += " START"
				}
				if rapid.IntRange(0, 9).Draw(rt, "long") == 0 {
					line += strings.Repeat(".", rapid.IntRange(0, 150_000).Draw(rt, "length"))
				}
				want[i] = append(want[i], line)
				data = append(data, line+"\n"...)
			}
			h.writes[i] = chunks(rt, data)
		}
		s := play(t, h)
		var got [2][]string
		for _, message := range s.messages() {
			lines := strings.Split(strings.TrimSuffix(message, "\n"), "\n")
			for n, line := range lines {
				if n > 0 && strings.Contains(line, "START") {
					rt.Errorf("the first line of an event is inside another: %.200q", message)
				}
				stream := 0
				if strings.HasPrefix(line, "err") {
					stream = 1
				}
				got[stream] = append(got[stream], line)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Errorf("lines differ (-written +stored):\n%.2000s", diff)
		}
		if len(s.faults) > 0 {
			rt.Errorf("the server was called wrongly: %v", s.faults)
		}
	})
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
