package server

import (
	"encoding/json"
	"testing"
	"time"

	"berth.dev/berth/internal/data/logstore"
	"berth.dev/berth/internal/model"
)

// What was a task is a line of its cluster's stream, at the time of its end,
// and the retention that a user has set stays.
func TestHistory_Keep(t *testing.T) {
	logs, err := logstore.Open(t.TempDir(), logstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close() //nolint:errcheck // the test is over
	stopped := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	task := func(id string) *model.Task {
		return &model.Task{ID: id, ClusterName: "default", StoppedReason: "enough", Observed: model.TaskObserved{StoppedAt: &stopped}}
	}
	h := history{logs}
	if err := h.Keep(t.Context(), []*model.Task{task("one")}); err != nil {
		t.Fatal(err)
	}
	if g, err := logs.Group(HistoryGroup); err != nil || g.RetentionDays != historyDays {
		t.Errorf("the group is %+v, %v", g, err)
	}
	err = logs.UpdateGroup(t.Context(), HistoryGroup, func(g *logstore.GroupSettings) error { g.RetentionDays = 30; return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Keep(t.Context(), []*model.Task{task("two")}); err != nil {
		t.Fatal(err)
	}
	if g, err := logs.Group(HistoryGroup); err != nil || g.RetentionDays != 30 {
		t.Errorf("the group is %+v, %v", g, err)
	}
	lines, err := logs.Read(t.Context(), logstore.StreamQuery{Group: HistoryGroup, Stream: "default", End: time.Now().UnixMilli(), Limit: 10})
	if err != nil || len(lines) != 2 {
		t.Fatalf("%d lines, %v", len(lines), err)
	}
	for i, id := range []string{"one", "two"} {
		var got model.Task
		if err := json.Unmarshal([]byte(lines[i].Message), &got); err != nil || got.ID != id || got.StoppedReason != "enough" || lines[i].Timestamp != stopped.UnixMilli() {
			t.Errorf("line %d at %d: %s, %v", i, lines[i].Timestamp, lines[i].Message, err)
		}
	}
}
