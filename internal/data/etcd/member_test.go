package etcd_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"berth.dev/berth/internal/data/etcd"
	"berth.dev/berth/internal/data/kv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a member and returns how to end it.
func start(t testing.TB, cfg etcd.Config) (m *etcd.Member, stop func()) {
	t.Helper()
	m = etcd.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	select {
	case <-m.Ready():
	case err := <-done:
		t.Fatalf("Run ended before it was ready: %v", err)
	}
	t.Cleanup(stop)
	return m, stop
}

func set(t testing.TB, db kv.KV, key, value string) int64 {
	t.Helper()
	res, err := db.Txn(t.Context(), kv.Txn{Then: []kv.Op{kv.Put(key, []byte(value))}})
	if err != nil {
		t.Fatal(err)
	}
	return res.Rev
}

func get(t testing.TB, db kv.KV, key string) string {
	t.Helper()
	res, err := db.Range(t.Context(), kv.Query{Key: key})
	if err != nil || len(res.Pairs) != 1 {
		t.Fatalf("range %q: %+v, %v", key, res, err)
	}
	return string(res.Pairs[0].Value)
}

func TestMember_KeepsItsData(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	var log bytes.Buffer
	cfg := etcd.Config{Dir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	m, stop := start(t, cfg)
	rev := set(t, m.KV(), "k", "v")
	stop()
	if _, err := m.KV().Range(t.Context(), kv.Query{Key: "k"}); !errors.Is(err, etcd.ErrEnded) {
		t.Errorf("an ended member answers: %v", err)
	}

	m, stop = start(t, cfg)
	if got := get(t, m.KV(), "k"); got != "v" {
		t.Errorf("after a restart k is %q", got)
	}
	if next := set(t, m.KV(), "k", "w"); next != rev+1 {
		t.Errorf("revision %d follows %d", next, rev)
	}
	stop()
	// On a busy machine etcd may warn that something took long; nothing of this is an error.
	if strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("a clean start and stop reports errors:\n%s", &log)
	}
}

func TestMember_OneOwnerOfADirectory(t *testing.T) {
	dir := t.TempDir()
	_, stop := start(t, etcd.Config{Dir: dir, UnsafeNoFsync: true})
	err := etcd.New(etcd.Config{Dir: dir, UnsafeNoFsync: true}).Run(t.Context())
	if !errors.Is(err, etcd.ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second member on %s: %v", dir, err)
	}
	stop()
	start(t, etcd.Config{Dir: dir, UnsafeNoFsync: true})
}

func TestMember_DamagedDataIsAnErrorOfRun(t *testing.T) {
	dir := t.TempDir()
	m, stop := start(t, etcd.Config{Dir: dir})
	set(t, m.KV(), "k", "v")
	stop()
	wals, err := filepath.Glob(filepath.Join(dir, "member", "wal", "*.wal"))
	if err != nil || len(wals) == 0 {
		t.Fatalf("no log found: %v", err)
	}
	data, err := os.ReadFile(wals[0])
	if err != nil {
		t.Fatal(err)
	}
	for i := range 64 {
		data[100+i] ^= 0xff
	}
	if err := os.WriteFile(wals[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	// etcd would end the process here.
	if err := etcd.New(etcd.Config{Dir: dir}).Run(t.Context()); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("Run on a damaged log: %v", err)
	}
}

func TestMember_LongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 40))
	m, _ := start(t, etcd.Config{Dir: dir, UnsafeNoFsync: true})
	set(t, m.KV(), "k", "v")
}

func TestMember_ListensOnOneSocketOnly(t *testing.T) {
	dir := t.TempDir()
	_, stop := start(t, etcd.Config{Dir: dir, UnsafeNoFsync: true})
	sock := filepath.Join(dir, "etcd.sock")
	if info, err := os.Stat(sock); err != nil || info.Mode().Type() != os.ModeSocket {
		t.Errorf("no socket in the data directory: %v", err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("others can enter the data directory: %v %v", info.Mode(), err)
	}
	stop()
	if _, err := os.Stat(sock); err == nil {
		t.Error("the socket is left behind")
	}
}

func TestMember_Snapshot(t *testing.T) {
	m, _ := start(t, etcd.Config{Dir: t.TempDir(), UnsafeNoFsync: true})
	set(t, m.KV(), "key-of-the-snapshot", "v")
	var buf bytes.Buffer
	if err := m.Snapshot(t.Context(), &buf); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(buf.Bytes(), []byte("key-of-the-snapshot")) {
		t.Error("the snapshot lacks a key")
	}
}

func TestMember_EndsWhileStarting(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := etcd.New(etcd.Config{Dir: t.TempDir(), UnsafeNoFsync: true}).Run(ctx); err != nil {
		t.Error(err)
	}
}
