package network

import (
	"context"
	"os"
	"os/exec"
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
