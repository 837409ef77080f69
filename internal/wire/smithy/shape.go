package smithy

import "time"

// Shape is a structure that describes itself. Generated types implement it on
// their pointers; they carry no protocol knowledge.
type Shape interface {
	// Schema is the shape's description, the same pointer for every value.
	Schema() *Schema
	// Serialize writes the members that are present, in schema order.
	Serialize(s ShapeSerializer)
	// Deserialize sets the members that d has. It expects a zero value.
	Deserialize(d ShapeDeserializer) error
}

// ShapeSerializer receives a shape's present members one by one. m is the
// member under which the value stands: a structure's, or the Elem or Value of
// the list or map being written.
type ShapeSerializer interface {
	WriteBool(m *Member, v bool)
	WriteInt(m *Member, v int64)     // KindInteger and KindLong
	WriteFloat(m *Member, v float64) // KindFloat and KindDouble
	WriteString(m *Member, v string) // enums too
	WriteBlob(m *Member, v []byte)
	WriteTime(m *Member, v time.Time)
	WriteStruct(m *Member, v Shape)
	// WriteList calls elem for 0 ≤ i < n; elem writes that element to s, which is
	// usually the serializer itself.
	WriteList(m *Member, n int, elem func(s ShapeSerializer, i int))
	// WriteMap calls value for each key in order; value writes its value to s.
	WriteMap(m *Member, keys []string, value func(s ShapeSerializer, key string))
}

// ShapeDeserializer hands out a document's values. It stands at one value;
// ReadStruct, ReadList and ReadMap move it to each part in turn and call back,
// and the callback reads exactly that part. Errors are *SerializationError.
type ShapeDeserializer interface {
	// ReadStruct calls member for each member that s has and the document has,
	// in schema order. Null counts as absent; what s does not know is skipped.
	ReadStruct(s *Schema, member func(m *Member) error) error
	// ReadList calls elem for each element, ReadMap entry for each key.
	ReadList(m *Member, elem func() error) error
	ReadMap(m *Member, entry func(key string) error) error

	ReadBool(m *Member) (bool, error)
	ReadInt(m *Member) (int64, error) // within the range of m.Target.Kind
	ReadFloat(m *Member) (float64, error)
	ReadString(m *Member) (string, error)
	ReadBlob(m *Member) ([]byte, error)
	ReadTime(m *Member) (time.Time, error)
}
