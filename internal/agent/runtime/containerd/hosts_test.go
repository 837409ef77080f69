package containerd

import (
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"berth.dev/berth/internal/agent/runtime"
)

// guarded puts a registry behind TLS and a token server, as public ones are. Only the user gets a token.
func guarded(t *testing.T, s *shelf, user, password string) (server *httptest.Server, tokens *atomic.Int32) {
	t.Helper()
	inner, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(inner)
	tokens = new(atomic.Int32)
	server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token":
			tokens.Add(1)
			if u, p, _ := r.BasicAuth(); u != user || p != password {
				http.Error(w, `{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`, http.StatusUnauthorized)
				return
			}
			fmt.Fprint(w, `{"token":"let-me-in"}`)
		case r.Header.Get("Authorization") != "Bearer let-me-in":
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="https://%s/token",service="shelf"`, r.Host))
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
		default:
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	return server, tokens
}

// hostsFile writes what containerd reads for a registry.
func hostsFile(t *testing.T, dir, host, text string) {
	t.Helper()
	// The directory of a host with a port.
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name+"_"+port+"_")
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "hosts.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A registry with a certificate of its own and a token server; a mirror before it that is down, and one that is up.
func TestPullConfiguredRegistries(t *testing.T) {
	h := requireHost(t)
	s := newShelf(t)
	server, tokens := guarded(t, s, "u", "secret")
	host := strings.TrimPrefix(server.URL, "https://")
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := h.cfg
	cfg.Images.RegistryConfig = dir
	r, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	renamed := func(to string) string {
		ref := s.image(t, []layer{noiseLayer(t, 1000)}, nil)
		return to + ref[strings.IndexByte(ref, '/'):]
	}
	pull := func(ref, password string) (runtime.Image, error) {
		return r.EnsureImage(t.Context(), runtime.ImageRequest{Ref: ref, Auth: &runtime.Auth{Username: "u", Password: password}})
	}

	ref := renamed(host)
	if _, err := pull(ref, "secret"); err == nil {
		t.Error("a certificate that nobody knows was accepted")
	}
	hostsFile(t, dir, host, fmt.Sprintf("server = %q\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n  ca = %q\n", server.URL, server.URL, ca))
	_, err = pull(ref, "wrong")
	if err == nil || strings.Contains(err.Error(), "wrong") && strings.Contains(err.Error(), "Basic") {
		t.Errorf("with a wrong password: %v", err)
	}
	img, err := pull(ref, "secret")
	if err != nil || img.Source != runtime.SourceRegistry || tokens.Load() < 2 {
		t.Errorf("with token and certificate: %+v, %v after %d tokens", img, err, tokens.Load())
	}

	// A mirror that is down, then the registry itself.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := "http://" + listener.Addr().String()
	listener.Close()
	both := "server = %q\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n  ca = %q\n"
	hostsFile(t, dir, host, fmt.Sprintf(both, server.URL, dead, server.URL, ca))
	if img, err := pull(renamed(host), "secret"); err != nil || img.Source != runtime.SourceRegistry {
		t.Errorf("with a mirror that is down: %+v, %v", img, err)
	}
	// A mirror that answers: the registry is not asked, and the mirror does not get its login.
	var logins atomic.Int32
	inner, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(inner)
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			logins.Add(1)
		}
		proxy.ServeHTTP(w, r)
	}))
	defer mirror.Close()
	before := tokens.Load()
	hostsFile(t, dir, host, fmt.Sprintf(both, server.URL, mirror.URL, server.URL, ca))
	if img, err := pull(renamed(host), "secret"); err != nil || img.Source != runtime.SourceRegistry {
		t.Errorf("with a mirror: %+v, %v", img, err)
	}
	if tokens.Load() != before || logins.Load() != 0 {
		t.Errorf("%d tokens were fetched and the mirror got %d logins", tokens.Load()-before, logins.Load())
	}
}

// A registry that is away does not hold up what this host has.
func TestPullOffline(t *testing.T) {
	h := requireHost(t)
	r := h.connect(t)
	s := newShelf(t)
	ref := s.image(t, []layer{noiseLayer(t, 1000)}, nil)
	first, err := ensure(t, r, ref)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	asked := s.resolved
	s.mu.Unlock()
	s.CloseClientConnections()
	s.Close()
	for range 3 {
		img, err := ensure(t, r, ref)
		if err != nil || img.Digest != first.Digest || img.Source != runtime.SourceContainerd {
			t.Errorf("%+v, %v", img, err)
		}
	}
	if s.resolved != asked {
		t.Errorf("it was asked %d times", s.resolved-asked)
	}
	if _, err := r.EnsureImage(t.Context(), runtime.ImageRequest{Ref: ref, Policy: runtime.PullAlways}); err == nil {
		t.Error("always: an image came from nowhere")
	}
}
