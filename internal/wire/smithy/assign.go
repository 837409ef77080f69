package smithy

import (
	"maps"
	"slices"
	"time"
)

// The functions in this file are what generated Serialize and Deserialize
// methods are made of. A Read function sets *dst to the value under m; a Write
// function writes it. They compose: ReadList(d, m, &v.Tags, ReadStruct[Tag]).

// ReadFunc reads one value.
type ReadFunc[T any] func(d ShapeDeserializer, m *Member, dst *T) error

// WriteFunc writes one value.
type WriteFunc[T any] func(s ShapeSerializer, m *Member, v *T)

// ReadPtr reads an optional value into a new T.
func ReadPtr[T any](d ShapeDeserializer, m *Member, dst **T, read ReadFunc[T]) error {
	v := new(T)
	if err := read(d, m, v); err != nil {
		return err
	}
	*dst = v
	return nil
}

// ReadBool reads a boolean.
func ReadBool(d ShapeDeserializer, m *Member, dst *bool) (err error) {
	*dst, err = d.ReadBool(m)
	return err
}

// ReadInt32 reads an integer.
func ReadInt32(d ShapeDeserializer, m *Member, dst *int32) error {
	n, err := d.ReadInt(m)
	*dst = int32(n)
	return err
}

// ReadInt64 reads a long.
func ReadInt64(d ShapeDeserializer, m *Member, dst *int64) (err error) {
	*dst, err = d.ReadInt(m)
	return err
}

// ReadFloat32 reads a float.
func ReadFloat32(d ShapeDeserializer, m *Member, dst *float32) error {
	f, err := d.ReadFloat(m)
	*dst = float32(f)
	return err
}

// ReadFloat64 reads a double.
func ReadFloat64(d ShapeDeserializer, m *Member, dst *float64) (err error) {
	*dst, err = d.ReadFloat(m)
	return err
}

// ReadString reads a string or an enum.
func ReadString[T ~string](d ShapeDeserializer, m *Member, dst *T) error {
	s, err := d.ReadString(m)
	*dst = T(s)
	return err
}

// ReadBlob reads bytes; present but empty is not nil.
func ReadBlob(d ShapeDeserializer, m *Member, dst *[]byte) (err error) {
	*dst, err = d.ReadBlob(m)
	if err == nil && *dst == nil {
		*dst = []byte{}
	}
	return err
}

// ReadTime reads a timestamp.
func ReadTime(d ShapeDeserializer, m *Member, dst *time.Time) (err error) {
	*dst, err = d.ReadTime(m)
	return err
}

// ReadStruct reads a structure.
func ReadStruct[T any, P interface {
	*T
	Shape
}](d ShapeDeserializer, _ *Member, dst *T) error {
	return P(dst).Deserialize(d)
}

// ReadList reads a list; present but empty is not nil.
func ReadList[T any](d ShapeDeserializer, m *Member, dst *[]T, read ReadFunc[T]) error {
	list := []T{}
	err := d.ReadList(m, func() error {
		var v T
		if err := read(d, m.Target.Elem, &v); err != nil {
			return err
		}
		list = append(list, v)
		return nil
	})
	if err != nil {
		return err
	}
	*dst = list
	return nil
}

// ReadMap reads a map; present but empty is not nil.
func ReadMap[T any](d ShapeDeserializer, m *Member, dst *map[string]T, read ReadFunc[T]) error {
	entries := map[string]T{}
	err := d.ReadMap(m, func(key string) error {
		var v T
		if err := read(d, m.Target.Value, &v); err != nil {
			return err
		}
		entries[key] = v
		return nil
	})
	if err != nil {
		return err
	}
	*dst = entries
	return nil
}

// WritePtr writes an optional value unless it is absent.
func WritePtr[T any](s ShapeSerializer, m *Member, v *T, write WriteFunc[T]) {
	if v != nil {
		write(s, m, v)
	}
}

// WriteEnum writes an optional enum unless it is empty, which is how an absent
// one looks.
func WriteEnum[T ~string](s ShapeSerializer, m *Member, v T) {
	if v != "" {
		s.WriteString(m, string(v))
	}
}

// WriteBool writes a boolean.
func WriteBool(s ShapeSerializer, m *Member, v *bool) { s.WriteBool(m, *v) }

// WriteInt32 writes an integer.
func WriteInt32(s ShapeSerializer, m *Member, v *int32) { s.WriteInt(m, int64(*v)) }

// WriteInt64 writes a long.
func WriteInt64(s ShapeSerializer, m *Member, v *int64) { s.WriteInt(m, *v) }

// WriteFloat32 writes a float.
func WriteFloat32(s ShapeSerializer, m *Member, v *float32) { s.WriteFloat(m, float64(*v)) }

// WriteFloat64 writes a double.
func WriteFloat64(s ShapeSerializer, m *Member, v *float64) { s.WriteFloat(m, *v) }

// WriteString writes a string or an enum.
func WriteString[T ~string](s ShapeSerializer, m *Member, v *T) { s.WriteString(m, string(*v)) }

// WriteBlob writes bytes unless they are nil.
func WriteBlob(s ShapeSerializer, m *Member, v *[]byte) {
	if *v != nil {
		s.WriteBlob(m, *v)
	}
}

// WriteTime writes a timestamp.
func WriteTime(s ShapeSerializer, m *Member, v *time.Time) { s.WriteTime(m, *v) }

// WriteStruct writes a structure.
func WriteStruct[T any, P interface {
	*T
	Shape
}](s ShapeSerializer, m *Member, v *T) {
	s.WriteStruct(m, P(v))
}

// WriteList writes a list unless it is nil; an empty one is written as such.
func WriteList[T any](s ShapeSerializer, m *Member, list []T, write WriteFunc[T]) {
	if list == nil {
		return
	}
	s.WriteList(m, len(list), func(s ShapeSerializer, i int) { write(s, m.Target.Elem, &list[i]) })
}

// WriteMap writes a map in key order unless it is nil.
func WriteMap[T any](s ShapeSerializer, m *Member, entries map[string]T, write WriteFunc[T]) {
	if entries == nil {
		return
	}
	keys := slices.Sorted(maps.Keys(entries))
	s.WriteMap(m, keys, func(s ShapeSerializer, key string) {
		v := entries[key]
		write(s, m.Target.Value, &v)
	})
}
