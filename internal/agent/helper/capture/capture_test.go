package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"berth.dev/berth/internal/agent/helper/spool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParseArgs(t *testing.T) {
	got, err := ParseArgs([]string{"limit", "5", "spool", "/s", "segment", "7", "mode", "non-blocking"})
	if want := (Config{Dir: "/s", NonBlocking: true, LimitBytes: 5, SegmentBytes: 7}); err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	got, err = ParseArgs([]string{"spool", "/s"})
	if want := (Config{Dir: "/s", LimitBytes: DefaultLimitBytes, SegmentBytes: DefaultSegmentBytes}); err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	for _, args := range [][]string{{}, {"spool"}, {"spool", "/s", "mode", "fast"}, {"spool", "/s", "limit", "0"}, {"spool", "/s", "colour", "red"}} {
		if _, err := ParseArgs(args); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}

type piece struct {
	Text string
	Last bool
}

func split(chunks ...[]byte) []piece {
	var s splitter
	var pieces []piece
	put := func(p []byte, last bool) { pieces = append(pieces, piece{string(p), last}) }
	for _, chunk := range chunks {
		s.feed(chunk, put)
	}
	s.finish(put)
	return pieces
}

func TestSplitter(t *testing.T) {
	full := strings.Repeat("x", spool.MaxPayload)
	tests := []struct {
		name, data string
		want       []piece
	}{
		{"nothing", "", nil},
		{"lines", "a\n\nb\n", []piece{{"a", true}, {"", true}, {"b", true}}},
		{"unterminated", "a\nb", []piece{{"a", true}, {"b", true}}},
		{"carriage returns stay", "a\r\n", []piece{{"a\r", true}}},
		{"a full piece that goes on", full + "y\n", []piece{{full, false}, {"y", true}}},
		{"a full piece that ends", full + "\n", []piece{{full, false}, {"", true}}},
		{"three pieces", full + full + "y", []piece{{full, false}, {full, false}, {"y", true}}},
	}
	for _, test := range tests {
		if diff := cmp.Diff(test.want, split([]byte(test.data))); diff != "" {
			t.Errorf("%s (-want +got):\n%.500s", test.name, diff)
		}
	}
}

func TestSplitter_ChunksDoNotMatter(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var data []byte
		for range rapid.IntRange(0, 6).Draw(rt, "lines") {
			length := rapid.OneOf(rapid.IntRange(0, 10), rapid.IntRange(spool.MaxPayload-2, spool.MaxPayload+2), rapid.IntRange(0, 50_000)).Draw(rt, "length")
			data = append(bytes.Repeat([]byte("x"), length), append([]byte("\n"), data...)...)
		}
		var chunks [][]byte
		for rest := data; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(rt, "chunk")
			chunks, rest = append(chunks, rest[:n]), rest[n:]
		}
		if diff := cmp.Diff(split(data), split(chunks...)); diff != "" {
			rt.Errorf("pieces differ (-at once +chunked):\n%.500s", diff)
		}
	})
}

// rig is a logger in a bubble, and the test is container and agent.
type rig struct {
	t              *testing.T
	dir            string
	stdout, stderr *io.PipeWriter
	stop           chan struct{}
	ended          chan struct{}
}

type readiness chan struct{}

func (r readiness) Close() error { close(r); return nil }

func start(t *testing.T, cfg Config) *rig {
	cfg.Dir = t.TempDir()
	if cfg.SegmentBytes == 0 {
		cfg.SegmentBytes = 1 << 20
	}
	stdout, outEnd := io.Pipe()
	stderr, errEnd := io.Pipe()
	r := &rig{t: t, dir: cfg.Dir, stdout: outEnd, stderr: errEnd, stop: make(chan struct{}), ended: make(chan struct{})}
	ready := make(readiness)
	go func() {
		defer close(r.ended)
		if err := Run(cfg, stdout, stderr, ready, r.stop); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	<-ready
	return r
}

func (r *rig) end() {
	r.stdout.Close()
	r.stderr.Close()
	<-r.ended
}

// records describes what is in the spool and returns its total.
func (r *rig) records() ([]string, uint64) {
	reader := spool.NewReader(r.dir, 0)
	defer reader.Close()
	var all []string
	for {
		record, _, err := reader.Next()
		if err == io.EOF {
			return all, reader.Total()
		}
		if err != nil {
			r.t.Fatal(err)
		}
		switch record.Kind {
		case spool.Begin:
			all = append(all, "begin")
		case spool.End:
			all = append(all, "end")
		case spool.Dropped:
			all = append(all, fmt.Sprintf("%d dropped %d", record.Stream, record.Count()))
		case spool.Partial:
			all = append(all, fmt.Sprintf("%d piece of %d", record.Stream, len(record.Payload)))
		case spool.Line:
			all = append(all, fmt.Sprintf("%d %.20s", record.Stream, record.Payload))
		}
	}
}

// acknowledge is the agent having read everything.
func (r *rig) acknowledge() {
	_, total := r.records()
	if err := spool.WriteCheckpoint(r.dir, spool.Checkpoint{Read: total}); err != nil {
		r.t.Fatal(err)
	}
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Config{LimitBytes: 1 << 20})
		io.WriteString(r.stdout, "one\ntwo")
		synctest.Wait()
		io.WriteString(r.stderr, "three\n")
		synctest.Wait()
		r.end()
		got, _ := r.records()
		if diff := cmp.Diff([]string{"begin", "1 one", "2 three", "1 two", "end"}, got); diff != "" {
			t.Errorf("records (-want +got):\n%s", diff)
		}
		if alive, err := spool.Alive(r.dir); err != nil || alive {
			t.Errorf("after its end it is alive: %v, %v", alive, err)
		}
	})
}

func TestRun_BlockingHoldsTheContainerUntilTheAgentReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Config{LimitBytes: 200})
		var written sync.WaitGroup
		done := make(chan struct{})
		written.Go(func() {
			defer close(done)
			for i := range 20 {
				fmt.Fprintf(r.stdout, "line %02d\n", i)
			}
		})
		time.Sleep(time.Hour)
		before, _ := r.records()
		select {
		case <-done:
			t.Error("the container wrote everything into a full spool")
		default:
		}
		if len(before) < 5 || len(before) > 9 {
			t.Errorf("%d records of 25 bytes in a spool of 200", len(before))
		}
		r.acknowledge()
		time.Sleep(2 * fullPause)
		if after, _ := r.records(); len(after) <= len(before) {
			t.Errorf("%d records after the agent read, %d before", len(after), len(before))
		}
		for running := true; running; {
			r.acknowledge()
			select {
			case <-done:
				running = false
			case <-time.After(fullPause):
			}
		}
		written.Wait()
		r.stdout.Close()
		r.stderr.Close()
		for running := true; running; {
			r.acknowledge()
			select {
			case <-r.ended:
				running = false
			case <-time.After(fullPause):
			}
		}
		want := []string{"begin"}
		for i := range 20 {
			want = append(want, fmt.Sprintf("1 line %02d", i))
		}
		got, _ := r.records()
		if diff := cmp.Diff(append(want, "end"), got); diff != "" {
			t.Errorf("records (-want +got):\n%s", diff)
		}
	})
}

func TestRun_WhenTheContainerIsGoneWhatThePipesHoldIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Config{LimitBytes: 100})
		go func() {
			io.WriteString(r.stdout, strings.Repeat("rest\n", 50))
			r.stdout.Close()
			r.stderr.Close()
		}()
		time.Sleep(time.Hour)
		select {
		case <-r.ended:
			t.Fatal("it ended with a full spool")
		default:
		}
		close(r.stop)
		<-r.ended
		if got, _ := r.records(); len(got) != 52 {
			t.Errorf("%d records, want 50 lines, a beginning and an end", len(got))
		}
	})
}

func TestRun_NonBlockingDropsAndCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Config{LimitBytes: 100, NonBlocking: true})
		for i := range 10 {
			fmt.Fprintf(r.stdout, "line %02d\n", i)
		}
		synctest.Wait()
		r.acknowledge()
		time.Sleep(checkpointAge)
		io.WriteString(r.stdout, "next\n")
		io.WriteString(r.stderr, "other\n")
		synctest.Wait()
		r.end()
		got, _ := r.records()
		// begin has 18 bytes and a line 25: three lines fit.
		want := []string{"begin", "1 line 00", "1 line 01", "1 line 02", "1 dropped 7", "1 next", "2 other", "end"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("records (-want +got):\n%s", diff)
		}
	})
}

func TestRun_NonBlockingDropsTheRestOfALineAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Config{LimitBytes: 20_000, NonBlocking: true})
		io.WriteString(r.stdout, strings.Repeat("x", 3*spool.MaxPayload))
		synctest.Wait()
		r.acknowledge() // the backlog is gone, and still the rest of this line must not begin in its midst
		time.Sleep(checkpointAge)
		io.WriteString(r.stdout, "tail\nwhole\n")
		synctest.Wait()
		r.end()
		got, _ := r.records()
		want := []string{"begin", "1 piece of 16384", "1 dropped 1", "1 whole", "end"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("records (-want +got):\n%s", diff)
		}
	})
}

func TestRun_NonBlockingTakesALineOfAnySizeWhenNothingIsUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Config{LimitBytes: 10, NonBlocking: true})
		r.acknowledge()
		io.WriteString(r.stdout, "longer than ten bytes\nand this is too much\n")
		synctest.Wait()
		r.end()
		got, _ := r.records()
		if diff := cmp.Diff([]string{"begin", "1 longer than ten byte", "1 dropped 1", "end"}, got); diff != "" {
			t.Errorf("records (-want +got):\n%s", diff)
		}
	})
}

func TestRun_ASpoolThatIsRemovedDoesNotHoldTheContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Config{LimitBytes: 100, SegmentBytes: 50})
		if err := os.RemoveAll(r.dir); err != nil {
			t.Fatal(err)
		}
		io.WriteString(r.stdout, strings.Repeat("nobody reads this\n", 1000))
		r.end()
		if _, err := os.Stat(r.dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the directory is back: %v", err)
		}
	})
}

func TestDiscard(t *testing.T) {
	dir := t.TempDir()
	ready := make(readiness)
	Discard(dir, errors.New("no room"), strings.NewReader("a"), strings.NewReader("b"), ready)
	<-ready
	if got, err := os.ReadFile(filepath.Join(dir, "error")); err != nil || string(got) != "no room\n" {
		t.Errorf("%q, %v", got, err)
	}
}
