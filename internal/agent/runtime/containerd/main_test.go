package containerd

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"berth.dev/berth/internal/agent/image"
	"berth.dev/berth/test/images"
)

// probeImage is the reference under which tests find the image of test/images/probe.
const probeImage = "berth-probe:latest"

// host is a private containerd with the probe's image, shared by the tests of this process.
type host struct {
	cfg   Config
	probe string // the compiled program
	dir   string
}

// shared is made when the first test asks for it, and ended by TestMain.
var shared = sync.OnceValues(newHost)

var started bool

func TestMain(m *testing.M) {
	if order := os.Getenv(pullVariable); order != "" {
		if err := pullAsAgent(order); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if started {
		if h, err := shared(); err == nil {
			if err := h.stop(); err != nil {
				fmt.Fprintln(os.Stderr, "the tests' containerd was not cleaned up:", err)
				code = 1
			}
		}
	}
	os.Exit(code)
}

func newHost() (*host, error) {
	started = true
	dir, err := os.MkdirTemp("", "berth-runtime-")
	if err != nil {
		return nil, err
	}
	h := &host{dir: dir, probe: filepath.Join(dir, "probe")}
	h.cfg = Config{
		Instance: "t" + strings.ToLower(rand.Text()[:10]), DataDir: filepath.Join(dir, "data"),
		Address: AddressPrivate, Images: image.Config{DockerHost: "none", PullAttempts: 1},
	}
	ctx := context.Background()
	if err := images.Compile(ctx, images.ProbePackage, h.probe); err != nil {
		return nil, err
	}
	img, err := images.Probe(probeImage, h.probe)
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(images.Archive(w, img)) }()
	if _, err := Import(ctx, h.cfg, r, ""); err != nil {
		return nil, err
	}
	return h, nil
}

// stop removes everything and checks that nothing is left.
func (h *host) stop() error {
	ctx := context.Background()
	r, err := New(ctx, h.cfg)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := r.Purge(ctx); err != nil {
		return err
	}
	if err := StopPrivate(ctx, h.cfg); err != nil {
		return err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	if strings.Contains(string(mounts), h.cfg.Instance) || strings.Contains(string(mounts), h.dir) {
		return fmt.Errorf("mounts are left")
	}
	for _, root := range hierarchies() {
		if _, err := os.Stat(filepath.Join(root, "berth", h.cfg.Instance)); err == nil {
			return fmt.Errorf("a cgroup is left in %s", root)
		}
	}
	return os.RemoveAll(h.dir)
}

// requireHost returns the shared host, or skips the test where there cannot be one.
func requireHost(t testing.TB) *host {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to run containers")
	}
	for _, program := range []string{"containerd", "containerd-shim-runc-v2", "runc"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s on PATH", program)
		}
	}
	h, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// connect begins an agent's life on the host.
func (h *host) connect(t testing.TB) *Runtime {
	t.Helper()
	cfg := h.cfg
	cfg.InitPath = h.probe
	r, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}
