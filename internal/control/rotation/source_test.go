package rotation_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/control/rotation"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/taskspec"
)

// furnishFiles adds tasks that have secrets as files, and one that has them in
// its environment only.
func (w *world) furnishFiles() {
	w.update(func(tx *store.Tx) {
		label := map[string]string{taskspec.LabelSecretsFiles: "/run/secrets"}
		secrets := func(froms ...string) (all []model.SecretReference) {
			for i, from := range froms {
				all = append(all, model.SecretReference{Name: string(rune('A' + i)), ValueFrom: from})
			}
			return all
		}
		records.TaskDefinitions.Put(tx, &model.TaskDefinition{Family: "files", Revision: 1, ContainerDefinitions: []model.ContainerDefinition{
			{Name: "a", DockerLabels: label, Secrets: secrets(secretARN+":user::", secretARN[:len(secretARN)-7]+"::AWSPREVIOUS:", secretARN+":::v0", "/p", "arn:aws:ssm:us-east-1:123456789012:parameter/p")},
			{Name: "b", Secrets: secrets("/aws/reference/secretsmanager/other")},
		}})
		records.TaskDefinitions.Put(tx, &model.TaskDefinition{Family: "reference", Revision: 1, ContainerDefinitions: []model.ContainerDefinition{
			{Name: "a", DockerLabels: label, Secrets: secrets("/aws/reference/secretsmanager/s", "none", "a b")},
		}})
		records.TaskDefinitions.Put(tx, &model.TaskDefinition{Family: "env", Revision: 1, ContainerDefinitions: []model.ContainerDefinition{{Name: "a", Secrets: secrets(secretARN)}}})
		records.Parameters.Put(tx, &model.Parameter{Name: "/p", Version: 3})
		for _, family := range []string{"files", "reference", "env"} {
			records.Tasks.Put(tx, &model.Task{ID: family, Family: family, Revision: 1, InstanceID: "n", Observed: model.TaskObserved{Status: model.TaskRunning}})
		}
	})
}

func TestSource(t *testing.T) {
	bubble(t, func(w *world) {
		source := rotation.NewSource(scope)
		w.furnishFiles()
		if diff := cmp.Diff([]string{"files", "reference"}, source.Keys(w.store.Snapshot(), "n")); diff != "" {
			t.Error(diff)
		}
		document := func(key string) any {
			doc, _ := source.Document(w.store.Snapshot(), "n", key)
			return doc
		}
		files := func(current, previous, parameter string) any {
			return model.NodeSecrets{Versions: map[string]string{
				secretARN + ":user::": current, secretARN[:len(secretARN)-7] + "::AWSPREVIOUS:": previous, secretARN + ":::v0": "v0",
				"/p": parameter, "arn:aws:ssm:us-east-1:123456789012:parameter/p": parameter,
			}}
		}
		reference := func(current string) any {
			return model.NodeSecrets{Versions: map[string]string{"/aws/reference/secretsmanager/s": current, "none": ""}}
		}
		want := func(key string, want any) {
			t.Helper()
			if diff := cmp.Diff(want, document(key)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", key, diff)
			}
		}
		want("files", files("v0", "", "3"))
		want("reference", reference("v0"))
		want("env", nil)

		affected := func(fn func(tx *store.Tx)) map[string][]string {
			t.Helper()
			before := w.store.Snapshot()
			w.update(fn)
			after, all := w.store.Snapshot(), map[string][]string{}
			for _, table := range source.Tables() {
				for _, key := range []string{"s", "other", "/p", "files", "reference", "env"} {
					for node, keys := range source.Affected(before, after, store.Change{Table: table.Name(), Key: key}) {
						all[node] = append(all[node], keys...)
					}
				}
			}
			return all
		}
		secret := func(fn func(*model.Secret)) func(tx *store.Tx) {
			return func(tx *store.Tx) {
				if err := records.Secrets.Edit(tx, "s", func(s *model.Secret) error { fn(s); return nil }); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, step := range []struct {
			name string
			do   func(tx *store.Tx)
			want map[string][]string
		}{
			{"a rotation", secret(func(s *model.Secret) { s.Stages = s.Stages.Add("v1", nil) }), map[string][]string{"n": {"files", "reference"}}},
			{"another change", secret(func(s *model.Secret) { s.Description = "x" }), map[string][]string{}},
			{"a parameter's version", func(tx *store.Tx) { records.Parameters.Put(tx, &model.Parameter{Name: "/p", Version: 4}) }, map[string][]string{"n": {"files"}}},
			{"another change of it", func(tx *store.Tx) { records.Parameters.Put(tx, &model.Parameter{Name: "/p", Version: 4, ARN: "x"}) }, map[string][]string{}},
			{"a secret that nobody has as a file", func(tx *store.Tx) { records.Secrets.Put(tx, &model.Secret{Name: "other", ARN: "other"}) }, map[string][]string{}},
			{"a task's end", func(tx *store.Tx) {
				records.Tasks.Put(tx, &model.Task{ID: "reference", Family: "reference", Revision: 1, InstanceID: "n", Observed: model.TaskObserved{Status: model.TaskStopped}})
			}, map[string][]string{"n": {"reference"}}},
			{"another task's end", func(tx *store.Tx) { records.Tasks.Delete(tx, "env") }, map[string][]string{}},
			{"the secret's end", func(tx *store.Tx) { records.Secrets.Delete(tx, "s") }, map[string][]string{"n": {"files"}}},
		} {
			if diff := cmp.Diff(step.want, affected(step.do)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", step.name, diff)
			}
			if step.name == "a rotation" {
				want("files", files("v1", "v0", "3"))
				want("reference", reference("v1"))
			}
		}
		want("reference", nil)
		want("files", model.NodeSecrets{Versions: map[string]string{
			secretARN + ":user::": "", secretARN[:len(secretARN)-7] + "::AWSPREVIOUS:": "", secretARN + ":::v0": "",
			"/p": "4", "arn:aws:ssm:us-east-1:123456789012:parameter/p": "4",
		}})
	})
}
