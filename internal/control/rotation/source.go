package rotation

import (
	"maps"
	"slices"
	"strconv"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/secretref"
	"berth.dev/berth/internal/rules/taskspec"
)

// Source derives the documents of tasks that have secrets as files.
type Source struct{ scope arn.Scope }

// NewSource returns a Source. scope is where bare names of parameters are.
func NewSource(scope arn.Scope) *Source { return &Source{scope} }

// Kind implements dispatch.Source.
func (*Source) Kind() string { return model.DocumentSecrets }

// Tables implements dispatch.Source.
func (*Source) Tables() []store.AnyTable {
	return []store.AnyTable{records.Tasks, records.Secrets, records.Parameters}
}

// Keys implements dispatch.Source.
func (*Source) Keys(r store.Reader, instanceID string) []string {
	var keys []string
	for t := range records.Tasks.By(r, records.LiveTasksByInstance, instanceID) {
		if len(references(r, t)) > 0 {
			keys = append(keys, t.ID)
		}
	}
	return keys
}

// Affected implements dispatch.Source.
func (s *Source) Affected(before, after store.Reader, change store.Change) map[string][]string {
	switch change.Table {
	case records.Tasks.Name():
		return affectedTask(before, after, change.Key)
	case records.Secrets.Name():
		old, _ := records.Secrets.Get(before, change.Key)
		secret, _ := records.Secrets.Get(after, change.Key)
		if old != nil && secret != nil && maps.Equal(old.Stages, secret.Stages) && old.ARN == secret.ARN {
			return nil
		}
		return s.affected(after, func(ref secretref.Ref) bool { return ref.SecretID != "" && (means(ref, old) || means(ref, secret)) })
	}
	old, existed := records.Parameters.Get(before, change.Key)
	if p, exists := records.Parameters.Get(after, change.Key); existed && exists && old.Version == p.Version {
		return nil
	}
	return s.affected(after, func(ref secretref.Ref) bool { return slices.Contains(parameterNames(ref), change.Key) })
}

// affectedTask names a task that has appeared or gone. Otherwise nothing of a
// task is in its document.
func affectedTask(before, after store.Reader, id string) map[string][]string {
	old, existed := records.Tasks.Get(before, id)
	t, exists := records.Tasks.Get(after, id)
	live, lived := exists && !t.Stopped(), existed && !old.Stopped()
	switch {
	case live == lived:
		return nil
	case !live:
		t = old
	}
	if len(references(after, t)) == 0 && len(references(before, t)) == 0 {
		return nil
	}
	return map[string][]string{t.InstanceID: {id}}
}

// affected names the live tasks with a reference that matches. Versions change
// seldom: all tasks are looked at.
func (s *Source) affected(r store.Reader, matches func(secretref.Ref) bool) map[string][]string {
	affected := map[string][]string{}
	for t := range records.Tasks.All(r) {
		if !t.Stopped() && slices.ContainsFunc(references(r, t), func(valueFrom string) bool {
			ref, err := secretref.Parse(valueFrom, s.scope)
			return err == nil && matches(ref)
		}) {
			affected[t.InstanceID] = append(affected[t.InstanceID], t.ID)
		}
	}
	return affected
}

func means(ref secretref.Ref, s *model.Secret) bool {
	return s != nil && secretref.Names(ref.SecretID, s)
}

// references are what the containers of a task that have secrets as files name
// them by.
func references(r store.Reader, t *model.Task) []string {
	def, found := records.TaskDefinitions.Get(r, model.TaskDefinitionKey(t.Family, t.Revision))
	if !found {
		return nil
	}
	var all []string
	for i := range def.ContainerDefinitions {
		c := &def.ContainerDefinitions[i]
		if _, files := taskspec.SecretFilesDir(c); !files {
			continue
		}
		for _, secret := range c.Secrets {
			all = append(all, secret.ValueFrom)
		}
	}
	return all
}

// Document implements dispatch.Source.
func (s *Source) Document(r store.Reader, instanceID, key string) (any, bool) {
	t, found := records.Tasks.Get(r, key)
	if !found || t.Stopped() || t.InstanceID != instanceID {
		return nil, false
	}
	doc := model.NodeSecrets{Versions: map[string]string{}}
	for _, valueFrom := range references(r, t) {
		if ref, err := secretref.Parse(valueFrom, s.scope); err == nil {
			doc.Versions[valueFrom] = versionOf(r, ref)
		}
	}
	if len(doc.Versions) == 0 {
		return nil, false
	}
	return doc, true
}

// versionOf is the version that a reference means now; empty while there is
// none. That a secret waits for deletion changes no file.
func versionOf(r store.Reader, ref secretref.Ref) string {
	if ref.SecretID != "" {
		if s, found := records.FindSecret(r, ref.SecretID); found {
			return ref.Version(s)
		}
		return ""
	}
	for _, name := range parameterNames(ref) {
		if p, found := records.Parameters.Get(r, name); found {
			return strconv.FormatInt(p.Version, 10)
		}
	}
	return ""
}

// parameterNames are those that a reference can mean: an ARN does not tell x
// from /x.
func parameterNames(ref secretref.Ref) []string {
	switch {
	case ref.Store != secretref.ParameterStore || ref.SecretID != "":
		return nil
	case arn.Is(ref.ID) && ref.Name[0] != '/':
		return []string{ref.Name, "/" + ref.Name}
	}
	return []string{ref.Name}
}
