package firewall_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	decided "berth.dev/berth/internal/rules/firewall"
)

// A try is one kind of packet that stations send to each other.
type try struct {
	name   string
	packet decided.Packet // without the peer
}

func (p try) send(t *testing.T, wait time.Duration, from, to string) error {
	switch p.packet.Protocol {
	case decided.ICMP:
		return ping(t, wait, from, to, p.packet.Type)
	case decided.UDP:
		_, err := probe(t, wait, from, "udp", to, p.packet.Port)
		return err
	default:
		_, err := probe(t, wait, from, "tcp", to, p.packet.Port)
		return err
	}
}

// TestMatrix sends every kind of packet between every pair of interfaces, and from the host, and holds what arrives
// against what the groups say.
func TestMatrix(t *testing.T) {
	l := newLab(t)
	everything := []string{"-1 0.0.0.0/0"}
	for id, g := range map[string]struct{ in, out []string }{
		"sg-web":     {[]string{"tcp 80-82 0.0.0.0/0", "icmp 8/-1 sg-client"}, everything},
		"sg-db":      {[]string{"tcp 5432-5432 sg-web", "udp 53-53 sg-db", "icmp 13/0 172.31.16.0/20"}, nil},
		"sg-client":  {nil, []string{"tcp 80-81 0.0.0.0/0", "udp 53-53 172.31.16.8/30", "icmp -1/-1 0.0.0.0/0"}},
		"sg-one":     {[]string{"-1 172.31.16.6/32"}, []string{"-1 sg-db"}},
		"sg-default": {[]string{"-1 sg-default"}, everything},
		"sg-nothing": {nil, nil},
		"sg-all":     {everything, everything},
		"sg-udp":     {[]string{"17 50-60 172.31.0.0/28"}, []string{"udp -1--1 0.0.0.0/0"}},
	} {
		l.group(id, rules(t, g.in...), rules(t, g.out...))
	}
	stations := map[string]station{}
	for n, groups := range [][]string{
		{"sg-web"},
		{"sg-db"},
		{"sg-client"},
		{"sg-web", "sg-db"},
		{"sg-one"},
		{"sg-default"},
		{"sg-default"},
		{"sg-nothing"},
		{"sg-all"},
		{"sg-udp", "sg-client"},
		{"sg-db"},
	} {
		stations[fmt.Sprint(n, groups)] = l.attach(n, groups...)
	}
	l.say()
	for _, s := range stations {
		must(t, l.fw.Ensure(t.Context(), s.id))
	}
	tcpPorts, udpPorts := []uint16{79, 80, 81, 82, 83, 5432}, []uint16{53, 54, 61}
	var tries []try
	for _, p := range tcpPorts {
		tries = append(tries, try{fmt.Sprint("tcp ", p), decided.Packet{Protocol: decided.TCP, Port: p}})
	}
	for _, p := range udpPorts {
		tries = append(tries, try{fmt.Sprint("udp ", p), decided.Packet{Protocol: decided.UDP, Port: p}})
	}
	for _, kind := range []uint8{8, 13} {
		tries = append(tries, try{fmt.Sprint("icmp ", kind), decided.Packet{Protocol: decided.ICMP, Type: kind}})
	}
	rulesets := map[string]decided.Ruleset{}
	for name, s := range stations {
		listen(t, s.path, s.address, tcpPorts, udpPorts)
		ruleset, missing := decided.Compile(l.interfaces[s.id].GroupIDs, l.groups)
		if len(missing)+len(ruleset.Invalid) > 0 {
			t.Fatal(missing, ruleset.Invalid)
		}
		rulesets[name] = ruleset
	}
	sources := maps.Clone(stations)
	sources["host"] = station{address: hostInVPC, path: l.host}
	rulesets["host"] = decided.Ruleset{Open: true}

	var wg sync.WaitGroup
	slots := make(chan struct{}, 48)
	counts := map[bool]int{}
	for _, from := range slices.Sorted(maps.Keys(sources)) {
		for _, to := range slices.Sorted(maps.Keys(stations)) {
			for _, p := range tries {
				out, in := p.packet, p.packet
				out.Peer, in.Peer = netip.MustParseAddr(stations[to].address), netip.MustParseAddr(sources[from].address)
				// To itself a packet never leaves the namespace.
				want := from == to || rulesets[from].AllowsOut(out) && rulesets[to].AllowsIn(in)
				counts[want]++
				slots <- struct{}{}
				wg.Go(func() {
					defer func() { <-slots }()
					wait := impatience
					if want {
						wait = patience
					}
					err := p.send(t, wait, sources[from].path, stations[to].address)
					if got := err == nil; got != want {
						t.Errorf("%s to %s, %s: passes %v, want %v (%v)", from, to, p.name, got, want, err)
					}
				})
			}
		}
	}
	wg.Wait()
	t.Logf("%d allowed, %d denied", counts[true], counts[false])
	if counts[true] < 200 || counts[false] < 200 {
		t.Errorf("the matrix says little: %v", counts)
	}
}
