package peer_test

import (
	"crypto/rand"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"berth.dev/berth/internal/agent/peer"
)

// groups is where control groups of any kind are made on this host.
func groups(t *testing.T) string {
	for _, dir := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup"} {
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err == nil {
			return dir
		}
	}
	t.Skip("this host has no control groups")
	return ""
}

// group makes a control group that ends like a container's, and one inside it.
func group(t *testing.T, name string) (inner string) {
	t.Helper()
	outer := filepath.Join(groups(t), "berth-peer-"+strings.ToLower(rand.Text()[:8]))
	container := filepath.Join(outer, name)
	inner = filepath.Join(container, "made-inside")
	if err := os.MkdirAll(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, dir := range []string{inner, container, outer} {
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		}
	})
	return inner
}

// A connection is of the container whose process has it, in its own group or
// in one that it made, and of nobody when no container has it.
func TestTask(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: makes control groups")
	}
	inner := group(t, "task1-app")
	for _, test := range []struct {
		name, group, listen string
		known               bool
	}{
		{"in a group that the container made", inner, "127.0.0.1:0", true},
		{"in its own group", filepath.Dir(inner), "127.0.0.1:0", true},
		{"a container of another network mode", filepath.Dir(inner), "127.0.0.1:0", false},
		{"a process of the host", "", "127.0.0.1:0", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			listener, err := net.Listen("tcp4", test.listen)
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			_, port, err := net.SplitHostPort(listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			// The shell waits for a line before it connects, so that it is where it
			// should be by then.
			cmd := exec.CommandContext(t.Context(), "bash", "-c", "read; exec 5<>/dev/tcp/127.0.0.1/"+port+"; read; true")
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				stdin.Close()
				if err := cmd.Wait(); err != nil {
					t.Error(err)
				}
			}()
			if test.group != "" {
				if err := os.WriteFile(filepath.Join(test.group, "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := stdin.Write([]byte("\n")); err != nil {
				t.Fatal(err)
			}
			conn, err := listener.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			got, err := peer.Task(conn, func(id string) (string, bool) { return "task1", test.known && id == "task1-app" })
			if test.group != "" && test.known {
				if err != nil || got != "task1" {
					t.Errorf("got %q, %v", got, err)
				}
				return
			}
			if !errors.Is(err, peer.ErrNobody) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}
