package audit

import (
	"math"
	"strconv"
	"time"

	"berth.dev/berth/internal/wire/smithy"
)

const (
	hidden      = "HIDDEN_DUE_TO_SECURITY_REASONS" // CloudTrail's word
	shapeBytes  = 24 << 10                         // of requestParameters, and of responseElements
	stringBytes = 8 << 10
)

// secrets are members that CloudTrail leaves out though not every model calls
// them sensitive. Names are the models'.
var secrets = map[string]bool{
	"SessionToken": true, "SecretAccessKey": true, "secretAccessKey": true, "sessionToken": true,
	"SecretString": true, "SecretBinary": true, "SourceResult": true, "RandomPassword": true, "RotationToken": true,
	"Plaintext": true, "PrivateKeyPlaintext": true, "PrivateKey": true, "Passphrase": true, "GrantToken": true,
	"Password": true, "NewPassword": true, "OldPassword": true, "ClientSecret": true, "TokenCode": true,
	"TokenValue": true, "tokenValue": true, // of a data channel
	"WebIdentityToken": true, "SAMLAssertion": true, "UserData": true,
	"logEvents": true, // what a program logs is not the audit's to keep
}

// redactor writes a shape as CloudTrail shows it: JSON whose names begin with a
// small letter, without secrets. It is a smithy.ShapeSerializer, and stops when
// it has written more than a record has room for.
type redactor struct {
	buf    []byte
	limit  int  // length of buf at which to stop
	comma  bool // a value stands before the next one
	fields bool // the next value is a structure's member and has a name
}

var _ smithy.ShapeSerializer = (*redactor)(nil)

// appendShape appends v, or null. A shape that is too long is left out, and
// the record says so in CloudTrail's way.
func appendShape(buf []byte, what string, v smithy.Shape) []byte {
	if v == nil {
		return append(buf, "null"...)
	}
	start := len(buf)
	r := redactor{buf: buf, limit: start + shapeBytes}
	r.group('{', '}', true, func() { v.Serialize(&r) })
	if len(r.buf) > r.limit {
		return append(append(append(r.buf[:start], `{"omitted":true,"reason":"`...), what...), ` too large"}`...)
	}
	return r.buf
}

// begin writes what stands before a value under m, and reports whether the
// value itself is to be written: it is not when it is a secret.
func (r *redactor) begin(m *smithy.Member) bool {
	if len(r.buf) > r.limit {
		return false
	}
	if r.comma {
		r.buf = append(r.buf, ',')
	}
	r.comma = true
	if r.fields {
		first := m.Name[0]
		if 'A' <= first && first <= 'Z' {
			first += 'a' - 'A'
		}
		r.buf = append(append(append(r.buf, '"', first), m.Name[1:]...), '"', ':')
	}
	if secret(m) || r.fields && secrets[m.Name] {
		r.buf = append(append(append(r.buf, '"'), hidden...), '"')
		return false
	}
	return true
}

// secret reports whether the model calls what stands under m sensitive. Of a
// map, keys may be; a list's elements and a map's values are asked themselves.
func secret(m *smithy.Member) bool {
	return m.Target.Sensitive || m.Target.Key != nil && m.Target.Key.Target.Sensitive
}

func (r *redactor) group(opening, closing byte, fields bool, parts func()) {
	outer := r.fields
	r.fields, r.comma = fields, false
	r.buf = append(r.buf, opening)
	parts()
	r.buf = append(r.buf, closing)
	r.fields, r.comma = outer, true
}

// WriteBool implements smithy.ShapeSerializer.
func (r *redactor) WriteBool(m *smithy.Member, v bool) {
	if r.begin(m) {
		r.buf = strconv.AppendBool(r.buf, v)
	}
}

// WriteInt implements smithy.ShapeSerializer.
func (r *redactor) WriteInt(m *smithy.Member, v int64) {
	if r.begin(m) {
		r.buf = strconv.AppendInt(r.buf, v, 10)
	}
}

// WriteFloat implements smithy.ShapeSerializer.
func (r *redactor) WriteFloat(m *smithy.Member, v float64) {
	switch {
	case !r.begin(m):
	case math.IsNaN(v) || math.IsInf(v, 0):
		r.buf = append(r.buf, "null"...)
	default:
		r.buf = strconv.AppendFloat(r.buf, v, 'g', -1, 64)
	}
}

// WriteString implements smithy.ShapeSerializer.
func (r *redactor) WriteString(m *smithy.Member, v string) {
	if r.begin(m) {
		r.buf = appendString(r.buf, v, stringBytes)
	}
}

// WriteBlob implements smithy.ShapeSerializer. What a blob holds is in no
// record; its length is.
func (r *redactor) WriteBlob(m *smithy.Member, v []byte) {
	if r.begin(m) {
		r.buf = append(strconv.AppendInt(append(r.buf, '"'), int64(len(v)), 10), ` bytes"`...)
	}
}

// WriteTime implements smithy.ShapeSerializer.
func (r *redactor) WriteTime(m *smithy.Member, v time.Time) {
	if r.begin(m) {
		r.buf = append(v.UTC().AppendFormat(append(r.buf, '"'), time.RFC3339), '"')
	}
}

// WriteStruct implements smithy.ShapeSerializer.
func (r *redactor) WriteStruct(m *smithy.Member, v smithy.Shape) {
	if r.begin(m) {
		r.group('{', '}', true, func() { v.Serialize(r) })
	}
}

// WriteList implements smithy.ShapeSerializer.
func (r *redactor) WriteList(m *smithy.Member, n int, elem func(smithy.ShapeSerializer, int)) {
	if r.begin(m) {
		r.group('[', ']', false, func() {
			for i := 0; i < n && len(r.buf) <= r.limit; i++ {
				elem(r, i)
			}
		})
	}
}

// WriteMap implements smithy.ShapeSerializer.
func (r *redactor) WriteMap(m *smithy.Member, keys []string, value func(smithy.ShapeSerializer, string)) {
	if !r.begin(m) {
		return
	}
	r.group('{', '}', false, func() {
		for i, key := range keys {
			if len(r.buf) > r.limit {
				return
			}
			if i > 0 {
				r.buf = append(r.buf, ',')
			}
			r.buf = append(appendString(r.buf, key, stringBytes), ':')
			r.comma = false
			value(r, key)
		}
	})
}
