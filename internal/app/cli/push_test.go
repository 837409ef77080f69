package cli

import (
	"encoding/base64"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	ociregistry "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// withRegistry is a fake AWS that is an image registry as well, for whoever
// has the password.
func withRegistry(t *testing.T) (*fakeAWS, string) {
	t.Helper()
	repositories := map[string]bool{}
	repository := func(name string) map[string]any {
		return map[string]any{"repositoryName": name, "repositoryUri": "123456789012.dkr.ecr.us-east-1.amazonaws.com/" + name}
	}
	f := &fakeAWS{t: t}
	f.json = map[string]func(map[string]any) (any, error){
		"GetAuthorizationToken": func(map[string]any) (any, error) {
			return map[string]any{"authorizationData": []any{map[string]any{"authorizationToken": base64.StdEncoding.EncodeToString([]byte("AWS:secret"))}}}, nil
		},
		"DescribeRepositories": func(in map[string]any) (any, error) {
			name := in["repositoryNames"].([]any)[0].(string)
			if !repositories[name] {
				return nil, &refusal{"RepositoryNotFoundException", "none"}
			}
			return map[string]any{"repositories": []any{repository(name)}}, nil
		},
		"CreateRepository": func(in map[string]any) (any, error) {
			name := in["repositoryName"].(string)
			repositories[name] = true
			return map[string]any{"repository": repository(name)}, nil
		},
	}
	f.start()
	images := ociregistry.New(ociregistry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/v2/") {
			f.ServeHTTP(w, r)
			return
		}
		if _, password, _ := r.BasicAuth(); password != "secret" {
			w.Header().Set("Www-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		images.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	t.Setenv(endpointVariable, server.URL)
	return f, strings.TrimPrefix(server.URL, "http://")
}

// anImage has one layer and a port.
func anImage(t *testing.T) v1.Image {
	t.Helper()
	image, err := random.Image(512, 1)
	if err != nil {
		t.Fatal(err)
	}
	image, err = mutate.Config(image, v1.Config{ExposedPorts: map[string]struct{}{"3000/tcp": {}, "53/udp": {}}})
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// archives writes an image as docker save does, and as an OCI layout.
func archives(t *testing.T, image v1.Image) (docker, oci string) {
	t.Helper()
	dir := t.TempDir()
	docker, oci = filepath.Join(dir, "image.tar"), filepath.Join(dir, "layout")
	tag, err := name.NewTag("shop/my-app:v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(docker, tag, image); err != nil {
		t.Fatal(err)
	}
	l, err := layout.Write(oci, emptyIndex(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.AppendImage(image, layout.WithAnnotations(map[string]string{annotationRef: "shop/my-app:v1"})); err != nil {
		t.Fatal(err)
	}
	return docker, oci
}

func emptyIndex(t *testing.T) v1.ImageIndex {
	t.Helper()
	index, err := random.Index(1, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func TestPush_TakesAnArchiveAndSaysHowToUseIt(t *testing.T) {
	f, host := withRegistry(t)
	image := anImage(t)
	docker, oci := archives(t, image)
	packed := filepath.Join(t.TempDir(), "layout.tar")
	pack(t, packed, oci)
	want, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for i, args := range [][]string{{docker}, {oci}, {packed, "--as", "shop/my-app:v1"}} {
		out, errOut, code := berth(t, append([]string{"push"}, args...)...)
		if code != exitOK || out != "123456789012.dkr.ecr.us-east-1.amazonaws.com/shop/my-app:v1\n" {
			t.Fatalf("push %v: exit code %d, output %q\n%s", args, code, out, errOut)
		}
		if made := strings.Contains(errOut, "Repository shop/my-app created"); made != (i == 0) {
			t.Errorf("push %v: %s", args, errOut)
		}
		tag, err := name.NewTag(host+"/shop/my-app:v1", name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		got, err := remote.Image(tag, remote.WithTransport(basic{}))
		if err != nil {
			t.Fatal(err)
		}
		config, err := got.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]int32{3000}, portsOf(config.Config.ExposedPorts)); diff != "" {
			t.Error(diff)
		}
		if digest, err := got.Digest(); err != nil || i > 0 && digest != want {
			t.Errorf("push %v: digest %s, want %s (%v)", args, digest, want, err)
		}
	}
	if got := len(f.changes()); got != 1 {
		t.Errorf("%d changes: %q", got, f.changes())
	}
}

// basic sends the password of withRegistry.
type basic struct{}

func (basic) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.SetBasicAuth("AWS", "secret")
	return http.DefaultTransport.RoundTrip(r)
}

// pack writes a directory as a tar archive.
func pack(t *testing.T, to, dir string) {
	t.Helper()
	file, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	if err := (&packing{}).from(file, dir, ""); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestPush_SaysWhatIsWrong(t *testing.T) {
	f, _ := withRegistry(t)
	docker, _ := archives(t, anImage(t))
	dir := t.TempDir()
	for file, content := range map[string]string{"empty.tar": "", "text.tar": strings.Repeat("this is no archive ", 100)} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pack(t, filepath.Join(dir, "other.tar"), filepath.Dir(docker))
	t.Setenv("DOCKER_HOST", "unix://"+dir+"/nobody.sock")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{dir + "/empty.tar"}, exitFailed, "it is empty"},
		{[]string{dir + "/text.tar"}, exitFailed, "it is no tar archive"},
		{[]string{dir + "/other.tar"}, exitFailed, "it holds no image"},
		{[]string{dir + "/none.tar"}, exitFailed, "no such file"},
		{[]string{dir}, exitFailed, "is no OCI layout"},
		{[]string{docker, "--as", "Shop/App"}, exitMisuse, "is not REPOSITORY[:TAG], in lower case"},
		{[]string{docker, "--create=false"}, exitFailed, "there is no repository shop/my-app"},
		{[]string{"my-app"}, exitFailed, "docker does not answer"},
		{[]string{"my-app", "--containerd", dir + "/nobody.sock"}, exitFailed, "containerd does not answer"},
	} {
		_, errOut, code := berth(t, append([]string{"push"}, c.args...)...)
		if code != c.code || !strings.Contains(errOut, c.want) {
			t.Errorf("push %v: exit code %d: %s", c.args, code, errOut)
		}
	}
	if got := f.changes(); len(got) > 0 {
		t.Errorf("something was changed: %q", got)
	}
}

func TestDestination(t *testing.T) {
	for _, c := range []struct {
		as, name, repository, tag string
		several                   bool
	}{
		{"", "my-app", "my-app", "latest", false},
		{"", "docker.io/library/nginx:1", "nginx", "1", false},
		{"", "ghcr.io/a/b:v2", "a/b", "v2", false},
		{"", "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/my-app:x", "team/my-app", "x", false},
		{"team/app:v1", "my-app:v9", "team/app", "v1", false},
		{"team/app", "my-app:v9", "team/app", "latest", false},
		{"team/app", "my-app:v9", "team/app", "v9", true},
		{"", "my-app:v9", "my-app", "v9", true},
	} {
		repository, tag, err := destination(c.as, c.name, c.several)
		if err != nil || repository != c.repository || tag != c.tag {
			t.Errorf("%q, %q: %s:%s, %v", c.as, c.name, repository, tag, err)
		}
	}
	if _, _, err := destination("", "", false); err == nil {
		t.Error("an image without a name has a destination")
	}
	if _, _, err := destination("team/app:v1", "my-app:v9", true); err == nil {
		t.Error("several images have one tag")
	}
}

func TestLogin_PrintsTheCommand(t *testing.T) {
	_, host := withRegistry(t)
	out, errOut, code := berth(t, "login", "--print")
	if want := "aws ecr get-login-password | docker login --username AWS --password-stdin " + host + "\n"; code != exitOK || out != want {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
}
