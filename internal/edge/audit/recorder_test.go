package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"berth.dev/berth/internal/data/logstore"
	"berth.dev/berth/internal/edge/audit"
	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/caller"
)

func write(t testing.TB, name string) gateway.AuditRecord {
	return gateway.AuditRecord{Time: begin, RequestID: name, Caller: root(), Service: ecsapi.API, Operation: operation(t, ecsapi.API, "CreateCluster"), Input: &ecsapi.CreateClusterInput{ClusterName: &name}}
}

func read(t testing.TB, name string) gateway.AuditRecord {
	r := write(t, name)
	r.Operation, r.Input, r.ReadOnly = operation(t, ecsapi.API, "DescribeTasks"), &ecsapi.DescribeTasksInput{Cluster: &name}, true
	return r
}

// start runs a recorder until the test ends or stop is called.
func start(t testing.TB, cfg audit.Config) (r *audit.Recorder, stop func()) {
	t.Helper()
	cfg.AccountID, cfg.Region = account, "us-east-1"
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	r = audit.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return r, stop
}

func openLogs(t testing.TB) *logstore.Store {
	t.Helper()
	s, err := logstore.Open(t.TempDir(), logstore.Options{Now: func() time.Time { return begin.Add(time.Minute) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// ids are the requests that are on disk, in their order.
func ids(t testing.TB, s *logstore.Store) []string {
	t.Helper()
	var out []string
	for record, err := range s.Scan(t.Context(), logstore.GroupQuery{Group: audit.DefaultGroup}) {
		if err != nil {
			t.Fatal(err)
		}
		var event struct{ RequestID string }
		if err := json.Unmarshal([]byte(record.Message), &event); err != nil {
			t.Fatal(err)
		}
		out = append(out, event.RequestID)
	}
	return out
}

// What changes something is on disk when Record returns; what reads, when the
// recorder has stopped at the latest.
func TestRecord_Durable(t *testing.T) {
	s := openLogs(t)
	r, stop := start(t, audit.Config{Logs: s})
	r.Record(t.Context(), write(t, "a"))
	if got := ids(t, s); !slices.Equal(got, []string{"a"}) {
		t.Fatalf("on disk: %v", got)
	}
	r.Record(t.Context(), read(t, "b"))
	next := write(t, "tomorrow")
	next.Time = begin.AddDate(0, 0, 1)
	r.Record(t.Context(), next) // takes b along
	if got := ids(t, s); !slices.Equal(got, []string{"a", "b", "tomorrow"}) {
		t.Fatalf("on disk: %v", got)
	}
	r.Record(t.Context(), read(t, "c"))
	stop()
	if got := ids(t, s); !slices.Contains(got, "c") {
		t.Errorf("on disk: %v", got)
	}
	group, err := s.Group(audit.DefaultGroup)
	if err != nil || group.RetentionDays != 90 || !group.DeletionProtection {
		t.Errorf("%+v, %v", group, err)
	}
	var streams []string
	for stream, err := range s.Streams(t.Context(), logstore.StreamList{Group: audit.DefaultGroup}) {
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, stream.Name)
	}
	if !slices.Equal(streams, []string{"2026-11-22", "2026-11-23"}) {
		t.Errorf("streams %v", streams)
	}
}

// Many writers share commits and lose nothing.
func TestRecord_Concurrent(t *testing.T) {
	s := openLogs(t)
	r, stop := start(t, audit.Config{Logs: s})
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			if i%2 == 0 {
				r.Record(context.Background(), write(t, "w"))
			} else {
				r.Record(context.Background(), read(t, "r"))
			}
		})
	}
	wg.Wait()
	stop()
	if got := ids(t, s); len(got) != 200 {
		t.Errorf("%d records", len(got))
	}
}

// Deleting the group, or a day, costs what was in it, and nothing after.
func TestRecord_AfterDeletion(t *testing.T) {
	s := openLogs(t)
	r, _ := start(t, audit.Config{Logs: s})
	r.Record(t.Context(), write(t, "a"))
	if err := s.DeleteGroup(t.Context(), audit.DefaultGroup); !errors.Is(err, logstore.ErrProtected) {
		t.Errorf("the group could be deleted: %v", err)
	}
	if err := s.UpdateGroup(t.Context(), audit.DefaultGroup, func(g *logstore.GroupSettings) error { g.DeletionProtection = false; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteGroup(t.Context(), audit.DefaultGroup); err != nil {
		t.Fatal(err)
	}
	r.Record(t.Context(), write(t, "b"))
	if err := s.DeleteStream(t.Context(), audit.DefaultGroup, "2026-11-22"); err != nil {
		t.Fatal(err)
	}
	r.Record(t.Context(), write(t, "c"))
	if got := ids(t, s); !slices.Equal(got, []string{"c"}) {
		t.Errorf("on disk: %v", got)
	}
}

// Days that are past the retention go when a new one begins.
func TestRun_RemovesOldDays(t *testing.T) {
	s := openLogs(t)
	if err := s.EnsureStream(t.Context(), audit.DefaultGroup, "2026-01-01", true); err != nil {
		t.Fatal(err)
	}
	r, _ := start(t, audit.Config{Logs: s, Now: func() time.Time { return begin }})
	r.Record(t.Context(), write(t, "a"))
	if _, err := s.Stream(audit.DefaultGroup, "2026-01-01"); !errors.Is(err, logstore.ErrStreamNotFound) {
		t.Errorf("an old day is still there: %v", err)
	}
	if got := ids(t, s); !slices.Equal(got, []string{"a"}) {
		t.Errorf("on disk: %v", got)
	}
}

// disk is a log store in memory that can be slow or full.
type disk struct {
	mu     sync.Mutex
	full   error
	gate   chan struct{} // when not nil, each append takes one
	events []string
}

func (d *disk) CreateGroup(context.Context, string, logstore.GroupSettings) error { return nil }
func (d *disk) EnsureStream(context.Context, string, string, bool) error          { return nil }
func (d *disk) DeleteStream(context.Context, string, string) error                { return nil }
func (d *disk) Streams(context.Context, logstore.StreamList) iter.Seq2[logstore.Stream, error] {
	return func(func(logstore.Stream, error) bool) {}
}

func (d *disk) Append(_ context.Context, _, _, _ string, _ uint64, events []logstore.Event) (logstore.Appended, error) {
	if d.gate != nil {
		<-d.gate
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.full != nil {
		return logstore.Appended{}, d.full
	}
	for _, e := range events {
		d.events = append(d.events, e.Message)
	}
	return logstore.Appended{}, nil
}

func (d *disk) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.events)
}

// Reads do not wait for the disk, and are there within a second.
func TestRecord_ReadsAreFlushed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		r, stop := start(t, audit.Config{Logs: d})
		r.Record(t.Context(), read(t, "a"))
		r.Record(t.Context(), read(t, "b"))
		if d.count() != 0 {
			t.Error("a read waited for the disk")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if d.count() != 2 {
			t.Errorf("%d records after a second", d.count())
		}
		stop()
	})
}

// When the disk is slower than the readers, they wait; who gives up is told of
// in the log and in the next summary.
func TestRecord_Backpressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{gate: make(chan struct{})}
		var log bytes.Buffer
		r, stop := start(t, audit.Config{Logs: d, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		go r.Record(t.Context(), write(t, "first")) // the writer hangs with it
		synctest.Wait()
		for range audit.Queued {
			r.Record(t.Context(), read(t, "r"))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		gaveUp := make(chan struct{})
		go func() {
			r.Record(ctx, read(t, "late"))
			close(gaveUp)
		}()
		synctest.Wait()
		select {
		case <-gaveUp:
			t.Fatal("a record did not wait for room in the queue")
		default:
		}
		<-gaveUp
		if !strings.Contains(log.String(), "audit records were lost") || !strings.Contains(log.String(), "request_id=late") {
			t.Errorf("log: %s", log.String())
		}
		close(d.gate)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := d.count(); got != audit.Queued+2 { // all that waited, and the summary
			t.Errorf("%d records", got)
		}
		if last := d.events[len(d.events)-1]; !strings.Contains(last, `"lost":1`) {
			t.Errorf("summary: %s", last)
		}
		stop()
	})
}

// A full disk fails no call, and is told of.
func TestRecord_DiskFull(t *testing.T) {
	d := &disk{full: logstore.ErrDiskFull}
	var log bytes.Buffer
	r, stop := start(t, audit.Config{Logs: d, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	r.Record(t.Context(), write(t, "a"))
	stop()
	if !strings.Contains(log.String(), "disk has no room") || !strings.Contains(log.String(), "records=1") {
		t.Errorf("log: %s", log.String())
	}
	log.Reset()
	r.Record(t.Context(), write(t, "b")) // and after the end
	if !strings.Contains(log.String(), "the recorder has stopped") {
		t.Errorf("log: %s", log.String())
	}
}

// Strangers cannot fill the disk: beyond a rate they are counted.
func TestRecord_Strangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		r, stop := start(t, audit.Config{Logs: d})
		for i := range 1000 {
			who := caller.Identity{AccessKeyID: "AKIAX", SourceIP: "10.0.0." + string(rune('a'+i%26))}
			r.Record(t.Context(), gateway.AuditRecord{Time: time.Now(), RequestID: "x", Caller: who, Service: ecsapi.API, ErrorCode: "UnrecognizedClientException", ReadOnly: true})
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := d.count(); got != 101 {
			t.Fatalf("%d records", got)
		}
		var summary struct {
			EventType           string
			AdditionalEventData struct {
				Unauthenticated int
				Sources         map[string]int
			}
		}
		if err := json.Unmarshal([]byte(d.events[100]), &summary); err != nil {
			t.Fatal(err)
		}
		if data := summary.AdditionalEventData; summary.EventType != "AwsServiceEvent" || data.Unauthenticated != 900 || len(data.Sources) != 17 || data.Sources["others"] == 0 {
			t.Errorf("%s", d.events[100])
		}
		for range 200 { // who succeeds without credentials is no stranger
			r.Record(t.Context(), gateway.AuditRecord{Time: time.Now(), RequestID: "token", ReadOnly: true})
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := d.count(); got != 301 {
			t.Errorf("%d records of calls without credentials that succeed", got-101)
		}
		d.mu.Lock()
		d.events = d.events[:101]
		d.mu.Unlock()
		r.Record(t.Context(), gateway.AuditRecord{Time: time.Now(), RequestID: "y", ErrorCode: "X", ReadOnly: true})
		for range 1000 {
			r.Record(t.Context(), gateway.AuditRecord{Time: time.Now(), RequestID: "z", ErrorCode: "X", ReadOnly: true})
		}
		stop()
		counted := slices.ContainsFunc(d.events[101:], func(e string) bool { return strings.Contains(e, `"unauthenticated":901`) })
		if got := d.count(); got != 202 || !counted {
			t.Errorf("%d records after a pause and another storm", got)
		}
	})
}
