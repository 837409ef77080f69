package secrets_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"berth.dev/berth/internal/agent/secrets"
	"berth.dev/berth/internal/agent/session"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

// server is a control plane that has one secret.
type server struct {
	mu    sync.Mutex
	value string
	err   error
	asked int
}

func (s *server) fetch(_ context.Context, taskID string) (*nodeapi.TaskSecretsResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.err != nil {
		return nil, s.err
	}
	return &nodeapi.TaskSecretsResponse{Containers: []*nodeapi.ContainerSecrets{
		{
			Name: "app", Environment: []*nodeapi.NamedSecret{{Name: "KEY", Value: []byte(s.value)}, {Name: "OTHER", Value: []byte("fixed")}},
			LogOptions: []*nodeapi.NamedSecret{{Name: "mode", Value: []byte("blocking")}}, RegistryUsername: "me", RegistryPassword: "pw",
		},
		{Name: "side"},
		{Name: "unknown", Environment: []*nodeapi.NamedSecret{{Name: "X", Value: []byte("x")}}},
	}}, nil
}

func (s *server) set(value string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.value, s.err = value, err
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func assignment(id string) *model.Assignment {
	return &model.Assignment{
		Task: model.Task{ID: id},
		TaskDefinition: model.TaskDefinition{ContainerDefinitions: []model.ContainerDefinition{
			{
				Name: "app", DockerLabels: map[string]string{"berth.secrets-files": "/run/secrets"},
				Secrets: []model.SecretReference{{Name: "KEY", ValueFrom: "a"}, {Name: "OTHER", ValueFrom: "b"}},
			},
			{Name: "side", RepositoryCredentials: &model.RepositoryCredentials{CredentialsParameter: "login"}},
		}},
	}
}

func open(t *testing.T, dir string, s *server) *secrets.Keeper {
	t.Helper()
	k, err := secrets.Open(secrets.Config{Dir: dir, Fetch: s.fetch, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestKeeper_PutsEverythingInItsPlace(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tasks")
	s := &server{value: "one\ntwo"}
	k := open(t, dir, s)
	a := assignment("t1")
	if k.Fetched("t1") {
		t.Error("there before it was fetched")
	}
	for range 2 { // the second time it is there
		if err := k.Fetch(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.count(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	def := &a.TaskDefinition.ContainerDefinitions[0]
	app := secrets.ContainerDir(dir, "t1", def)
	if got := read(t, app+"/env"); got != "KEY=one\ntwo\x00OTHER=fixed\x00" {
		t.Errorf("env is %q", got)
	}
	if got := read(t, app+"/files/KEY") + read(t, app+"/files/OTHER"); got != "one\ntwofixed" {
		t.Errorf("files are %q", got)
	}
	if got := secrets.ContainerDir(dir, "t1", &a.TaskDefinition.ContainerDefinitions[1]); got != "" {
		t.Errorf("a container without secrets has %s", got)
	}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if info, err := e.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s may be read by others: %v, %v", path, info.Mode(), err)
		}
		if strings.Contains(path, "unknown") {
			t.Errorf("%s is of no container", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	// The next agent has it without asking.
	for _, k := range []*secrets.Keeper{k, open(t, dir, &server{err: errors.New("away")})} {
		if auth := k.Login("t1", "app"); auth == nil || auth.Username != "me" || auth.Password != "pw" {
			t.Errorf("login %v", auth)
		}
		if auth := k.Login("t1", "side"); auth != nil {
			t.Errorf("login of a container without one: %v", auth)
		}
		if o := k.LogOptions("t1", "app"); len(o) != 1 || o["mode"] != "blocking" {
			t.Errorf("log options %v", o)
		}
		if err := k.Fetch(t.Context(), a); err != nil || !k.Fetched("t1") {
			t.Error(err)
		}
	}
	if err := k.Forget("t1"); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 || k.Fetched("t1") || k.Login("t1", "app") != nil {
		t.Errorf("left %v, %v", entries, err)
	}
}

// What was interrupted is fetched again, and what nobody knows is removed.
func TestOpen_AfterACrash(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tasks")
	s := &server{value: "v"}
	k := open(t, dir, s)
	for _, id := range []string{"t1", "t2"} {
		if err := k.Fetch(t.Context(), assignment(id)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "t1", ".fetched")); err != nil {
		t.Fatal(err)
	}
	k = open(t, dir, s)
	if k.Fetched("t1") || !k.Fetched("t2") {
		t.Error("it takes half of it for all, or all for nothing")
	}
	if err := k.Fetch(t.Context(), assignment("t1")); err != nil {
		t.Error(err)
	}
	if err := k.Sweep(map[string]bool{"t1": true}); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 || entries[0].Name() != "t1" {
		t.Errorf("left %v, %v", entries, err)
	}
}

func TestFetch_Fails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tasks")
	no := &session.Refused{Text: "ResourceInitializationError: no"}
	k := open(t, dir, &server{err: no})
	if err := k.Fetch(t.Context(), assignment("t1")); !errors.Is(err, no) || k.Fetched("t1") {
		t.Errorf("got %v", err)
	}
	k = open(t, dir, &server{value: "kanarien\x00vogel"})
	if err := k.Fetch(t.Context(), assignment("t1")); err == nil || strings.Contains(err.Error(), "kanarien") || k.Fetched("t1") {
		t.Errorf("got %v", err)
	}
}

func doc(version string) map[string]json.RawMessage {
	return map[string]json.RawMessage{"t1": json.RawMessage(`{"versions":{"a":"` + version + `"}}`)}
}

// A document that is new brings new files, with the owner that the container's
// start gave them; the environment stays what the process got.
func TestRun_FilesFollowRotation(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tasks")
	synctest.Test(t, func(t *testing.T) {
		s := &server{value: "old"}
		k := open(t, dir, s)
		a := assignment("t1")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- k.Run(ctx, func(id string) *model.Assignment {
				if id == "t1" {
					return a
				}
				return nil
			})
		}()
		defer func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}()
		k.Apply(doc("1"))
		if err := k.Fetch(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := s.count(); n != 1 {
			t.Errorf("asked %d times for what it had just fetched", n)
		}
		app := filepath.Join(dir, "t1", "app")
		owned := os.Getuid() == 0
		if owned {
			if err := errors.Join(os.Chown(app+"/files", 1000, 1001), os.Chown(app+"/files/KEY", 1000, 1001)); err != nil {
				t.Fatal(err)
			}
		}
		other, err := os.Stat(app + "/files/OTHER")
		if err != nil {
			t.Fatal(err)
		}
		expect := func(key string, asked int) {
			t.Helper()
			synctest.Wait()
			if got := read(t, app+"/files/KEY"); got != key {
				t.Errorf("the file has %q, want %q", got, key)
			}
			if got := read(t, app+"/env"); !strings.Contains(got, "KEY=old\x00") {
				t.Errorf("the environment has %q", got)
			}
			if n := s.count(); n != asked {
				t.Errorf("asked %d times, want %d", n, asked)
			}
		}
		k.Apply(doc("1"))
		expect("old", 1)
		s.set("new", nil)
		k.Apply(doc("2"))
		expect("new", 2)
		if info, err := os.Stat(app + "/files/KEY"); err != nil {
			t.Error(err)
		} else if stat := info.Sys().(*syscall.Stat_t); owned && (stat.Uid != 1000 || stat.Gid != 1001) || info.Mode().Perm() != 0o400 {
			t.Errorf("owner %d:%d, mode %v", stat.Uid, stat.Gid, info.Mode())
		}
		if now, err := os.Stat(app + "/files/OTHER"); err != nil || !os.SameFile(now, other) {
			t.Errorf("a file that did not change was replaced (%v)", err)
		}
		// It insists while the control plane is away, and keeps what it has when it
		// is refused.
		s.set("", errors.New("away"))
		k.Apply(doc("3"))
		time.Sleep(time.Minute)
		s.set("newer", nil)
		time.Sleep(11 * time.Second)
		if got := read(t, app+"/files/KEY"); got != "newer" {
			t.Errorf("after an outage: %q", got)
		}
		s.set("", &session.Refused{Text: "no"})
		n := s.count()
		k.Apply(doc("4"))
		time.Sleep(time.Hour)
		expect("newer", n+1)
		if entries, err := os.ReadDir(app + "/files"); err != nil || len(entries) != 2 {
			t.Errorf("the directory has %v, %v", entries, err)
		}
	})
}

// A secret that is rotated while it is fetched is fetched again.
func TestFetch_RotationInTheMiddle(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tasks")
	synctest.Test(t, func(t *testing.T) {
		var k *secrets.Keeper
		s := &server{value: "old"}
		first := true
		k, err := secrets.Open(secrets.Config{Dir: dir, Log: slog.New(slog.DiscardHandler), Fetch: func(ctx context.Context, id string) (*nodeapi.TaskSecretsResponse, error) {
			out, err := s.fetch(ctx, id)
			if first {
				first = false
				s.set("new", nil)
				k.Apply(doc("2"))
				synctest.Wait()
			}
			return out, err
		}})
		if err != nil {
			t.Fatal(err)
		}
		a := assignment("t1")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- k.Run(ctx, func(string) *model.Assignment { return a }) }()
		if err := k.Fetch(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := read(t, filepath.Join(dir, "t1", "app", "files", "KEY")); got != "new" {
			t.Errorf("the file has %q", got)
		}
		cancel()
		<-done
	})
}

func TestMount(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts")
	}
	dir := filepath.Join(t.TempDir(), "run", "secrets")
	if err := secrets.Unmount(dir); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := secrets.Mount(dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err != nil {
		t.Error(err)
	}
	mounts := strings.Split(read(t, "/proc/self/mounts"), "\n")
	ours := slices.DeleteFunc(mounts, func(m string) bool { return !strings.Contains(m, dir) })
	if len(ours) != 1 || !strings.HasPrefix(ours[0], "berth-secrets ") || !strings.Contains(ours[0], "mode=700") || !strings.Contains(ours[0], "noexec") {
		t.Errorf("mounted %q", ours)
	}
	for range 2 {
		if err := secrets.Unmount(dir); err != nil {
			t.Error(err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 || bytes.Contains([]byte(read(t, "/proc/self/mounts")), []byte(dir)) {
		t.Errorf("left %v, %v", entries, err)
	}
}
