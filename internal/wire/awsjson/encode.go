package awsjson

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"

	"berth.dev/berth/internal/wire/smithy"
)

// encode writes a shape as a JSON object; nil is the empty one.
func encode(v smithy.Shape) []byte {
	e := &encoder{}
	e.object(func() {
		if v != nil {
			v.Serialize(e)
		}
	})
	return e.buf
}

// encodeError writes an error's envelope.
func encodeError(err smithy.APIError) []byte {
	e := &encoder{}
	e.object(func() {
		e.key("__type")
		e.quote(err.ErrorCode())
		e.comma = true
		shape, ok := err.(smithy.Shape)
		if ok {
			shape.Serialize(e)
		}
		if text := err.ErrorMessage(); text != "" && !(ok && hasMessage(shape.Schema())) {
			e.key("message")
			e.quote(text)
		}
	})
	return e.buf
}

// hasMessage says whether an error's shape writes its message itself.
func hasMessage(s *smithy.Schema) bool {
	for _, m := range s.Members {
		if strings.EqualFold(m.Name, "message") {
			return true
		}
	}
	return false
}

// encoder is a smithy.ShapeSerializer.
type encoder struct {
	buf    []byte
	comma  bool // a value stands before the next one
	fields bool // the next value is a structure's member and has a key
}

var _ smithy.ShapeSerializer = (*encoder)(nil)

// key writes a separator and a key. Names in models need no escaping.
func (e *encoder) key(name string) {
	if e.comma {
		e.buf = append(e.buf, ',')
	}
	e.buf = append(e.buf, '"')
	e.buf = append(e.buf, name...)
	e.buf = append(e.buf, '"', ':')
}

// begin writes what stands before a value under m.
func (e *encoder) begin(m *smithy.Member) {
	switch {
	case e.fields:
		e.key(m.WireName())
	case e.comma:
		e.buf = append(e.buf, ',')
	}
	e.comma = true
}

// object writes braces around what members writes.
func (e *encoder) object(members func()) { e.group('{', '}', true, members) }

func (e *encoder) group(opening, closing byte, fields bool, parts func()) {
	outer := e.fields
	e.fields, e.comma = fields, false
	e.buf = append(e.buf, opening)
	parts()
	e.buf = append(e.buf, closing)
	e.fields, e.comma = outer, true
}

// WriteBool implements smithy.ShapeSerializer.
func (e *encoder) WriteBool(m *smithy.Member, v bool) {
	e.begin(m)
	e.buf = strconv.AppendBool(e.buf, v)
}

// WriteInt implements smithy.ShapeSerializer.
func (e *encoder) WriteInt(m *smithy.Member, v int64) {
	e.begin(m)
	e.buf = strconv.AppendInt(e.buf, v, 10)
}

// WriteFloat implements smithy.ShapeSerializer. JSON has no words for what is
// not a number; the protocol writes strings.
func (e *encoder) WriteFloat(m *smithy.Member, v float64) {
	e.begin(m)
	switch {
	case math.IsNaN(v):
		e.quote("NaN")
	case math.IsInf(v, 1):
		e.quote("Infinity")
	case math.IsInf(v, -1):
		e.quote("-Infinity")
	default:
		bits := 64
		if m.Target.Kind == smithy.KindFloat {
			bits = 32
		}
		e.buf = strconv.AppendFloat(e.buf, v, 'g', -1, bits)
	}
}

// WriteString implements smithy.ShapeSerializer.
func (e *encoder) WriteString(m *smithy.Member, v string) {
	e.begin(m)
	e.quote(v)
}

// WriteBlob implements smithy.ShapeSerializer.
func (e *encoder) WriteBlob(m *smithy.Member, v []byte) {
	e.begin(m)
	e.buf = append(e.buf, '"')
	e.buf = base64.StdEncoding.AppendEncode(e.buf, v)
	e.buf = append(e.buf, '"')
}

// WriteTime implements smithy.ShapeSerializer: epoch seconds, with milliseconds
// where there are any.
func (e *encoder) WriteTime(m *smithy.Member, v time.Time) {
	e.begin(m)
	millis := v.UnixMilli()
	if millis < 0 {
		e.buf = append(e.buf, '-')
		millis = -millis
	}
	e.buf = strconv.AppendInt(e.buf, millis/1000, 10)
	if rest := millis % 1000; rest != 0 {
		fraction := strconv.Itoa(int(rest) + 1000)[1:]
		e.buf = append(e.buf, '.')
		e.buf = append(e.buf, strings.TrimRight(fraction, "0")...)
	}
}

// WriteStruct implements smithy.ShapeSerializer.
func (e *encoder) WriteStruct(m *smithy.Member, v smithy.Shape) {
	e.begin(m)
	e.object(func() { v.Serialize(e) })
}

// WriteList implements smithy.ShapeSerializer.
func (e *encoder) WriteList(m *smithy.Member, n int, elem func(smithy.ShapeSerializer, int)) {
	e.begin(m)
	e.group('[', ']', false, func() {
		for i := range n {
			elem(e, i)
		}
	})
}

// WriteMap implements smithy.ShapeSerializer.
func (e *encoder) WriteMap(m *smithy.Member, keys []string, value func(smithy.ShapeSerializer, string)) {
	e.begin(m)
	e.group('{', '}', false, func() {
		for i, key := range keys {
			if i > 0 {
				e.buf = append(e.buf, ',')
			}
			e.quote(key)
			e.buf = append(e.buf, ':')
			e.comma = false
			value(e, key)
		}
	})
}

// quote writes a JSON string. Most need no escaping; encoding/json knows the
// rest, and replaces what is not UTF-8.
func (e *encoder) quote(s string) {
	if plain(s) {
		e.buf = append(e.buf, '"')
		e.buf = append(e.buf, s...)
		e.buf = append(e.buf, '"')
		return
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string into memory cannot fail
	e.buf = append(e.buf, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
}

func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
