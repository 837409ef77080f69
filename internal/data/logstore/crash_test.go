package logstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// The environment of the process that is going to be killed.
const (
	victimDir  = "BERTH_LOGSTORE_VICTIM_DIR"
	victimFrom = "BERTH_LOGSTORE_VICTIM_FROM" // next sequence number by source, space-separated
)

const (
	victimSources = 8
	victimEvents  = 3 // per call
)

// beVictim appends until it is killed, and prints "source seq" after each
// acknowledgement. Like an agent after a restart it begins with the last call
// that it knows to be acknowledged, which must not be stored again.
func beVictim(dir, from string) int {
	s, err := Open(dir, Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	next := make([]uint64, victimSources)
	if _, err := fmt.Sscan(from, pointers(next)...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var wg sync.WaitGroup
	var out sync.Mutex
	for source := range victimSources {
		wg.Go(func() {
			for seq := next[source]; ; seq++ {
				if err := victimAppend(s, source, seq); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				out.Lock()
				fmt.Printf("%d %d\n", source, seq)
				out.Unlock()
			}
		})
	}
	wg.Wait()
	return 0
}

func victimAppend(s *Store, source int, seq uint64) error {
	stream := fmt.Sprint("stream", source%3)
	if err := s.EnsureStream(context.Background(), "g", stream, true); err != nil {
		return err
	}
	events := make([]Event, victimEvents)
	for i := range events {
		events[i] = Event{Timestamp: int64(seq), Message: fmt.Sprintf("%d %d %d", source, seq, i)}
	}
	_, err := s.Append(context.Background(), "g", stream, fmt.Sprint("source", source), seq, events)
	return err
}

func pointers(numbers []uint64) []any {
	p := make([]any, len(numbers))
	for i := range numbers {
		p[i] = &numbers[i]
	}
	return p
}

// SIGKILL at random moments: every acknowledged event is there, none is
// doubled, and no call is there in part.
func TestStore_SurvivesKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	acked := make([]uint64, victimSources)
	for round := range 4 {
		runVictim(t, dir, acked, 50+rand.IntN(300))
		s, err := Open(dir, Options{})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		checkVictim(t, s, acked)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			return
		}
	}
}

// runVictim lets a victim work until it has acknowledged that many calls,
// kills it, and notes what it acknowledged.
func runVictim(t *testing.T, dir string, acked []uint64, calls int) {
	t.Helper()
	from := make([]string, len(acked))
	for i, seq := range acked {
		from[i] = fmt.Sprint(max(seq, 1))
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), victimDir+"="+dir, victimFrom+"="+strings.Join(from, " "))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		var source int
		var seq uint64
		if _, err := fmt.Sscan(lines.Text(), &source, &seq); err == nil {
			acked[source] = max(acked[source], seq)
		}
		if n == calls {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Exited() {
		t.Fatalf("the victim was not killed: %v", err)
	}
}

func checkVictim(t *testing.T, s *Store, acked []uint64) {
	t.Helper()
	events, err := collect(t.Context(), s, GroupQuery{Group: "g"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	calls := make([]map[uint64]int, len(acked)) // events by call
	for _, e := range events {
		var source, i int
		var seq uint64
		if _, err := fmt.Sscan(e.Message, &source, &seq, &i); err != nil {
			t.Fatal(err)
		}
		if seen[e.Message] {
			t.Errorf("%q is there twice", e.Message)
		}
		seen[e.Message] = true
		if calls[source] == nil {
			calls[source] = map[uint64]int{}
		}
		calls[source][seq]++
	}
	for source, last := range acked {
		for seq := uint64(1); seq <= last; seq++ {
			if calls[source][seq] == 0 {
				t.Errorf("source %d: call %d was acknowledged and is lost", source, seq)
			}
		}
		for seq, n := range calls[source] {
			if n != victimEvents {
				t.Errorf("source %d: call %d has %d of %d events", source, seq, n, victimEvents)
			}
		}
	}
}
