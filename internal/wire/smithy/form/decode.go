package form

import (
	"encoding/base64"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"berth.dev/berth/internal/wire/smithy"
)

// maxDepth is how deep shapes may nest, for those that contain themselves.
const maxDepth = 64

// Style is what differs between the query protocols.
type Style struct {
	// Name is a structure member's parameter.
	Name func(m *smithy.Member) string
	// Flat makes every list flattened.
	Flat bool
}

// Decode fills in from r's parameters: those of the body, then those of the URL
// that the body does not have. code is that of refusals.
func Decode(style Style, code string, r *http.Request, body []byte, in smithy.Shape) error {
	d := &decoder{style: style, code: code}
	values, err := Values(r, body)
	if err != nil {
		return d.refuse("The request's parameters are not well-formed: " + err.Error())
	}
	d.at = root(values)
	return in.Deserialize(d)
}

// Values is a query request's parameters. Their number is limited by net/url (to
// 10,000), which also bounds what a list of empty structures costs us.
func Values(r *http.Request, body []byte) (url.Values, error) {
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	for name, v := range query {
		if _, ok := values[name]; !ok {
			values[name] = v
		}
	}
	return values, nil
}

// decoder is a smithy.ShapeDeserializer that stands at one node.
type decoder struct {
	style Style
	code  string
	at    *node
	path  []string
}

var _ smithy.ShapeDeserializer = (*decoder)(nil)

func (d *decoder) refuse(message string) error {
	return &smithy.SerializationError{Code: d.code, Message: message}
}

// invalid refuses the current value, which should have been a want.
func (d *decoder) invalid(want string) error {
	return d.refuse("Invalid value '" + smithy.Clip(d.at.value) + "' for " + smithy.Clip(strings.Join(d.path, ".")) + ": must be " + want)
}

// within calls read at n, which is called name.
func (d *decoder) within(name string, n *node, read func() error) error {
	if len(d.path) == maxDepth {
		return d.refuse("The request's parameters nest too deep")
	}
	outer := d.at
	d.at, d.path = n, append(d.path, name)
	err := read()
	d.at, d.path = outer, d.path[:len(d.path)-1]
	return err
}

// ReadStruct implements smithy.ShapeDeserializer.
func (d *decoder) ReadStruct(s *smithy.Schema, member func(*smithy.Member) error) error {
	if d.at.leaf && d.at.value != "" {
		return d.invalid("a structure")
	}
	for _, m := range s.Members {
		name := d.style.Name(m)
		n := d.at.child(name)
		if n == nil || (scalar(m.Target.Kind) && !n.leaf) {
			continue
		}
		if err := d.within(name, n, func() error { return member(m) }); err != nil {
			return err
		}
	}
	return nil
}

func scalar(k smithy.Kind) bool {
	return k != smithy.KindStructure && k != smithy.KindList && k != smithy.KindMap
}

// ReadList implements smithy.ShapeDeserializer. "List=" is the empty list.
func (d *decoder) ReadList(m *smithy.Member, elem func() error) error {
	return d.each(d.style.Flat || m.Target.Flattened, m.Target.Elem.WireName(), "a list", func(e element) error {
		if scalar(m.Target.Elem.Target.Kind) && !e.node.leaf {
			return nil
		}
		return d.within(e.name, e.node, elem)
	})
}

// ReadMap implements smithy.ShapeDeserializer. Of duplicate keys the last
// counts. An entry without key or value is ignored.
func (d *decoder) ReadMap(m *smithy.Member, entry func(string) error) error {
	key, val := m.Target.Key.WireName(), m.Target.Value.WireName()
	return d.each(m.Target.Flattened, "entry", "a map", func(e element) error {
		k, v := e.node.child(key), e.node.child(val)
		if k == nil || !k.leaf || v == nil || (scalar(m.Target.Value.Target.Kind) && !v.leaf) {
			return nil
		}
		return d.within(e.name+"."+val, v, func() error { return entry(k.value) })
	})
}

// each visits the numbered nodes of a list or map: those of the current node,
// or, unless it is flat, of its child name.
func (d *decoder) each(flat bool, name, want string, visit func(element) error) error {
	if d.at.leaf && d.at.value != "" {
		return d.invalid(want)
	}
	if flat {
		return d.eachOf(d.at, visit)
	}
	inner := d.at.child(name)
	if inner == nil {
		return nil
	}
	return d.within(name, inner, func() error { return d.eachOf(inner, visit) })
}

func (d *decoder) eachOf(n *node, visit func(element) error) error {
	for _, e := range n.numbered() {
		if err := visit(e); err != nil {
			return err
		}
	}
	return nil
}

// ReadString implements smithy.ShapeDeserializer.
func (d *decoder) ReadString(*smithy.Member) (string, error) { return d.at.value, nil }

// ReadBool implements smithy.ShapeDeserializer.
func (d *decoder) ReadBool(*smithy.Member) (bool, error) {
	switch strings.ToLower(d.at.value) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, d.invalid("true or false")
}

// ReadInt implements smithy.ShapeDeserializer.
func (d *decoder) ReadInt(m *smithy.Member) (int64, error) {
	bits := 32
	if m.Target.Kind == smithy.KindLong {
		bits = 64
	}
	n, err := strconv.ParseInt(d.at.value, 10, bits)
	if err != nil {
		return 0, d.invalid("an integer")
	}
	return n, nil
}

// ReadFloat implements smithy.ShapeDeserializer.
func (d *decoder) ReadFloat(m *smithy.Member) (float64, error) {
	switch d.at.value {
	case "NaN":
		return math.NaN(), nil
	case "Infinity":
		return math.Inf(1), nil
	case "-Infinity":
		return math.Inf(-1), nil
	}
	bits := 64
	if m.Target.Kind == smithy.KindFloat {
		bits = 32
	}
	f, err := strconv.ParseFloat(d.at.value, bits)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, d.invalid("a number")
	}
	return f, nil
}

// ReadBlob implements smithy.ShapeDeserializer.
func (d *decoder) ReadBlob(*smithy.Member) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(d.at.value)
	if err != nil {
		return nil, d.invalid("base64")
	}
	return b, nil
}

// layouts are the forms of ISO 8601 that AWS reads.
var layouts = [...]string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05", "2006-01-02"}

// ReadTime implements smithy.ShapeDeserializer.
func (d *decoder) ReadTime(*smithy.Member) (time.Time, error) {
	for _, layout := range layouts {
		if t, err := time.Parse(layout, d.at.value); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, d.invalid("a date and time such as 2006-01-02T15:04:05Z")
}
