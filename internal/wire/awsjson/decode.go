package awsjson

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"berth.dev/berth/internal/wire/smithy"
)

const (
	// maxDepth is how deep lists and objects may nest. No model comes near; a
	// body that does wants our stack.
	maxDepth = 64
	// maxValues is how many values a body may have, counted by commas and
	// brackets: "{}," is three bytes and costs us a structure. The largest honest
	// request is PutLogEvents with 10,000 events of two members.
	maxValues = 100_000
)

// decode fills in from a JSON object. code is that of refusals.
func decode(body []byte, code string, in smithy.Shape) error {
	d := &decoder{code: code}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	if excessive(body) {
		return d.refuse("")
	}
	// The document is read whole before shapes see it: this way the last of
	// duplicate keys wins and members are visited in schema order, which makes
	// the first error the same for the same document.
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&d.at); err != nil {
		return d.refuse("")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return d.refuse("")
	}
	if d.at == nil {
		return nil
	}
	return in.Deserialize(d)
}

// excessive says whether body exceeds maxDepth or maxValues, without parsing
// it.
func excessive(body []byte) bool {
	depth, values, inString := 0, 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			depth++
			values++
		case c == ',':
			values++
		case c == '}' || c == ']':
			depth--
		}
		if depth > maxDepth || values > maxValues {
			return true
		}
	}
	return false
}

// decoder is a smithy.ShapeDeserializer that stands at one value of a document.
type decoder struct {
	code string
	at   any // nil, bool, string, json.Number, []any or map[string]any
}

var _ smithy.ShapeDeserializer = (*decoder)(nil)

func (d *decoder) refuse(message string) error {
	return &smithy.SerializationError{Code: d.code, Message: message}
}

// mismatch refuses the current value, which should have been a want.
func (d *decoder) mismatch(want string) error {
	var token string
	switch v := d.at.(type) {
	case []any:
		return d.refuse("Start of list found where not expected")
	case map[string]any:
		return d.refuse("Start of structure or map found where not expected.")
	case bool:
		token = strings.ToUpper(strconv.FormatBool(v)) + "_VALUE"
	case string:
		token = "STRING_VALUE"
	case json.Number:
		token = "NUMBER_VALUE"
	default:
		token = "NULL_VALUE"
	}
	return d.refuse(token + " can not be converted to " + want)
}

// ReadStruct implements smithy.ShapeDeserializer.
//
// "Expected null" for a scalar is AWS's sentence, odd as it is; lists and maps
// have their own below.
func (d *decoder) ReadStruct(s *smithy.Schema, member func(*smithy.Member) error) error {
	object, ok := d.at.(map[string]any)
	if !ok {
		if _, isList := d.at.([]any); isList {
			return d.mismatch("")
		}
		return d.refuse("Expected null")
	}
	defer d.restore(d.at)
	for _, m := range s.Members {
		v, ok := object[m.WireName()]
		if !ok || v == nil {
			continue
		}
		d.at = v
		if err := member(m); err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) restore(at any) { d.at = at }

// ReadList implements smithy.ShapeDeserializer. Null elements are dropped, as
// AWS does.
func (d *decoder) ReadList(_ *smithy.Member, elem func() error) error {
	list, ok := d.at.([]any)
	if !ok {
		if _, isObject := d.at.(map[string]any); isObject {
			return d.mismatch("")
		}
		return d.refuse("Expected list or null")
	}
	defer d.restore(d.at)
	for _, v := range list {
		if v == nil {
			continue
		}
		d.at = v
		if err := elem(); err != nil {
			return err
		}
	}
	return nil
}

// ReadMap implements smithy.ShapeDeserializer. Keys come in order; those with a
// null value are dropped.
func (d *decoder) ReadMap(_ *smithy.Member, entry func(string) error) error {
	object, ok := d.at.(map[string]any)
	if !ok {
		if _, isList := d.at.([]any); isList {
			return d.mismatch("")
		}
		return d.refuse("Expected map or null")
	}
	defer d.restore(d.at)
	for _, key := range slices.Sorted(maps.Keys(object)) {
		if object[key] == nil {
			continue
		}
		d.at = object[key]
		if err := entry(key); err != nil {
			return err
		}
	}
	return nil
}

// ReadBool implements smithy.ShapeDeserializer.
func (d *decoder) ReadBool(*smithy.Member) (bool, error) {
	if b, ok := d.at.(bool); ok {
		return b, nil
	}
	return false, d.mismatch("a Boolean")
}

// ReadString implements smithy.ShapeDeserializer.
func (d *decoder) ReadString(*smithy.Member) (string, error) {
	if s, ok := d.at.(string); ok {
		return s, nil
	}
	return "", d.mismatch("a String")
}

// ReadInt implements smithy.ShapeDeserializer. A fraction is cut off, as AWS
// does; what does not fit is refused.
func (d *decoder) ReadInt(m *smithy.Member) (int64, error) {
	want, lo, hi := "an Integer", int64(math.MinInt32), int64(math.MaxInt32)
	if m.Target.Kind == smithy.KindLong {
		want, lo, hi = "a Long", math.MinInt64, math.MaxInt64
	}
	number, ok := d.at.(json.Number)
	if !ok {
		return 0, d.mismatch(want)
	}
	n, ok := truncate(number.String())
	if !ok || n < lo || n > hi {
		return 0, d.mismatch(want)
	}
	return n, nil
}

// truncate is a JSON number without its fraction.
func truncate(s string) (int64, bool) {
	if strings.ContainsAny(s, "eE") {
		f, err := strconv.ParseFloat(s, 64)
		// 1<<63 itself does not fit; everything below it that is a float64 does.
		if err != nil || f >= 1<<63 || f < -1<<63 {
			return 0, false
		}
		return int64(f), true
	}
	whole, _, _ := strings.Cut(s, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	return n, err == nil
}

// ReadFloat implements smithy.ShapeDeserializer.
func (d *decoder) ReadFloat(m *smithy.Member) (float64, error) {
	want, bits := "a Double", 64
	if m.Target.Kind == smithy.KindFloat {
		want, bits = "a Float", 32
	}
	switch v := d.at.(type) {
	case json.Number:
		if f, err := strconv.ParseFloat(v.String(), bits); err == nil {
			return f, nil
		}
	case string:
		switch v {
		case "NaN":
			return math.NaN(), nil
		case "Infinity":
			return math.Inf(1), nil
		case "-Infinity":
			return math.Inf(-1), nil
		}
	}
	return 0, d.mismatch(want)
}

// ReadBlob implements smithy.ShapeDeserializer.
func (d *decoder) ReadBlob(*smithy.Member) ([]byte, error) {
	s, ok := d.at.(string)
	if !ok {
		return nil, d.mismatch("a Blob")
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, d.refuse("'" + smithy.Clip(s) + "' can not be converted to a Blob: " + err.Error())
	}
	return b, nil
}

// maxSeconds is the first second of the year 10000, where our other formats end.
const maxSeconds = 253402300800

// ReadTime implements smithy.ShapeDeserializer: epoch seconds, to the
// millisecond, UTC.
func (d *decoder) ReadTime(*smithy.Member) (time.Time, error) {
	number, ok := d.at.(json.Number)
	if ok {
		if f, err := number.Float64(); err == nil && math.Abs(f) < maxSeconds {
			return time.UnixMilli(int64(math.Round(f * 1000))).UTC(), nil
		}
	}
	return time.Time{}, d.mismatch("milliseconds since epoch")
}
