package containerd

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/agent/runtime"
)

// newNetNS makes a network namespace and returns the file that it is bound to.
func newNetNS(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "netns")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine instead of going back to others with a foreign namespace.
		goruntime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return path
}

// TestTheHostsNamespace is that of network mode host: the one of this process by a name, as agent/network gives it one.
func TestTheHostsNamespace(t *testing.T) {
	s := newSandbox(t, runtime.Task{})
	path := filepath.Join(t.TempDir(), "host")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	before := links(t)
	spec := s.spec("cat", "/proc/net/dev")
	spec.NetNSPath = path
	lines, code := s.output(spec)
	after := links(t)
	for name := range before {
		seen := slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, name+":") })
		if after[name] && !seen { // others' tests come and go
			t.Errorf("exit code %d, the container does not see %s: %q", code, name, lines)
		}
	}
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	spec = s.spec("cat", "/proc/sys/kernel/hostname")
	spec.NetNSPath = path
	if lines, _ := s.output(spec); !slices.Equal(lines, []string{"o " + name}) {
		t.Errorf("the container's host name is %q, the host's %s", lines, name)
	}
}

func links(t *testing.T) map[string]bool {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, l := range all {
		names[l.Name] = true
	}
	return names
}
