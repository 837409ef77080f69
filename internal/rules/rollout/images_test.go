package rollout_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/rollout"
)

func TestPins(t *testing.T) {
	task := func(id string, second int, container, digest string) *model.Task {
		return &model.Task{
			ID: id, CreatedAt: time.Unix(int64(second), 0),
			Observed: model.TaskObserved{Containers: []model.ContainerObserved{{Name: container, ImageDigest: digest}}},
		}
	}
	images := []model.RevisionImage{{ContainerName: "app", Image: "app"}, {ContainerName: "log", Image: "log", ImageDigest: "sha256:kept"}}
	for name, tt := range map[string]struct {
		tasks []*model.Task
		want  string // empty: nothing is new
	}{
		"no tasks":                    {nil, ""},
		"not found yet":               {[]*model.Task{task("a", 1, "app", "")}, ""},
		"the first":                   {[]*model.Task{task("b", 2, "app", "sha256:2"), task("a", 1, "app", "sha256:1")}, "sha256:1"},
		"the first that found it":     {[]*model.Task{task("a", 1, "app", ""), task("b", 2, "app", "sha256:2")}, "sha256:2"},
		"of one time, by id":          {[]*model.Task{task("b", 1, "app", "sha256:b"), task("a", 1, "app", "sha256:a")}, "sha256:a"},
		"what is known stays":         {[]*model.Task{task("a", 1, "log", "sha256:other")}, ""},
		"of other containers nothing": {[]*model.Task{task("a", 1, "web", "sha256:1")}, ""},
	} {
		got, changed := rollout.Pins(images, tt.tasks)
		if changed != (tt.want != "") {
			t.Errorf("%s: changed is %v", name, changed)
		}
		if !changed {
			continue
		}
		want := []model.RevisionImage{{ContainerName: "app", Image: "app", ImageDigest: tt.want}, images[1]}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if images[0].ImageDigest != "" {
			t.Fatalf("%s: the argument was changed", name)
		}
	}
}
