package gateway_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"berth.dev/berth/internal/wire/smithy"
)

// value is a document derived from a schema, that tests can spoil in one place
// and write in any protocol.
type value struct {
	schema *smithy.Schema
	path   string
	fields []*field // of a structure
	elems  []*value // of a list or map
	keys   []string // of a map, one for each of elems
	scalar any      // string, int64, float64 or bool; what a timestamp or blob is on the wire

	raw any // when not nil, is written in place of all that
}

type field struct {
	member *smithy.Member
	value  *value
	absent bool
}

// null is a raw value that is written as JSON's null.
type null struct{}

// deriver makes valid documents. full sets every member and goes to the upper
// bounds; otherwise only required members are set and bounds are kept low.
type deriver struct {
	full  bool
	above []*smithy.Schema // structures around the current one: shapes may contain themselves
}

func (d *deriver) derive(s *smithy.Schema, path string) *value {
	v := &value{schema: s, path: path}
	switch s.Kind {
	case smithy.KindStructure:
		d.above = append(d.above, s)
		for _, m := range s.Members {
			again := slices.Contains(d.above, m.Target) || m.Target.Kind == smithy.KindList && slices.Contains(d.above, m.Target.Elem.Target)
			if !m.Required && (!d.full || again || s.Union && len(v.fields) > 0) {
				continue
			}
			v.fields = append(v.fields, &field{member: m, value: d.derive(m.Target, path+"."+m.Name)})
		}
		d.above = d.above[:len(d.above)-1]
	case smithy.KindList:
		for i := range d.count(s) {
			elem := d.derive(s.Elem.Target, fmt.Sprintf("%s[%d]", path, i))
			if members := s.Elem.Target.Members; len(members) > 0 && len(elem.fields) == 0 {
				// Nor can an element that has nothing.
				elem.fields = append(elem.fields, &field{member: members[0], value: d.derive(members[0].Target, elem.path+"."+members[0].Name)})
			}
			v.elems = append(v.elems, elem)
		}
	case smithy.KindMap:
		for i := range d.count(s) {
			v.keys = append(v.keys, distinct(fit(s.Key.Target, false), i))
			v.elems = append(v.elems, d.derive(s.Value.Target, path+"{}"))
		}
	case smithy.KindString:
		v.scalar = fit(s, d.full)
	case smithy.KindInteger, smithy.KindLong:
		v.scalar = int64(d.number(s.Bounds))
	case smithy.KindFloat, smithy.KindDouble:
		v.scalar = d.number(s.Bounds)
	case smithy.KindBoolean:
		v.scalar = d.full
	case smithy.KindBlob:
		v.scalar = base64.StdEncoding.EncodeToString([]byte(strings.Repeat("b", max(1, int(s.Bounds.Min)))))
	case smithy.KindTimestamp:
		v.scalar = timestamp
	default:
		panic(fmt.Sprintf("%s has kind %d, of which no value can be derived", path, s.Kind))
	}
	return v
}

// timestamp is written as seconds in JSON and as ISO 8601 in query protocols.
const timestamp = int64(1581968848)

// count is how many elements a list or map gets: enough, but few.
func (d *deriver) count(s *smithy.Schema) int {
	n := int(s.Bounds.Min)
	if s.Kind == smithy.KindList {
		n = max(n, 1) // an empty list cannot be said in a query
	}
	if d.full {
		n = max(n, 2)
	}
	if s.Bounds.HasMax {
		n = min(n, int(s.Bounds.Max))
	}
	return n
}

func (d *deriver) number(b smithy.Bounds) float64 {
	switch {
	case d.full && b.HasMax:
		return b.Max
	case b.HasMin:
		return b.Min
	case b.HasMax:
		return min(1, b.Max)
	}
	return 1
}

func distinct(key string, i int) string {
	if i == 0 {
		return key
	}
	return key + strconv.Itoa(i)
}

// fit returns a string that satisfies s: the longest of a sane length when full.
func fit(s *smithy.Schema, full bool) string {
	if len(s.Enum) > 0 {
		if full {
			return s.Enum[len(s.Enum)-1]
		}
		return s.Enum[0]
	}
	lo, hi := int(s.Bounds.Min), 64
	if s.Bounds.HasMax {
		hi = min(int(s.Bounds.Max), 2048)
	}
	hi = max(lo, hi)
	lengths := make([]int, 0, hi-lo+2)
	if full && s.Bounds.HasMax {
		lengths = append(lengths, hi)
	}
	for n := max(lo, min(1, hi)); n <= hi; n++ {
		lengths = append(lengths, n)
	}
	for _, n := range lengths {
		for _, letter := range []string{"a", "1", "A", "/"} {
			if text := strings.Repeat(letter, n); s.Pattern == nil || s.Pattern.Match(text) {
				return text
			}
		}
	}
	panic(fmt.Sprintf("no string for %s with pattern %s", s.Name, s.Pattern.Source))
}

// each visits v and everything in it, of lists and maps the first element: the
// others are the same again.
func (v *value) each(visit func(*value)) {
	visit(v)
	for _, f := range v.fields {
		f.value.each(visit)
	}
	if len(v.elems) > 0 {
		v.elems[0].each(visit)
	}
}

// breach is one way to break a constraint of a value.
type breach struct {
	how   string
	spoil func(*value)
}

// ways lists how v's own constraints can be broken, one at a time.
func (v *value) ways() []breach {
	var all []breach
	add := func(how string, spoil func(*value)) { all = append(all, breach{how, spoil}) }
	s, b := v.schema, v.schema.Bounds
	switch s.Kind {
	case smithy.KindString:
		for _, w := range badStrings(s) {
			add(w.how, func(v *value) { v.scalar = w.text })
		}
	case smithy.KindInteger, smithy.KindLong, smithy.KindFloat, smithy.KindDouble:
		set := func(f float64) func(*value) {
			return func(v *value) {
				if _, whole := v.scalar.(int64); whole {
					v.scalar = int64(f)
				} else {
					v.scalar = f
				}
			}
		}
		if b.HasMin && b.Min > math.MinInt32 {
			add("too small", set(b.Min-1))
		}
		if b.HasMax && b.Max < math.MaxInt32 {
			add("too large", set(b.Max+1))
		}
	case smithy.KindList:
		if b.HasMin && b.Min > 0 {
			add("too few", func(v *value) { v.elems = v.elems[:int(b.Min)-1] })
		}
		if b.HasMax {
			add("too many", func(v *value) {
				one := (&deriver{}).derive(s.Elem.Target, v.path+"[]")
				if len(one.fields) == 0 && len(v.elems) > 0 && len(v.elems[0].fields) > 0 {
					one = v.elems[0] // a form cannot say that there is an empty structure
				}
				v.elems = slices.Repeat([]*value{one}, int(b.Max)+1)
			})
		}
	case smithy.KindMap:
		if b.HasMin && b.Min > 0 {
			add("too few", func(v *value) { v.elems, v.keys = v.elems[:int(b.Min)-1], v.keys[:int(b.Min)-1] })
		}
		if b.HasMax {
			add("too many", func(v *value) {
				one := (&deriver{}).derive(s.Value.Target, v.path+"{}")
				v.keys, v.elems = nil, slices.Repeat([]*value{one}, int(b.Max)+1)
				for i := range v.elems {
					v.keys = append(v.keys, distinct(fit(s.Key.Target, false), i))
				}
			})
		}
		if len(v.keys) > 0 {
			for _, w := range badStrings(s.Key.Target) {
				add("key "+w.how, func(v *value) { v.keys = append([]string{w.text}, v.keys[1:]...) })
			}
		}
	}
	return all
}

type badString struct{ how, text string }

func badStrings(s *smithy.Schema) []badString {
	var bad []badString
	b := s.Bounds
	if b.HasMin && b.Min > 0 {
		bad = append(bad, badString{"too short", strings.Repeat("a", int(b.Min)-1)})
	}
	if b.HasMax && b.Max < 100_000 {
		bad = append(bad, badString{"too long", strings.Repeat("a", int(b.Max)+1)})
		bad = append(bad, badString{"too long in characters", strings.Repeat("ü", int(b.Max)+1)})
	}
	if len(s.Enum) > 0 {
		bad = append(bad, badString{"not in the enum", "NoneOfThese"}, badString{"other case", strings.ToUpper(s.Enum[0]) + "x"})
	}
	if s.Pattern != nil {
		for _, letter := range []string{"\x01", " ", "*", "é", "/"} {
			text := strings.Repeat(letter, max(1, int(b.Min)))
			if !s.Pattern.Match(text) && (!b.HasMax || utf8.RuneCountInString(text) <= int(b.Max)) {
				bad = append(bad, badString{"against the pattern: " + strconv.Quote(letter), text})
			}
		}
	}
	return bad
}

// wrongTypes lists JSON values that are no values of s, whatever its constraints.
func wrongTypes(s *smithy.Schema) []any {
	object, list := map[string]any{}, []any{}
	switch s.Kind {
	case smithy.KindStructure, smithy.KindMap:
		return []any{list, "text", 1, true}
	case smithy.KindList:
		return []any{object, "text", 1, true}
	case smithy.KindString:
		return []any{object, list, 1, true}
	case smithy.KindInteger, smithy.KindLong:
		return []any{object, list, "text", true, json.Number("1e300"), json.Number("99999999999999999999")}
	case smithy.KindBoolean:
		return []any{object, list, "text", 1}
	case smithy.KindBlob:
		return []any{object, list, 1, true, "not base64!"}
	default: // floats and timestamps
		return []any{object, list, "text", true}
	}
}

// json writes v as an awsJson body.
func (v *value) json() []byte {
	b, err := json.Marshal(v.tree())
	if err != nil {
		panic(err)
	}
	return b
}

func (v *value) tree() any {
	if v.raw != nil {
		if v.raw == any(null{}) {
			return nil
		}
		return v.raw
	}
	switch v.schema.Kind {
	case smithy.KindStructure:
		object := map[string]any{}
		for _, f := range v.fields {
			if !f.absent {
				object[f.member.WireName()] = f.value.tree()
			}
		}
		return object
	case smithy.KindList:
		list := []any{}
		for _, e := range v.elems {
			list = append(list, e.tree())
		}
		return list
	case smithy.KindMap:
		object := map[string]any{}
		for i, e := range v.elems {
			object[v.keys[i]] = e.tree()
		}
		return object
	}
	return v.scalar
}

// form writes v as the parameters of a query protocol.
func (v *value) form(ec2 bool) string {
	values := url.Values{}
	v.parameters(values, "", ec2)
	if len(values) == 0 {
		return ""
	}
	return "&" + values.Encode()
}

func (v *value) parameters(to url.Values, prefix string, ec2 bool) {
	at := func(name string) string {
		if prefix == "" {
			return name
		}
		return prefix + "." + name
	}
	if v.raw != nil {
		to.Set(prefix, fmt.Sprint(v.raw))
		return
	}
	switch v.schema.Kind {
	case smithy.KindStructure:
		for _, f := range v.fields {
			if !f.absent {
				f.value.parameters(to, at(parameter(f.member, ec2)), ec2)
			}
		}
	case smithy.KindList:
		if !ec2 && !v.schema.Flattened {
			prefix = at(v.schema.Elem.WireName())
		}
		for i, e := range v.elems {
			e.parameters(to, at(strconv.Itoa(i+1)), ec2)
		}
	case smithy.KindMap:
		for i, e := range v.elems {
			entry := at("entry." + strconv.Itoa(i+1))
			to.Set(entry+"."+v.schema.Key.WireName(), v.keys[i])
			e.parameters(to, entry+"."+v.schema.Value.WireName(), ec2)
		}
	case smithy.KindTimestamp:
		to.Set(prefix, "2020-02-17T19:47:28Z")
	default:
		to.Set(prefix, fmt.Sprint(v.scalar))
	}
}

// parameter is a member's name in requests, by the rules of Smithy's awsQuery
// and ec2Query.
func parameter(m *smithy.Member, ec2 bool) string {
	if !ec2 {
		return m.WireName()
	}
	if m.QueryName != "" {
		return m.QueryName
	}
	name := m.WireName()
	return strings.ToUpper(name[:1]) + name[1:]
}
