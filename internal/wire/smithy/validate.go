package smithy

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxViolations is how many violations one error tells of; AWS stops there too.
const maxViolations = 10

// Validate checks in, op's input, against the constraints of its model:
// required members, lengths, ranges, patterns and enums. It returns nil or a
// *ValidationError with the operation's code and in AWS's words. What a model
// does not say is the provider's to check.
func Validate(op *Operation, in Shape) error {
	v := &validator{wording: op.Codes.Wording}
	v.structure(in)
	if len(v.violations) == 0 {
		return nil
	}
	e := &ValidationError{Code: op.Codes.Missing, Violations: v.violations, wording: v.wording}
	for _, violation := range v.violations {
		if !violation.Missing {
			e.Code = op.Codes.Violation
		}
	}
	if op.Codes.Wording == WordingEC2 && v.violations[0].Missing {
		e.Code = op.Codes.Missing
	}
	return e
}

// Violation is one broken constraint.
type Violation struct {
	Path    string // of the member: "tags.1.member.key"
	Missing bool   // the member is required and absent
	Text    string // the whole sentence
}

// validator is a ShapeSerializer that keeps nothing but what is wrong. Scalars
// within lists and maps are judged by a second validator, because AWS tells of
// them once for the whole container.
type validator struct {
	wording    Wording
	path       []string
	schema     *Schema // of the current structure
	seen       []bool  // its members that are present
	mapValue   *Member // value member of the current map, whose path segment is "member"
	violations []Violation
}

// structure checks a shape's members and that the required ones are there.
func (v *validator) structure(shape Shape) {
	schema := shape.Schema()
	outer, outerSeen := v.schema, v.seen
	v.schema, v.seen = schema, make([]bool, len(schema.Members))
	shape.Serialize(v)
	for i, m := range schema.Members {
		if m.Required && !v.seen[i] {
			v.missing(m)
		}
	}
	v.schema, v.seen = outer, outerSeen
}

// present notes that a member of the current structure is there. Elements of
// lists and maps come here too, and are members of none.
func (v *validator) present(m *Member) {
	if m.Index < len(v.seen) && v.schema.Members[m.Index] == m {
		v.seen[m.Index] = true
	}
}

// segment is m's part of a path. Coral names members as Java fields, in lower
// camel case, whatever their name on the wire.
func (v *validator) segment(m *Member) string {
	if m == v.mapValue {
		return "member"
	}
	first, size := utf8.DecodeRuneInString(m.Name)
	return string(unicode.ToLower(first)) + m.Name[size:]
}

func (v *validator) pathOf(m *Member) string {
	return strings.Join(append(v.path, v.segment(m)), ".")
}

// within calls f with the path extended.
func (v *validator) within(segment string, f func()) {
	v.path = append(v.path, segment)
	f()
	v.path = v.path[:len(v.path)-1]
}

func (v *validator) add(violation Violation) {
	if len(v.violations) < maxViolations {
		v.violations = append(v.violations, violation)
	}
}

func (v *validator) missing(m *Member) {
	path := v.pathOf(m)
	text := "Value null at '" + path + "' failed to satisfy constraint: Member must not be null"
	switch v.wording {
	case WordingEC2:
		text = "The request must contain the parameter " + path
	case WordingECR:
		text = ecrText(path, "Member must not be null")
	}
	v.add(Violation{Path: path, Missing: true, Text: text})
}

// violated notes a broken constraint of m. Sensitive values are not repeated.
func (v *validator) violated(m *Member, sensitive bool, value func() string, c constraint) {
	path := v.pathOf(m)
	if v.wording == WordingEC2 {
		shown := ""
		if !sensitive {
			shown = " ( " + value() + " )"
		}
		v.add(Violation{Path: path, Text: "Value" + shown + " for parameter " + path + " is invalid." + c.ec2})
		return
	}
	if v.wording == WordingECR {
		text := c.text
		if pattern, ok := strings.CutPrefix(text, memberPattern); ok {
			text = "must satisfy regular expression '" + pattern + "'"
		}
		v.add(Violation{Path: path, Text: ecrText(path, text)})
		return
	}
	shown := ""
	if !sensitive {
		shown = " '" + value() + "'"
	}
	v.add(Violation{Path: path, Text: "Value" + shown + " at '" + path + "' failed to satisfy constraint: " + c.text})
}

// ecrText is ECR's sentence: it does not repeat the value.
func ecrText(path, constraint string) string {
	return "Invalid parameter at '" + path + "' failed to satisfy constraint: '" + constraint + "'"
}

// WriteBool implements ShapeSerializer. Booleans have no constraints.
func (v *validator) WriteBool(m *Member, _ bool) { v.present(m) }

// WriteTime implements ShapeSerializer. Timestamps have no constraints.
func (v *validator) WriteTime(m *Member, _ time.Time) { v.present(m) }

// WriteInt implements ShapeSerializer.
func (v *validator) WriteInt(m *Member, n int64) {
	v.present(m)
	b := m.Target.Bounds
	value := func() string { return strconv.FormatInt(n, 10) }
	// Bounds are exact as int64, see the generator.
	if b.HasMax && n > int64(b.Max) {
		v.violated(m, m.Target.Sensitive, value, maxConstraint(m.Target))
	}
	if b.HasMin && n < int64(b.Min) {
		v.violated(m, m.Target.Sensitive, value, minConstraint(m.Target))
	}
}

// WriteFloat implements ShapeSerializer. NaN is within no bounds.
func (v *validator) WriteFloat(m *Member, f float64) {
	v.present(m)
	b := m.Target.Bounds
	value := func() string { return javaDouble(f) }
	if b.HasMax && !(f <= b.Max) {
		v.violated(m, m.Target.Sensitive, value, maxConstraint(m.Target))
	}
	if b.HasMin && !(f >= b.Min) {
		v.violated(m, m.Target.Sensitive, value, minConstraint(m.Target))
	}
}

// WriteString implements ShapeSerializer.
func (v *validator) WriteString(m *Member, s string) {
	v.present(m)
	value := func() string { return Clip(s) }
	v.length(m, utf8.RuneCountInString(s), value)
	t := m.Target
	if t.Pattern != nil && !t.Pattern.Match(s) {
		v.violated(m, t.Sensitive, value, patternConstraint(t))
	}
	if t.Enum != nil && !t.allows(s) {
		v.violated(m, t.Sensitive, value, enumConstraint(t))
	}
}

// WriteBlob implements ShapeSerializer.
func (v *validator) WriteBlob(m *Member, b []byte) {
	v.present(m)
	v.length(m, len(b), func() string { return fmt.Sprintf("java.nio.HeapByteBuffer[pos=0 lim=%d cap=%d]", len(b), len(b)) })
}

// WriteStruct implements ShapeSerializer.
func (v *validator) WriteStruct(m *Member, shape Shape) {
	v.present(m)
	v.within(v.segment(m), func() { v.structure(shape) })
}

// WriteList implements ShapeSerializer.
func (v *validator) WriteList(m *Member, n int, elem func(ShapeSerializer, int)) {
	v.present(m)
	value := func() string { return display(func(p *printer) { p.WriteList(m, n, elem) }) }
	v.length(m, n, value)
	e := m.Target.Elem
	if e.Target.scalar() {
		if e.Target.constrained() && v.anyBad(n, elem) {
			v.violated(m, m.Target.Sensitive || e.Target.Sensitive, value, containerConstraint("Member", e.Target))
		}
		return
	}
	v.within(v.segment(m), func() {
		for i := range n {
			v.within(strconv.Itoa(i+1), func() { elem(v, i) })
		}
	})
}

// WriteMap implements ShapeSerializer.
func (v *validator) WriteMap(m *Member, keys []string, entry func(ShapeSerializer, string)) {
	v.present(m)
	key, val := m.Target.Key, m.Target.Value
	sensitive := m.Target.Sensitive || key.Target.Sensitive || val.Target.Sensitive
	value := func() string { return display(func(p *printer) { p.WriteMap(m, keys, entry) }) }
	v.length(m, len(keys), value)
	if key.Target.constrained() && v.anyBad(len(keys), func(s ShapeSerializer, i int) { s.WriteString(key, keys[i]) }) {
		v.violated(m, sensitive, value, containerConstraint("Map keys", key.Target))
	}
	if val.Target.scalar() {
		if val.Target.constrained() && v.anyBad(len(keys), func(s ShapeSerializer, i int) { entry(s, keys[i]) }) {
			v.violated(m, sensitive, value, containerConstraint("Map value", val.Target))
		}
		return
	}
	outer := v.mapValue
	v.within(v.segment(m), func() {
		for _, k := range keys {
			v.within(Clip(k), func() {
				v.mapValue = val
				entry(v, k)
			})
		}
	})
	v.mapValue = outer
}

// length checks a length against m's bounds.
func (v *validator) length(m *Member, n int, value func() string) {
	b := m.Target.Bounds
	if b.HasMax && n > int(b.Max) {
		v.violated(m, m.Target.Sensitive, value, maxConstraint(m.Target))
	}
	if b.HasMin && n < int(b.Min) {
		v.violated(m, m.Target.Sensitive, value, minConstraint(m.Target))
	}
}

// anyBad says whether one of n scalars breaks a constraint.
func (v *validator) anyBad(n int, write func(ShapeSerializer, int)) bool {
	judge := &validator{}
	for i := range n {
		if write(judge, i); len(judge.violations) > 0 {
			return true
		}
	}
	return false
}

var _ ShapeSerializer = (*validator)(nil)
