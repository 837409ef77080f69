package firewall_test

import (
	"testing"
	"time"
)

// BenchmarkMembership measures from a change of a group's members, which the rules of a hundred interfaces refer to, until
// the last of them lets the new member in.
func BenchmarkMembership(b *testing.B) {
	l := newLab(b)
	const interfaces = 100
	l.group("sg-server", rules(b, "tcp 80-80 sg-client", "udp 53-53 sg-client"), nil)
	l.group("sg-client", nil, rules(b, "-1 0.0.0.0/0"))
	servers := make([]station, interfaces)
	for n := range servers {
		servers[n] = l.attach(n, "sg-server")
		listen(b, servers[n].path, servers[n].address, nil, []uint16{53})
	}
	client := l.attach(interfaces, "sg-client")
	l.say()
	for _, s := range append(servers, client) {
		must(b, l.fw.Ensure(b.Context(), s.id))
	}
	// The client is a member to begin with; each turn ends with it outside.
	for b.Loop() {
		l.members("sg-client", func([]string) []string { return []string{client.address} })
		l.say()
		for _, s := range servers {
			for {
				if _, err := probe(b, 10*time.Millisecond, client.path, "udp", s.address, 53); err == nil {
					break
				}
			}
		}
		b.StopTimer()
		l.members("sg-client", func([]string) []string { return nil })
		l.say()
		for _, s := range servers {
			for {
				if _, err := probe(b, 10*time.Millisecond, client.path, "udp", s.address, 53); err != nil {
					break
				}
			}
		}
		b.StartTimer()
	}
}
