package access

import (
	"os"
	"slices"
	"strings"
	"testing"

	"berth.dev/berth/internal/wire/api/acmapi"
	"berth.dev/berth/internal/wire/api/cloudtrailapi"
	"berth.dev/berth/internal/wire/api/ec2api"
	"berth.dev/berth/internal/wire/api/ecrapi"
	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/api/elbv2api"
	"berth.dev/berth/internal/wire/api/iamapi"
	"berth.dev/berth/internal/wire/api/kmsapi"
	"berth.dev/berth/internal/wire/api/logsapi"
	"berth.dev/berth/internal/wire/api/secretsmanagerapi"
	"berth.dev/berth/internal/wire/api/servicediscoveryapi"
	"berth.dev/berth/internal/wire/api/ssmapi"
	"berth.dev/berth/internal/wire/api/stsapi"
	"berth.dev/berth/internal/wire/smithy"
)

var apis = []*smithy.Service{
	acmapi.API, cloudtrailapi.API, ec2api.API, ecrapi.API, ecsapi.API, elbv2api.API, iamapi.API, kmsapi.API, logsapi.API,
	secretsmanagerapi.API, servicediscoveryapi.API, ssmapi.API, stsapi.API,
}

// A generated service that this test does not know would have no rows.
func TestEveryServiceIsKnown(t *testing.T) {
	entries, err := os.ReadDir("../../wire/api")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name, is := strings.CutSuffix(e.Name(), "api")
		if is && e.IsDir() && !slices.ContainsFunc(apis, func(s *smithy.Service) bool { return s.Name == name }) {
			t.Errorf("wire/api/%sapi is not in the table's test", name)
		}
	}
}

func TestEveryOperationHasARow(t *testing.T) {
	for _, api := range apis {
		rows := tableOf(api.SigningName)
		for _, op := range api.Operations {
			if _, ok := rows[op.Name]; !ok {
				t.Errorf("%s:%s has no row: nobody could call it", api.SigningName, op.Name)
			}
		}
	}
}

func TestNoRowTwice(t *testing.T) {
	for _, api := range apis {
		for op, r := range tableOf(api.SigningName) {
			for _, n := range r.also {
				if strings.HasPrefix(n.action, "two rows") {
					t.Errorf("%s: %s (%s)", api.SigningName, n.action, op)
				}
			}
		}
	}
}

// Every member that a row speaks of is in the model: a typing error would let
// a resource or a condition key be absent.
func TestMembersExist(t *testing.T) {
	for _, api := range apis {
		for _, op := range api.Operations {
			r := tableOf(api.SigningName)[op.Name]
			for _, path := range r.paths() {
				// Rows share targets that name alternatives.
				if !slices.ContainsFunc(strings.Split(path, "|"), func(one string) bool { return exists(op.Input, one) }) {
					t.Errorf("%s:%s has no member %s", api.SigningName, op.Name, path)
				}
			}
		}
	}
}

func (r row) paths() []string {
	all := []string{r.tags, r.tagKeys}
	of := func(targets []target, keys []key) {
		for _, x := range targets {
			all = append(all, x.path)
		}
		for _, k := range keys {
			all = append(all, k.path)
		}
	}
	of(r.on, r.keys)
	for _, n := range r.also {
		of(n.on, n.keys)
	}
	return slices.DeleteFunc(all, func(p string) bool { return p == "" })
}

func exists(s *smithy.Schema, path string) bool {
	for s.Kind == smithy.KindList {
		s = s.Elem.Target
	}
	if path == "" {
		return true
	}
	name, rest, _ := strings.Cut(path, ".")
	for _, m := range s.Members {
		if m.Name == name {
			return exists(m.Target, rest)
		}
	}
	return false
}

// An operation that the model says takes tags checks them: in its row, and as a
// permission of its own where it makes something.
func TestTagsAreSeen(t *testing.T) {
	for _, api := range apis {
		for _, op := range api.Operations {
			r := tableOf(api.SigningName)[op.Name]
			for _, m := range op.Input.Members {
				name := strings.ToLower(m.Name)
				if name != "tags" && name != "tagspecifications" {
					continue
				}
				if r.tags == "" && r.tagKeys == "" {
					t.Errorf("%s:%s takes %s, which its row does not tell of", api.SigningName, op.Name, m.Name)
				}
			}
		}
	}
}
