package runtime

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func valid() Spec {
	return Spec{ID: "task-1", TaskID: "task", Image: "docker.io/library/app:latest", Args: []string{"/app"}}
}

func TestValidate(t *testing.T) {
	if err := valid().Validate(); err != nil {
		t.Fatal(err)
	}
	swappiness := int64(101)
	for name, change := range map[string]func(*Spec){
		"slash in id":       func(s *Spec) { s.ID = "../x" },
		"id too long":       func(s *Spec) { s.ID = strings.Repeat("a", 77) },
		"no task":           func(s *Spec) { s.TaskID = "" },
		"no image":          func(s *Spec) { s.Image = "" },
		"empty program":     func(s *Spec) { s.Args = []string{""} },
		"relative cwd":      func(s *Spec) { s.Cwd = "x" },
		"swappiness":        func(s *Spec) { s.Swappiness = &swappiness },
		"env without name":  func(s *Spec) { s.Env = []string{"=x"} },
		"mount over root":   func(s *Spec) { s.Mounts = []Mount{{Type: MountTmpfs, Target: "/x/.."}} },
		"relative source":   func(s *Spec) { s.Mounts = []Mount{{Type: MountBind, Target: "/x", Source: "y"}} },
		"unknown mount":     func(s *Spec) { s.Mounts = []Mount{{Type: "nfs", Target: "/x"}} },
		"device permission": func(s *Spec) { s.Devices = []Device{{HostPath: "/dev/null", Permissions: "x"}} },
		"unlimited soft":    func(s *Spec) { s.Rlimits = []Rlimit{{Name: "core", Soft: -1, Hard: 5}} },
	} {
		s := valid()
		change(&s)
		if err := s.Validate(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestHash changes each field by itself: one that is left out of the hash would let Create adopt another container.
func TestHash(t *testing.T) {
	seen := map[string]string{valid().Hash(): "nothing"}
	kind := reflect.TypeFor[Spec]()
	for i := range kind.NumField() {
		s := valid()
		fill(reflect.ValueOf(&s).Elem().Field(i))
		if other, ok := seen[s.Hash()]; ok {
			t.Errorf("a change of %s has the hash of a change of %s", kind.Field(i).Name, other)
		}
		seen[s.Hash()] = kind.Field(i).Name

		data, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back Spec
		if err := json.Unmarshal(data, &back); err != nil || back.Hash() != s.Hash() {
			t.Errorf("%s does not survive JSON (%v)", kind.Field(i).Name, err)
		}
	}
}

// fill sets a value that differs from the one in valid().
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Int64:
		v.SetInt(5)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("k"), reflect.ValueOf("v"))
	case reflect.Struct:
		fill(v.Field(0))
	default:
		panic(fmt.Sprintf("no value for %s", v.Kind()))
	}
}

func TestAuthIsNotPrinted(t *testing.T) {
	auth := &Auth{Username: "u", Password: "secret"}
	for _, text := range []string{fmt.Sprint(auth), fmt.Sprintf("%+v", auth), fmt.Sprintf("%#v", *auth), fmt.Sprintf("%v", *auth)} {
		if strings.Contains(text, "secret") {
			t.Errorf("the password is in %q", text)
		}
	}
}
