package network

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestTheOwnNamespaceIsTheHost runs itself again in a network namespace of its own, so that the default, no HostNetNS,
// is tested without touching this machine.
func TestTheOwnNamespaceIsTheHost(t *testing.T) {
	needRoot(t)
	const inside = "BERTH_TEST_OWN_NAMESPACE"
	if os.Getenv(inside) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTheOwnNamespaceIsTheHost$", "-test.v")
		cmd.Env = append(os.Environ(), inside+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	must(t, open(t, "").up(loopback))
	m, err := New(Config{Instance: random()})
	must(t, err)
	t.Cleanup(func() { must(t, m.Purge(context.WithoutCancel(t.Context()))) })
	run(t, m)
	a, b := attach(t, m, eni(testVPC, 0)), attach(t, m, eni(testVPC, 1))
	one, two, host := a.ENI.Address.String(), b.ENI.Address.String(), testVPC.hostAddress().String()
	t.Run("task to task", func(t *testing.T) { reaches(t, a.NetNSPath, b.NetNSPath, two, one) })
	t.Run("host to task", func(t *testing.T) { reaches(t, "", a.NetNSPath, one, host) })
	t.Run("task to host", func(t *testing.T) { reaches(t, a.NetNSPath, "", host, one) })
	ranges, err := HostRoutes()
	must(t, err)
	found := false
	for _, p := range ranges {
		found = found || p == testVPC.CIDR
	}
	if !found {
		t.Errorf("HostRoutes lacks the VPC's own route: %v", ranges)
	}
	must(t, m.Detach(t.Context(), a.ENI.ID), m.Detach(t.Context(), b.ENI.ID))
}

const mainThreadElsewhere = "BERTH_TEST_MAIN_THREAD_ELSEWHERE"

// leaveMainThread moves this goroutine's thread, which is the main one if TestMain calls it, to a namespace of its own.
func leaveMainThread() {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		panic(err)
	}
}

// TestTheMainThreadMayBeElsewhere: what /proc/self says is the main thread's, and any thread may be at work in a task's
// namespace. The host is where the other threads are.
func TestTheMainThreadMayBeElsewhere(t *testing.T) {
	needRoot(t)
	if os.Getenv(mainThreadElsewhere) == "" {
		host, err := os.Readlink("/proc/thread-self/ns/net")
		must(t, err)
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTheMainThreadMayBeElsewhere$", "-test.v")
		cmd.Env = append(os.Environ(), mainThreadElsewhere+"="+host)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	want := os.Getenv(mainThreadElsewhere)
	if main, err := os.Readlink("/proc/self/ns/net"); err != nil || main == want {
		t.Skipf("the main thread is in %s: %v", main, err) // TestMain was not on it
	}
	var got unix.Stat_t
	must(t, unix.Fstat(int(open(t, "").ns), &got))
	if have := fmt.Sprintf("net:[%d]", got.Ino); have != want {
		t.Errorf("the host is %s, want %s", have, want)
	}
}
