package authority_test

import (
	"fmt"
	"strings"
	"testing"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/caller"
)

// The policy of a repository and the registry's: either may allow, and either
// may deny, whoever asks.
func TestRepositoryPolicies(t *testing.T) {
	w := newWorld(t)
	const dev = `"Principal":{"AWS":"arn:aws:iam::123456789012:user/dev"},`
	const everybody = `"Principal":"*",`
	const pull = `"Action":"ecr:BatchGetImage"`
	policies := func(repository, registry string) {
		w.write(func(tx *store.Tx) {
			document := func(statement, resource string) string {
				if statement == "" {
					return ""
				}
				return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{%s%s}]}`, statement, resource)
			}
			records.Repositories.Put(tx, &model.Repository{Name: "app", Policy: document(repository, "")})
			records.RegistrySettings.Put(tx, &model.RegistrySettings{Policy: document(registry, `,"Resource":"arn:aws:ecr:*:123456789012:repository/*"`)})
		})
	}
	for _, tc := range []struct {
		name                 string
		repository, registry string
		identity             []string
		dev, app, root       bool
	}{
		{name: "nothing", root: true},
		{name: "the repository allows", repository: `"Effect":"Allow",` + dev + pull, dev: true, root: true},
		{name: "the registry allows", registry: `"Effect":"Allow",` + dev + pull, dev: true, root: true},
		{name: "another action", repository: `"Effect":"Allow",` + dev + `"Action":"ecr:PutImage"`, registry: `"Effect":"Allow",` + dev + `"Action":"ecr:PutImage"`, root: true},
		{name: "the repository denies", repository: `"Effect":"Deny",` + everybody + pull, registry: `"Effect":"Allow",` + everybody + pull},
		{name: "the registry denies", repository: `"Effect":"Allow",` + everybody + pull, registry: `"Effect":"Deny",` + everybody + pull},
		{name: "the registry denies what an identity policy allows", identity: []string{statement("Allow", "ecr:*", "*", "")}, registry: `"Effect":"Deny",` + dev + pull, root: true},
	} {
		policies(tc.repository, tc.registry)
		w.may(tc.identity...)
		for key, want := range map[string]bool{"AKIADEV": tc.dev, "ASIAAPP": tc.app, "AKIAROOT": tc.root} {
			err := w.Check(caller.With(t.Context(), w.who[key]), "ecr:BatchGetImage", scope.Repository("app"), nil)
			if (err == nil) != want {
				t.Errorf("%s, %s: %v", tc.name, key, err)
			}
		}
	}

	// Of a repository that is not there the registry's policy speaks alone.
	policies("", `"Effect":"Allow",`+dev+`"Action":["ecr:CreateRepository","ecr:BatchImportUpstreamImage"]`)
	w.may()
	err := w.Check(caller.With(t.Context(), w.who["AKIADEV"]), "ecr:CreateRepository", scope.Repository("hub/nginx"), nil)
	if err != nil {
		t.Error(err)
	}
	// Another account's repository of the same name has not this one's policy.
	policies(`"Effect":"Allow",`+everybody+pull, "")
	err = w.Check(caller.With(t.Context(), w.who["AKIADEV"]), "ecr:BatchGetImage", strings.Replace(scope.Repository("app"), scope.AccountID, "999999999999", 1), nil)
	if err == nil {
		t.Error("a policy was taken for that of another account's repository")
	}
}
