package execution

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/secretref"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/nodeapi"
)

// parametersPerCall is what GetParameters takes.
const parametersPerCall = 10

// TaskSecrets fetches everything that the task's containers are given by the
// execution role. A secret that several containers name is fetched once. The
// first failure in the definition's order is the task's.
func (e *Execution) TaskSecrets(ctx context.Context, t *model.Task) (*nodeapi.TaskSecretsResponse, error) {
	out, err := e.taskSecrets(ctx, t)
	if err != nil {
		text, err := split(err)
		if err != nil {
			return nil, err
		}
		return &nodeapi.TaskSecretsResponse{Refusal: text}, nil
	}
	return &nodeapi.TaskSecretsResponse{Containers: out}, nil
}

func (e *Execution) taskSecrets(ctx context.Context, t *model.Task) ([]*nodeapi.ContainerSecrets, error) {
	def, err := e.definition(t)
	if err != nil {
		return nil, err
	}
	f, err := e.gather(t, def)
	if err != nil || len(f.wanted) == 0 {
		return nil, err
	}
	if f.who, err = e.acting(t, def.ExecutionRoleARN); err != nil {
		return nil, err
	}
	if err := f.fetch(ctx); err != nil {
		return nil, err
	}
	var out []*nodeapi.ContainerSecrets
	for i := range def.ContainerDefinitions {
		c, err := f.container(&def.ContainerDefinitions[i])
		if err != nil {
			return nil, err
		}
		if c != nil {
			out = append(out, c)
		}
	}
	return out, nil
}

// wanted is one value to ask a service for.
type wanted struct {
	ref      secretref.Ref
	registry bool // a registry's login
}

// source is what makes two references the same value.
type source struct {
	store                secretref.Store
	id, stage, versionID string
}

func sourceOf(r secretref.Ref) source { return source{r.Store, r.ID, r.Stage, r.VersionID} }

// fetcher fetches the values of one task.
type fetcher struct {
	e      *Execution
	task   *model.Task
	who    caller.Identity
	wanted []wanted // in the definition's order, each once
	refs   map[string]secretref.Ref
	values map[source]string
}

// gather reads all references of a definition.
func (e *Execution) gather(t *model.Task, def *model.TaskDefinition) (*fetcher, error) {
	f := &fetcher{e: e, task: t, refs: map[string]secretref.Ref{}, values: map[source]string{}}
	seen := map[source]bool{}
	add := func(from string, ref secretref.Ref, registry bool) {
		f.refs[from] = ref
		if !seen[sourceOf(ref)] {
			seen[sourceOf(ref)] = true
			f.wanted = append(f.wanted, wanted{ref, registry})
		}
	}
	for i := range def.ContainerDefinitions {
		c := &def.ContainerDefinitions[i]
		for _, s := range references(c) {
			ref, err := secretref.Parse(s.ValueFrom, e.cfg.Scope)
			if err != nil {
				// Registration refuses it; a definition of an older Berth can have it.
				return nil, refused("%sthe reference of secret %s cannot be read: %v", resourceFailed, s.Name, err)
			}
			add(s.ValueFrom, ref, false)
		}
		if c.RepositoryCredentials != nil {
			// The whole of it is a SecretId, a name or an ARN.
			from := c.RepositoryCredentials.CredentialsParameter
			add(loginKey(from), secretref.Ref{Store: secretref.SecretsManager, ID: from}, true)
		}
	}
	return f, nil
}

// loginKey keeps a login apart from a parameter of the same name.
func loginKey(from string) string { return "login " + from }

func references(c *model.ContainerDefinition) []model.SecretReference {
	all := slices.Clone(c.Secrets)
	if c.LogConfiguration != nil {
		all = append(all, c.LogConfiguration.SecretOptions...)
	}
	return all
}

// fetch asks Secrets Manager for one value after the other, and Parameter
// Store for ten at a time.
func (f *fetcher) fetch(ctx context.Context) error {
	var parameters []secretref.Ref
	for _, w := range f.wanted {
		if w.ref.Store == secretref.ParameterStore {
			parameters = append(parameters, w.ref)
			continue
		}
		value, err := f.e.cfg.API.GetSecretValue(ctx, f.who, w.ref.ID, w.ref.Stage, w.ref.VersionID)
		if err != nil {
			return f.secretFailed(w, err)
		}
		if value.Binary {
			return f.secretUnusable(w, "the secret "+w.ref.ID+" has a binary value: only text can be given to a container")
		}
		f.values[sourceOf(w.ref)] = value.Text
	}
	for batch := range slices.Chunk(parameters, parametersPerCall) {
		if err := f.fetchParameters(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

func (f *fetcher) fetchParameters(ctx context.Context, batch []secretref.Ref) error {
	ids := make([]string, len(batch))
	for i, ref := range batch {
		ids[i] = ref.ID
	}
	found, _, err := f.e.cfg.API.GetParameters(ctx, f.who, ids)
	if err != nil {
		return f.parametersFailed(err)
	}
	var missing []string
	for _, ref := range batch {
		at := slices.IndexFunc(found, func(p Parameter) bool { return p.Name == ref.ID || p.ARN == ref.ID || p.ARN == ref.ARN })
		if at < 0 {
			missing = append(missing, ref.Name)
			continue
		}
		f.values[sourceOf(ref)] = found[at].Value
	}
	if len(missing) > 0 {
		return f.parametersMissing(missing)
	}
	return nil
}

// container picks a container's values, nil when it has none.
func (f *fetcher) container(c *model.ContainerDefinition) (*nodeapi.ContainerSecrets, error) {
	out := &nodeapi.ContainerSecrets{Name: c.Name}
	var err error
	if out.Environment, err = f.named(c.Secrets); err != nil {
		return nil, err
	}
	if c.LogConfiguration != nil {
		if out.LogOptions, err = f.named(c.LogConfiguration.SecretOptions); err != nil {
			return nil, err
		}
	}
	if c.RepositoryCredentials != nil {
		ref := f.refs[loginKey(c.RepositoryCredentials.CredentialsParameter)]
		if out.RegistryUsername, out.RegistryPassword, err = f.login(ref); err != nil {
			return nil, err
		}
	}
	if len(out.GetEnvironment())+len(out.GetLogOptions()) == 0 && c.RepositoryCredentials == nil {
		return nil, nil
	}
	return out, nil
}

func (f *fetcher) named(refs []model.SecretReference) ([]*nodeapi.NamedSecret, error) {
	var out []*nodeapi.NamedSecret
	for _, s := range refs {
		ref := f.refs[s.ValueFrom]
		value := f.values[sourceOf(ref)]
		if ref.Key != "" {
			member, ok := secretref.Member(value, ref.Key)
			if !ok {
				return nil, f.keyMissing(ref)
			}
			value = member
		}
		out = append(out, &nodeapi.NamedSecret{Name: s.Name, Value: []byte(value)})
	}
	return out, nil
}

// login reads a registry's login as the agent does: JSON whose members are
// found without case.
func (f *fetcher) login(ref secretref.Ref) (username, password string, err error) {
	w := wanted{ref, true}
	var login struct{ Username, Password *string }
	value := f.values[sourceOf(ref)]
	switch err := json.Unmarshal([]byte(value), &login); {
	case strings.TrimSpace(value) == "":
		return "", "", f.secretUnusable(w, fmt.Sprintf("asm fetching authorization data: empty secrets value of %s", ref.ID))
	case err != nil: // its text would have a piece of the value
		return "", "", f.secretUnusable(w, fmt.Sprintf("asm fetching authorization data: unable to unmarshal secret value of %s, invalid schema", ref.ID))
	case login.Username == nil || *login.Username == "":
		return "", "", f.secretUnusable(w, fmt.Sprintf("asm fetching username: AuthorizationData of %s is malformed, empty field", ref.ID))
	case login.Password == nil || *login.Password == "":
		return "", "", f.secretUnusable(w, fmt.Sprintf("asm fetching password: AuthorizationData of %s is malformed, empty field", ref.ID))
	}
	return *login.Username, *login.Password, nil
}
