package network

import (
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// everyDirection checks all that a task's network promises, between two tasks.
func everyDirection(t *testing.T, l lab, a, b Attachment) {
	t.Helper()
	one, two := a.ENI.Address.String(), b.ENI.Address.String()
	fromHost := a.ENI.VPC.hostAddress().String()
	t.Run("task to task", func(t *testing.T) { reaches(t, a.NetNSPath, b.NetNSPath, two, one) })
	t.Run("task to itself", func(t *testing.T) { reaches(t, a.NetNSPath, a.NetNSPath, one, one) })
	t.Run("host to task", func(t *testing.T) { reaches(t, l.host, a.NetNSPath, one, fromHost) })
	t.Run("task to host", func(t *testing.T) { reaches(t, a.NetNSPath, l.host, hostAddr, one) })
	t.Run("task to host's address in the VPC", func(t *testing.T) { reaches(t, a.NetNSPath, l.host, fromHost, one) })
	t.Run("task to internet", func(t *testing.T) { reaches(t, a.NetNSPath, l.internet, internetAddr, hostAddr) })
}

func TestATaskTalksInEveryDirection(t *testing.T) {
	l := newLab(t)
	m := l.manager(t)
	everyDirection(t, l, attach(t, m, eni(testVPC, 0)), attach(t, m, eni(testVPC, 1)))
}

func TestATaskSeesItsInterfaceAsOnFargate(t *testing.T) {
	needProgram(t, "ip")
	m := newLab(t).manager(t)
	e := eni(testVPC, 1)
	a := attach(t, m, e)
	if want := "/run/netns/berth-" + m.cfg.Instance + "-" + e.ID; a.NetNSPath != want {
		t.Errorf("namespace is %s, want %s", a.NetNSPath, want)
	}
	for _, test := range []struct{ command, want string }{
		{"ip -o addr show dev eth0", "inet 172.31.16.5/20 brd 172.31.31.255"},
		{"ip link show dev eth0", "02:00:00:00:00:01"},
		{"ip link show dev eth0", "state UP"},
		{"ip route", "default via 172.31.16.1 dev eth0"},
		{"ip -o addr show dev lo", MetadataAddress + "/32"},
		{"ip -o addr show dev lo", ResolverAddress + "/32"},
	} {
		if out := command(t, a.NetNSPath, strings.Fields(test.command)...); !strings.Contains(out, test.want) {
			t.Errorf("%s lacks %q:\n%s", test.command, test.want, out)
		}
	}
}

func TestWhatIsRefused(t *testing.T) {
	l := newLab(t)
	m := l.manager(t)
	other := VPC{ID: "vpc-0b", CIDR: eni(testVPC, 0).VPC.CIDR}
	other.CIDR = mustPrefix("10.64.0.0/16")
	a, b := attach(t, m, eni(testVPC, 0)), attach(t, m, eni(other, 0))
	second := l.manager(t)
	c := attach(t, second, eni(VPC{ID: "vpc-0c", CIDR: mustPrefix("10.65.0.0/16")}, 0))

	t.Run("another VPC", func(t *testing.T) { refused(t, a.NetNSPath, b.NetNSPath, b.ENI.Address.String()) })
	t.Run("another instance's VPC", func(t *testing.T) { refused(t, c.NetNSPath, a.NetNSPath, a.ENI.Address.String()) })
	t.Run("from the internet", func(t *testing.T) {
		internet := open(t, l.internet)
		must(t, internet.nl.RouteAdd(routeVia(t, internet, testVPC.CIDR, hostAddr)))
		refused(t, l.internet, a.NetNSPath, a.ENI.Address.String())
	})
	t.Run("an address that nobody has", func(t *testing.T) {
		if _, err := ask(t, a.NetNSPath, "172.31.99.9", "80"); err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("want an error at once, got %v", err)
		}
	})
	t.Run("the host's cloud metadata", func(t *testing.T) {
		must(t, open(t, l.host).address(loopback, mustPrefix("169.254.169.254/32")))
		refused(t, a.NetNSPath, l.host, "169.254.169.254")
	})
	t.Run("a stolen source address", func(t *testing.T) {
		d := attach(t, m, eni(testVPC, 7))
		task := open(t, a.NetNSPath)
		must(t, task.address(index(t, task, "eth0"), mustPrefix("172.31.16.99/32")))
		port := serve(t, d.NetNSPath, d.ENI.Address.String())
		if peer, err := askFrom(t, a.NetNSPath, "172.31.16.99", d.ENI.Address.String(), port); err == nil {
			t.Errorf("reached as %s", peer)
		}
	})
}

func TestAttachIsIdempotent(t *testing.T) {
	l := newLab(t)
	m := l.manager(t)
	e := eni(testVPC, 0)
	first, second := attach(t, m, e), attach(t, m, e)
	if diff := cmp.Diff(first, second, compareAddrs); diff != "" {
		t.Errorf("second attach differs:\n%s", diff)
	}
	changed := e
	changed.Address = changed.Address.Next()
	if _, err := m.Attach(t.Context(), changed); err == nil {
		t.Error("another address under the same id was accepted")
	}
	everyDirection(t, l, first, attach(t, m, eni(testVPC, 1)))
}

func TestAttachCompletesWhatACrashLeft(t *testing.T) {
	e := eni(testVPC, 0)
	for _, test := range []struct {
		name  string
		crash func(t *testing.T, m *Manager)
	}{
		{"a name without a namespace", func(t *testing.T, m *Manager) {
			must(t, os.MkdirAll(namespaceDir, 0o755), os.WriteFile(namespacePath(m.namespaceName(e.ID)), nil, 0o444))
		}},
		{"an empty namespace", func(t *testing.T, m *Manager) {
			_, err := ensureNamespace(m.namespaceName(e.ID))
			must(t, err)
		}},
		{"a namespace whose links lead to a namespace that ended", func(t *testing.T, m *Manager) {
			a := attach(t, m, e)
			keep := open(t, a.NetNSPath) // as a process of the task would
			_ = keep
			must(t, dropNamespace(m.namespaceName(e.ID)))
		}},
		{"a VPC without its uplink", func(t *testing.T, m *Manager) {
			attach(t, m, e)
			must(t, m.deleteUplinks(nil))
			clear(m.ready)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t)
			m := l.manager(t)
			test.crash(t, m)
			everyDirection(t, l, attach(t, m, e), attach(t, m, eni(testVPC, 1)))
		})
	}
}

func TestDetachLeavesNothing(t *testing.T) {
	l := newLab(t)
	m := l.manager(t)
	stays := attach(t, m, eni(testVPC, 0))
	goes := attach(t, m, eni(testVPC, 1))
	must(t, m.Detach(t.Context(), goes.ENI.ID), m.Detach(t.Context(), goes.ENI.ID), m.Detach(t.Context(), "eni-never"))
	if _, err := os.Stat(goes.NetNSPath); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("namespace is still named: %v", err)
	}
	if _, err := ask(t, stays.NetNSPath, goes.ENI.Address.String(), "80"); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("address is still routed: %v", err)
	}
	waitForPorts(t, m, testVPC, 1)
	again := attach(t, m, goes.ENI)
	everyDirection(t, l, stays, again)
}

func TestANewManagerAdopts(t *testing.T) {
	l := newLab(t)
	before := l.manager(t)
	a, b := attach(t, before, eni(testVPC, 0)), attach(t, before, eni(testVPC, 1))
	_, err := ensureNamespace(before.namespaceName("eni-half"))
	must(t, err)

	after := l.instance(t, before.cfg.Instance)
	list, err := after.List(t.Context())
	must(t, err)
	want := []Attachment{a, b, {ENI: ENI{ID: "eni-half"}, NetNSPath: namespacePath(after.namespaceName("eni-half"))}}
	slices.SortFunc(list, func(a, b Attachment) int { return strings.Compare(a.ENI.ID, b.ENI.ID) })
	if diff := cmp.Diff(want, list, compareAddrs); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	must(t, after.Detach(t.Context(), "eni-half"))
	everyDirection(t, l, attach(t, after, a.ENI), attach(t, after, eni(testVPC, 2)))
}

func TestTwoInstancesWithOneRange(t *testing.T) {
	l := newLab(t)
	first, second := l.manager(t), l.manager(t)
	a := attach(t, first, eni(testVPC, 0))
	_, err := second.Attach(t.Context(), eni(testVPC, 1))
	if !errors.Is(err, ErrRangeTaken) || !strings.Contains(err.Error(), first.cfg.Instance) {
		t.Errorf("want ErrRangeTaken that names instance %s, got %v", first.cfg.Instance, err)
	}
	if names, _ := namespaceNames(second.prefix()); len(names) > 0 {
		t.Errorf("the refused instance left %v", names)
	}
	must(t, second.Purge(t.Context()))
	everyDirection(t, l, a, attach(t, first, eni(testVPC, 2)))
}

func TestFiftyAtOnce(t *testing.T) {
	l := newLab(t)
	m := l.manager(t)
	attachments := make([]Attachment, 50)
	errs := make([]error, len(attachments))
	var wg sync.WaitGroup
	for i := range attachments {
		wg.Go(func() { attachments[i], errs[i] = m.Attach(t.Context(), eni(testVPC, i)) })
	}
	wg.Wait()
	must(t, errs...)
	t.Run("each reaches the next", func(t *testing.T) { // its servers must end before: their sockets hold namespaces
		for i, a := range attachments[1:] {
			reaches(t, attachments[i].NetNSPath, a.NetNSPath, a.ENI.Address.String(), attachments[i].ENI.Address.String())
		}
	})
	for i, a := range attachments {
		wg.Go(func() { errs[i] = m.Detach(t.Context(), a.ENI.ID) })
	}
	wg.Wait()
	must(t, errs...)
	waitForPorts(t, m, testVPC, 0)
}

func TestPurgeLeavesNothing(t *testing.T) {
	needProgram(t, "ip")
	needProgram(t, "nft")
	l := newLab(t)
	state := func() string {
		s := command(t, l.host, "ip", "-br", "link") + command(t, l.host, "ip", "route") + command(t, l.host, "nft", "list", "tables")
		if iptables := findIptables(); iptables != "" {
			s += command(t, l.host, iptables, "-S")
		}
		return s
	}
	before := state()
	m := l.manager(t)
	attach(t, m, eni(testVPC, 0))
	attach(t, m, eni(VPC{ID: "vpc-0b", CIDR: mustPrefix("10.64.0.0/16")}, 0))
	if state() == before {
		t.Fatal("attaching changed nothing that this test looks at")
	}
	other := l.instance(t, m.cfg.Instance) // `berth down` is another process
	must(t, other.Purge(t.Context()), other.Purge(t.Context()))
	if diff := cmp.Diff(before, state()); diff != "" {
		t.Errorf("host after purge (-before +after):\n%s", diff)
	}
	if names, _ := namespaceNames(m.prefix()); len(names) > 0 {
		t.Errorf("namespaces left: %v", names)
	}
}

func TestAttachRefusesNonsense(t *testing.T) {
	m, err := New(Config{Instance: "x"})
	must(t, err)
	for name, spoil := range map[string]func(*ENI){
		"id":                   func(e *ENI) { e.ID = "../../etc" },
		"task id":              func(e *ENI) { e.OwnerID = "a b" },
		"no hardware address":  func(e *ENI) { e.MAC = nil },
		"address elsewhere":    func(e *ENI) { e.Address = mustPrefix("10.0.0.9/32").Addr() },
		"subnet elsewhere":     func(e *ENI) { e.VPC.CIDR = mustPrefix("10.0.0.0/16") },
		"range with host bits": func(e *ENI) { e.VPC.CIDR = mustPrefix("172.31.0.1/16") },
		"VPC id":               func(e *ENI) { e.VPC.ID = "vpc" },
		"no address":           func(e *ENI) { *e = ENI{ID: e.ID, OwnerID: e.OwnerID, VPC: e.VPC, MAC: e.MAC} },
	} {
		e := eni(testVPC, 0)
		spoil(&e)
		if _, err := m.Attach(t.Context(), e); err == nil {
			t.Errorf("%s: accepted %v", name, e)
		}
	}
	for _, instance := range []string{"", "UPPER", "has-dash", "thirteenchars"} {
		if _, err := New(Config{Instance: instance}); err == nil {
			t.Errorf("instance %q was accepted", instance)
		}
	}
}

func TestLinkNamesFit(t *testing.T) {
	m, err := New(Config{Instance: "abcdefghijkl"})
	must(t, err)
	for _, name := range []string{m.uplinkName("vpc-0123456789abcdef0"), portName("eni-0123456789abcdef0")} {
		if len(name) > 15 {
			t.Errorf("%s has %d characters", name, len(name))
		}
	}
	if len(m.chain()) > 28 {
		t.Errorf("chain name %s is too long for iptables", m.chain())
	}
}

var compareAddrs = cmpopts.EquateComparable(ENI{}.Address, ENI{}.Subnet)
