package e2e_test

import (
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"berth.dev/berth/test/images"
)

// The way of a new user, with the commands of the README: push, run, open the URL, exec, forward a port, change, deploy. Under
// steady requests the change loses none.
func TestNewUsersWay(t *testing.T) {
	t.Parallel()
	b := start(t, "--cpu-units", "12288", "--memory-mib", "65536")
	const app = ecrHost + "/my-app:latest"
	// What docker build and docker save make.
	saved := func(version string) string {
		image := probe
		image.Name = "my-app:latest"
		image.Config.Cmd, image.Config.ExposedPorts = []string{"answer", "3000", "0"}, map[string]struct{}{"3000/tcp": {}}
		image.Config.Env = append([]string{"VERSION=" + version}, image.Config.Env...)
		file := filepath.Join(t.TempDir(), "my-app.tar")
		if err := images.ArchiveFile(file, image); err != nil {
			t.Fatal(err)
		}
		return file
	}

	equal(t, "what is pushed", strings.TrimSpace(b.well(t, nil, "push", saved("one"))), app)
	url := strings.TrimSuffix(strings.TrimSpace(b.well(t, nil, "run", app)), "/")
	if got := must(fetchVersion(http.DefaultClient, url))(t); got != "one" {
		t.Fatalf("%s is of version %q", url, got)
	}
	equal(t, "exec", b.well(t, nil, "exec", "my-app", "--", "/probe", "echo", "hello"), "hello\n")
	forwarded := b.cli(t, false, "port-forward", "my-app", "0:3000")
	local := regexp.MustCompile(`Forwarding from (127\.0\.0\.1:\d+) -> $`).FindStringSubmatch(forwarded.until(t, "-> "))
	if got := must(fetchVersion(http.DefaultClient, "http://"+local[1]))(t); got != "one" {
		t.Errorf("the forwarded port is of version %q", got)
	}

	l := (&site{b: b, url: url}).rush(t)
	l.heard(t, 50)
	equal(t, "what is pushed", strings.TrimSpace(b.well(t, nil, "push", saved("two"))), app)
	l.heard(t, 50)
	if l.versions["two"] > 0 {
		t.Error("a push alone has changed what runs")
	}
	b.well(t, nil, "run", app)
	if got := must(fetchVersion(http.DefaultClient, url))(t); got != "two" {
		t.Errorf("after the deployment it is version %q", got)
	}
	l.heard(t, 50)
	l.settle(t)
	if shown := b.well(t, nil, "ps"); !strings.Contains(shown, "my-app") {
		t.Errorf("berth ps shows %s", shown)
	}
	io.Copy(io.Discard, forwarded.out) //nolint:errcheck // its task is gone, and so it has ended
}
