package journal_test

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/agent/journal"
	"berth.dev/berth/internal/agent/task"
	"berth.dev/berth/internal/model"
)

func TestJournal_SurvivesReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j, err := journal.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	a := task.Record{Assignment: model.Assignment{Task: model.Task{ID: "a"}}, State: task.State{Seq: 3, Status: model.TaskRunning}}
	b := task.Record{Assignment: model.Assignment{Task: model.Task{ID: "b"}}, State: task.State{Seq: 1}}
	if err := j.Put([]task.Record{a, b}); err != nil {
		t.Fatal(err)
	}
	if _, err := journal.Open(path); err == nil {
		t.Fatal("two agents opened one journal")
	}
	a.State.Seq = 4
	if err := j.Put([]task.Record{a}); err != nil {
		t.Fatal(err)
	}
	if err := j.Delete("b"); err != nil {
		t.Fatal(err)
	}
	if err := j.Delete("never there"); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if j, err = journal.Open(path); err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	got, err := j.Load()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]task.Record{a}, got); diff != "" {
		t.Error(diff)
	}
}
