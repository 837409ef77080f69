package smithytest

import (
	"math"
	"time"

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
	return drawStruct(t, s, 0)
}

// maxDepth is where optional members end, for shapes that contain themselves.
const maxDepth = 8

func drawStruct(t *rapid.T, s *smithy.Schema, depth int) map[string]any {
	tree := map[string]any{}
	for _, m := range s.Members {
		present := rapid.IntRange(0, 2).Draw(t, m.Name+"?") > 0
		if m.Required || (present && depth < maxDepth) {
			tree[m.Name] = drawValue(t, m, depth+1)
		}
	}
	return tree
}

func drawValue(t *rapid.T, m *smithy.Member, depth int) any {
	s := m.Target
	switch s.Kind {
	case smithy.KindBoolean:
		return rapid.Bool().Draw(t, m.Name)
	case smithy.KindInteger:
		return int64(rapid.Int32().Draw(t, m.Name))
	case smithy.KindLong:
		return rapid.Int64().Draw(t, m.Name)
	case smithy.KindFloat:
		return float64(rapid.Float32Range(-math.MaxFloat32, math.MaxFloat32).Draw(t, m.Name))
	case smithy.KindDouble:
		return rapid.Float64Range(-math.MaxFloat64, math.MaxFloat64).Draw(t, m.Name)
	case smithy.KindString:
		if s.Enum != nil {
			return rapid.SampledFrom(s.Enum).Draw(t, m.Name)
		}
		return text.Draw(t, m.Name)
	case smithy.KindBlob:
		return rapid.SliceOf(rapid.Byte()).Draw(t, m.Name)
	case smithy.KindTimestamp:
		const year2200 = 7258118400000
		return time.UnixMilli(rapid.Int64Range(0, year2200).Draw(t, m.Name)).UTC()
	case smithy.KindList:
		list := []any{}
		for range rapid.IntRange(0, 3).Draw(t, m.Name+"#") {
			list = append(list, drawValue(t, s.Elem, depth+1))
		}
		return list
	case smithy.KindMap:
		tree := map[string]any{}
		for range rapid.IntRange(0, 3).Draw(t, m.Name+"#") {
			key, _ := drawValue(t, s.Key, depth+1).(string)
			tree[key] = drawValue(t, s.Value, depth+1)
		}
		return tree
	default:
		return drawStruct(t, s, depth+1)
	}
}
