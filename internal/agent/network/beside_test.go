package network

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// run starts m.Run for the rest of the test.
func run(t *testing.T, m *Manager) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	})
}

// eventually waits, on the kernel's notices, until ok.
func eventually(t *testing.T, path, what string, ok func() bool) {
	t.Helper()
	host := open(t, path)
	wake := make(chan struct{}, 1)
	for protocol, groups := range map[int][]uint{
		unix.NETLINK_NETFILTER: {unix.NFNLGRP_NFTABLES},
		unix.NETLINK_ROUTE:     {unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_IFADDR},
	} {
		socket, err := nl.SubscribeAt(host.ns, netns.None(), protocol, groups...)
		must(t, err)
		done := make(chan struct{})
		go func() {
			defer close(done)
			listen(t.Context(), socket, wake)
		}()
		defer func() { socket.Close(); <-done }()
	}
	giveUp := time.After(time.Minute)
	for !ok() {
		select {
		case <-wake:
		case <-giveUp:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// likeDocker writes the rules that a Docker engine has: policy DROP and its own chains at the head of FORWARD.
func likeDocker(t *testing.T, l lab, iptables string) {
	t.Helper()
	for _, args := range []string{
		"-P FORWARD DROP", "-N DOCKER-USER", "-A DOCKER-USER -j RETURN", "-N DOCKER-ISOLATION-STAGE-1",
		"-A DOCKER-ISOLATION-STAGE-1 -j RETURN", "-I FORWARD -j DOCKER-ISOLATION-STAGE-1", "-I FORWARD -j DOCKER-USER",
	} {
		command(t, l.host, append([]string{iptables, "-w"}, strings.Fields(args)...)...)
	}
}

func needIptables(t *testing.T) string {
	t.Helper()
	needRoot(t)
	binary := findIptables()
	if binary == "" {
		t.Skip("needs iptables")
	}
	return binary
}

func TestBesideRulesLikeDockers(t *testing.T) {
	iptables := needIptables(t)
	l := newLab(t)
	// Bridged frames cross iptables as well, which must not matter: nothing of ours is bridged.
	must(t, apply(l.host, []setting{{"net/bridge/bridge-nf-call-iptables", "1"}}))
	likeDocker(t, l, iptables)
	before := command(t, l.host, iptables, "-S")
	m := l.manager(t)
	a, b := attach(t, m, eni(testVPC, 0)), attach(t, m, eni(testVPC, 1))
	everyDirection(t, l, a, b)
	must(t, m.Purge(t.Context()))
	if after := command(t, l.host, iptables, "-S"); after != before {
		t.Errorf("purge left\n%s\nwhere there was\n%s", after, before)
	}
}

func TestAnIptablesDropWithoutOurRulesWouldHurt(t *testing.T) {
	iptables := needIptables(t)
	l := newLab(t)
	m := l.manager(t)
	a := attach(t, m, eni(testVPC, 0))
	reaches(t, a.NetNSPath, l.internet, internetAddr, hostAddr)
	command(t, l.host, iptables, "-P", "FORWARD", "DROP")
	refused(t, a.NetNSPath, l.internet, internetAddr) // Run is not running: this is what the other tests test
	reaches(t, l.host, a.NetNSPath, a.ENI.Address.String(), testVPC.hostAddress().String())
}

func TestRunRestoresTheHostsPart(t *testing.T) {
	iptables := needIptables(t)
	needProgram(t, "nft")
	for _, test := range []struct {
		name  string
		spoil func(t *testing.T, l lab, m *Manager)
	}{
		{"after Docker starts", func(t *testing.T, l lab, m *Manager) { likeDocker(t, l, iptables) }},
		{"after iptables is flushed", func(t *testing.T, l lab, m *Manager) {
			likeDocker(t, l, iptables)
			eventually(t, l.host, "our rules are there", func() bool { return rulesComplete(t, l, m) })
			command(t, l.host, iptables, "-w", "-F")
		}},
		{"after the ruleset is flushed", func(t *testing.T, l lab, m *Manager) {
			command(t, l.host, "nft", "flush", "ruleset")
		}},
		{"after the uplink is deleted", func(t *testing.T, l lab, m *Manager) {
			host := open(t, l.host)
			link, err := host.nl.LinkByName(m.uplinkName(testVPC.ID))
			must(t, err, host.nl.LinkDel(link))
		}},
		{"after the route is deleted", func(t *testing.T, l lab, m *Manager) {
			must(t, open(t, l.host).nl.RouteDel(&netlink.Route{Dst: ipNet(testVPC.CIDR)}))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t)
			m := l.manager(t)
			a, b := attach(t, m, eni(testVPC, 0)), attach(t, m, eni(testVPC, 1))
			run(t, m)
			test.spoil(t, l, m)
			eventually(t, l.host, "the host's part is whole", func() bool { return rulesComplete(t, l, m) && routed(t, l, m) })
			everyDirection(t, l, a, b)
		})
	}
}

// rulesComplete looks at the kernel, not at the Manager's view of it.
func rulesComplete(t *testing.T, l lab, m *Manager) bool {
	t.Helper()
	have := parseListing(command(t, l.host, findIptables(), "-w", "-S"))
	for _, from := range jumpFrom {
		if rules, exists := have[from]; exists && m.mayDrop(have) && !slices.Contains(rules, m.jump(from)) {
			return false
		}
	}
	if m.mayDrop(have) && len(have[m.chain()]) != 2 {
		return false
	}
	return strings.Contains(command(t, l.host, "nft", "list", "ruleset"), "ip saddr 172.31.0.0/16 oifname != \""+m.uplinkName(testVPC.ID)+"\" masquerade")
}

func routed(t *testing.T, l lab, m *Manager) bool {
	t.Helper()
	host := open(t, l.host)
	link, err := host.link(m.uplinkName(testVPC.ID))
	must(t, err)
	if link == nil {
		return false
	}
	routes, err := host.nl.RouteGet(net.IPv4(172, 31, 16, 4))
	return err == nil && len(routes) > 0 && routes[0].LinkIndex == link.Attrs().Index && link.Attrs().OperState == netlink.OperUp
}

// TestBesideDocker runs a real Docker engine in the lab's host, before and after Berth, and restarts it.
func TestBesideDocker(t *testing.T) {
	needRoot(t)
	needProgram(t, "dockerd")
	restart := func(t *testing.T, l lab, m *Manager, a, b Attachment) {
		startDocker(t, l)
		eventually(t, l.host, "our rules are there", func() bool { return rulesComplete(t, l, m) })
		if s := command(t, l.host, findIptables(), "-S"); !strings.Contains(s, "-N DOCKER-USER") {
			t.Fatalf("Docker wrote no rules:\n%s", s)
		}
		everyDirection(t, l, a, b)
	}
	t.Run("Docker first", func(t *testing.T) {
		l := newLab(t)
		m := l.manager(t)
		var a, b Attachment
		t.Run("started", func(t *testing.T) {
			startDocker(t, l)
			// Docker does so when it was the one to switch on forwarding.
			if s := command(t, l.host, findIptables(), "-S"); !strings.Contains(s, "-P FORWARD DROP") {
				t.Fatalf("Docker wrote no policy:\n%s", s)
			}
			a, b = attach(t, m, eni(testVPC, 0)), attach(t, m, eni(testVPC, 1))
			everyDirection(t, l, a, b)
		})
		run(t, m)
		command(t, l.host, findIptables(), "-w", "-F")
		t.Run("restarted", func(t *testing.T) { restart(t, l, m, a, b) })
	})
	t.Run("Berth first", func(t *testing.T) {
		l := newLab(t)
		m := l.manager(t)
		a, b := attach(t, m, eni(testVPC, 0)), attach(t, m, eni(testVPC, 1))
		run(t, m)
		restart(t, l, m, a, b)
	})
}

// startDocker starts an engine with directories of its own in the lab's host and returns when it answers.
func startDocker(t *testing.T, l lab) {
	t.Helper()
	dir, err := os.MkdirTemp("", "bd") //nolint:usetesting // short: the path of a socket has 107 characters at most
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	log, err := os.Create(filepath.Join(dir, "log"))
	must(t, err)
	defer log.Close()
	socket := filepath.Join(dir, "s")
	cmd := exec.Command("dockerd", "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
		"--pidfile", filepath.Join(dir, "pid"), "-H", "unix://"+socket, "--storage-driver", "vfs")
	cmd.Stdout, cmd.Stderr = log, log
	must(t, In(l.host, cmd.Start))
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(unix.SIGTERM)
		<-exited
	})
	giveUp := time.After(2 * time.Minute)
	for {
		if dockerAnswers(socket) {
			return
		}
		select {
		case <-exited:
			out, _ := os.ReadFile(log.Name())
			t.Skipf("dockerd does not run here:\n%s", out)
		case <-giveUp:
			t.Fatal("dockerd does not answer")
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func dockerAnswers(socket string) bool {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Write([]byte("GET /_ping HTTP/1.0\r\n\r\n")); err != nil {
		return false
	}
	answer := make([]byte, 15)
	n, _ := conn.Read(answer)
	return strings.Contains(string(answer[:n]), "200")
}
