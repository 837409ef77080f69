package smithy

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// maxDisplay is how many bytes of a refused value a message repeats. A client
// that sends a megabyte need not have it back.
const maxDisplay = 1024

// Clip shortens a refused value for a message, without splitting a character.
func Clip(s string) string {
	if len(s) <= maxDisplay {
		return s
	}
	cut := maxDisplay
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "..."
}

// display prints lists and maps as AWS's messages show them, which is Java's
// toString: "[a, b]", "{k=v}".
func display(write func(*printer)) string {
	p := &printer{}
	write(p)
	return Clip(p.b.String())
}

// printer is a ShapeSerializer. It stops writing, and walking lists, once it
// has more than will be shown.
type printer struct {
	b strings.Builder
	// fields is set while a structure's members are written: they are named
	// then, and separated.
	fields bool
	first  bool
}

func (p *printer) full() bool { return p.b.Len() > maxDisplay }

func (p *printer) value(m *Member, s string) {
	p.name(m)
	if m.Target.Sensitive {
		s = "***"
	}
	if !p.full() {
		p.b.WriteString(Clip(s))
	}
}

func (p *printer) name(m *Member) {
	if !p.fields {
		return
	}
	if !p.first {
		p.b.WriteString(", ")
	}
	p.first = false
	p.b.WriteString(m.Name)
	p.b.WriteByte('=')
}

// group writes one bracketed value, whose parts are not this level's fields.
func (p *printer) group(m *Member, opening, closing string, fields bool, parts func()) {
	p.name(m)
	outerFields, outerFirst := p.fields, p.first
	p.fields, p.first = fields, true
	p.b.WriteString(opening)
	parts()
	p.b.WriteString(closing)
	p.fields, p.first = outerFields, outerFirst
}

func (p *printer) WriteBool(m *Member, v bool)      { p.value(m, strconv.FormatBool(v)) }
func (p *printer) WriteInt(m *Member, v int64)      { p.value(m, strconv.FormatInt(v, 10)) }
func (p *printer) WriteFloat(m *Member, v float64)  { p.value(m, javaDouble(v)) }
func (p *printer) WriteString(m *Member, v string)  { p.value(m, v) }
func (p *printer) WriteBlob(m *Member, v []byte)    { p.value(m, strconv.Itoa(len(v))+" bytes") }
func (p *printer) WriteTime(m *Member, v time.Time) { p.value(m, v.UTC().Format(time.RFC3339Nano)) }

func (p *printer) WriteStruct(m *Member, v Shape) {
	p.group(m, "{", "}", true, func() {
		if !p.full() {
			v.Serialize(p)
		}
	})
}

func (p *printer) WriteList(m *Member, n int, elem func(ShapeSerializer, int)) {
	p.group(m, "[", "]", false, func() {
		for i := 0; i < n && !p.full(); i++ {
			if i > 0 {
				p.b.WriteString(", ")
			}
			elem(p, i)
		}
	})
}

func (p *printer) WriteMap(m *Member, keys []string, value func(ShapeSerializer, string)) {
	p.group(m, "{", "}", false, func() {
		for i, key := range keys {
			if p.full() {
				return
			}
			if i > 0 {
				p.b.WriteString(", ")
			}
			p.b.WriteString(Clip(key))
			p.b.WriteByte('=')
			value(p, key)
		}
	})
}

var _ ShapeSerializer = (*printer)(nil)
