package envproc_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/agent/helper/envproc"
)

// helperEnv makes the test binary the helper, so that nothing need be built.
const helperEnv = "BERTH_TEST_ENV"

func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) != "" {
		os.Unsetenv(helperEnv)
		os.Exit(envproc.Run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

func run(t *testing.T, args ...string) (output string, code int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), helperEnv+"=1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return out.String(), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), 0
}

func TestRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(file, []byte("SECRET=a b\nc\x00"), 0o400); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"a command", []string{file, "--", "sh", "-c", "echo \"$SECRET\"; exit 7"}, 7, "a b\nc\n"},
		{"with init", []string{file, "init", "--", "sh", "-c", "echo \"$SECRET\"; exit 7"}, 7, "a b\nc\n"},
		{"the arguments as they are", []string{file, "--", "echo", "--", "init", ""}, 0, "-- init \n"},
		{"not found", []string{file, "--", "berth-no-such-command"}, 127, "berth-no-such-command"},
		{"a directory", []string{file, "--", "/"}, 126, "permission denied"},
		{"no file", []string{file + "2", "--", "echo", "started"}, 2, "cannot be read"},
		{"no command", []string{file, "--"}, 2, "usage"},
		{"no separator", []string{file, "echo", "x"}, 2, "usage"},
		{"nothing", nil, 2, "usage"},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, code := run(t, test.args...)
			if code != test.code || !strings.Contains(out, test.says) {
				t.Errorf("code %d, %q; want %d with %q", code, out, test.code, test.says)
			}
			if test.code != 7 && strings.Contains(out, "a b") {
				t.Errorf("it says the secret: %q", out)
			}
		})
	}
}

// The command is the process that was started, and has what it was given.
func TestRun_BecomesTheCommand(t *testing.T) {
	file := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(file, []byte("PATH=/usr/bin:/bin\x00"), 0o400); err != nil {
		t.Fatal(err)
	}
	// grep says what it inherits: dash itself blocks signals while it starts a program.
	const show = "readlink /proc/$$/exe; ulimit -n; grep -E '^Sig(Blk|Ign)' /proc/self/status; pwd; env | grep -c ^PATH="
	plain := exec.Command("sh", "-c", show)
	plain.Dir = t.TempDir()
	want, err := plain.CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], file, "--", "sh", "-c", show)
	cmd.Dir, cmd.Env = plain.Dir, append(os.Environ(), helperEnv+"=1")
	got, err := cmd.CombinedOutput()
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %s (%v), want %s", got, err, want)
	}
}

// Every variable of the file is there once, with its value; the others are as
// they were.
func TestMerge(t *testing.T) {
	name := rapid.StringMatching(`[A-Z]{1,2}`)
	value := rapid.StringMatching("[a-z=\n]{0,6}")
	entry := rapid.Custom(func(t *rapid.T) string { return name.Draw(t, "name") + "=" + value.Draw(t, "value") })
	rapid.Check(t, func(t *rapid.T) {
		before := rapid.SliceOfDistinct(entry, func(e string) string { n, _, _ := strings.Cut(e, "="); return n }).Draw(t, "before")
		secrets := rapid.SliceOf(entry).Draw(t, "secrets")
		kept := slices.Clone(before)
		var content strings.Builder
		want := map[string]string{}
		for _, e := range slices.Concat(before, secrets) {
			n, v, _ := strings.Cut(e, "=")
			want[n] = v
		}
		for _, e := range secrets {
			content.WriteString(e + "\x00")
		}
		got := envproc.Merge(before, content.String())
		if len(got) != len(want) {
			t.Fatalf("%q with %q is %q", before, secrets, got)
		}
		for _, e := range got {
			n, v, _ := strings.Cut(e, "=")
			if w, ok := want[n]; !ok || w != v {
				t.Fatalf("%q with %q has %q, want %q", before, secrets, e, w)
			}
		}
		if !slices.Equal(kept, before) {
			t.Fatal("the given environment was changed")
		}
	})
}
