package smithytest

import (
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/wire/smithy"
)

// text is characters that XML can hold, among them all that any codec must
// escape.
var text = rapid.StringOf(rapid.RuneFrom([]rune("abcXYZ019 .-_/:#&=+%?;,<>'\"\\{}[]\n\té€漢😀\u2028")))

// Draw draws a structure's members. Enums have values of the model, required
// members are there; other constraints are not minded. Timestamps have
// milliseconds, since no protocol carries more.
func Draw(t *rapid.T, s *smithy.Schema) map[string]any {
	return drawer{}.structure(t, s, 0)
}

// DrawValid draws a structure's members so that smithy.Validate has nothing to
// say.
func DrawValid(t *rapid.T, s *smithy.Schema) map[string]any {
	return drawer{valid: true}.structure(t, s, 0)
}

// maxDepth is where optional members end, for shapes that contain themselves.
const maxDepth = 8

type drawer struct {
	valid bool
}

func (d drawer) structure(t *rapid.T, s *smithy.Schema, depth int) map[string]any {
	tree := map[string]any{}
	for _, m := range s.Members {
		present := rapid.IntRange(0, 2).Draw(t, m.Name+"?") > 0
		if m.Required || (present && depth < maxDepth) {
			tree[m.Name] = d.value(t, m, depth+1)
		}
	}
	return tree
}

func (d drawer) value(t *rapid.T, m *smithy.Member, depth int) any {
	s := m.Target
	switch s.Kind {
	case smithy.KindBoolean:
		return rapid.Bool().Draw(t, m.Name)
	case smithy.KindInteger:
		lo, hi := d.bounds(s, math.MinInt32, math.MaxInt32)
		return rapid.Int64Range(int64(lo), int64(hi)).Draw(t, m.Name)
	case smithy.KindLong:
		if lo, hi := d.bounds(s, -1<<53, 1<<53); d.valid {
			return rapid.Int64Range(int64(lo), int64(hi)).Draw(t, m.Name)
		}
		return rapid.Int64().Draw(t, m.Name)
	case smithy.KindFloat:
		lo, hi := d.bounds(s, -math.MaxFloat32, math.MaxFloat32)
		return float64(rapid.Float32Range(float32(lo), float32(hi)).Draw(t, m.Name))
	case smithy.KindDouble:
		lo, hi := d.bounds(s, -math.MaxFloat64, math.MaxFloat64)
		return rapid.Float64Range(lo, hi).Draw(t, m.Name)
	case smithy.KindString:
		return d.text(t, m)
	case smithy.KindBlob:
		lo, hi := d.length(s, 16)
		return rapid.SliceOfN(rapid.Byte(), lo, hi).Draw(t, m.Name)
	case smithy.KindTimestamp:
		const year2200 = 7258118400000
		return time.UnixMilli(rapid.Int64Range(0, year2200).Draw(t, m.Name)).UTC()
	case smithy.KindList:
		list := []any{}
		lo, hi := d.length(s, 3)
		for range rapid.IntRange(lo, hi).Draw(t, m.Name+"#") {
			list = append(list, d.value(t, s.Elem, depth+1))
		}
		return list
	case smithy.KindMap:
		return d.entries(t, m, depth)
	default:
		return d.structure(t, s, depth+1)
	}
}

func (d drawer) entries(t *rapid.T, m *smithy.Member, depth int) map[string]any {
	tree := map[string]any{}
	lo, hi := d.length(m.Target, 3)
	n := rapid.IntRange(lo, hi).Draw(t, m.Name+"#")
	for i := 0; len(tree) < n && i < 100; i++ { // keys may fall together
		key, _ := d.value(t, m.Target.Key, depth+1).(string)
		tree[key] = d.value(t, m.Target.Value, depth+1)
	}
	return tree
}

// bounds are a schema's bounds within lo and hi.
func (d drawer) bounds(s *smithy.Schema, lo, hi float64) (float64, float64) {
	if d.valid && s.Bounds.HasMin {
		lo = s.Bounds.Min
	}
	if d.valid && s.Bounds.HasMax {
		hi = s.Bounds.Max
	}
	return lo, hi
}

// length is a range of lengths, spread wide at most.
func (d drawer) length(s *smithy.Schema, spread int) (lo, hi int) {
	if !d.valid {
		return 0, spread
	}
	lo = int(s.Bounds.Min)
	hi = lo + spread
	if s.Bounds.HasMax {
		hi = min(hi, int(s.Bounds.Max))
	}
	return lo, hi
}

func (d drawer) text(t *rapid.T, m *smithy.Member) string {
	s := m.Target
	switch {
	case s.Enum != nil:
		return rapid.SampledFrom(s.Enum).Draw(t, m.Name)
	case !d.valid:
		return text.Draw(t, m.Name)
	}
	lo, hi := d.length(s, 12)
	candidates := fitting(s, rapid.IntRange(lo, hi).Draw(t, m.Name+"#"))
	if len(candidates) == 0 {
		t.Fatalf("no valid %s of %d characters or more comes to mind: add a seed", s.Name, lo)
	}
	return rapid.SampledFrom(candidates).Draw(t, m.Name)
}

// seeds are what valid strings are repeated from.
var seeds = []string{"a", "7", "A-b_c", "é", "x y", "ab/c.d", "123456789012"}

// fitting is strings of about n characters that satisfy s.
func fitting(s *smithy.Schema, n int) []string {
	var fit []string
	for _, seed := range seeds {
		for _, n := range []int{n, len(seed)} {
			runes := []rune(strings.Repeat(seed, n/utf8.RuneCountInString(seed)+1))[:n]
			if v := string(runes); satisfies(s, v) {
				fit = append(fit, v)
			}
		}
	}
	return fit
}

func satisfies(s *smithy.Schema, v string) bool {
	n := float64(utf8.RuneCountInString(v))
	return !(s.Bounds.HasMin && n < s.Bounds.Min) && !(s.Bounds.HasMax && n > s.Bounds.Max) && (s.Pattern == nil || s.Pattern.Match(v))
}
