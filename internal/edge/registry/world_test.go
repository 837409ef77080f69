package registry_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/opencontainers/go-digest"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/data/imagestore"
	"berth.dev/berth/internal/data/keyring"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/edge/registry"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/caller"
)

const account = "123456789012"

// world is a registry with a server, a user who may do what a test lets him,
// and a clock.
type world struct {
	t      testing.TB
	db     *store.Store
	images *imagestore.Store
	ring   *keyring.Keyring
	door   *registry.Handler
	server *httptest.Server
	host   string

	mu      sync.Mutex
	now     time.Time
	denied  map[string]bool // "action repository", or one of both
	asked   []string
	records []gateway.AuditRecord
}

func (w *world) Check(ctx context.Context, action, resource string, _ map[string][]string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if who, ok := caller.From(ctx); !ok || who.UserName != "dev" {
		return errors.New("nobody asks")
	}
	repository := strings.TrimPrefix(resource, "arn:aws:ecr:us-east-1:"+account+":repository/")
	w.asked = append(w.asked, action+" "+repository)
	for _, key := range []string{action + " " + repository, action, repository} {
		if w.denied[key] {
			return fault.New(fault.Denied, "User: arn:aws:iam::%s:user/dev is not authorized to perform: %s on resource: %s because no identity-based policy allows the %[2]s action", account, action, resource)
		}
	}
	return nil
}

func (w *world) Record(_ context.Context, r gateway.AuditRecord) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.records = append(w.records, r)
}

func (w *world) deny(keys ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.denied = map[string]bool{}
	for _, key := range keys {
		w.denied[key] = true
	}
	w.asked, w.records = nil, nil
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func authenticate(_ context.Context, password string) (caller.Identity, error) {
	switch password {
	case "secret":
		return caller.Identity{AccountID: account, ARN: "arn:aws:iam::" + account + ":user/dev", UserName: "dev"}, nil
	case "old":
		return caller.Identity{}, fault.New(fault.Denied, "expired")
	case "broken":
		return caller.Identity{}, errors.New("the store has stopped")
	}
	return caller.Identity{}, fault.New(fault.NotFound, "no such password")
}

func database(t testing.TB) *store.Store {
	t.Helper()
	db, err := store.Open(memkv.New(0), "/berth/", store.Options{CheckMutation: true}, records.All()...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := db.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("store: %v", err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	<-db.Ready()
	return db
}

func newWorld(t testing.TB, repositories ...string) *world {
	t.Helper()
	return newWorldIn(t, t.TempDir(), nil, repositories...)
}

func newWorldIn(t testing.TB, dir string, logins registry.Logins, repositories ...string) *world {
	t.Helper()
	w := &world{t: t, db: database(t), now: time.Now(), denied: map[string]bool{}}
	var err error
	if w.ring, err = keyring.Ephemeral(); err != nil {
		t.Fatal(err)
	}
	if w.images, err = imagestore.Open(imagestore.Config{Dir: dir, Store: w.db}); err != nil {
		t.Fatal(err)
	}
	w.door, err = registry.New(registry.Config{
		Images: w.images, Store: w.db, Scope: arn.Scope{Region: "us-east-1", AccountID: account},
		Authenticate: authenticate, Guard: w, Auditor: w, Ring: w.ring, Logins: logins, Logger: slog.New(slog.DiscardHandler), Now: w.clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = w.door.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	w.server = httptest.NewUnstartedServer(w.door)
	w.server.Config = gateway.Server("", w.door, slog.New(slog.DiscardHandler))
	w.server.Start()
	t.Cleanup(w.server.Close)
	w.host = strings.TrimPrefix(w.server.URL, "http://")
	for _, name := range repositories {
		w.make(&model.Repository{Name: name, TagMutability: model.TagsMutable})
	}
	return w
}

func (w *world) make(r *model.Repository) {
	w.t.Helper()
	if _, err := w.db.Update(context.Background(), func(tx *store.Tx) error { records.Repositories.Put(tx, r); return nil }); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) crane() []crane.Option {
	return []crane.Option{crane.WithAuth(&authn.Basic{Username: "AWS", Password: "secret"}), crane.WithContext(context.Background())}
}

// answer is what came back, its body read.
type answer struct {
	*http.Response
	body string
}

func (w *world) do(method, path, body string, header ...string) answer {
	w.t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, w.server.URL+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.SetBasicAuth("AWS", "secret")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return w.send(r)
}

func (w *world) send(r *http.Request) answer {
	w.t.Helper()
	resp, err := w.server.Client().Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{resp, string(content)}
}

// want checks the status and that the body says something.
func (a answer) want(t testing.TB, status int, says ...string) answer {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("%s %s: %s, want %d: %s", a.Request.Method, a.Request.URL.Path, a.Status, status, a.body)
	}
	for _, text := range says {
		if !strings.Contains(a.body, text) {
			t.Errorf("%s %s: body lacks %q: %s", a.Request.Method, a.Request.URL.Path, text, a.body)
		}
	}
	return a
}

func sum(content string) string { return digest.FromString(content).String() }

// push puts an image of one layer by plain requests.
func (w *world) push(repository, tag, content string) (manifest string) {
	w.t.Helper()
	config := `{"of":"` + content + `"}`
	for _, blob := range []string{config, content} {
		w.do("POST", "/v2/"+repository+"/blobs/uploads/?digest="+sum(blob), blob).want(w.t, http.StatusCreated)
	}
	manifest = fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":%q,"size":%d}]}`,
		sum(config), len(config), sum(content), len(content))
	w.do("PUT", "/v2/"+repository+"/manifests/"+tag, manifest, "Content-Type", "application/vnd.oci.image.manifest.v1+json").want(w.t, http.StatusCreated)
	return manifest
}
