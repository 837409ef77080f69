package xmlout

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/wire/smithy"
)

var str = &smithy.Schema{Kind: smithy.KindString}

func member(name string, target *smithy.Schema) *smithy.Member {
	return &smithy.Member{Name: name, Target: target}
}

// written is what write writes, without the declaration.
func written(write func(*Writer)) string {
	w := New(false)
	write(w)
	return strings.TrimPrefix(string(w.Bytes()), xml.Header)
}

// TestFlattened: what the services in scope do not have, but the query protocol
// does.
func TestFlattened(t *testing.T) {
	words := func(w *Writer, m *smithy.Member) {
		w.WriteList(m, 2, func(s smithy.ShapeSerializer, i int) { s.WriteString(m.Target.Elem, []string{"a", "b"}[i]) })
	}
	list := &smithy.Schema{Kind: smithy.KindList, Flattened: true, Elem: member("member", str)}
	named := &smithy.Schema{Kind: smithy.KindList, Flattened: true, Elem: &smithy.Member{Name: "member", Location: "item", Target: str}}
	labels := &smithy.Schema{Kind: smithy.KindMap, Flattened: true, Key: &smithy.Member{Name: "key", Location: "Name", Target: str}, Value: member("value", str)}
	lists := &smithy.Schema{Kind: smithy.KindList, Elem: member("member", list)}
	for want, write := range map[string]func(*Writer){
		"<L>a</L><L>b</L>":             func(w *Writer) { words(w, member("L", list)) },
		"<item>a</item><item>b</item>": func(w *Writer) { words(w, member("L", named)) },
		"<M><Name>k1</Name><value>v</value></M><M><Name>k2</Name><value>v</value></M>": func(w *Writer) {
			w.WriteMap(member("M", labels), []string{"k1", "k2"}, func(s smithy.ShapeSerializer, _ string) { s.WriteString(labels.Value, "v") })
		},
		"<N><member>a</member><member>b</member></N>": func(w *Writer) {
			w.WriteList(member("N", lists), 1, func(smithy.ShapeSerializer, int) { words(w, lists.Elem) })
		},
	} {
		if got := written(write); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestScalars(t *testing.T) {
	double, float := &smithy.Schema{Kind: smithy.KindDouble}, &smithy.Schema{Kind: smithy.KindFloat}
	for want, write := range map[string]func(*Writer){
		"<F>1.5</F>":       func(w *Writer) { w.WriteFloat(member("F", double), 1.5) },
		"<F>0.1</F>":       func(w *Writer) { w.WriteFloat(member("F", float), float64(float32(0.1))) },
		"<F>NaN</F>":       func(w *Writer) { w.WriteFloat(member("F", double), math.NaN()) },
		"<F>Infinity</F>":  func(w *Writer) { w.WriteFloat(member("F", double), math.Inf(1)) },
		"<F>-Infinity</F>": func(w *Writer) { w.WriteFloat(member("F", double), math.Inf(-1)) },
		"<B>AQI=</B>":      func(w *Writer) { w.WriteBlob(member("B", &smithy.Schema{Kind: smithy.KindBlob}), []byte{1, 2}) },
		`<R xmlns="a&amp;b"><T>x</T></R>`: func(w *Writer) {
			w.Element("R", "a&b", func() { w.Text("T", "x") })
		},
	} {
		if got := written(write); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestWellFormed: any bytes make XML that a parser accepts, and text that XML
// can hold comes back.
func TestWellFormed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := string(rapid.SliceOf(rapid.Byte()).Draw(t, "value"))
		dec := xml.NewDecoder(strings.NewReader(written(func(w *Writer) { w.WriteString(member("V", str), value) })))
		var text strings.Builder
		for {
			token, err := dec.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%q: %v", value, err)
			}
			if chars, ok := token.(xml.CharData); ok {
				text.Write(chars)
			}
		}
		holds := !strings.ContainsFunc(value, func(r rune) bool {
			return (r >= '\uFFFD' && r <= '\uFFFF') || (r < ' ' && r != '\n' && r != '\t' && r != '\r')
		})
		if holds && text.String() != value {
			t.Fatalf("%q came back as %q", value, text.String())
		}
	})
}
