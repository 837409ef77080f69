package logdriver

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"berth.dev/berth/internal/agent/helper/capture"
	"berth.dev/berth/internal/agent/seal"
)

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
			switch o { //nolint:exhaustive // the others need nothing here
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

// A pattern may be a secret (secretOptions): on disk it is sealed, and the next agent uses it all the same.
func TestDriver_ThePatternIsSealedOnDisk(t *testing.T) {
	key, err := seal.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := stream("c")
	s.Options.Multiline = "^kanarienvogel"
	if _, err := New(Config{Dir: dir, Sink: &server{}, Key: key}).Prepare(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "c", metaName))
	if err != nil || bytes.Contains(data, []byte("kanarienvogel")) {
		t.Errorf("on disk: %s, %v", data, err)
	}
	next := New(Config{Dir: dir, Sink: &server{}, Key: key, Log: slog.New(slog.DiscardHandler)})
	if _, err := next.Adopt(); err != nil {
		t.Fatal(err)
	}
	if m := next.followers["c"].meta; m.Multiline != "^kanarienvogel" || m.TaskID != s.TaskID || m.Container != s.Container {
		t.Errorf("the next agent has %+v", m)
	}
	if _, err := New(Config{Dir: dir, Sink: &server{}}).Adopt(); err == nil {
		t.Error("it is followed without its pattern")
	}
}
