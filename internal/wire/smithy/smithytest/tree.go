package smithytest

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"berth.dev/berth/internal/wire/smithy"
)

// Fill sets shape's members from a tree. It fails where the tree does not fit
// the schema.
func Fill(shape smithy.Shape, tree map[string]any) error {
	return shape.Deserialize(&reader{at: tree})
}

// Tree is a shape's members as a tree, absent ones left out.
func Tree(shape smithy.Shape) map[string]any {
	w := &writer{}
	shape.Serialize(w)
	return w.structure()
}

// reader is a smithy.ShapeDeserializer.
type reader struct {
	at any
}

func read[T any](r *reader, m *smithy.Member) (T, error) {
	v, ok := r.at.(T)
	if !ok {
		return v, fmt.Errorf("%s is a %T", m.Name, r.at)
	}
	return v, nil
}

func (r *reader) within(v any, f func() error) error {
	outer := r.at
	r.at = v
	err := f()
	r.at = outer
	return err
}

func (r *reader) ReadStruct(s *smithy.Schema, member func(*smithy.Member) error) error {
	tree, err := read[map[string]any](r, &smithy.Member{Name: s.Name})
	if err != nil {
		return err
	}
	for _, m := range s.Members {
		if v, ok := tree[m.Name]; ok {
			if err := r.within(v, func() error { return member(m) }); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *reader) ReadList(m *smithy.Member, elem func() error) error {
	list, err := read[[]any](r, m)
	if err != nil {
		return err
	}
	for _, v := range list {
		if err := r.within(v, elem); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) ReadMap(m *smithy.Member, entry func(string) error) error {
	tree, err := read[map[string]any](r, m)
	if err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(tree)) {
		if err := r.within(tree[key], func() error { return entry(key) }); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) ReadBool(m *smithy.Member) (bool, error)      { return read[bool](r, m) }
func (r *reader) ReadInt(m *smithy.Member) (int64, error)      { return read[int64](r, m) }
func (r *reader) ReadFloat(m *smithy.Member) (float64, error)  { return read[float64](r, m) }
func (r *reader) ReadString(m *smithy.Member) (string, error)  { return read[string](r, m) }
func (r *reader) ReadBlob(m *smithy.Member) ([]byte, error)    { return read[[]byte](r, m) }
func (r *reader) ReadTime(m *smithy.Member) (time.Time, error) { return read[time.Time](r, m) }

// writer is a smithy.ShapeSerializer: it collects values one after another, and
// structures, lists and maps make trees of what their parts wrote.
type writer struct {
	names  []string
	values []any
}

func (w *writer) add(m *smithy.Member, v any) {
	w.names = append(w.names, m.Name)
	w.values = append(w.values, v)
}

func (w *writer) structure() map[string]any {
	tree := map[string]any{}
	for i, name := range w.names {
		tree[name] = w.values[i]
	}
	return tree
}

func (w *writer) WriteBool(m *smithy.Member, v bool)           { w.add(m, v) }
func (w *writer) WriteInt(m *smithy.Member, v int64)           { w.add(m, v) }
func (w *writer) WriteFloat(m *smithy.Member, v float64)       { w.add(m, v) }
func (w *writer) WriteString(m *smithy.Member, v string)       { w.add(m, v) }
func (w *writer) WriteBlob(m *smithy.Member, v []byte)         { w.add(m, v) }
func (w *writer) WriteTime(m *smithy.Member, v time.Time)      { w.add(m, v) }
func (w *writer) WriteStruct(m *smithy.Member, v smithy.Shape) { w.add(m, Tree(v)) }

func (w *writer) WriteList(m *smithy.Member, n int, elem func(smithy.ShapeSerializer, int)) {
	parts := &writer{values: []any{}}
	for i := range n {
		elem(parts, i)
	}
	w.add(m, parts.values)
}

func (w *writer) WriteMap(m *smithy.Member, keys []string, value func(smithy.ShapeSerializer, string)) {
	tree := map[string]any{}
	for _, key := range keys {
		part := &writer{}
		value(part, key)
		tree[key] = part.values[0]
	}
	w.add(m, tree)
}
