package ecr_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/smithy-go"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/imagestore"
	"berth.dev/berth/internal/data/keyring"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/sessions"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/service/ecr"
	"berth.dev/berth/internal/wire/api/ecrapi"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/sigv4"
	"berth.dev/berth/internal/wire/wiretest"
)

var update = flag.Bool("update", false, "write the golden file")

const (
	account = "123456789012"
	region  = "us-east-1"
)

// root knows one access key, that of the root user.
type root struct{}

func (root) Credentials(context.Context, string, string) (sigv4.Credential, caller.Identity, error) {
	return sigv4.Credential{SecretAccessKey: "secret"},
		caller.Identity{AccountID: account, ARN: "arn:aws:iam::" + account + ":root", UserID: account, AccessKeyID: "AKIAROOT"}, nil
}

// world is a provider behind the real gateway, with AWS's client of it.
type world struct {
	t        *testing.T
	store    *store.Store
	images   *imagestore.Store
	sessions *sessions.Sessions
	url      string
	ecr      *sdk.Client
	now      atomic.Pointer[time.Time]
}

func newWorld(t *testing.T, change ...func(*ecr.Config)) *world {
	t.Helper()
	w := &world{t: t}
	var err error
	if w.store, err = store.Open(memkv.New(0), "/berth/", store.Options{Now: w.time}, records.All()...); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.store.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	if w.images, err = imagestore.Open(imagestore.Config{Dir: t.TempDir(), Store: w.store}); err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.Ephemeral()
	if err != nil {
		t.Fatal(err)
	}
	w.sessions = sessions.New(ring)
	cfg := ecr.Config{
		Store: w.store, Images: w.images, Sessions: w.sessions, Scope: arn.Scope{Region: region, AccountID: account},
		LayerURL: func(repository, digest, base string) string { return base + "/layers/" + repository + "/" + digest },
		Credentials: func(context.Context, string) (string, string, error) {
			return "", "", errors.New("the secret has no value")
		},
		Now: w.time,
	}
	for _, c := range change {
		c(&cfg)
	}
	provider, err := ecr.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	g, err := gateway.New(gateway.Config{
		Services:    []gateway.Service{{API: ecrapi.API, Provider: provider, MaxBody: ecr.MaxBody}},
		Credentials: root{}, Region: region, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	w.url = server.URL
	w.ecr = sdk.NewFromConfig(aws.Config{
		Region: region, BaseEndpoint: &server.URL, RetryMaxAttempts: 1,
		HTTPClient:  wiretest.Client(server.Client().Transport),
		Credentials: credentials.NewStaticCredentialsProvider("AKIAROOT", "secret", ""),
	})
	return w
}

func (w *world) time() time.Time {
	if at := w.now.Load(); at != nil {
		return *at
	}
	return time.Now()
}

// must is what a call answers that has to succeed.
func must[T any](w *world) func(out *T, err error) *T {
	return func(out *T, err error) *T {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
		return out
	}
}

func (w *world) repository(name string) {
	w.t.Helper()
	must[sdk.CreateRepositoryOutput](w)(w.ecr.CreateRepository(w.t.Context(), &sdk.CreateRepositoryInput{RepositoryName: &name}))
}

func digestOf(content string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(content))) }

// layer uploads a layer in one part and returns its digest.
func (w *world) layer(repository, content string) string {
	w.t.Helper()
	ctx, digest := w.t.Context(), digestOf(content)
	known := must[sdk.BatchCheckLayerAvailabilityOutput](w)(w.ecr.BatchCheckLayerAvailability(ctx,
		&sdk.BatchCheckLayerAvailabilityInput{RepositoryName: &repository, LayerDigests: []string{digest}}))
	if known.Layers[0].LayerAvailability == types.LayerAvailabilityAvailable {
		return digest
	}
	id := must[sdk.InitiateLayerUploadOutput](w)(w.ecr.InitiateLayerUpload(ctx, &sdk.InitiateLayerUploadInput{RepositoryName: &repository})).UploadId
	must[sdk.UploadLayerPartOutput](w)(w.ecr.UploadLayerPart(ctx, &sdk.UploadLayerPartInput{
		RepositoryName: &repository, UploadId: id, PartFirstByte: new(int64(0)), PartLastByte: new(int64(len(content) - 1)), LayerPartBlob: []byte(content),
	}))
	out := must[sdk.CompleteLayerUploadOutput](w)(w.ecr.CompleteLayerUpload(ctx, &sdk.CompleteLayerUploadInput{
		RepositoryName: &repository, UploadId: id, LayerDigests: []string{digest},
	}))
	if *out.LayerDigest != digest {
		w.t.Fatalf("layer %s, want %s", *out.LayerDigest, digest)
	}
	return digest
}

const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	ociIndex       = "application/vnd.oci.image.index.v1+json"
	ociManifest    = "application/vnd.oci.image.manifest.v1+json"
)

func descriptor(mediaType, content string) map[string]any {
	return map[string]any{"mediaType": mediaType, "digest": digestOf(content), "size": len(content)}
}

func text(m map[string]any) string {
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// manifest uploads the layers of an image that is nothing but its name, and
// returns its manifest.
func (w *world) manifest(repository, name string) string {
	w.t.Helper()
	config, layer := `{"name":"`+name+`"}`, "layer of "+name
	w.layer(repository, config)
	w.layer(repository, layer)
	return text(map[string]any{
		"schemaVersion": 2, "mediaType": dockerManifest,
		"config": descriptor("application/vnd.docker.container.image.v1+json", config),
		"layers": []any{descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip", layer)},
	})
}

// put puts a manifest and returns its digest. An empty tag is none.
func (w *world) put(repository, manifest, tag string) string {
	w.t.Helper()
	in := &sdk.PutImageInput{RepositoryName: &repository, ImageManifest: &manifest}
	if tag != "" {
		in.ImageTag = &tag
	}
	return *must[sdk.PutImageOutput](w)(w.ecr.PutImage(w.t.Context(), in)).Image.ImageId.ImageDigest
}

// image pushes an image under tags and returns its digest.
func (w *world) image(repository, name string, tags ...string) string {
	w.t.Helper()
	manifest := w.manifest(repository, name)
	if len(tags) == 0 {
		return w.put(repository, manifest, "")
	}
	for _, tag := range tags {
		w.put(repository, manifest, tag)
	}
	return digestOf(manifest)
}

// index is a manifest of others.
func index(manifests ...string) string {
	var of []any
	for _, m := range manifests {
		of = append(of, descriptor(dockerManifest, m))
	}
	return text(map[string]any{"schemaVersion": 2, "mediaType": ociIndex, "manifests": of})
}

// listed are a repository's images: "tag=digest".
func (w *world) listed(repository string, filter types.TagStatus) string {
	w.t.Helper()
	in := &sdk.ListImagesInput{RepositoryName: &repository}
	if filter != "" {
		in.Filter = &types.ListImagesFilter{TagStatus: filter}
	}
	var all []string
	for pages := sdk.NewListImagesPaginator(w.ecr, in); pages.HasMorePages(); {
		page, err := pages.NextPage(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		for _, id := range page.ImageIds {
			all = append(all, aws.ToString(id.ImageTag)+"="+short(*id.ImageDigest))
		}
	}
	return strings.Join(all, " ")
}

func short(digest string) string { return digest[len("sha256:"):][:6] }

// refusal is an error as clients see it: its code and text.
func refusal(err error) string {
	if err == nil {
		return "no error"
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode() + ": " + api.ErrorMessage()
	}
	return err.Error()
}

// compareGolden holds the lines equal to the file's, which -update writes.
func compareGolden(t *testing.T, path string, lines []string) {
	t.Helper()
	got := strings.Join(lines, "\n") + "\n"
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// upstream is a registry that lets in whoever has the password.
func upstream(t *testing.T, password string) (host string, transport http.RoundTripper) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, given, ok := r.BasicAuth(); r.URL.Path != "/v2/" || !ok || given != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "https://"), server.Client().Transport
}
