package xmlout

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"math"
	"net/http"
	"strconv"
	"time"

	"berth.dev/berth/internal/wire/smithy"
)

// Writer writes elements into memory. It is a smithy.ShapeSerializer: each
// value becomes an element with its member's wire name.
type Writer struct {
	buf    bytes.Buffer
	millis bool
	name   string // the next value's element, instead of its member's wire name
}

var _ smithy.ShapeSerializer = (*Writer)(nil)

// New makes a Writer that starts with the XML declaration. With millis,
// timestamps have milliseconds even when they are zero.
func New(millis bool) *Writer {
	w := &Writer{millis: millis}
	w.buf.WriteString(xml.Header)
	return w
}

// Bytes is what was written.
func (w *Writer) Bytes() []byte { return w.buf.Bytes() }

// Element writes an element around what content writes, with a namespace unless
// xmlns is empty.
func (w *Writer) Element(name, xmlns string, content func()) {
	w.buf.WriteByte('<')
	w.buf.WriteString(name)
	if xmlns != "" {
		w.buf.WriteString(` xmlns="`)
		w.escape(xmlns)
		w.buf.WriteByte('"')
	}
	w.buf.WriteByte('>')
	content()
	w.buf.WriteString("</")
	w.buf.WriteString(name)
	w.buf.WriteByte('>')
}

// Text writes an element with text.
func (w *Writer) Text(name, text string) {
	w.Element(name, "", func() { w.escape(text) })
}

// Respond sends what was written.
func (w *Writer) Respond(rw http.ResponseWriter, status int, contentType, requestID string) error {
	h := rw.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(w.buf.Len()))
	h.Set("x-amzn-RequestId", requestID)
	rw.WriteHeader(status)
	_, err := rw.Write(w.buf.Bytes())
	return err
}

func (w *Writer) escape(s string) {
	_ = xml.EscapeText(&w.buf, []byte(s)) // memory does not fail
}

// element is the name of m's element.
func (w *Writer) element(m *smithy.Member) string {
	if name := w.name; name != "" {
		w.name = ""
		return name
	}
	return m.WireName()
}

// WriteBool implements smithy.ShapeSerializer.
func (w *Writer) WriteBool(m *smithy.Member, v bool) {
	w.Text(w.element(m), strconv.FormatBool(v))
}

// WriteInt implements smithy.ShapeSerializer.
func (w *Writer) WriteInt(m *smithy.Member, v int64) {
	w.Text(w.element(m), strconv.FormatInt(v, 10))
}

// WriteFloat implements smithy.ShapeSerializer.
func (w *Writer) WriteFloat(m *smithy.Member, v float64) {
	bits := 64
	if m.Target.Kind == smithy.KindFloat {
		bits = 32
	}
	text := strconv.FormatFloat(v, 'g', -1, bits)
	switch {
	case math.IsInf(v, 1):
		text = "Infinity"
	case math.IsInf(v, -1):
		text = "-Infinity"
	}
	w.Text(w.element(m), text)
}

// WriteString implements smithy.ShapeSerializer.
func (w *Writer) WriteString(m *smithy.Member, v string) {
	w.Text(w.element(m), v)
}

// WriteBlob implements smithy.ShapeSerializer.
func (w *Writer) WriteBlob(m *smithy.Member, v []byte) {
	w.Text(w.element(m), base64.StdEncoding.EncodeToString(v))
}

// WriteTime implements smithy.ShapeSerializer.
func (w *Writer) WriteTime(m *smithy.Member, v time.Time) {
	v = v.UTC().Truncate(time.Millisecond)
	layout := "2006-01-02T15:04:05Z"
	if w.millis || v.Nanosecond() != 0 {
		layout = "2006-01-02T15:04:05.000Z"
	}
	w.Text(w.element(m), v.Format(layout))
}

// WriteStruct implements smithy.ShapeSerializer.
func (w *Writer) WriteStruct(m *smithy.Member, v smithy.Shape) {
	w.Element(w.element(m), "", func() { v.Serialize(w) })
}

// WriteList implements smithy.ShapeSerializer. A flattened list has no element
// of its own: its elements bear its name, or theirs if they have one.
func (w *Writer) WriteList(m *smithy.Member, n int, elem func(smithy.ShapeSerializer, int)) {
	name := w.element(m)
	if m.Target.Flattened {
		if m.Target.Elem.Location != "" {
			name = m.Target.Elem.Location
		}
		for i := range n {
			w.name = name
			elem(w, i)
		}
		return
	}
	w.Element(name, "", func() {
		for i := range n {
			elem(w, i)
		}
	})
}

// WriteMap implements smithy.ShapeSerializer.
func (w *Writer) WriteMap(m *smithy.Member, keys []string, value func(smithy.ShapeSerializer, string)) {
	name := w.element(m)
	entry := func(name, key string) {
		w.Element(name, "", func() {
			w.Text(m.Target.Key.WireName(), key)
			value(w, key)
		})
	}
	if m.Target.Flattened {
		for _, key := range keys {
			entry(name, key)
		}
		return
	}
	w.Element(name, "", func() {
		for _, key := range keys {
			entry("entry", key)
		}
	})
}
