package initproc_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"berth.dev/berth/internal/agent/helper/initproc"
)

// initEnv makes the test binary the init, so that nothing need be built.
const initEnv = "BERTH_TEST_INIT"

func TestMain(m *testing.M) {
	if os.Getenv(initEnv) != "" {
		os.Unsetenv(initEnv)
		os.Exit(initproc.Run(os.Args[1:], os.Environ()))
	}
	os.Exit(m.Run())
}

func initCommand(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], append([]string{"--"}, args...)...)
	cmd.Env = append(os.Environ(), initEnv+"=1")
	return cmd
}

func exitCode(t *testing.T, err error) int {
	t.Helper()
	if err == nil {
		return 0
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		t.Fatal(err)
	}
	return exit.ExitCode()
}

func TestRun_ExitCodes(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		args   []string
		want   int
		stderr string
	}{
		{"success", []string{"true"}, 0, ""},
		{"the child's code", []string{"sh", "-c", "exit 7"}, 7, ""},
		{"killed", []string{"sh", "-c", "kill -KILL $$"}, 137, ""},
		{"terminated", []string{"sh", "-c", "kill -TERM $$"}, 143, ""},
		{"not found in PATH", []string{"berth-no-such-command"}, 127, "berth-no-such-command"},
		{"no such file", []string{"/no/such/file"}, 127, "/no/such/file"},
		{"a directory", []string{"/"}, 126, "permission denied"},
		{"not executable", []string{plain}, 126, "permission denied"},
		{"no command", nil, 2, "usage"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cmd := initCommand(test.args...)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			if got := exitCode(t, cmd.Run()); got != test.want || !strings.Contains(stderr.String(), test.stderr) {
				t.Errorf("exit code %d, stderr %q; want %d and %q", got, stderr.String(), test.want, test.stderr)
			}
		})
	}
}

func TestRun_ForwardsSignals(t *testing.T) {
	for name, signal := range map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP, "USR1": syscall.SIGUSR1, "WINCH": syscall.SIGWINCH} {
		t.Run(name, func(t *testing.T) {
			cmd := initCommand("sh", "-c", "trap 'echo got "+name+"; exit 3' "+name+"; echo ready; while :; do sleep 0.05; done")
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(stdout)
			if !lines.Scan() || lines.Text() != "ready" {
				t.Fatalf("the child says %q", lines.Text())
			}
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			lines.Scan()
			if got := exitCode(t, cmd.Wait()); got != 3 || lines.Text() != "got "+name {
				t.Errorf("exit code %d, output %q", got, lines.Text())
			}
		})
	}
}

func TestRun_ReapsOrphans(t *testing.T) {
	// The subshell ends at once and leaves a child whose parent becomes init. The child waits until its parent has
	// changed, says so with its own id and ends; then /proc must know it no more, not even as a zombie.
	cmd := initCommand("sh", "-c", `(sh -c 'while [ "$(cut -d" " -f4 /proc/$$/stat)" != '$PPID' ]; do sleep 0.01; done; echo $$' &); read -r line; exit 0`)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	lines.Scan()
	orphan, err := strconv.Atoi(lines.Text())
	if err != nil {
		t.Fatalf("the orphan says %q", lines.Text())
	}
	for {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(orphan) + "/stat")
		if err != nil {
			break // reaped
		}
		if !strings.Contains(string(stat), " "+strconv.Itoa(cmd.Process.Pid)+" ") {
			t.Fatalf("the orphan's parent is not init: %s", stat)
		}
	}
	io.WriteString(stdin, "done\n")
	if got := exitCode(t, cmd.Wait()); got != 0 {
		t.Errorf("exit code %d", got)
	}
}

func TestRun_AsProcessOneOfANamespace(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root for a process namespace")
	}
	cmd := initCommand("sh", "-c", "echo $PPID; exit 5")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	output, err := cmd.Output()
	if got := exitCode(t, err); got != 5 || string(output) != "1\n" {
		t.Errorf("exit code %d, output %q", got, output)
	}
}

func TestRun_ChildLeadsItsOwnGroup(t *testing.T) {
	output, err := initCommand("sh", "-c", `echo $$ $(cut -d" " -f5 /proc/$$/stat)`).Output()
	if err != nil {
		t.Fatal(err)
	}
	if pid, group, _ := strings.Cut(strings.TrimSpace(string(output)), " "); pid != group {
		t.Errorf("process %s is in group %s", pid, group)
	}
}
