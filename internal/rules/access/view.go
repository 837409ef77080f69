package access

import (
	"slices"
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/smithy"
)

// view is a query while its checks are made.
type view struct {
	Query
	look Lookup
	// born are the tags of what the request makes.
	born []model.Tag
}

// values returns what the input has at a path.
func (v *view) values(path string) []string {
	for path != "" {
		one, rest, _ := strings.Cut(path, "|")
		if found := values(v.Input, one); len(found) > 0 {
			return found
		}
		path = rest
	}
	return nil
}

// value is the first of them.
func (v *view) value(path string) string {
	if all := v.values(path); len(all) > 0 {
		return all[0]
	}
	return ""
}

func (v *view) resources(targets []target) []string {
	var all []string
	for _, t := range targets {
		names := v.values(t.path)
		if len(names) == 0 && t.absent != "" {
			names = []string{t.absent}
		}
		for _, name := range names {
			if name == "" {
				continue // the constraints of the model are checked later
			}
			for _, resource := range t.arn(v, name) {
				if !slices.Contains(all, resource) {
					all = append(all, resource)
				}
			}
		}
	}
	return all
}

func (v *view) keys(wanted []key, tags, tagKeys string) []Key {
	if len(wanted) == 0 && tags == "" && tagKeys == "" {
		return nil
	}
	all := make([]Key, 0, len(wanted)+4)
	for _, k := range wanted {
		if k.spread {
			for name, value := range pairs(v.Input, k.path) {
				all = append(all, Key{k.name + strings.ToLower(name), []string{value}})
			}
			continue
		}
		if found := k.values(v); len(found) > 0 {
			all = append(all, Key{k.name, found})
		}
	}
	all = append(all, v.requestTags(tags)...)
	if names := v.values(tagKeys); len(names) > 0 {
		all = append(all, Key{keyTagKeys, names})
	}
	return all
}

func (k key) values(v *view) []string {
	switch {
	case k.fixed != "":
		return []string{k.fixed}
	case k.of != nil:
		return k.of(v)
	}
	found := v.values(k.path)
	if len(found) == 0 && k.absent != "" {
		found = []string{k.absent}
	}
	if k.as == nil {
		return found
	}
	var made []string
	for _, value := range found {
		if value = k.as(v, value); value != "" {
			made = append(made, value)
		}
	}
	return made
}

// requestTags are aws:RequestTag/… of each tag, and aws:TagKeys.
func (v *view) requestTags(path string) []Key {
	if path == "" {
		return nil
	}
	var all []Key
	var names []string
	for _, tag := range shapes(v.Input, path) {
		name := first(tag, "key", "Key", "TagKey")
		if name == "" || slices.Contains(names, name) {
			continue
		}
		names = append(names, name)
		all = append(all, Key{keyTag + strings.ToLower(name), []string{first(tag, "value", "Value", "TagValue")}})
	}
	if len(names) == 0 {
		// logs keeps its tags in a map.
		for name, value := range pairs(v.Input, path) {
			names = append(names, name)
			all = append(all, Key{keyTag + strings.ToLower(name), []string{value}})
		}
	}
	if len(names) > 0 {
		all = append(all, Key{keyTagKeys, names})
	}
	return all
}

// tags are those that the request sets.
func (v *view) tags(path string) []model.Tag {
	var tags []model.Tag
	for _, tag := range shapes(v.Input, path) {
		if name := first(tag, "key", "Key", "TagKey"); name != "" {
			tags = append(tags, model.Tag{Key: name, Value: first(tag, "value", "Value", "TagValue")})
		}
	}
	return tags
}

func first(in smithy.Shape, members ...string) string {
	for _, member := range members {
		if found := values(in, member); len(found) > 0 {
			return found[0]
		}
	}
	return ""
}

// literal takes an ARN as it is. The partition of one of this account is made
// ours: a policy must not miss it because of that.
func literal(v *view, name string) []string {
	if a, err := arn.Parse(name); err == nil && a.AccountID == v.Scope.AccountID {
		own := v.Scope
		own.Region = a.Region
		return []string{own.Regional(a.Service, a.Resource)}
	}
	return []string{name}
}

// plain makes an ARN of a name that is not one yet: prefix and name.
func plain(service, prefix string) naming {
	return func(v *view, name string) []string {
		if arn.Is(name) {
			return literal(v, name)
		}
		return []string{v.Scope.Regional(service, prefix+name)}
	}
}
