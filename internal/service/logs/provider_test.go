package logs_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"berth.dev/berth/internal/data/logstore"
	"berth.dev/berth/internal/service/logs"
	"berth.dev/berth/internal/wire/api/logsapi"
	"berth.dev/berth/internal/wire/smithy"
)

const (
	account = "123456789012"
	region  = "us-east-1"
	hour    = int64(time.Hour / time.Millisecond)
	day     = 24 * hour
)

// bench is a provider over a store of its own, with a clock that stands still
// until it is told to go on.
type bench struct {
	*logs.Provider
	store *logstore.Store
	now   int64
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{now: 1_800_000_000_000}
	clock := func() time.Time { return time.UnixMilli(b.now) }
	store, err := logstore.Open(t.TempDir(), logstore.Options{Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	b.store = store
	b.Provider = logs.New(logs.Config{Store: store, AccountID: account, Region: region, Now: clock})
	return b
}

// must returns the answer of a call that has to succeed.
func must[In, Out any](t testing.TB, call func(context.Context, *In) (*Out, error), in *In) *Out {
	t.Helper()
	out, err := call(t.Context(), in)
	if err != nil {
		t.Fatalf("%T: %v", in, err)
	}
	return out
}

func (b *bench) stream(t testing.TB, group, stream string) {
	t.Helper()
	if err := b.store.EnsureStream(t.Context(), group, stream, true); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) put(t testing.TB, group, stream string, events ...logsapi.InputLogEvent) *logsapi.PutLogEventsOutput {
	t.Helper()
	return must(t, b.PutLogEvents, &logsapi.PutLogEventsInput{
		LogGroupName: &group, LogStreamName: &stream, LogEvents: events,
	})
}

func event(timestamp int64, message string) logsapi.InputLogEvent {
	return logsapi.InputLogEvent{Timestamp: &timestamp, Message: &message}
}

func messages(events []logsapi.OutputLogEvent) []string {
	var texts []string
	for _, e := range events {
		texts = append(texts, *e.Message)
	}
	return texts
}

func TestLogGroup_Describe(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	must(t, b.CreateLogGroup, &logsapi.CreateLogGroupInput{LogGroupName: new("/ecs/x"), Tags: map[string]string{"a": "1"}})
	must(t, b.PutRetentionPolicy, &logsapi.PutRetentionPolicyInput{LogGroupName: new("/ecs/x"), RetentionInDays: new(int32(7))})
	b.stream(t, "/ecs/x", "s")
	b.put(t, "/ecs/x", "s", event(b.now, "hello"))

	got := must(t, b.DescribeLogGroups, &logsapi.DescribeLogGroupsInput{})
	want := &logsapi.DescribeLogGroupsOutput{LogGroups: []logsapi.LogGroup{{
		LogGroupName:              new("/ecs/x"),
		CreationTime:              &b.now,
		RetentionInDays:           new(int32(7)),
		MetricFilterCount:         new(int32(0)),
		Arn:                       new("arn:aws:logs:us-east-1:123456789012:log-group:/ecs/x:*"),
		LogGroupArn:               new("arn:aws:logs:us-east-1:123456789012:log-group:/ecs/x"),
		StoredBytes:               new(int64(5 + 26)),
		LogGroupClass:             logsapi.LogGroupClassStandard,
		DeletionProtectionEnabled: new(false),
	}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	must(t, b.DeleteRetentionPolicy, &logsapi.DeleteRetentionPolicyInput{LogGroupName: new("/ecs/x")})
	got = must(t, b.DescribeLogGroups, &logsapi.DescribeLogGroupsInput{LogGroupIdentifiers: []string{*want.LogGroups[0].Arn}})
	if len(got.LogGroups) != 1 || got.LogGroups[0].RetentionInDays != nil {
		t.Errorf("after DeleteRetentionPolicy: %+v", got.LogGroups)
	}
}

func TestDescribeLogGroups_Pages(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var all []string
	for i := range 7 {
		for _, prefix := range []string{"a/", "b/", "B/"} {
			name := fmt.Sprint(prefix, i)
			all = append(all, name)
			must(t, b.CreateLogGroup, &logsapi.CreateLogGroupInput{LogGroupName: &name})
		}
	}
	slices.Sort(all)
	for _, tc := range []struct {
		in   logsapi.DescribeLogGroupsInput
		keep func(string) bool
	}{
		{logsapi.DescribeLogGroupsInput{}, func(string) bool { return true }},
		{logsapi.DescribeLogGroupsInput{LogGroupNamePrefix: new("b/")}, func(s string) bool { return strings.HasPrefix(s, "b/") }},
		{logsapi.DescribeLogGroupsInput{LogGroupNamePattern: new("/3")}, func(s string) bool { return strings.Contains(s, "/3") }},
	} {
		want := slices.DeleteFunc(slices.Clone(all), func(s string) bool { return !tc.keep(s) })
		for limit := int32(1); limit <= int32(len(want))+1; limit++ {
			in := tc.in
			in.Limit = &limit
			var got []string
			for {
				page := must(t, b.DescribeLogGroups, &in)
				for _, g := range page.LogGroups {
					got = append(got, *g.LogGroupName)
				}
				if in.NextToken = page.NextToken; page.NextToken == nil {
					break
				}
				if len(page.LogGroups) != int(limit) {
					t.Fatalf("a page of %d with a token, limit %d", len(page.LogGroups), limit)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("limit %d: %v, want %v", limit, got, want)
			}
		}
	}
}

func TestDescribeLogStreams_Orders(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.stream(t, "g", "empty")
	for i, name := range []string{"c", "a", "b", "a2"} {
		b.stream(t, "g", name)
		b.put(t, "g", name, event(b.now-int64(i)*hour, "x"), event(b.now-int64(i)*hour, "y"))
	}
	for _, tc := range []struct {
		in   logsapi.DescribeLogStreamsInput
		want []string
	}{
		{logsapi.DescribeLogStreamsInput{}, []string{"a", "a2", "b", "c", "empty"}},
		{logsapi.DescribeLogStreamsInput{Descending: new(true)}, []string{"empty", "c", "b", "a2", "a"}},
		{logsapi.DescribeLogStreamsInput{LogStreamNamePrefix: new("a"), Descending: new(true)}, []string{"a2", "a"}},
		{logsapi.DescribeLogStreamsInput{OrderBy: logsapi.OrderByLastEventTime}, []string{"empty", "a2", "b", "a", "c"}},
		{logsapi.DescribeLogStreamsInput{OrderBy: logsapi.OrderByLastEventTime, Descending: new(true)}, []string{"c", "a", "b", "a2", "empty"}},
	} {
		for _, limit := range []int32{1, 2, 50} {
			in := tc.in
			in.LogGroupIdentifier = new("arn:aws:logs:us-east-1:123456789012:log-group:g")
			in.Limit = &limit
			var got []string
			for {
				page := must(t, b.DescribeLogStreams, &in)
				for _, s := range page.LogStreams {
					got = append(got, *s.LogStreamName)
					if (s.LastEventTimestamp == nil) != (*s.LogStreamName == "empty") {
						t.Errorf("%s: last event %v", *s.LogStreamName, s.LastEventTimestamp)
					}
				}
				if in.NextToken = page.NextToken; page.NextToken == nil {
					break
				}
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("%+v: got %v, want %v", tc.in, got, tc.want)
			}
		}
	}
	got := must(t, b.DescribeLogStreams, &logsapi.DescribeLogStreamsInput{LogGroupName: new("g"), LogStreamNamePrefix: new("b")}).LogStreams[0]
	if *got.Arn != "arn:aws:logs:us-east-1:123456789012:log-group:g:log-stream:b" || *got.FirstEventTimestamp != b.now-2*hour ||
		*got.LastIngestionTime != b.now || *got.StoredBytes != 0 || *got.UploadSequenceToken == "" {
		t.Errorf("got %+v", got)
	}
}

func TestPutLogEvents_Rejects(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.stream(t, "g", "s")
	if out := b.put(t, "g", "s", event(b.now, "x")); out.RejectedLogEventsInfo != nil || *out.NextSequenceToken == "" {
		t.Errorf("got %+v", out)
	}
	must(t, b.PutRetentionPolicy, &logsapi.PutRetentionPolicyInput{LogGroupName: new("g"), RetentionInDays: new(int32(3))})
	old := b.now - 14*day
	for name, tc := range map[string]struct {
		events []logsapi.InputLogEvent
		want   logsapi.RejectedLogEventsInfo
		stored int
	}{
		"too new":  {[]logsapi.InputLogEvent{event(b.now+2*hour, "a"), event(b.now+2*hour+1, "b")}, logsapi.RejectedLogEventsInfo{TooNewLogEventStartIndex: new(int32(1))}, 1},
		"expired":  {[]logsapi.InputLogEvent{event(b.now-3*day-1, "a"), event(b.now-3*day, "b"), event(b.now-3*day, "c")}, logsapi.RejectedLogEventsInfo{ExpiredLogEventEndIndex: new(int32(1))}, 2},
		"too old":  {[]logsapi.InputLogEvent{event(old-1, "a"), event(old, "b")}, logsapi.RejectedLogEventsInfo{TooOldLogEventEndIndex: new(int32(1)), ExpiredLogEventEndIndex: new(int32(2))}, 0},
		"all late": {[]logsapi.InputLogEvent{event(b.now+3*hour, "a")}, logsapi.RejectedLogEventsInfo{TooNewLogEventStartIndex: new(int32(0))}, 0},
	} {
		before := must(t, b.DescribeLogGroups, &logsapi.DescribeLogGroupsInput{}).LogGroups[0]
		got := b.put(t, "g", "s", tc.events...)
		if diff := cmp.Diff(&tc.want, got.RejectedLogEventsInfo); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		after := must(t, b.DescribeLogGroups, &logsapi.DescribeLogGroupsInput{}).LogGroups[0]
		if n := (*after.StoredBytes - *before.StoredBytes) / (1 + 26); n != int64(tc.stored) {
			t.Errorf("%s: %d stored, want %d", name, n, tc.stored)
		}
	}
	out := must(t, b.PutLogEvents, &logsapi.PutLogEventsInput{
		LogGroupName: new("g"), LogStreamName: new("s"), SequenceToken: new("any"), Entity: &logsapi.Entity{},
		LogEvents: []logsapi.InputLogEvent{event(b.now, "x")},
	})
	if out.RejectedEntityInfo == nil || out.RejectedLogEventsInfo != nil {
		t.Errorf("an entity: %+v", out)
	}
}

// Walking forward and walking backward both return every event once, in order,
// and both end with the token that was given.
func TestGetLogEvents_Walks(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		stream := fmt.Sprint("s", runs)
		b.stream(t, "g", stream)
		var want []string
		n := rapid.IntRange(0, 12).Draw(rt, "events")
		for i := range n {
			message := fmt.Sprint(i)
			want = append(want, message)
			b.put(t, "g", stream, event(b.now+int64(i/3), message))
		}
		limit := rapid.Int32Range(1, 5).Draw(rt, "limit")
		head := rapid.Bool().Draw(rt, "head")
		in := &logsapi.GetLogEventsInput{LogGroupName: new("g"), LogStreamName: &stream, Limit: &limit, StartFromHead: &head}
		var got []string
		for {
			page := must(t, b.GetLogEvents, in)
			next := page.NextForwardToken
			if head {
				got = append(got, messages(page.Events)...)
			} else {
				got = append(messages(page.Events), got...)
				next = page.NextBackwardToken
			}
			if in.NextToken != nil && *next == *in.NextToken {
				if len(page.Events) != 0 {
					rt.Fatal("the same token came with events")
				}
				break
			}
			in.NextToken = next
		}
		if !slices.Equal(got, want) {
			rt.Fatalf("got %v, want %v", got, want)
		}
		// At the end, turning round finds the nearest events again, and what
		// is put later is found by the old forward token.
		end := must(t, b.GetLogEvents, in)
		if n > 0 {
			back := end.NextBackwardToken
			if !head {
				back = end.NextForwardToken
			}
			page := must(t, b.GetLogEvents, &logsapi.GetLogEventsInput{LogGroupName: new("g"), LogStreamName: &stream, Limit: &limit, NextToken: back})
			nearest := want[0]
			if head {
				nearest = want[n-1]
			}
			if !slices.Contains(messages(page.Events), nearest) {
				rt.Fatalf("turning round at the end gave %v, not %s", messages(page.Events), nearest)
			}
		}
		if head {
			b.put(t, "g", stream, event(b.now+hour, "late"))
			if late := messages(must(t, b.GetLogEvents, in).Events); !slices.Equal(late, []string{"late"}) {
				rt.Fatalf("following found %v", late)
			}
		}
	})
}

func TestGetLogEvents_Ranges(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.stream(t, "g", "s")
	for i := range int64(5) {
		b.put(t, "g", "s", event(b.now+i, fmt.Sprint(i)))
	}
	get := func(start, end *int64) []string {
		return messages(must(t, b.GetLogEvents, &logsapi.GetLogEventsInput{
			LogGroupName: new("g"), LogStreamName: new("s"), StartTime: start, EndTime: end,
		}).Events)
	}
	if got := get(new(b.now+1), new(b.now+3)); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("start is inclusive and end exclusive: %v", got)
	}
	filter := must(t, b.FilterLogEvents, &logsapi.FilterLogEventsInput{LogGroupName: new("g"), StartTime: new(b.now + 1), EndTime: new(b.now + 3)})
	if len(filter.Events) != 3 {
		t.Errorf("the end of a filter is inclusive: %d events", len(filter.Events))
	}
	// A page holds a megabyte.
	big := strings.Repeat("x", 600<<10)
	b.put(t, "g", "s", event(b.now+10, big))
	b.put(t, "g", "s", event(b.now+11, big))
	page := must(t, b.GetLogEvents, &logsapi.GetLogEventsInput{LogGroupName: new("g"), LogStreamName: new("s")})
	if len(page.Events) != 1 {
		t.Errorf("%d events in a page of a megabyte", len(page.Events))
	}
	all := must(t, b.FilterLogEvents, &logsapi.FilterLogEventsInput{LogGroupName: new("g"), StartTime: new(b.now + 10)})
	if len(all.Events) != 1 || all.NextToken == nil {
		t.Errorf("%d events, token %v", len(all.Events), all.NextToken)
	}
}

func TestFilterLogEvents(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, stream := range []string{"web/1", "web/2", "job/1"} {
		b.stream(t, "g", stream)
	}
	for i := range int64(9) {
		stream := []string{"web/1", "web/2", "job/1"}[i%3]
		level := []string{"INFO", "ERROR"}[i%2]
		b.put(t, "g", stream, event(b.now+i, fmt.Sprint(level, " ", i)))
	}
	for _, tc := range []struct {
		in   logsapi.FilterLogEventsInput
		want string
	}{
		{logsapi.FilterLogEventsInput{}, "012345678"},
		{logsapi.FilterLogEventsInput{FilterPattern: new("ERROR")}, "1357"},
		{logsapi.FilterLogEventsInput{FilterPattern: new("-ERROR"), Interleaved: new(false)}, "02468"},
		{logsapi.FilterLogEventsInput{LogStreamNamePrefix: new("web/")}, "013467"},
		{logsapi.FilterLogEventsInput{LogStreamNames: []string{"web/2", "job/1"}, FilterPattern: new("ERROR")}, "157"},
		{logsapi.FilterLogEventsInput{LogStreamNames: []string{"web/2", "web/2"}}, "147"},
		{logsapi.FilterLogEventsInput{FilterPattern: new("nothing")}, ""},
	} {
		for _, limit := range []int32{1, 2, 100} {
			in := tc.in
			in.LogGroupName = new("g")
			in.Limit = &limit
			var got strings.Builder
			seen := map[string]bool{}
			for {
				page := must(t, b.FilterLogEvents, &in)
				if page.SearchedLogStreams == nil || len(page.SearchedLogStreams) != 0 {
					t.Errorf("searched streams: %v", page.SearchedLogStreams)
				}
				for _, e := range page.Events {
					got.WriteString((*e.Message)[len(*e.Message)-1:])
					if len(*e.EventId) != 56 || seen[*e.EventId] {
						t.Errorf("event id %s", *e.EventId)
					}
					seen[*e.EventId] = true
				}
				if in.NextToken = page.NextToken; page.NextToken == nil {
					break
				}
			}
			if got.String() != tc.want {
				t.Errorf("%+v: got %s, want %s", tc.in, got.String(), tc.want)
			}
		}
	}
}

func TestTags(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	resource := "arn:aws:logs:us-east-1:123456789012:log-group:g"
	must(t, b.CreateLogGroup, &logsapi.CreateLogGroupInput{LogGroupName: new("g")})
	list := func() map[string]string {
		return must(t, b.ListTagsForResource, &logsapi.ListTagsForResourceInput{ResourceArn: &resource}).Tags
	}
	if got := list(); got == nil || len(got) != 0 {
		t.Errorf("no tags: %#v", got)
	}
	must(t, b.TagResource, &logsapi.TagResourceInput{ResourceArn: &resource, Tags: map[string]string{"a": "1", "b": "2"}})
	must(t, b.TagResource, &logsapi.TagResourceInput{ResourceArn: &resource, Tags: map[string]string{"b": "3"}})
	must(t, b.UntagResource, &logsapi.UntagResourceInput{ResourceArn: &resource, TagKeys: []string{"a", "absent"}})
	if got, want := list(), map[string]string{"b": "3"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// The token of a list is for one question and one day.
func TestTokens(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, name := range []string{"a", "b"} {
		must(t, b.CreateLogGroup, &logsapi.CreateLogGroupInput{LogGroupName: &name})
	}
	in := &logsapi.DescribeLogGroupsInput{Limit: new(int32(1))}
	in.NextToken = must(t, b.DescribeLogGroups, in).NextToken
	must(t, b.DescribeLogGroups, in)
	other := *in
	other.LogGroupNamePrefix = new("b")
	if _, err := b.DescribeLogGroups(t.Context(), &other); err == nil {
		t.Error("the token answered another question")
	}
	b.now += day + 1
	if _, err := b.DescribeLogGroups(t.Context(), in); err == nil {
		t.Error("the token lived for more than a day")
	}
}

// A protected group can be deleted once its protection is taken away.
func TestPutLogGroupDeletionProtection(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	must(t, b.CreateLogGroup, &logsapi.CreateLogGroupInput{LogGroupName: new("kept")})
	must(t, b.PutLogGroupDeletionProtection, &logsapi.PutLogGroupDeletionProtectionInput{
		LogGroupIdentifier: new("arn:aws:logs:us-east-1:123456789012:log-group:kept"), DeletionProtectionEnabled: new(true),
	})
	if _, err := b.DeleteLogGroup(t.Context(), &logsapi.DeleteLogGroupInput{LogGroupName: new("kept")}); err == nil {
		t.Fatal("a protected group was deleted")
	}
	must(t, b.PutLogGroupDeletionProtection, &logsapi.PutLogGroupDeletionProtectionInput{
		LogGroupIdentifier: new("kept"), DeletionProtectionEnabled: new(false),
	})
	must(t, b.DeleteLogGroup, &logsapi.DeleteLogGroupInput{LogGroupName: new("kept")})
}

var update = flag.Bool("update", false, "write testdata/errors.golden anew")

// Every error text that a client can see is in testdata/errors.golden.
func TestErrors(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	must(t, b.CreateLogGroup, &logsapi.CreateLogGroupInput{LogGroupName: new("kept"), DeletionProtectionEnabled: new(true)})
	b.stream(t, "g", "s")
	g, s, none := new("g"), new("s"), new("none")
	arnOf := func(name string) *string { return new("arn:aws:logs:us-east-1:123456789012:log-group:" + name) }
	put := func(events ...logsapi.InputLogEvent) *logsapi.PutLogEventsInput {
		return &logsapi.PutLogEventsInput{LogGroupName: g, LogStreamName: s, LogEvents: events}
	}
	filter := func(edit func(*logsapi.FilterLogEventsInput)) *logsapi.FilterLogEventsInput {
		in := &logsapi.FilterLogEventsInput{LogGroupName: g}
		edit(in)
		return in
	}
	many := map[string]string{}
	for i := range 51 {
		many[fmt.Sprint("k", i)] = ""
	}
	var lines []string
	record := func(name string, err error) {
		var api smithy.APIError
		if !errors.As(err, &api) {
			t.Errorf("%s: %v is not an error of the API", name, err)
			return
		}
		lines = append(lines, fmt.Sprintf("%s\n    %d %s: %s\n", name, api.HTTPStatus(), api.ErrorCode(), api.ErrorMessage()))
	}
	record("CreateLogGroup reserved name", failed(t, b.CreateLogGroup, &logsapi.CreateLogGroupInput{LogGroupName: new("aws/x")}))
	record("CreateLogGroup exists", failed(t, b.CreateLogGroup, &logsapi.CreateLogGroupInput{LogGroupName: g}))
	record("CreateLogGroup key", failed(t, b.CreateLogGroup, &logsapi.CreateLogGroupInput{LogGroupName: none, KmsKeyId: s}))
	record("CreateLogGroup class", failed(t, b.CreateLogGroup, &logsapi.CreateLogGroupInput{LogGroupName: none, LogGroupClass: logsapi.LogGroupClassDelivery}))
	record("CreateLogGroup reserved tag", failed(t, b.CreateLogGroup, &logsapi.CreateLogGroupInput{LogGroupName: none, Tags: map[string]string{"AWS:x": ""}}))
	record("DeleteLogGroup missing", failed(t, b.DeleteLogGroup, &logsapi.DeleteLogGroupInput{LogGroupName: none}))
	record("DeleteLogGroup protected", failed(t, b.DeleteLogGroup, &logsapi.DeleteLogGroupInput{LogGroupName: new("kept")}))
	record("DescribeLogGroups prefix and pattern", failed(t, b.DescribeLogGroups, &logsapi.DescribeLogGroupsInput{LogGroupNamePrefix: g, LogGroupNamePattern: g}))
	record("DescribeLogGroups account", failed(t, b.DescribeLogGroups, &logsapi.DescribeLogGroupsInput{AccountIdentifiers: []string{"999999999999"}}))
	record("DescribeLogGroups identifiers and prefix", failed(t, b.DescribeLogGroups, &logsapi.DescribeLogGroupsInput{LogGroupIdentifiers: []string{"g"}, LogGroupNamePrefix: g}))
	record("DescribeLogGroups identifier missing", failed(t, b.DescribeLogGroups, &logsapi.DescribeLogGroupsInput{LogGroupIdentifiers: []string{"none"}}))
	record("DescribeLogGroups token", failed(t, b.DescribeLogGroups, &logsapi.DescribeLogGroupsInput{NextToken: s}))
	record("CreateLogStream group missing", failed(t, b.CreateLogStream, &logsapi.CreateLogStreamInput{LogGroupName: none, LogStreamName: s}))
	record("CreateLogStream exists", failed(t, b.CreateLogStream, &logsapi.CreateLogStreamInput{LogGroupName: g, LogStreamName: s}))
	record("DeleteLogStream missing", failed(t, b.DeleteLogStream, &logsapi.DeleteLogStreamInput{LogGroupName: g, LogStreamName: none}))
	record("DescribeLogStreams no group", failed(t, b.DescribeLogStreams, &logsapi.DescribeLogStreamsInput{}))
	record("DescribeLogStreams two groups", failed(t, b.DescribeLogStreams, &logsapi.DescribeLogStreamsInput{LogGroupName: g, LogGroupIdentifier: g}))
	record("DescribeLogStreams group missing", failed(t, b.DescribeLogStreams, &logsapi.DescribeLogStreamsInput{LogGroupName: none}))
	record("DescribeLogStreams order and prefix", failed(t, b.DescribeLogStreams, &logsapi.DescribeLogStreamsInput{LogGroupName: g, OrderBy: logsapi.OrderByLastEventTime, LogStreamNamePrefix: s}))
	record("PutLogEvents group missing", failed(t, b.PutLogEvents, &logsapi.PutLogEventsInput{LogGroupName: none, LogStreamName: s, LogEvents: []logsapi.InputLogEvent{event(b.now, "x")}}))
	record("PutLogEvents stream missing", failed(t, b.PutLogEvents, &logsapi.PutLogEventsInput{LogGroupName: g, LogStreamName: none, LogEvents: []logsapi.InputLogEvent{event(b.now, "x")}}))
	record("PutLogEvents order", failed(t, b.PutLogEvents, put(event(b.now, "x"), event(b.now-1, "x"))))
	record("PutLogEvents span", failed(t, b.PutLogEvents, put(event(b.now-day-1, "x"), event(b.now, "x"))))
	record("PutLogEvents event size", failed(t, b.PutLogEvents, put(event(b.now, strings.Repeat("x", 1<<20)))))
	record("PutLogEvents batch size", failed(t, b.PutLogEvents, put(event(b.now, strings.Repeat("x", 1<<19)), event(b.now, strings.Repeat("x", 1<<19)))))
	record("GetLogEvents stream missing", failed(t, b.GetLogEvents, &logsapi.GetLogEventsInput{LogGroupName: g, LogStreamName: none}))
	record("GetLogEvents token", failed(t, b.GetLogEvents, &logsapi.GetLogEventsInput{LogGroupName: g, LogStreamName: s, NextToken: new("f/1/s")}))
	record("GetLogEvents ARN", failed(t, b.GetLogEvents, &logsapi.GetLogEventsInput{LogGroupIdentifier: new("arn:aws:ecs:us-east-1:123456789012:cluster/g"), LogStreamName: s}))
	record("GetLogEvents other Region", failed(t, b.GetLogEvents, &logsapi.GetLogEventsInput{LogGroupIdentifier: new("arn:aws:logs:eu-west-1:123456789012:log-group:g"), LogStreamName: s}))
	record("FilterLogEvents names and prefix", failed(t, b.FilterLogEvents, filter(func(in *logsapi.FilterLogEventsInput) { in.LogStreamNames, in.LogStreamNamePrefix = []string{"s"}, s })))
	record("FilterLogEvents stream missing", failed(t, b.FilterLogEvents, filter(func(in *logsapi.FilterLogEventsInput) { in.LogStreamNames = []string{"none"} })))
	record("FilterLogEvents group missing", failed(t, b.FilterLogEvents, filter(func(in *logsapi.FilterLogEventsInput) { in.LogGroupName = none })))
	record("FilterLogEvents pattern", failed(t, b.FilterLogEvents, filter(func(in *logsapi.FilterLogEventsInput) { in.FilterPattern = new("a.b") })))
	record("FilterLogEvents token", failed(t, b.FilterLogEvents, filter(func(in *logsapi.FilterLogEventsInput) { in.NextToken = s })))
	record("PutRetentionPolicy value", failed(t, b.PutRetentionPolicy, &logsapi.PutRetentionPolicyInput{LogGroupName: g, RetentionInDays: new(int32(2))}))
	record("PutRetentionPolicy missing", failed(t, b.PutRetentionPolicy, &logsapi.PutRetentionPolicyInput{LogGroupName: none, RetentionInDays: new(int32(1))}))
	record("DeleteRetentionPolicy missing", failed(t, b.DeleteRetentionPolicy, &logsapi.DeleteRetentionPolicyInput{LogGroupName: none}))
	record("TagResource not an ARN", failed(t, b.TagResource, &logsapi.TagResourceInput{ResourceArn: g, Tags: map[string]string{"a": ""}}))
	record("TagResource missing", failed(t, b.TagResource, &logsapi.TagResourceInput{ResourceArn: arnOf("none"), Tags: map[string]string{"a": ""}}))
	record("TagResource too many", failed(t, b.TagResource, &logsapi.TagResourceInput{ResourceArn: arnOf("g"), Tags: many}))
	record("UntagResource missing", failed(t, b.UntagResource, &logsapi.UntagResourceInput{ResourceArn: arnOf("none"), TagKeys: []string{"a"}}))
	record("ListTagsForResource missing", failed(t, b.ListTagsForResource, &logsapi.ListTagsForResourceInput{ResourceArn: arnOf("none")}))

	got := strings.Join(lines, "")
	golden := filepath.Join("testdata", "errors.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("run with -update if this is meant:\n%s", diff)
	}
}

// failed returns the error of a call that has to fail.
func failed[In, Out any](t testing.TB, call func(context.Context, *In) (*Out, error), in *In) error {
	t.Helper()
	out, err := call(t.Context(), in)
	if err == nil {
		t.Errorf("%T succeeded: %+v", in, out)
	}
	return err
}

// What the store cannot do now is answered as such.
func TestErrors_Unavailable(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if err := b.store.Close(); err != nil {
		t.Fatal(err)
	}
	err := failed(t, b.CreateLogGroup, &logsapi.CreateLogGroupInput{LogGroupName: new("g")})
	if _, ok := errors.AsType[*logsapi.ServiceUnavailableException](err); !ok {
		t.Errorf("got %v", err)
	}
}
