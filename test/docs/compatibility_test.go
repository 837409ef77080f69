package docs_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
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

var update = flag.Bool("update", false, "write docs/compatibility")

// served are the services, in the order in which the documentation names them.
var served = []*smithy.Service{
	ecsapi.API, ec2api.API, elbv2api.API, acmapi.API, servicediscoveryapi.API, logsapi.API,
	iamapi.API, stsapi.API, secretsmanagerapi.API, ssmapi.API, kmsapi.API, cloudtrailapi.API, ecrapi.API,
}

// docs/compatibility has a page for each service, made of what the code serves
// and of the tests that use it: one row an operation and one for each member
// of its input. `go test ./test/docs -update` writes them.
func TestCompatibility_IsTrue(t *testing.T) {
	for _, service := range served {
		var names []string
		for _, op := range service.Operations {
			names = append(names, op.Name)
		}
		e := gather(t, service.Name, names, "test/e2e", "internal/service/"+service.Name, "internal/app/cli")
		for _, op := range service.Operations {
			if e.best(op.Name) == "" {
				t.Errorf("%s %s: no test calls it", service.ID, op.Name)
			}
		}
		path := filepath.Join(root, "docs", "compatibility", service.Name+".md")
		page := compatibilityPage(service, e)
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != page {
			t.Errorf("%s is not what the code and its tests say; run go test ./test/docs -update (%v)", path, err)
		}
	}
}

func compatibilityPage(service *smithy.Service, e evidence) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s: operations, members and their tests\n\n", service.ID)
	b.WriteString("Made by `go test ./test/docs -update` from the code and its tests. What differs from AWS is told in\n" +
		"[COMPATIBILITY.md](../COMPATIBILITY.md). A member without a test is decoded and checked against AWS's model (the\n" +
		"gateway's conformance test covers every one), and its effect, or its refusal, is not proved by a test of its own.\n")
	for _, op := range service.Operations {
		fmt.Fprintf(&b, "\n## %s\n\n| member | test |\n|---|---|\n| *the operation* | %s |\n", op.Name, e.best(op.Name))
		for _, m := range op.Input.Members {
			fmt.Fprintf(&b, "| %s | %s |\n", m.Name, e.best(op.Name+"."+m.Name))
		}
	}
	return b.String()
}
