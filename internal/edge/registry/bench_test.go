package registry_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // the bare registry names it
	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/opencontainers/go-digest"
)

const benchLayer = 32 << 20

// bare is distribution's own registry over its own file system driver.
func bare(b *testing.B) (url string) {
	b.Helper()
	var c configuration.Configuration
	c.Version = configuration.MajorMinorVersion(0, 1)
	c.Log.Level = "fatal"
	c.Log.AccessLog.Disabled = true
	c.Storage = configuration.Storage{
		"filesystem":  configuration.Parameters{"rootdirectory": b.TempDir()},
		"maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}},
	}
	c.HTTP.Secret = "benchmark"
	ctx, cancel := context.WithCancel(context.Background())
	b.Cleanup(cancel)
	server := httptest.NewServer(handlers.NewApp(ctx, &c))
	b.Cleanup(server.Close)
	return server.URL
}

func BenchmarkLayer(b *testing.B) {
	for _, of := range []struct {
		name string
		url  func(b *testing.B) string
	}{
		{"berth", func(b *testing.B) string { return newWorld(b, "app").server.URL }},
		{"bare", bare},
	} {
		b.Run(of.name+"/push", func(b *testing.B) { benchPush(b, of.url(b)) })
		b.Run(of.name+"/pull", func(b *testing.B) { benchPull(b, of.url(b)) })
	}
}

func request(b *testing.B, method, url string, body io.Reader, want int) http.Header {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), method, url, body)
	if err != nil {
		b.Fatal(err)
	}
	r.SetBasicAuth("AWS", "secret")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != want {
		b.Fatalf("%s %s: %s, %v", method, url, resp.Status, err)
	}
	return resp.Header
}

// pushLayer does what docker does: POST, PATCH, PUT.
func pushLayer(b *testing.B, url, content, d string) {
	b.Helper()
	at := func(h http.Header) string {
		if l := h.Get("Location"); !strings.HasPrefix(l, "/") {
			return l
		}
		return url + h.Get("Location")
	}
	begun := at(request(b, http.MethodPost, url+"/v2/app/blobs/uploads/", nil, http.StatusAccepted))
	sent := at(request(b, http.MethodPatch, begun, strings.NewReader(content), http.StatusAccepted))
	sep := "?"
	if strings.Contains(sent, "?") {
		sep = "&"
	}
	request(b, http.MethodPut, sent+sep+"digest="+d, nil, http.StatusCreated)
}

func noise(b *testing.B) string {
	b.Helper()
	content := make([]byte, benchLayer)
	if _, err := rand.Read(content); err != nil {
		b.Fatal(err)
	}
	return string(content)
}

func benchPush(b *testing.B, url string) {
	content := noise(b)
	b.SetBytes(benchLayer)
	for n := 0; b.Loop(); n++ {
		b.StopTimer()
		layer := fmt.Sprintf("%016d%s", n, content[16:])
		d := digest.FromString(layer).String()
		b.StartTimer()
		pushLayer(b, url, layer, d)
	}
}

func benchPull(b *testing.B, url string) {
	content := noise(b)
	d := digest.FromString(content).String()
	pushLayer(b, url, content, d)
	b.SetBytes(benchLayer)
	for b.Loop() {
		request(b, http.MethodGet, url+"/v2/app/blobs/"+d, nil, http.StatusOK)
	}
}

// An image of small layers: what the registry does besides carrying bytes.
func BenchmarkImage(b *testing.B) {
	for _, of := range []struct {
		name string
		url  func(b *testing.B) string
	}{
		{"berth", func(b *testing.B) string { return newWorld(b, "app").server.URL }},
		{"bare", bare},
	} {
		b.Run(of.name, func(b *testing.B) {
			host := strings.TrimPrefix(of.url(b), "http://")
			w := &world{t: b}
			for n := 0; b.Loop(); n++ {
				b.StopTimer()
				image := testImage(b, 4<<10, 8)
				b.StartTimer()
				if err := crane.Push(image, fmt.Sprintf("%s/app:v%d", host, n), w.crane()...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
