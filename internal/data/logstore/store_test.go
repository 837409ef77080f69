package logstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"
)

// TestMain turns the program into the victim of the crash test when asked to.
func TestMain(m *testing.M) {
	if dir := os.Getenv(victimDir); dir != "" {
		os.Exit(beVictim(dir, os.Getenv(victimFrom)))
	}
	os.Exit(m.Run())
}

// An opened and closed store leaves no goroutine. Not parallel: it counts.
func TestClose_LeavesNothing(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s, err := Open("logs", Options{fs: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	ensure(t, s, "g", "s")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// openIn opens a store that is closed at the end of the test.
func openIn(tb testing.TB, dir string, o Options) *Store {
	tb.Helper()
	s, err := Open(dir, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, ErrFailed) {
			tb.Error(err)
		}
	})
	return s
}

func ensure(tb testing.TB, s *Store, group, stream string) {
	tb.Helper()
	if err := s.EnsureStream(tb.Context(), group, stream, true); err != nil {
		tb.Fatal(err)
	}
}

// Many writers to few streams: every acknowledged event is there once, in the
// order its writer gave, and repeated calls change nothing.
func TestAppend_Concurrent(t *testing.T) {
	t.Parallel()
	s := openIn(t, t.TempDir(), Options{})
	const writers, calls, perCall = 16, 25, 3
	for i := range 4 {
		ensure(t, s, "g", fmt.Sprint("s", i))
	}
	var g errgroup.Group
	for w := range writers {
		g.Go(func() error {
			stream, source := fmt.Sprint("s", w%4), fmt.Sprint("w", w)
			for seq := uint64(1); seq <= calls; seq++ {
				events := make([]Event, perCall)
				for i := range events {
					events[i] = Event{Timestamp: 5, Message: fmt.Sprintf("%s %04d %d", source, seq, i)}
				}
				for attempt := range 1 + rand.IntN(2) {
					got, err := s.Append(t.Context(), "g", stream, source, seq, events)
					if err != nil {
						return err
					}
					if got.Duplicate != (attempt > 0) {
						return fmt.Errorf("%s seq %d attempt %d: duplicate is %v", source, seq, attempt, got.Duplicate)
					}
				}
			}
			return nil
		})
		// Readers at the same time see an ordered prefix.
		g.Go(func() error {
			for range 10 {
				page, err := s.Read(t.Context(), StreamQuery{Group: "g", Stream: fmt.Sprint("s", w%4)})
				if err != nil {
					return err
				}
				if !slices.IsSortedFunc(page, func(a, b Record) int { return a.Compare(b.Position) }) {
					return errors.New("a page is not in order")
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	all, err := collect(t.Context(), s, GroupQuery{Group: "g"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if want := writers * calls * perCall; len(all) != want {
		t.Fatalf("%d events, want %d", len(all), want)
	}
	last := map[string]string{}
	for i, r := range all {
		if i > 0 && r.Compare(all[i-1].Position) <= 0 {
			t.Fatalf("event %d is not after the one before", i)
		}
		source, _, _ := strings.Cut(r.Message, " ")
		if r.Message <= last[source] {
			t.Fatalf("%q after %q", r.Message, last[source])
		}
		last[source] = r.Message
	}
}

// Calls that wait while the writer is busy share the next sync: a hundred
// appends behind a slow change are one commit.
func TestAppend_SharesSyncs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := openIn(t, "logs", Options{fs: vfs.NewMem()})
		ensure(t, s, "g", "s")
		release := make(chan struct{})
		var g errgroup.Group
		g.Go(func() error { // holds the writer inside a commit
			return s.UpdateGroup(t.Context(), "g", func(*GroupSettings) error {
				<-release
				return nil
			})
		})
		synctest.Wait()
		for range 100 {
			g.Go(func() error {
				_, err := s.Append(t.Context(), "g", "s", "", 0, []Event{{1, "x"}})
				return err
			})
		}
		synctest.Wait() // all of them wait for the writer
		before := s.commits.Load()
		close(release)
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		if n := s.commits.Load() - before; n != 2 {
			t.Errorf("%d commits, want the slow change and one for all appends", n)
		}
	})
}

// A full disk is an error, leaves nothing behind, allows deletion, and ends
// when there is room again.
func TestAppend_DiskFull(t *testing.T) {
	t.Parallel()
	disk := &fullDisk{FS: vfs.NewMem()}
	disk.free.Store(1 << 30)
	s := openIn(t, "logs", Options{fs: disk})
	ensure(t, s, "g", "s")
	ensure(t, s, "g", "t")

	disk.free.Store(100 << 20)
	if _, err := s.Append(t.Context(), "g", "s", "n", 1, []Event{{1, "x"}}); !errors.Is(err, ErrDiskFull) {
		t.Fatalf("got %v, want ErrDiskFull", err)
	}
	if err := s.CreateGroup(t.Context(), "h", GroupSettings{}); !errors.Is(err, ErrDiskFull) {
		t.Fatalf("got %v, want ErrDiskFull", err)
	}
	if page, err := s.Read(t.Context(), StreamQuery{Group: "g", Stream: "s"}); err != nil || len(page) != 0 {
		t.Fatalf("read %v, %v", page, err)
	}
	if err := s.DeleteStream(t.Context(), "g", "t"); err != nil {
		t.Fatalf("deleting on a full disk: %v", err)
	}

	disk.free.Store(1 << 30)
	got, err := s.Append(t.Context(), "g", "s", "n", 1, []Event{{1, "x"}})
	if err != nil || got.Duplicate {
		t.Fatalf("the refused call left its mark: %+v, %v", got, err)
	}
}

type fullDisk struct {
	vfs.FS
	free atomic.Uint64
}

func (d *fullDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: d.free.Load()}, nil
}

// When the log cannot be synced nobody gets an acknowledgement, every later
// call says why, Run returns, and the acknowledged part is there when the
// store is opened again.
func TestStore_FailsClosed(t *testing.T) {
	t.Parallel()
	mem := vfs.NewCrashableMem()
	var broken atomic.Bool
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) {
			return syscall.EIO
		}
		return nil
	}))
	s := openIn(t, "logs", Options{fs: fs})
	ensure(t, s, "g", "s")
	if _, err := s.Append(t.Context(), "g", "s", "n", 1, []Event{{1, "kept"}}); err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	go func() { ran <- s.Run(t.Context()) }()

	broken.Store(true)
	_, err := s.Append(t.Context(), "g", "s", "n", 2, []Event{{2, "lost"}})
	if !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), "input/output error") {
		t.Fatalf("got %v, want ErrFailed with its cause", err)
	}
	if err := <-ran; !errors.Is(err, ErrFailed) {
		t.Errorf("Run returned %v", err)
	}
	if _, err := s.Read(t.Context(), StreamQuery{Group: "g", Stream: "s"}); !errors.Is(err, ErrFailed) {
		t.Errorf("Read returned %v", err)
	}
	if err := s.CreateGroup(t.Context(), "h", GroupSettings{}); !errors.Is(err, ErrFailed) {
		t.Errorf("CreateGroup returned %v", err)
	}

	after := openIn(t, "logs", Options{fs: mem.CrashClone(vfs.CrashCloneCfg{})})
	page, err := after.Read(t.Context(), StreamQuery{Group: "g", Stream: "s"})
	if err != nil || len(page) != 1 || page[0].Message != "kept" {
		t.Errorf("after opening again: %v, %v", page, err)
	}
	if got, err := after.Append(t.Context(), "g", "s", "n", 2, []Event{{2, "again"}}); err != nil || got.Duplicate {
		t.Errorf("the failed call left its mark: %+v, %v", got, err)
	}
}

// Damage to a file is an error that names the directory, not a crash and not
// an empty store.
func TestOpen_Damaged(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	s, err := Open("logs", Options{fs: mem})
	if err != nil {
		t.Fatal(err)
	}
	ensure(t, s, "g", "s")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := mem.List("logs")
	if err != nil {
		t.Fatal(err)
	}
	damaged := 0
	for _, name := range names {
		if !strings.HasPrefix(name, "MANIFEST-") {
			continue
		}
		f, err := mem.OpenReadWrite(mem.PathJoin("logs", name), vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("damage damage"), 3); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		damaged++
	}
	if damaged == 0 {
		t.Fatal("no manifest to damage")
	}
	if s, err := Open("logs", Options{fs: mem}); err == nil {
		_ = s.Close()
		t.Fatal("a damaged store was opened")
	} else if !strings.Contains(err.Error(), "opening the log store in logs") {
		t.Errorf("unclear error: %v", err)
	}
}

// Purge removes what expired and nothing else, chunk by chunk.
func TestPurge_Chunks(t *testing.T) {
	t.Parallel()
	now := atomic.Int64{}
	now.Store(epoch)
	s := openIn(t, "logs", Options{
		fs: vfs.NewMem(), PurgeInterval: time.Millisecond,
		Now: func() time.Time { return time.UnixMilli(now.Load()) },
	})
	ensure(t, s, "g", "s")
	events := make([]Event, purgeChunk+10) // more than one chunk
	for i := range events {
		events[i] = Event{epoch, "x"}
	}
	events = append(events, Event{epoch + 3*millisPerDay, "kept"})
	if _, err := s.Append(t.Context(), "g", "s", "", 0, events); err != nil {
		t.Fatal(err)
	}
	err := s.UpdateGroup(t.Context(), "g", func(g *GroupSettings) error { g.RetentionDays = 1; return nil })
	if err != nil {
		t.Fatal(err)
	}
	now.Store(epoch + 2*millisPerDay)
	page, err := s.Read(t.Context(), StreamQuery{Group: "g", Stream: "s"})
	if err != nil || len(page) != 1 || page[0].Message != "kept" {
		t.Fatalf("expired events are readable: %d, %v", len(page), err)
	}
	n, err := s.Purge(t.Context())
	if err != nil || n != len(events)-1 {
		t.Fatalf("purged %d, %v; want %d", n, err, len(events)-1)
	}
	if g, err := s.Group("g"); err != nil || g.StoredBytes != int64(len("kept")+EventOverhead) {
		t.Errorf("stores %d bytes, %v", g.StoredBytes, err)
	}
}

// The loop purges at once and by its interval, and ends with its context.
func TestRun_Loop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := openIn(t, "logs", Options{fs: vfs.NewMem()})
		if err := s.CreateGroup(t.Context(), "g", GroupSettings{RetentionDays: 1}); err != nil {
			t.Fatal(err)
		}
		ensure(t, s, "g", "s")
		put := func(age time.Duration) {
			event := Event{time.Now().Add(-age).UnixMilli(), "x"}
			if _, err := s.Append(t.Context(), "g", "s", "", 0, []Event{event}); err != nil {
				t.Fatal(err)
			}
		}
		stored := func() int64 {
			synctest.Wait()
			g, err := s.Group("g")
			if err != nil {
				t.Fatal(err)
			}
			return g.StoredBytes / (1 + EventOverhead)
		}
		put(25 * time.Hour)               // has expired
		put(24*time.Hour - 3*time.Minute) // is about to
		put(0)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		if n := stored(); n != 2 {
			t.Errorf("%d events after the first round, want 2", n)
		}
		<-time.After(61 * time.Minute)
		if n := stored(); n != 1 {
			t.Errorf("%d events after an hour, want 1", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
}

// The texts that the awslogs driver shows.
func TestEnsureStream_Texts(t *testing.T) {
	t.Parallel()
	s := openIn(t, "logs", Options{fs: vfs.NewMem()})
	err := s.EnsureStream(t.Context(), "g", "s", false)
	if got, want := fmt.Sprint(err), "ResourceNotFoundException: The specified log group does not exist."; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := s.CreateGroup(t.Context(), "g", GroupSettings{}); err != nil {
		t.Fatal(err)
	}
	const rule = "InvalidParameterException: 1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: Member must %s"
	long := strings.Repeat("x", 513)
	for _, tc := range []struct{ group, stream, want string }{
		{"a b", "s", fmt.Sprintf(rule, "a b", "logGroupName", `satisfy regular expression pattern: [\.\-_/#A-Za-z0-9]+`)},
		{"h", "a:b", fmt.Sprintf(rule, "a:b", "logStreamName", `satisfy regular expression pattern: [^:*]*`)},
		{"", "s", fmt.Sprintf(rule, "", "logGroupName", "have length greater than or equal to 1")},
		{"h", long, fmt.Sprintf(rule, long, "logStreamName", "have length less than or equal to 512")},
		{"aws/x", "s", "InvalidParameterException: Log groups starting with AWS/ are reserved for AWS."},
	} {
		if err := s.EnsureStream(t.Context(), tc.group, tc.stream, true); fmt.Sprint(err) != tc.want {
			t.Errorf("EnsureStream(%.10q, %.10q): got %v, want %s", tc.group, tc.stream, err, tc.want)
		}
	}
	err = s.Deliver(t.Context(), "g", "s", "n", []SourceEvent{{1, Event{1, "x"}}})
	if got, want := fmt.Sprint(err), "ResourceNotFoundException: The specified log stream does not exist."; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Container output is made to fit.
func TestDeliver_Cleans(t *testing.T) {
	t.Parallel()
	s := openIn(t, "logs", Options{fs: vfs.NewMem()})
	ensure(t, s, "g", "s")
	events := []SourceEvent{{4, Event{1, "a"}}, {5, Event{2, ""}}, {9, Event{3, "\xffb"}}}
	for range 2 {
		if err := s.Deliver(t.Context(), "g", "s", "n", events); err != nil {
			t.Fatal(err)
		}
	}
	page, err := s.Read(t.Context(), StreamQuery{Group: "g", Stream: "s"})
	if err != nil || len(page) != 2 || page[0].Message != "a" || page[1].Message != "\uFFFDb" {
		t.Errorf("got %v, %v", page, err)
	}
}

// However a source cuts and repeats its events, each is stored once, in order.
func TestDeliver_OnceHoweverCut(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s := openIn(t, "logs", Options{fs: vfs.NewMem()})
		defer s.Close()
		ensure(t, s, "g", "s")
		total := rapid.IntRange(1, 40).Draw(rt, "events")
		delivered := 0
		for delivered < total {
			// A source never skips: it begins at or before what it has not had acknowledged.
			from := rapid.IntRange(0, delivered).Draw(rt, "from")
			to := rapid.IntRange(from, total).Draw(rt, "to")
			var events []SourceEvent
			for i := from; i < to; i++ {
				events = append(events, SourceEvent{Seq: uint64(3*i + 1), Event: Event{Timestamp: 1, Message: fmt.Sprint(i)}})
			}
			if err := s.Deliver(t.Context(), "g", "s", "n", events); err != nil {
				rt.Fatal(err)
			}
			delivered = max(delivered, to)
		}
		page, err := s.Read(t.Context(), StreamQuery{Group: "g", Stream: "s"})
		if err != nil || len(page) != total {
			rt.Fatalf("%d events delivered, %d stored, %v", total, len(page), err)
		}
		for i, r := range page {
			if r.Message != fmt.Sprint(i) {
				rt.Fatalf("event %d is %q", i, r.Message)
			}
		}
	})
}

// What cannot be stored is refused as a whole.
func TestAppend_Refuses(t *testing.T) {
	t.Parallel()
	s := openIn(t, "logs", Options{fs: vfs.NewMem()})
	ensure(t, s, "g", "s")
	for name, events := range map[string][]Event{
		"negative": {{1, "x"}, {-1, "x"}},
		"late":     {{MaxTimestamp + 1, "x"}},
		"large":    {{1, strings.Repeat("x", MaxAppendBytes)}},
	} {
		if _, err := s.Append(t.Context(), "g", "s", "", 0, events); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := s.Append(t.Context(), "g", "s", "n", 0, []Event{{1, "x"}}); err == nil {
		t.Error("sequence number 0 accepted")
	}
	if page, err := s.Read(t.Context(), StreamQuery{Group: "g", Stream: "s"}); err != nil || len(page) != 0 {
		t.Errorf("refused events are there: %v, %v", page, err)
	}
}

// A protected group survives until the protection is taken away.
func TestDeleteGroup_Protected(t *testing.T) {
	t.Parallel()
	s := openIn(t, "logs", Options{fs: vfs.NewMem()})
	if err := s.CreateGroup(t.Context(), "g", GroupSettings{DeletionProtection: true}); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteGroup(t.Context(), "g"); !errors.Is(err, ErrProtected) {
		t.Fatalf("got %v, want ErrProtected", err)
	}
	err := s.UpdateGroup(t.Context(), "g", func(g *GroupSettings) error { g.DeletionProtection = false; return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteGroup(t.Context(), "g"); err != nil {
		t.Fatal(err)
	}
}

// Calls after Close, and those that wait for the writer at that moment, end.
func TestClose_EndsCalls(t *testing.T) {
	t.Parallel()
	s := openIn(t, "logs", Options{fs: vfs.NewMem()})
	ensure(t, s, "g", "s")
	var g errgroup.Group
	for range 8 {
		g.Go(func() error {
			for {
				_, err := s.Append(t.Context(), "g", "s", "", 0, []Event{{1, "x"}})
				if errors.Is(err, ErrClosed) {
					return nil
				}
				if err != nil {
					return err
				}
			}
		})
		g.Go(func() error {
			for {
				_, err := collect(t.Context(), s, GroupQuery{Group: "g"}, 10)
				if errors.Is(err, ErrClosed) {
					return nil
				}
				if err != nil {
					return err
				}
			}
		})
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// Streams are merged by the whole position: of two events at the same time the
// one stored first comes first, whichever stream was opened first.
func TestScan_EqualTimestamps(t *testing.T) {
	t.Parallel()
	s := openIn(t, "logs", Options{fs: vfs.NewMem()})
	for _, e := range []struct {
		stream string
		event  Event
	}{{"a", Event{1, "first"}}, {"b", Event{5, "second"}}, {"a", Event{5, "third"}}} {
		ensure(t, s, "g", e.stream)
		if _, err := s.Append(t.Context(), "g", e.stream, "", 0, []Event{e.event}); err != nil {
			t.Fatal(err)
		}
	}
	found, err := collect(t.Context(), s, GroupQuery{Group: "g"}, 0)
	if err != nil || len(found) != 3 || found[1].Message != "second" || found[2].Message != "third" {
		t.Errorf("got %v, %v", found, err)
	}
}
