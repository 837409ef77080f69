package logstore

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"
)

// The naive model: slices and maps, and the rules in their plainest form.
type (
	modelGroup struct {
		retention int
		streams   map[string]*modelStream
	}
	modelStream struct {
		events []Record // in order of storing
		marks  map[string]uint64
	}
	model struct {
		now       int64
		ingestion int64
		sequence  uint64
		groups    map[string]*modelGroup
	}
)

func (m *model) visible(group, stream string, q StreamQuery) []Record {
	g := m.groups[group]
	var found []Record
	for _, e := range g.streams[stream].events {
		expired := g.retention > 0 && e.Timestamp < m.now-int64(g.retention)*millisPerDay
		switch {
		case expired, e.Timestamp < q.Start, q.End != 0 && e.Timestamp >= q.End:
		case q.After != nil && e.Position.Compare(*q.After) <= 0:
		case q.Before != nil && e.Position.Compare(*q.Before) >= 0:
		default:
			found = append(found, e)
		}
	}
	slices.SortFunc(found, func(a, b Record) int { return a.Compare(b.Position) })
	return found
}

// machine drives a store and the model together.
type machine struct {
	fs    vfs.FS
	store *Store
	model model
}

var (
	groupNames  = rapid.SampledFrom([]string{"a", "a/b", "b"})
	streamNames = rapid.SampledFrom([]string{"s", "s1", "t", "\xfft"})
	sourceNames = rapid.SampledFrom([]string{"", "n1", "n2"})
)

const epoch = int64(1_800_000_000_000)

func (m *machine) open(t *rapid.T) {
	store, err := Open("logs", Options{fs: m.fs, Now: func() time.Time { return time.UnixMilli(m.model.now) }})
	if err != nil {
		t.Fatal(err)
	}
	m.store = store
}

func (m *machine) CreateGroup(t *rapid.T) {
	name := groupNames.Draw(t, "group")
	err := m.store.CreateGroup(t.Context(), name, GroupSettings{})
	if m.model.groups[name] != nil {
		wantError(t, err, ErrGroupExists)
		return
	}
	wantError(t, err, nil)
	m.model.groups[name] = &modelGroup{streams: map[string]*modelStream{}}
}

func (m *machine) EnsureStream(t *rapid.T) {
	group, stream := groupNames.Draw(t, "group"), streamNames.Draw(t, "stream")
	create := rapid.Bool().Draw(t, "create")
	err := m.store.EnsureStream(t.Context(), group, stream, create)
	if m.model.groups[group] == nil {
		if !create {
			wantError(t, err, ErrGroupNotFound)
			return
		}
		m.model.groups[group] = &modelGroup{streams: map[string]*modelStream{}}
	}
	wantError(t, err, nil)
	if m.model.groups[group].streams[stream] == nil {
		m.model.groups[group].streams[stream] = &modelStream{marks: map[string]uint64{}}
	}
}

func (m *machine) CreateStream(t *rapid.T) {
	group, stream := groupNames.Draw(t, "group"), streamNames.Draw(t, "stream")
	err := m.store.CreateStream(t.Context(), group, stream)
	switch g := m.model.groups[group]; {
	case g == nil:
		wantError(t, err, ErrGroupNotFound)
	case g.streams[stream] != nil:
		wantError(t, err, ErrStreamExists)
	default:
		wantError(t, err, nil)
		g.streams[stream] = &modelStream{marks: map[string]uint64{}}
	}
}

func (m *machine) DeleteGroup(t *rapid.T) {
	name := groupNames.Draw(t, "group")
	err := m.store.DeleteGroup(t.Context(), name)
	if m.model.groups[name] == nil {
		wantError(t, err, ErrGroupNotFound)
		return
	}
	wantError(t, err, nil)
	delete(m.model.groups, name)
}

func (m *machine) DeleteStream(t *rapid.T) {
	group, stream, ok := m.drawStream(t)
	err := m.store.DeleteStream(t.Context(), group, stream)
	if !ok {
		m.wantMissing(t, err, group)
		return
	}
	wantError(t, err, nil)
	delete(m.model.groups[group].streams, stream)
}

func (m *machine) SetRetention(t *rapid.T) {
	name := groupNames.Draw(t, "group")
	days := rapid.SampledFrom([]int{0, 1, 3}).Draw(t, "days")
	err := m.store.UpdateGroup(t.Context(), name, func(s *GroupSettings) error {
		s.RetentionDays = days
		return nil
	})
	if m.model.groups[name] == nil {
		wantError(t, err, ErrGroupNotFound)
		return
	}
	wantError(t, err, nil)
	m.model.groups[name].retention = days
}

func (m *machine) AdvanceClock(t *rapid.T) {
	hours := rapid.SampledFrom([]int64{-1, 0, 1, 12, 30}).Draw(t, "hours") // clocks go back, too
	m.model.now += hours * int64(time.Hour/time.Millisecond)
}

func (m *machine) Append(t *rapid.T) {
	group, stream, ok := m.drawStream(t)
	source := sourceNames.Draw(t, "source")
	seq := rapid.Uint64Range(1, 6).Draw(t, "seq")
	events := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Event {
		return Event{
			Timestamp: m.model.now - rapid.Int64Range(-1, 5).Draw(t, "age")*int64(12*time.Hour/time.Millisecond),
			Message:   rapid.StringN(0, 20, -1).Draw(t, "message"),
		}
	}), 0, 8).Draw(t, "events")
	got, err := m.store.Append(t.Context(), group, stream, source, seq, events)
	if !ok {
		m.wantMissing(t, err, group)
		return
	}
	wantError(t, err, nil)
	s := m.model.groups[group].streams[stream]
	duplicate := source != "" && seq <= s.marks[source]
	if got.Duplicate != duplicate {
		t.Fatalf("source %q, seq %d: duplicate is %v, want %v", source, seq, got.Duplicate, duplicate)
	}
	if duplicate {
		return
	}
	if source != "" {
		s.marks[source] = seq
	}
	if len(events) > 0 {
		m.model.ingestion = max(m.model.ingestion, m.model.now)
	}
	for _, e := range events {
		m.model.sequence++
		s.events = append(s.events, Record{
			Stream:   stream,
			Position: Position{e.Timestamp, m.model.ingestion, m.model.sequence},
			Message:  e.Message,
		})
	}
}

func (m *machine) Purge(t *rapid.T) {
	if _, err := m.store.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	// From here on the events are gone for good, whatever the policy becomes.
	for _, g := range m.model.groups {
		limit := cutoff(g.retention, m.model.now)
		for _, s := range g.streams {
			s.events = slices.DeleteFunc(s.events, func(e Record) bool { return e.Timestamp < limit })
		}
	}
	for name, g := range m.model.groups {
		want := int64(0)
		for _, s := range g.streams {
			for _, e := range s.events {
				want += int64(len(e.Message) + EventOverhead)
			}
		}
		got, err := m.store.Group(name)
		if err != nil || got.StoredBytes != want {
			t.Fatalf("group %s stores %d bytes (%v), want %d", name, got.StoredBytes, err, want)
		}
	}
}

func (m *machine) Reopen(t *rapid.T) {
	if err := m.store.Close(); err != nil {
		t.Fatal(err)
	}
	m.open(t)
}

// Page walks a stream page by page in one direction; the pages together must
// be what the model shows in one piece.
func (m *machine) Page(t *rapid.T) {
	group, stream, ok := m.drawStream(t)
	q := StreamQuery{
		Group: group, Stream: stream,
		Newest: rapid.Bool().Draw(t, "newest"),
		Limit:  rapid.IntRange(1, 5).Draw(t, "limit"),
	}
	q.Start, q.End = m.drawRange(t)
	if !ok {
		_, err := m.store.Read(t.Context(), q)
		m.wantMissing(t, err, group)
		return
	}
	want := m.model.visible(group, stream, q)
	var got []Record
	for {
		page, err := m.store.Read(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		if len(page) > q.Limit {
			t.Fatalf("page of %d, limit %d", len(page), q.Limit)
		}
		if q.Newest {
			got = append(slices.Clone(page), got...)
			q.Before = &page[0].Position
		} else {
			got = append(got, page...)
			q.After = &page[len(page)-1].Position
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%+v\n got %v\nwant %v", q, got, want)
	}
}

// Scan compares a group-wide scan, continued from a token half-way.
func (m *machine) Scan(t *rapid.T) {
	group := groupNames.Draw(t, "group")
	q := GroupQuery{Group: group, Prefix: rapid.SampledFrom([]string{"", "s", "t", "\xff"}).Draw(t, "prefix")}
	q.Start, q.End = m.drawRange(t)
	g := m.model.groups[group]
	if g == nil {
		_, err := collect(t.Context(), m.store, q, 0)
		wantError(t, err, ErrGroupNotFound)
		return
	}
	var want []Record
	for _, name := range slices.Sorted(maps.Keys(g.streams)) {
		if strings.HasPrefix(name, q.Prefix) {
			want = append(want, m.model.visible(group, name, StreamQuery{Start: q.Start, End: q.End})...)
		}
	}
	slices.SortFunc(want, func(a, b Record) int { return a.Compare(b.Position) })
	stop := rapid.IntRange(1, 10).Draw(t, "page")
	var got []Record
	for {
		page, err := collect(t.Context(), m.store, q, stop)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, page...)
		if len(page) < stop {
			break
		}
		q.After = &page[len(page)-1].Position
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%+v\n got %v\nwant %v", q, got, want)
	}
}

// Check compares the lists, and what is said about each stream.
func (m *machine) Check(t *rapid.T) {
	var groups []string
	for g, err := range m.store.Groups(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		groups = append(groups, g.Name)
		if want := m.model.groups[g.Name]; want == nil || want.retention != g.RetentionDays {
			t.Fatalf("group %+v, want %+v", g, want)
		}
		m.checkStreams(t, g.Name)
	}
	if want := slices.Sorted(maps.Keys(m.model.groups)); !slices.Equal(groups, want) {
		t.Fatalf("groups %q, want %q", groups, want)
	}
}

func (m *machine) checkStreams(t *rapid.T, group string) {
	list := StreamList{Group: group, Reverse: rapid.Bool().Draw(t, "reverse")}
	names := slices.Sorted(maps.Keys(m.model.groups[group].streams))
	if list.Reverse {
		slices.Reverse(names)
	}
	var got []string
	for s, err := range m.store.Streams(t.Context(), list) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, s.Name)
		events := m.model.visible(group, s.Name, StreamQuery{})
		if s.HasEvents() != (len(events) > 0) {
			t.Fatalf("%+v, model has %d events", s, len(events))
		}
		if len(events) > 0 && (s.FirstEvent != events[0].Timestamp || s.LastEvent != events[len(events)-1].Timestamp) {
			t.Fatalf("%+v, model has %v", s, events)
		}
	}
	if !slices.Equal(got, names) {
		t.Fatalf("streams of %s: %q, want %q", group, got, names)
	}
	if len(names) > 1 {
		list.From = names[0]
		next := ""
		for s, err := range m.store.Streams(t.Context(), list) {
			if err != nil {
				t.Fatal(err)
			}
			next = s.Name
			break
		}
		if next != names[1] {
			t.Fatalf("after %q comes %q, want %q", names[0], next, names[1])
		}
	}
}

func (m *machine) drawStream(t *rapid.T) (group, stream string, exists bool) {
	group, stream = groupNames.Draw(t, "group"), streamNames.Draw(t, "stream")
	g := m.model.groups[group]
	return group, stream, g != nil && g.streams[stream] != nil
}

func (m *machine) drawRange(t *rapid.T) (start, end int64) {
	if rapid.Bool().Draw(t, "open") {
		return 0, 0
	}
	start = m.model.now + rapid.Int64Range(-4, 2).Draw(t, "start")*millisPerDay
	return start, start + rapid.Int64Range(-1, 3).Draw(t, "span")*millisPerDay
}

func (m *machine) wantMissing(t *rapid.T, err error, group string) {
	if m.model.groups[group] == nil {
		wantError(t, err, ErrGroupNotFound)
		return
	}
	wantError(t, err, ErrStreamNotFound)
}

func wantError(t *rapid.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

// collect scans up to limit events (all when zero).
func collect(ctx context.Context, s *Store, q GroupQuery, limit int) ([]Record, error) {
	var found []Record
	for r, err := range s.Scan(ctx, q) {
		if err != nil {
			return nil, err
		}
		if found = append(found, r); len(found) == limit {
			break
		}
	}
	return found, nil
}

// For any history the store and the naive model answer alike.
func TestStore_EqualsModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{fs: vfs.NewMem(), model: model{now: epoch, groups: map[string]*modelGroup{}}}
		m.open(t)
		defer func() {
			if err := m.store.Close(); err != nil {
				t.Fatal(err)
			}
		}()
		// Half of the histories begin with something to read.
		if rapid.Bool().Draw(t, "seeded") {
			m.EnsureStream(t)
			for range 3 {
				m.Append(t)
			}
		}
		t.Repeat(rapid.StateMachineActions(m))
	})
}

// The id of a position orders as the position does, as text, and reads back.
func TestPosition_IDs(t *testing.T) {
	t.Parallel()
	position := rapid.Custom(func(t *rapid.T) Position {
		return Position{
			Timestamp: rapid.Int64Range(0, MaxTimestamp).Draw(t, "timestamp"),
			Ingestion: rapid.Int64Range(0, MaxTimestamp).Draw(t, "ingestion"),
			Sequence:  rapid.Uint64().Draw(t, "sequence"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := position.Draw(t, "a"), position.Draw(t, "b")
		if len(a.ID()) != 56 {
			t.Fatalf("%q has %d digits", a.ID(), len(a.ID()))
		}
		if back, err := ParseID(a.ID()); err != nil || back != a {
			t.Fatalf("%q reads back as %v (%v)", a.ID(), back, err)
		}
		if cmp.Compare(a.ID(), b.ID()) != a.Compare(b) {
			t.Fatalf("%s and %s order otherwise than %v and %v", a.ID(), b.ID(), a, b)
		}
	})
	for _, bad := range []string{"", "3", strings.Repeat("9", 56), "3" + strings.Repeat("9", 55), "3" + strings.Repeat("x", 55)} {
		if p, err := ParseID(bad); err == nil {
			t.Errorf("%q was read as %v", bad, p)
		}
	}
}
