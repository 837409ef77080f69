package containerd

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/agent/secrets"
	"berth.dev/berth/test/images"
)

// canary is in every secret of these tests.
const canary = "kanarienvogel-0815"

// buildHelper compiles the helper that the agent embeds, once.
var buildHelper = sync.OnceValues(func() (string, error) {
	h, err := shared()
	if err != nil {
		return "", err
	}
	path := filepath.Join(h.dir, "berth-helper")
	return path, images.Compile(context.Background(), "berth.dev/berth/cmd/berth-helper", path)
})

// secretBox is a sandbox with the real helper, and a tmpfs for one container's secrets.
func secretBox(t *testing.T, env string) (s *sandbox, dir string) {
	t.Helper()
	s = newSandbox(t, runtime.Task{})
	helper, err := buildHelper()
	if err != nil {
		t.Fatal(err)
	}
	s.Runtime.cfg.InitPath = helper
	root := filepath.Join(t.TempDir(), "secrets")
	if err := secrets.Mount(root); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := secrets.Unmount(root); err != nil {
			t.Error(err)
		}
	})
	dir = filepath.Join(root, "task", "app")
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "files"), 0o700), os.WriteFile(filepath.Join(dir, "env"), []byte(env), 0o400),
		os.WriteFile(filepath.Join(dir, "files", "KEY"), []byte(canary), 0o400)); err != nil {
		t.Fatal(err)
	}
	return s, dir
}

const secretEnv = "DB_PASSWORD=" + canary + "=\nand more\x00FROM_IMAGE=no, a secret's\x00EMPTY=\x00"

// TestSecrets_ReachTheProcessAndNothingElse: the process has them, whoever it runs as, and nothing that containerd wrote
// down does.
func TestSecrets_ReachTheProcessAndNothingElse(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*runtime.Spec)
	}{
		{"root", func(*runtime.Spec) {}},
		{"a user", func(s *runtime.Spec) { s.User = "app" }},
		{"a number", func(s *runtime.Spec) { s.User = "4711:4712" }},
		{"no capabilities", func(s *runtime.Spec) { s.CapDrop = []string{"ALL"} }},
		{"read-only", func(s *runtime.Spec) { s.ReadonlyRootfs, s.User = true, "app" }},
		{"in PATH", func(s *runtime.Spec) { s.Args[0], s.Env = "probe", []string{"PATH=/nothing:/bin"} }},
		{"elsewhere", func(s *runtime.Spec) { s.Cwd = "/tmp"; s.Args[0] = "../probe" }},
		{"with init", func(s *runtime.Spec) { s.Init, s.User = true, "app" }},
		{"privileged", func(s *runtime.Spec) { s.Privileged = true }},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, dir := secretBox(t, secretEnv)
			spec := s.spec("env")
			spec.Env = append(spec.Env, "PATH=/bin", "FROM_IMAGE=yes", "PLAIN=1")
			spec.SecretsDir = dir
			test.change(&spec)
			lines, code := s.output(spec)
			if code != 0 {
				t.Fatalf("code %d: %q", code, lines)
			}
			for _, want := range []string{"o DB_PASSWORD=" + canary + "=", "o and more", "o FROM_IMAGE=no, a secret's", "o EMPTY="} {
				if !slices.Contains(lines, want) {
					t.Errorf("%q is missing in %q", want, lines)
				}
			}
			if slices.Contains(lines, "o FROM_IMAGE=yes") {
				t.Error("the image's value is there beside the secret's")
			}
			searchCanary(t, s.dir, s.Runtime.cfg.StateDir)
		})
	}
}

// searchCanary looks for the canary in everything below some directories.
func searchCanary(t *testing.T, dirs ...string) {
	t.Helper()
	files := 0
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // containerd goes on meanwhile
			}
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			files++
			if bytes.Contains(data, []byte(canary)) {
				t.Errorf("%s has the secret", path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	if files == 0 {
		t.Error("nothing was searched")
	}
}

// TestSecrets_WhileItRuns: health checks have the variables too, files follow what the agent writes, and only the
// container's user reads them.
func TestSecrets_WhileItRuns(t *testing.T) {
	s, dir := secretBox(t, secretEnv)
	spec := s.spec("sleep")
	spec.User, spec.SecretsDir = "app", dir
	spec.Mounts = []runtime.Mount{{Type: runtime.MountBind, Source: filepath.Join(dir, "files"), Target: "/run/secrets", ReadOnly: true}}
	s.run(spec)
	exec := func(user string, args ...string) runtime.ExecResult {
		t.Helper()
		result, err := s.Exec(t.Context(), spec.ID, runtime.ExecSpec{Args: args, User: user})
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
	if r := exec("", "/probe", "env"); r.ExitCode != 0 || !strings.Contains(string(r.Output), "DB_PASSWORD="+canary) {
		t.Errorf("a health check has %q", r.Output)
	}
	// By its name alone, as the engine would find it.
	if r := exec("", "probe", "cat", "/run/secrets/KEY"); r.ExitCode != 0 || strings.TrimSpace(string(r.Output)) != canary {
		t.Errorf("the file has %q", r.Output)
	}
	// Another user is not even started without what it asked for.
	if r := exec("nobody", "/probe", "env"); r.ExitCode == 0 || bytes.Contains(r.Output, []byte(canary)) {
		t.Errorf("another user: %d, %q", r.ExitCode, r.Output)
	}
	if r := exec("", "/probe", "write", "/run/secrets/KEY"); r.ExitCode == 0 {
		t.Error("the container can change its secrets")
	}
	if r := exec("", "no-such-program"); r.ExitCode != 127 {
		t.Errorf("a program that is not there: %d %q", r.ExitCode, r.Output)
	}
	searchCanary(t, s.dir, s.Runtime.cfg.StateDir)
}

// TestSecrets_ARestartHasThemAgain, also in the life of another agent.
func TestSecrets_ARestartHasThemAgain(t *testing.T) {
	s, dir := secretBox(t, secretEnv)
	spec := s.spec("exists", "/run/secrets/KEY")
	spec.User, spec.SecretsDir = "app", dir
	spec.Mounts = []runtime.Mount{{Type: runtime.MountBind, Source: filepath.Join(dir, "files"), Target: "/run/secrets", ReadOnly: true}}
	s.run(spec)
	if exit, err := s.Wait(t.Context(), spec.ID); err != nil || exit.Code != 0 {
		t.Fatal(exit, err)
	}
	next := s.host.connect(t)
	if _, err := next.Restart(t.Context(), spec.ID, 1); err != nil {
		t.Fatal(err)
	}
	if exit, err := next.Wait(t.Context(), spec.ID); err != nil || exit.Code != 0 {
		t.Error(exit, err)
	}
	// Without them it does not start.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if status, err := next.Restart(t.Context(), spec.ID, 2); err == nil {
		t.Errorf("started without its secrets: %+v", status)
	}
}
