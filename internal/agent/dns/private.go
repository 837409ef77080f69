package dns

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"

	"github.com/miekg/dns"

	"berth.dev/berth/internal/agent/network"
)

// Domain is the zone of private names in a region, and a task's search domain.
func Domain(region string) string {
	if region == "us-east-1" {
		return "ec2.internal"
	}
	return region + ".compute.internal"
}

// PrivateName is the private DNS name of an address: the PrivateDnsName of its network interface.
func PrivateName(addr netip.Addr, region string) string {
	return "ip-" + strings.ReplaceAll(addr.String(), ".", "-") + "." + Domain(region)
}

// ResolvConf is the content of /etc/resolv.conf in a task's containers.
func ResolvConf(region string) []byte {
	return fmt.Appendf(nil, "search %s\nnameserver %s\noptions timeout:2 attempts:5\n", Domain(region), network.ResolverAddress)
}

// Hosts is the content of /etc/hosts in the containers of the task with this address. Their host name is
// PrivateName(addr, region), as on Fargate.
func Hosts(addr netip.Addr, region string) []byte {
	var b bytes.Buffer
	b.WriteString("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
	fmt.Fprintf(&b, "%s %s\n", addr, PrivateName(addr, region))
	return b.Bytes()
}

// private answers query if it is about the VPC's private names or addresses, and reports whether it is.
func private(query *dns.Msg, vpc netip.Prefix, region string) (answer *dns.Msg, ours bool) {
	q := query.Question[0]
	name := strings.ToLower(strings.TrimSuffix(q.Name, "."))
	if q.Qclass != dns.ClassINET {
		return nil, false
	}
	if addr, ok := reverseName(name); ok {
		if !vpc.Contains(addr) {
			return nil, false
		}
		return reply(query, dns.TypePTR, &dns.PTR{Ptr: dns.Fqdn(PrivateName(addr, region))}, name), true
	}
	for _, zone := range []string{Domain(region), region + ".compute.internal"} {
		if name == zone {
			return reply(query, dns.TypeNone, nil, zone), true
		}
		label, inZone := strings.CutSuffix(name, "."+zone)
		if !inZone {
			continue
		}
		addr, ok := addressOf(label)
		switch {
		case ok && vpc.Contains(addr):
			return reply(query, dns.TypeA, &dns.A{A: addr.AsSlice()}, zone), true
		case ok:
			return nil, false // of a real VPC around this host, perhaps
		default:
			answer := reply(query, dns.TypeNone, nil, zone)
			answer.Rcode = dns.RcodeNameError
			return answer, true
		}
	}
	return nil, false
}

// reply answers with the record when it is of the type asked for, and otherwise says that the name has none of that type.
func reply(query *dns.Msg, kind uint16, record dns.RR, zone string) *dns.Msg {
	answer := new(dns.Msg).SetReply(query)
	answer.Authoritative, answer.RecursionAvailable = true, true
	if q := query.Question[0]; record != nil && (q.Qtype == kind || q.Qtype == dns.TypeANY) {
		*record.Header() = dns.RR_Header{Name: q.Name, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
		answer.Answer = []dns.RR{record}
		return answer
	}
	// Without it clients may not remember that there is nothing.
	answer.Ns = []dns.RR{&dns.SOA{
		Hdr: dns.RR_Header{Name: dns.Fqdn(zone), Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ttl},
		Ns:  "ns0." + dns.Fqdn(zone), Mbox: "hostmaster." + dns.Fqdn(zone), Serial: 1, Refresh: 3600, Retry: 3600, Expire: 3600, Minttl: ttl,
	}}
	return answer
}

// addressOf reads ip-10-0-1-5.
func addressOf(label string) (netip.Addr, bool) {
	digits, ok := strings.CutPrefix(label, "ip-")
	if !ok {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(strings.ReplaceAll(digits, "-", "."))
	return addr, err == nil && addr.Is4()
}

// reverseName reads 5.1.0.10.in-addr.arpa.
func reverseName(name string) (netip.Addr, bool) {
	octets, ok := strings.CutSuffix(name, ".in-addr.arpa")
	if !ok {
		return netip.Addr{}, false
	}
	parts := strings.Split(octets, ".")
	if len(parts) != 4 {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(parts[3] + "." + parts[2] + "." + parts[1] + "." + parts[0])
	return addr, err == nil && addr.Is4()
}
