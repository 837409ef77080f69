package access

import (
	"iter"
	"strconv"
	"strings"
	"time"

	"berth.dev/berth/internal/wire/smithy"
)

// values returns the scalars that in has at a path, as text, in order. Lists on
// the way and at the end are gone through.
func values(in smithy.Shape, path string) []string {
	if in == nil || path == "" {
		return nil
	}
	r := reader{path: path}
	in.Serialize(&r)
	return r.texts
}

// shapes returns the structures that in has at a path.
func shapes(in smithy.Shape, path string) []smithy.Shape {
	if in == nil || path == "" {
		return nil
	}
	r := reader{path: path}
	in.Serialize(&r)
	return r.shapes
}

// pairs returns the entries of the map of strings that in has at a path.
func pairs(in smithy.Shape, path string) iter.Seq2[string, string] {
	r := reader{path: path}
	if in != nil && path != "" {
		in.Serialize(&r)
	}
	return func(yield func(string, string) bool) {
		for i, name := range r.names {
			if i < len(r.texts) && !yield(name, r.texts[i]) {
				return
			}
		}
	}
}

// reader is a serializer that keeps what stands at its path.
type reader struct {
	path   string // what remains of it
	inside bool   // in a list or map that was on the path: its parts are too
	texts  []string
	shapes []smithy.Shape
	names  []string // keys of a map
}

// step reports whether m is on the path, and what remains after it.
func (r *reader) step(m *smithy.Member) (rest string, on bool) {
	if r.inside {
		return r.path, true
	}
	name, rest, _ := strings.Cut(r.path, ".")
	return rest, name == m.Name
}

func (r *reader) text(m *smithy.Member, s string) {
	if rest, on := r.step(m); on && rest == "" {
		r.texts = append(r.texts, s)
	}
}

// into goes on with the part of the path that remains.
func (r *reader) into(rest string, inside bool, visit func()) {
	path, before := r.path, r.inside
	r.path, r.inside = rest, inside
	visit()
	r.path, r.inside = path, before
}

// WriteBool implements smithy.ShapeSerializer, as do the others.
func (r *reader) WriteBool(m *smithy.Member, v bool)     { r.text(m, strconv.FormatBool(v)) }
func (r *reader) WriteInt(m *smithy.Member, v int64)     { r.text(m, strconv.FormatInt(v, 10)) }
func (r *reader) WriteString(m *smithy.Member, v string) { r.text(m, v) }
func (r *reader) WriteBlob(*smithy.Member, []byte)       {}

func (r *reader) WriteFloat(m *smithy.Member, v float64) {
	r.text(m, strconv.FormatFloat(v, 'g', -1, 64))
}

func (r *reader) WriteTime(m *smithy.Member, v time.Time) {
	r.text(m, v.UTC().Format(time.RFC3339))
}

func (r *reader) WriteStruct(m *smithy.Member, v smithy.Shape) {
	rest, on := r.step(m)
	switch {
	case !on:
	case rest == "":
		r.shapes = append(r.shapes, v)
	default:
		r.into(rest, false, func() { v.Serialize(r) })
	}
}

func (r *reader) WriteList(m *smithy.Member, n int, elem func(s smithy.ShapeSerializer, i int)) {
	if rest, on := r.step(m); on {
		r.into(rest, true, func() {
			for i := range n {
				elem(r, i)
			}
		})
	}
}

func (r *reader) WriteMap(m *smithy.Member, keys []string, value func(s smithy.ShapeSerializer, key string)) {
	if rest, on := r.step(m); on {
		r.names = append(r.names, keys...)
		r.into(rest, true, func() {
			for _, k := range keys {
				value(r, k)
			}
		})
	}
}
