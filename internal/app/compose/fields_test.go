package compose

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
)

// roots are the structs of a compose file that have a part of the table.
var roots = map[string]reflect.Type{
	"project": reflect.TypeFor[types.Project](),
	"service": reflect.TypeFor[types.ServiceConfig](),
	"network": reflect.TypeFor[types.NetworkConfig](),
	"volume":  reflect.TypeFor[types.VolumeConfig](),
	"object":  reflect.TypeFor[types.FileObjectConfig](),
}

// rowsOf are the rows that a type needs: a member each, and those of its
// members where the table says so.
func rowsOf(row string, t reflect.Type, visit func(row string, t reflect.Type)) {
	switch t.Kind() {
	case reflect.Pointer:
		rowsOf(row, t.Elem(), visit)
	case reflect.Slice:
		rowsOf(row+"[]", t.Elem(), visit)
	case reflect.Map:
		rowsOf(row+".*", t.Elem(), visit)
	case reflect.Struct:
		for name, field := range membersOf(reflect.New(t).Elem()) {
			visit(row+"."+name, field.Type())
			if fields[row+"."+name] == members {
				rowsOf(row+"."+name, field.Type(), visit)
			}
		}
	}
}

// Every member that compose-go knows has a row, and every row is of a member.
// A new version of compose-go that knows more fails here: decide what becomes
// of it.
func TestFields_AreAllDecided(t *testing.T) {
	needed := map[string]bool{}
	for root, typ := range roots {
		rowsOf(root, typ, func(row string, _ reflect.Type) { needed[row] = true })
	}
	for row := range needed {
		if fields[row] == "" {
			t.Errorf("the table has no row %s", row)
		}
	}
	for row := range fields {
		entry := strings.HasSuffix(row, ".*") || strings.HasSuffix(row, "[]")
		if !needed[row] && !entry {
			t.Errorf("compose-go has no %s", row)
		}
	}
}

// fill sets every member of a value.
func fill(v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Pointer:
		if depth < 12 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem(), depth+1)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), depth+1)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), depth+1)
	case reflect.Map:
		value := reflect.New(v.Type().Elem()).Elem()
		fill(value, depth+1)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("k").Convert(v.Type().Key()), value)
	case reflect.String:
		v.SetString("s")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1)
	case reflect.Float32:
		v.SetFloat(1)
	case reflect.Interface:
		v.Set(reflect.ValueOf("s"))
	}
}

// A service that sets everything is told of everything that has a reason.
func TestFields_ReasonsAreTold(t *testing.T) {
	s := reflect.New(roots["service"]).Elem()
	fill(s, 0)
	var found []Unmapped
	survey(&found, "services.web", "service", s)
	told := map[string]string{}
	for _, u := range found {
		row := strings.NewReplacer("services.web", "service", "[0]", "[]", ".k", ".*").Replace(u.Path)
		told[row] = u.Reason
	}
	for _, row := range slices.Sorted(maps.Keys(fields)) {
		said := fields[row]
		if !strings.HasPrefix(row, "service.") || said == mapped || said == members || said == meaningless {
			continue
		}
		if told[row] != said {
			t.Errorf("%s: told %q, want %q", row, told[row], said)
		}
		delete(told, row)
	}
	for row, reason := range told {
		t.Errorf("%s is told, but the table has it not: %s", row, reason)
	}
	found = nil
	survey(&found, "services.web", "service", reflect.ValueOf(types.ServiceConfig{Name: "web"}))
	if len(found) > 0 {
		t.Errorf("nothing is set, and told is %v", found)
	}
}
