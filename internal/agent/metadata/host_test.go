package metadata_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/agent/credentials"
	"berth.dev/berth/internal/agent/metadata"
)

// TestTheHostsEndpointKnowsTasksByContainer: what has no namespace of its own asks at an address of the host.
func TestTheHostsEndpointKnowsTasksByContainer(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: listens on port 80")
	}
	from := example()
	host := from.tasks[task1]
	host.Network = &metadata.NetworkView{Mode: "host"}
	from.tasks[task1] = host
	from.credentials = map[string]map[string]*credentials.Credentials{
		task1: {"c1": {AccessKeyID: "ASIA1"}}, task2: {"c2": {AccessKeyID: "ASIA2"}},
	}
	server := metadata.New(metadata.Config{Source: from})
	address := metadata.HostAddress(rand.Text())
	endpoint, err := server.OpenHost(t.Context(), address, func(id string) (string, bool) {
		if id != app && id != setup && id != "c1" { // and not other, whose task has another mode
			return "", false
		}
		return task1, true
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- endpoint.Run(ctx) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	fetch := func(path string) (int, string) {
		t.Helper()
		response, err := client.Get("http://" + netip.AddrPortFrom(address, metadata.HostPort).String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	for path, want := range map[string]struct {
		status int
		has    string
	}{
		"/v4/" + app:                   {200, `"Name":"app"`},
		"/v3/" + app:                   {200, `"Name":"app"`},
		"/v4/" + setup + "/task":       {200, `"TaskARN":"arn:aws:ecs:us-east-1:123456789012:task/default/` + task1},
		"/v4/" + app + "/taskWithTags": {200, `"team":"blue"`},
		"/v4/" + other:                 {404, "unable to get"},
		"/v4/" + task1:                 {404, "unable to get"},
		"/v4/":                         {404, "unable to get"},
		"/v2/metadata":                 {404, ""},
		"/v2/credentials/c1":           {200, `"AccessKeyId":"ASIA1"`},
		"/v1/credentials?id=c1":        {200, `"AccessKeyId":"ASIA1"`},
		"/v2/credentials/c2":           {400, "InvalidIdInRequest"},
		"/v2/credentials/" + app:       {400, "InvalidIdInRequest"},
		"/v2/credentials":              {400, "NoIdInRequest"},
		"/v4/c1":                       {404, "unable to get"},
		"/":                            {404, ""},
	} {
		if status, body := fetch(path); status != want.status || !strings.Contains(body, want.has) {
			t.Errorf("%s: %d %s; want %d with %q", path, status, body, want.status, want.has)
		}
	}
	var one struct{ Networks []map[string]any }
	_, body := fetch("/v4/" + app)
	if err := json.Unmarshal([]byte(body), &one); err != nil {
		t.Fatal(err)
	}
	want := []map[string]any{{"NetworkMode": "host", "IPv4Addresses": []any{""}}}
	if diff := cmp.Diff(want, one.Networks); diff != "" {
		t.Errorf("networks (-want +got):\n%s", diff)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestHostAddressesAreOfInstances(t *testing.T) {
	loopback := netip.MustParsePrefix("127.170.0.0/16")
	a, b := metadata.HostAddress("a"), metadata.HostAddress("b")
	if a != metadata.HostAddress("a") || a == b || !loopback.Contains(a) || !loopback.Contains(b) {
		t.Errorf("%v and %v", a, b)
	}
}

// TestAContainerOnTheBridgeHasANetworkOfItsOwn, with the fields that amazon-ecs-agent gives it.
func TestAContainerOnTheBridgeHasANetworkOfItsOwn(t *testing.T) {
	from := example()
	task := from.tasks[task1]
	task.Network = nil
	task.Containers[0].Network = &metadata.NetworkView{Mode: "bridge", Address: netip.MustParseAddr("172.17.0.4")}
	from.tasks[task1] = task
	got := body(t, get(t, metadata.New(metadata.Config{Source: from}).Handler(task1), "/v4/"+app))
	if want := `"Networks":[{"NetworkMode":"bridge","IPv4Addresses":["172.17.0.4"]}]`; !strings.Contains(got, want) {
		t.Errorf("%s lacks %s", got, want)
	}
}
