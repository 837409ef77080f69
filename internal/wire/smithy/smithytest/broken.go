package smithytest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"berth.dev/berth/internal/wire/smithy"
)

// Broken is a tree with exactly one constraint broken.
type Broken struct {
	// What says which: "tags.1.key: too short".
	What string
	// Member is the structure member that is wrong, or whose list or map is.
	Member *smithy.Member
	Tree   map[string]any
}

// Break makes from a valid tree all the trees in which one value breaks one of
// its constraints: each required member left out, each string too short, too
// long, against its pattern or outside its enum, each number and each list out
// of bounds. Absent members are not broken.
func Break(s *smithy.Schema, tree map[string]any) []Broken {
	b := &breaker{}
	b.structure(s, tree, "", func(t map[string]any) map[string]any { return t })
	return b.broken
}

type breaker struct {
	broken []Broken
	member *smithy.Member
}

// structure breaks tree's members one by one. rebuild makes the whole tree from
// a changed copy of this one.
func (b *breaker) structure(s *smithy.Schema, tree map[string]any, path string, rebuild func(map[string]any) map[string]any) {
	for _, m := range s.Members {
		v, ok := tree[m.Name]
		if !ok {
			continue
		}
		with := func(v any) map[string]any {
			changed := maps.Clone(tree)
			changed[m.Name] = v
			return rebuild(changed)
		}
		b.member = m
		if m.Required {
			without := maps.Clone(tree)
			delete(without, m.Name)
			b.add(path+m.Name, "missing", rebuild(without))
		}
		b.value(m.Target, v, path+m.Name, with)
	}
}

func (b *breaker) add(path, how string, tree map[string]any) {
	b.broken = append(b.broken, Broken{What: path + ": " + how, Member: b.member, Tree: tree})
}

func (b *breaker) value(s *smithy.Schema, v any, path string, with func(any) map[string]any) {
	switch v := v.(type) {
	case string:
		b.text(s, path, with)
	case int64:
		if s.Bounds.HasMin {
			b.add(path, "too small", with(int64(s.Bounds.Min)-1))
		}
		if s.Bounds.HasMax {
			b.add(path, "too great", with(int64(s.Bounds.Max)+1))
		}
	case float64:
		if s.Bounds.HasMin {
			b.add(path, "too small", with(s.Bounds.Min-1))
		}
		if s.Bounds.HasMax {
			b.add(path, "too great", with(s.Bounds.Max+1))
		}
	case []any:
		b.list(s, v, path, with)
	case map[string]any:
		if s.Kind == smithy.KindMap {
			b.entries(s, v, path, with)
			return
		}
		member := b.member
		b.structure(s, v, path+".", func(t map[string]any) map[string]any { return with(t) })
		b.member = member
	}
}

func (b *breaker) text(s *smithy.Schema, path string, with func(any) map[string]any) {
	if s.Enum != nil {
		b.add(path, "not in the enum", with("Berth-has-no-such-value"))
		return
	}
	// The others must hold, so that one constraint alone is broken.
	if s.Bounds.HasMin && s.Bounds.Min >= 1 {
		if v, ok := matching(s, int(s.Bounds.Min)-1); ok {
			b.add(path, "too short", with(v))
		}
	}
	if s.Bounds.HasMax {
		if v, ok := matching(s, int(s.Bounds.Max)+1); ok {
			b.add(path, "too long", with(v))
		}
	}
	if s.Pattern != nil {
		n := max(int(s.Bounds.Min), 1)
		for _, r := range []string{"*", "\n", "\x01"} {
			if v := strings.Repeat(r, n); !s.Pattern.Match(v) {
				b.add(path, "against the pattern", with(v))
				return
			}
		}
	}
}

// matching is a string of n characters that satisfies s's pattern.
func matching(s *smithy.Schema, n int) (string, bool) {
	for _, r := range []string{"a", "7"} {
		if v := strings.Repeat(r, n); s.Pattern == nil || s.Pattern.Match(v) {
			return v, true
		}
	}
	return "", false
}

func (b *breaker) list(s *smithy.Schema, list []any, path string, with func(any) map[string]any) {
	if s.Bounds.HasMin && s.Bounds.Min >= 1 && len(list) > 0 {
		b.add(path, "too short", with(list[:int(s.Bounds.Min)-1]))
	}
	if s.Bounds.HasMax && len(list) > 0 {
		long := make([]any, int(s.Bounds.Max)+1)
		for i := range long {
			long[i] = list[0]
		}
		b.add(path, "too long", with(long))
	}
	for i, v := range list {
		b.value(s.Elem.Target, v, fmt.Sprintf("%s.%d", path, i+1), func(v any) map[string]any {
			changed := slices.Clone(list)
			changed[i] = v
			return with(changed)
		})
	}
}

// entries breaks the values of a map, and for each key constraint one key.
func (b *breaker) entries(s *smithy.Schema, tree map[string]any, path string, with func(any) map[string]any) {
	for _, key := range slices.Sorted(maps.Keys(tree)) {
		b.value(s.Value.Target, tree[key], path+"."+key, func(v any) map[string]any {
			changed := maps.Clone(tree)
			changed[key] = v
			return with(changed)
		})
		b.text(s.Key.Target, path+" key "+key, func(k any) map[string]any {
			changed := maps.Clone(tree)
			delete(changed, key)
			name, _ := k.(string)
			changed[name] = tree[key]
			return with(changed)
		})
	}
}
