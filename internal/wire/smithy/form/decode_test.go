package form

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"berth.dev/berth/internal/wire/smithy"
	"berth.dev/berth/internal/wire/smithy/smithytest"
)

// The schemas of these tests have one member of each form that query models
// know. record is a shape of any schema, holding its values as a tree.
var (
	str        = &smithy.Schema{Name: "String", Kind: smithy.KindString}
	stringList = &smithy.Schema{Name: "Strings", Kind: smithy.KindList, Elem: &smithy.Member{Name: "member", Target: str}}
	items      = &smithy.Schema{Name: "Items", Kind: smithy.KindList, Elem: &smithy.Member{Name: "member", Location: "item", Target: str}}
	flat       = &smithy.Schema{Name: "Flat", Kind: smithy.KindList, Flattened: true, Elem: &smithy.Member{Name: "member", Target: str}}
	labels     = &smithy.Schema{Name: "Labels", Kind: smithy.KindMap, Key: &smithy.Member{Name: "key", Target: str}, Value: &smithy.Member{Name: "value", Target: str}}
	flatMap    = &smithy.Schema{
		Name: "FlatMap", Kind: smithy.KindMap, Flattened: true,
		Key: &smithy.Member{Name: "key", Location: "Name", Target: str}, Value: &smithy.Member{Name: "value", Location: "Value", Target: str},
	}
	filter  = &smithy.Schema{Name: "Filter", Kind: smithy.KindStructure, Members: []*smithy.Member{{Name: "Name", Target: str}, {Name: "Values", Index: 1, Location: "Value", Target: stringList}}}
	filters = &smithy.Schema{Name: "Filters", Kind: smithy.KindList, Elem: &smithy.Member{Name: "member", Target: filter}}
	request = &smithy.Schema{Name: "Request", Kind: smithy.KindStructure, Members: []*smithy.Member{
		{Name: "Text", Target: str},
		{Name: "Int", Index: 1, Target: &smithy.Schema{Kind: smithy.KindInteger}},
		{Name: "Long", Index: 2, Target: &smithy.Schema{Kind: smithy.KindLong}},
		{Name: "Double", Index: 3, Target: &smithy.Schema{Kind: smithy.KindDouble}},
		{Name: "Bool", Index: 4, Target: &smithy.Schema{Kind: smithy.KindBoolean}},
		{Name: "Time", Index: 5, Target: &smithy.Schema{Kind: smithy.KindTimestamp}},
		{Name: "Blob", Index: 6, Target: &smithy.Schema{Kind: smithy.KindBlob}},
		{Name: "Strings", Index: 7, Target: stringList},
		{Name: "Items", Index: 8, Target: items},
		{Name: "Flat", Index: 9, Target: flat},
		{Name: "Labels", Index: 10, Target: labels},
		{Name: "FlatMap", Index: 11, Target: flatMap},
		{Name: "Filter", Index: 12, Target: filter},
		{Name: "Filters", Index: 13, Target: filters},
		{Name: "Float", Index: 14, Target: &smithy.Schema{Kind: smithy.KindFloat}},
	}}
)

type record struct {
	schema *smithy.Schema
	tree   map[string]any
}

func (r *record) Schema() *smithy.Schema           { return r.schema }
func (r *record) Serialize(smithy.ShapeSerializer) {}

func (r *record) Deserialize(d smithy.ShapeDeserializer) error {
	r.tree = map[string]any{}
	return d.ReadStruct(r.schema, func(m *smithy.Member) (err error) {
		r.tree[m.Name], err = value(d, m)
		return err
	})
}

func value(d smithy.ShapeDeserializer, m *smithy.Member) (any, error) {
	switch m.Target.Kind {
	case smithy.KindBoolean:
		return d.ReadBool(m)
	case smithy.KindInteger, smithy.KindLong:
		return d.ReadInt(m)
	case smithy.KindFloat, smithy.KindDouble:
		return d.ReadFloat(m)
	case smithy.KindBlob:
		return d.ReadBlob(m)
	case smithy.KindTimestamp:
		return d.ReadTime(m)
	case smithy.KindString:
		return d.ReadString(m)
	case smithy.KindList:
		list := []any{}
		return list, d.ReadList(m, func() error {
			v, err := value(d, m.Target.Elem)
			list = append(list, v)
			return err
		})
	case smithy.KindMap:
		tree := map[string]any{}
		return tree, d.ReadMap(m, func(key string) (err error) {
			tree[key], err = value(d, m.Target.Value)
			return err
		})
	}
	inner := &record{schema: m.Target}
	err := inner.Deserialize(d)
	return inner.tree, err
}

func decodeForm(style Style, body string) (map[string]any, error) {
	in := &record{schema: request}
	err := Decode(style, "MalformedInput", &http.Request{Method: http.MethodPost, URL: &url.URL{Path: "/"}}, []byte(body), in)
	return in.tree, err
}

var wireName = Style{Name: (*smithy.Member).WireName}

func TestDecode(t *testing.T) {
	type tree = map[string]any
	type list = []any
	tests := []struct {
		name string
		flat bool
		body string
		want tree
	}{
		{"nothing", false, "Action=X&Version=1", tree{}},
		{"scalars", false, "Text=a+b%26&Int=-5&Long=9223372036854775807&Double=1.5&Bool=true&Time=2026-11-22T07%3A00%3A00Z&Blob=AQI%3D", tree{
			"Text": "a b&", "Int": int64(-5), "Long": int64(9223372036854775807), "Double": 1.5, "Bool": true,
			"Time": time.Date(2026, 11, 22, 7, 0, 0, 0, time.UTC), "Blob": []byte{1, 2},
		}},
		{"empty string", false, "Text=", tree{"Text": ""}},
		{"the last duplicate wins", false, "Text=a&Text=b", tree{"Text": "b"}},
		{"boolean in capitals", false, "Bool=False", tree{"Bool": false}},
		{"a scalar with parts is unknown", false, "Text.1=a", tree{}},
		{"unknown parameters", false, "Bogus.1.Deep=x&Filter.Bogus=1&Filter.Name=n", tree{"Filter": tree{"Name": "n"}}},
		{"list", false, "Strings.member.1=a&Strings.member.2=b", tree{"Strings": list{"a", "b"}}},
		{"numerical order, gaps", false, "Strings.member.10=c&Strings.member.2=a&Strings.member.9=b", tree{"Strings": list{"a", "b", "c"}}},
		{"enormous numbers", false, "Strings.member.999999999=b&Strings.member.4294967295=c&Strings.member.1=a", tree{"Strings": list{"a", "b", "c"}}},
		{"numbers beyond all numbers", false, "Strings.member.99999999999999999999=x&Strings.member.-1=y&Strings.member.x=z", tree{"Strings": list{}}},
		{"from zero", false, "Strings.member.0=a&Strings.member.1=b", tree{"Strings": list{"a", "b"}}},
		{"empty list", false, "Strings=", tree{"Strings": list{}}},
		{"empty flat list", false, "Flat=", tree{"Flat": list{}}},
		{"named elements", false, "Items.item.1=a", tree{"Items": list{"a"}}},
		{"flattened", false, "Flat.2=b&Flat.1=a", tree{"Flat": list{"a", "b"}}},
		{"map", false, "Labels.entry.1.key=k&Labels.entry.1.value=v&Labels.entry.2.key=&Labels.entry.2.value=", tree{"Labels": tree{"k": "v", "": ""}}},
		{"half entries", false, "Labels.entry.1.key=k&Labels.entry.2.value=v", tree{"Labels": tree{}}},
		{"flattened map", false, "FlatMap.1.Name=k&FlatMap.1.Value=v", tree{"FlatMap": tree{"k": "v"}}},
		{"structures in a list", false, "Filters.member.1.Name=a&Filters.member.2.Value.member.1=x", tree{"Filters": list{tree{"Name": "a"}, tree{"Values": list{"x"}}}}},
		{"every list flat", true, "Filters.1.Name=a&Filters.1.Value.1=x&Filters.1.Value.2=y&Strings.1=s&Items.1=i", tree{
			"Filters": list{tree{"Name": "a", "Values": list{"x", "y"}}}, "Strings": list{"s"}, "Items": list{"i"},
		}},
		{"names that only share a beginning", false, "Filter.Name=a&Filters.member.1.Name=b&Filter-=x&Filter/=y", tree{"Filter": tree{"Name": "a"}, "Filters": list{tree{"Name": "b"}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := decodeForm(Style{Name: (*smithy.Member).WireName, Flat: tt.flat}, tt.body)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestDecodeGet(t *testing.T) {
	u, err := url.Parse("/?Action=X&Text=url&Int=1")
	if err != nil {
		t.Fatal(err)
	}
	in := &record{schema: request}
	if err := Decode(wireName, "", &http.Request{Method: http.MethodGet, URL: u}, []byte("Text=body"), in); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"Text": "body", "Int": int64(1)}, in.tree); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestDecodeRefusals(t *testing.T) {
	for body, want := range map[string]string{
		"Int=x":                            "Invalid value 'x' for Int: must be an integer",
		"Int=":                             "Invalid value '' for Int: must be an integer",
		"Int=2147483648":                   "Invalid value '2147483648' for Int: must be an integer",
		"Long=1.5":                         "Invalid value '1.5' for Long: must be an integer",
		"Double=1e999":                     "Invalid value '1e999' for Double: must be a number",
		"Bool=yes":                         "Invalid value 'yes' for Bool: must be true or false",
		"Blob=%21":                         "Invalid value '!' for Blob: must be base64",
		"Time=now":                         "Invalid value 'now' for Time: must be a date and time such as 2006-01-02T15:04:05Z",
		"Strings=a":                        "Invalid value 'a' for Strings: must be a list",
		"Labels=a":                         "Invalid value 'a' for Labels: must be a map",
		"Filter=a":                         "Invalid value 'a' for Filter: must be a structure",
		"Filters.member.3.Value=a":         "Invalid value 'a' for Filters.member.3.Value: must be a list",
		"Text=%zz":                         `The request's parameters are not well-formed: invalid URL escape "%zz"`,
		"Int=" + strings.Repeat("9", 5000): "Invalid value '" + strings.Repeat("9", 1024) + "...' for Int: must be an integer",
		strings.Repeat("a=&", 10_001):      "The request's parameters are not well-formed: number of URL query parameters exceeded limit",
	} {
		_, err := decodeForm(wireName, body)
		if refusal, ok := errors.AsType[*smithy.SerializationError](err); !ok {
			t.Errorf("%.40s: got %v, want a SerializationError", body, err)
		} else if refusal.Message != want || refusal.Code != "MalformedInput" {
			t.Errorf("%.40s\n got %s: %s\nwant %s", body, refusal.Code, refusal.Message, want)
		}
	}
}

// TestSelfReference: a shape that contains itself ends where the path does.
func TestSelfReference(t *testing.T) {
	node := &smithy.Schema{Name: "Node", Kind: smithy.KindStructure}
	node.Members = []*smithy.Member{{Name: "N", Target: node}, {Name: "V", Index: 1, Target: str}}
	body := strings.Repeat("N.", maxDepth+1) + "V=x"
	err := Decode(wireName, "MalformedInput", &http.Request{URL: &url.URL{}}, []byte(body), &record{schema: node})
	var refusal *smithy.SerializationError
	if !errors.As(err, &refusal) || refusal.Message != "The request's parameters nest too deep" {
		t.Errorf("got %v", err)
	}
}

// TestRoundTrip writes random values as a client does and reads them back.
func TestRoundTrip(t *testing.T) {
	for _, flat := range []bool{false, true} {
		t.Run("flat="+strconv.FormatBool(flat), rapid.MakeCheck(func(t *rapid.T) {
			want := smithytest.Draw(t, request)
			values := url.Values{}
			put(values, "", request, want, flat)
			got, err := decodeForm(Style{Name: (*smithy.Member).WireName, Flat: flat}, values.Encode())
			if err != nil {
				t.Fatal(err)
			}
			prune(want)
			prune(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%s\n-sent +got:\n%s", values.Encode(), diff)
			}
		}))
	}
}

// put writes v in the form of the query protocols.
func put(values url.Values, name string, s *smithy.Schema, v any, flat bool) {
	switch v := v.(type) {
	case string:
		values.Set(name, v)
	case bool:
		values.Set(name, strconv.FormatBool(v))
	case int64:
		values.Set(name, strconv.FormatInt(v, 10))
	case float64:
		values.Set(name, strconv.FormatFloat(v, 'g', -1, 64))
	case []byte:
		values.Set(name, base64.StdEncoding.EncodeToString(v))
	case time.Time:
		values.Set(name, v.Format(time.RFC3339Nano))
	case []any:
		if len(v) == 0 {
			values.Set(name, "")
		}
		if !flat && !s.Flattened {
			name += "." + s.Elem.WireName()
		}
		for i, e := range v {
			put(values, name+"."+strconv.Itoa(i+1), s.Elem.Target, e, flat)
		}
	case map[string]any:
		if s.Kind == smithy.KindStructure {
			for _, m := range s.Members {
				if v[m.Name] != nil {
					put(values, strings.TrimPrefix(name+"."+m.WireName(), "."), m.Target, v[m.Name], flat)
				}
			}
			return
		}
		if len(v) == 0 {
			values.Set(name, "")
		}
		if !s.Flattened {
			name += ".entry"
		}
		i := 0
		for key, e := range v {
			i++
			entry := name + "." + strconv.Itoa(i) + "."
			values.Set(entry+s.Key.WireName(), key)
			put(values, entry+s.Value.WireName(), s.Value.Target, e, flat)
		}
	}
}

// prune drops what a form cannot tell from absent: an empty structure, alone or
// in a list.
func prune(tree map[string]any) {
	if f, ok := tree["Filter"].(map[string]any); ok && len(f) == 0 {
		delete(tree, "Filter")
	}
	list, ok := tree["Filters"].([]any)
	if !ok {
		return
	}
	kept := slices.DeleteFunc(list, func(v any) bool {
		f, ok := v.(map[string]any)
		return ok && len(f) == 0
	})
	tree["Filters"] = kept
	if len(kept) == 0 {
		delete(tree, "Filters")
	}
}

// FuzzDecode: whatever the bytes, decoding ends without a panic, with values or
// a SerializationError.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		"", "Text=a&Int=1", "Strings.member.999999999=x", "Filters.1.Name=a&Filters.1.Value.1=b", "....=&.=&=x",
		"Labels.entry.1.key=k&Labels.entry.1.value=v", "Flat.1.1.1.1=x&Flat.1=y", "%", "Flat.+1=a&Flat.01=b&Flat.1=c",
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, body string, flat bool) {
		_, err := decodeForm(Style{Name: (*smithy.Member).WireName, Flat: flat}, body)
		var refusal *smithy.SerializationError
		if err != nil && !errors.As(err, &refusal) {
			t.Fatalf("%T: %v", err, err)
		}
	})
}
