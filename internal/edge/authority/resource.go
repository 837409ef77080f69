package authority

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/access"
	"berth.dev/berth/internal/rules/policy"
)

// resourcePolicy finds what the resource of a check says itself.
func (q *question) resourcePolicy(c *access.Check) (resourcePolicy, error) {
	service, operation, _ := strings.Cut(c.Action, ":")
	switch service {
	case "sts":
		switch operation {
		case "AssumeRole", "TagSession", "SetSourceIdentity":
			return q.trust(c.Resource)
		}
	case "secretsmanager":
		s, ok := records.FindSecret(q.snapshot, c.Resource)
		if !ok || s.ARN != c.Resource || s.Policy == "" {
			return resourcePolicy{}, nil
		}
		return q.read(policy.Resource, s.Policy, "secret "+s.Name)
	case "kms":
		return q.keyPolicy(c.Resource)
	case "ecr":
		return q.repositoryPolicy(c.Resource)
	}
	return resourcePolicy{}, nil
}

// trust is a role's trust policy: without its word nobody assumes the role.
func (q *question) trust(name string) (resourcePolicy, error) {
	role, ok := records.RoleByARN(q.snapshot, q.scope, name)
	if !ok {
		return resourcePolicy{decides: true, missingTrust: true}, nil
	}
	r, err := q.read(policy.Trust, role.Trust, "role "+role.Name)
	r.decides = true
	return r, err
}

// keyPolicy is a KMS key's: it decides, and grants add to it. Aliases have no
// policy.
func (q *question) keyPolicy(name string) (resourcePolicy, error) {
	_, id, ok := strings.Cut(name, ":key/")
	if !ok {
		return resourcePolicy{}, nil
	}
	key, ok := records.KMSKeys.Get(q.snapshot, id)
	if !ok || key.ARN != name || key.Policy == "" {
		return resourcePolicy{}, nil // the provider says that there is no such key
	}
	r, err := q.read(policy.Resource, key.Policy, "key "+key.ID)
	r.decides, r.key = true, key
	return r, err
}

// repositoryPolicy is that of a repository of images, and the registry's, which
// also speaks of repositories that do not exist yet.
func (q *question) repositoryPolicy(name string) (resourcePolicy, error) {
	var r resourcePolicy
	if settings, ok := records.RegistrySettings.Get(q.snapshot, (*model.RegistrySettings)(nil).Key()); ok && settings.Policy != "" {
		registry, err := q.read(policy.Resource, settings.Policy, "the registry")
		if err != nil {
			return r, err
		}
		r.also = registry.source
	}
	_, id, _ := strings.Cut(name, ":repository/")
	repository, ok := records.Repositories.Get(q.snapshot, id)
	if !ok || q.scope.Repository(id) != name || repository.Policy == "" {
		return r, nil
	}
	own, err := q.read(policy.Repository, repository.Policy, "repository "+id)
	r.source = own.source
	return r, err
}

func (q *question) read(kind policy.Kind, text, of string) (resourcePolicy, error) {
	d, err := q.parse(kind, text)
	if err != nil {
		return resourcePolicy{}, fmt.Errorf("the policy of %s: %w", of, err)
	}
	return resourcePolicy{source: &policy.Source{Document: d}}, nil
}

// granted reports whether one of the key's grants lets the caller do what the
// key's policy does not. An explicit deny has been looked for before.
func (q *question) granted(key *model.KMSKey, c *access.Check) bool {
	_, operation, _ := strings.Cut(c.Action, ":")
	asked := map[string]string{}
	for _, k := range c.Keys {
		if name, ok := strings.CutPrefix(k.Name, encryptionContext); ok && len(k.Values) > 0 {
			asked[name] = k.Values[0]
		}
	}
	return slices.ContainsFunc(key.Grants, func(g model.KMSGrant) bool {
		return slices.Contains(g.Operations, operation) && q.is(g.Grantee) && constrained(g, asked)
	})
}

const encryptionContext = "kms:encryptioncontext:"

// is reports whether the caller is the principal, or a session of it.
func (q *question) is(name string) bool {
	return name != "" && (name == q.who.ARN || name == q.principalARN())
}

// constrained reports whether the encryption context satisfies a grant. Names
// are compared without case, since condition keys are.
func constrained(g model.KMSGrant, asked map[string]string) bool {
	if len(g.ContextEquals) > 0 && !maps.Equal(lowered(g.ContextEquals), asked) {
		return false
	}
	for name, value := range g.ContextSubset {
		if got, ok := asked[strings.ToLower(name)]; !ok || got != value {
			return false
		}
	}
	return true
}

func lowered(m map[string]string) map[string]string {
	out := make(map[string]string, len(m))
	for name, value := range m {
		out[strings.ToLower(name)] = value
	}
	return out
}
