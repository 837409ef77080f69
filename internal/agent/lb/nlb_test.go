package lb

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"berth.dev/berth/internal/agent/network"
	"berth.dev/berth/internal/model"
)

// networkBalancer is a network load balancer with a listener on port 80.
func (l *lab) networkBalancer(protocol string, sites ...*site) *model.NodeLoadBalancer {
	doc := l.balancer(sites...)
	doc.LoadBalancer.ID = "net/web/" + random()
	doc.LoadBalancer.Type = model.LoadBalancerNetwork
	doc.LoadBalancer.VPCID = doc.Interfaces[0].VPCID
	doc.Listeners[0].Protocol = protocol
	g := &doc.TargetGroups[0]
	g.Protocol, g.ProtocolVersion = protocol, ""
	g.HealthCheck.Protocol = "TCP"
	return doc
}

func TestNetworkBalancer(t *testing.T) {
	l := newLab(t)
	one, two, client := l.site("one"), l.site("two"), l.site("client")
	doc := l.networkBalancer("TCP", one, two)
	a := l.start()
	l.apply(a, doc)
	key := doc.LoadBalancer.ID
	l.healthy(key, one, two)
	if pids := l.pids(doc); len(pids) > 0 {
		t.Errorf("processes %v: the kernel does this", pids)
	}
	url := "http://" + doc.Interfaces[0].Address + ":80/"
	// seen asks over many connections and returns who answered, and the addresses that targets saw.
	seen := func() (names map[string]bool, peers map[string]bool) {
		names, peers = map[string]bool{}, map[string]bool{}
		for range 40 {
			c := l.client(client.path)
			c.Transport = onceOnly(c)
			names[get(t, c, url).body] = true
			peer, _, _ := strings.Cut(after(get(t, c, url+"echo").body, "Peer: "), ":")
			peers[peer] = true
		}
		return names, peers
	}
	names, peers := seen()
	if len(names) != 2 {
		t.Errorf("answers from %v, want both", names)
	}
	if len(peers) != 1 || !peers[doc.Interfaces[0].Address] {
		t.Errorf("targets saw %v, want the load balancer", peers)
	}

	kept := copyOf(doc)
	kept.TargetGroups[0].Attributes["preserve_client_ip.enabled"] = "true"
	kept.TargetGroups[0].Targets[0].Draining = true
	l.apply(a, kept)
	l.eventually("targets see the client, and one drains", func() bool {
		names, peers := seen()
		return len(names) == 1 && names["two"] && len(peers) == 1 && peers[client.eni.Address]
	})

	// Rules outlive the agent, and the next one has nothing to change.
	a.stop()
	if names, _ := seen(); !names["two"] {
		t.Error("no service without an agent")
	}
	a = l.start()
	l.apply(a, kept)
	l.await(key, "one draining, two healthy", func(o model.LoadBalancerObserved) bool {
		return len(o.Targets) == 2 && o.Targets[0].State == model.TargetDraining && o.Targets[1].State == model.TargetHealthy
	})
	two.stop()
	l.await(key, "unhealthy", func(o model.LoadBalancerObserved) bool {
		return len(o.Targets) == 2 && o.Targets[1].State == model.TargetUnhealthy && o.Targets[1].Reason == "Target.FailedHealthChecks"
	})

	l.apply(a)
	l.eventually("the rules are gone", func() bool {
		_, err := try(t, l.client(client.path), url)
		return err != nil
	})
}

func TestNetworkBalancer_UDP(t *testing.T) {
	l := newLab(t)
	one, client := l.site("one"), l.site("client")
	doc := l.networkBalancer("TCP_UDP", one)
	sock, err := network.ListenUDP(t.Context(), one.path, one.key())
	must(t, err)
	go func() {
		buffer := make([]byte, 100)
		for {
			_, from, err := sock.ReadFrom(buffer)
			if err != nil {
				return
			}
			sock.WriteTo([]byte(from.(*net.UDPAddr).IP.String()), from)
		}
	}()
	t.Cleanup(func() { sock.Close() })
	l.apply(l.start(), doc)
	l.healthy(doc.LoadBalancer.ID, one)

	conn, err := network.ListenUDP(t.Context(), client.path, client.eni.Address+":0")
	must(t, err)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, err = conn.WriteTo([]byte("hello"), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(doc.Interfaces[0].Address+":80")))
	must(t, err)
	buffer := make([]byte, 100)
	n, from, err := conn.ReadFrom(buffer)
	must(t, err)
	if got := string(buffer[:n]); got != client.eni.Address {
		t.Errorf("target saw %s, want the client", got)
	}
	if want := doc.Interfaces[0].Address + ":80"; from.String() != want {
		t.Errorf("answer from %v, want %s", from, want)
	}
}

// TestNetworkBalancer_TLS: a TLS listener ends TLS and passes bytes on; beside it a TCP listener whose targets want the
// proxy protocol, so that they learn the client's address.
func TestNetworkBalancer_TLS(t *testing.T) {
	l := newLab(t)
	one, two, client := l.site("one"), l.site("two"), l.site("client")
	doc := l.networkBalancer("TLS", one)
	doc.Certificates = map[string]model.NodeTLSKey{"cert-a": keyPair(t, "a.example")}
	doc.Listeners[0].Certificates = []string{"cert-a"}
	doc.TargetGroups[0].Protocol = "TCP"
	lines, err := network.ListenTCP(t.Context(), two.path, two.eni.Address+":7000")
	must(t, err)
	defer lines.Close()
	go func() {
		for {
			conn, err := lines.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				head := make([]byte, 28) // version 2 of the protocol with two IPv4 addresses
				if _, err := io.ReadFull(conn, head); err == nil {
					fmt.Fprintf(conn, "%s\n", net.IP(head[16:20]))
				}
			}()
		}
	}()
	proxied := targetGroup("proxied", two)
	proxied.Protocol, proxied.HealthCheck.Protocol, proxied.HealthCheck.Port = "TCP", "HTTP", "8080"
	proxied.Attributes = map[string]string{"proxy_protocol_v2.enabled": "true"}
	proxied.Targets[0].Port, proxied.Targets[0].Key = 7000, two.eni.Address+":7000"
	doc.TargetGroups = append(doc.TargetGroups, proxied)
	doc.Listeners = append(doc.Listeners, model.Listener{ID: "second", Port: 7000, Protocol: "TCP", DefaultActions: forward(&proxied)})
	l.apply(l.start(), doc)
	l.healthy(doc.LoadBalancer.ID, one, &site{eni: two.eni, port: 7000})

	c := l.client(client.path)
	c.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	if got := get(t, c, "https://"+doc.Interfaces[0].Address+":80/").body; got != "one" {
		t.Errorf("answer %q", got)
	}
	conn, err := dial(t.Context(), client.path, netip.MustParseAddrPort(doc.Interfaces[0].Address+":7000"))
	must(t, err)
	defer conn.Close()
	said, err := io.ReadAll(conn)
	if got := strings.TrimSpace(string(said)); err != nil || got != client.eni.Address {
		t.Errorf("the target was told of %q (%v), want %s", got, err, client.eni.Address)
	}
}
