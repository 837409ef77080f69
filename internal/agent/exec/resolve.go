package exec

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// queryWithin is how long one name server may take.
const queryWithin = 3 * time.Second

var (
	loopback4 = netip.MustParseAddr("127.0.0.1") //nolint:gochecknoglobals // a constant
	loopback6 = netip.IPv6Loopback()             //nolint:gochecknoglobals // a constant
)

// resolve finds the addresses of a host as programs in the container would: in
// its /etc/hosts, then with the name servers and search domains of its
// /etc/resolv.conf, which are asked from its namespace.
func (s space) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if host == "" {
		return []netip.Addr{loopback4, loopback6}, nil
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	hosts, err := s.root.readSmall("/etc/hosts")
	if err != nil {
		return nil, err
	}
	if found := inHosts(hosts, host); len(found) > 0 {
		return found, nil
	}
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		return []netip.Addr{loopback4, loopback6}, nil
	}
	conf, err := s.root.readSmall("/etc/resolv.conf")
	if err != nil {
		return nil, err
	}
	settings, err := dns.ClientConfigFromReader(bytes.NewReader(conf))
	if err != nil {
		return nil, refuse("cannot resolve %s: the container's /etc/resolv.conf cannot be read", host)
	}
	failed := error(nil)
	for _, name := range settings.NameList(host) {
		found, err := s.lookUp(ctx, settings.Servers, name)
		if len(found) > 0 {
			return found, nil
		}
		failed = errors.Join(failed, err)
	}
	if failed != nil {
		return nil, refuse("cannot resolve %s: the container's name servers do not answer", host)
	}
	return nil, refuse("cannot resolve %s: no such host", host)
}

// inHosts are the addresses of a name in a hosts file.
func inHosts(file []byte, host string) []netip.Addr {
	var found []netip.Addr
	for line := range strings.Lines(string(file)) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		a, err := netip.ParseAddr(fields[0])
		named := slices.ContainsFunc(fields[1:], func(name string) bool { return strings.EqualFold(name, strings.TrimSuffix(host, ".")) })
		if err == nil && named && !slices.Contains(found, a) {
			found = append(found, a)
		}
	}
	return found
}

// lookUp asks name servers for a full name, IPv4 first. The first server that
// answers decides; an error says that none did.
func (s space) lookUp(ctx context.Context, servers []string, name string) ([]netip.Addr, error) {
	failed := errors.New("there is no name server")
	for _, server := range servers {
		a, err := netip.ParseAddr(server)
		if err != nil {
			continue
		}
		var found []netip.Addr
		for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
			var addresses []netip.Addr
			if addresses, err = s.ask(ctx, netip.AddrPortFrom(a, 53), name, kind); err != nil {
				break
			}
			found = append(found, addresses...)
		}
		if err == nil || len(found) > 0 {
			return found, nil
		}
		failed = err
	}
	return nil, failed
}

// ask is one question, with TCP when the answer is too long for UDP.
func (s space) ask(ctx context.Context, server netip.AddrPort, name string, kind uint16) ([]netip.Addr, error) {
	question := new(dns.Msg).SetQuestion(dns.Fqdn(name), kind)
	question.SetEdns0(1232, false)
	var answer *dns.Msg
	for _, protocol := range []string{"udp", "tcp"} {
		limited, cancel := context.WithTimeout(ctx, queryWithin)
		conn, err := s.connect(limited, protocol, server)
		if err == nil {
			client := dns.Client{Net: protocol, Timeout: queryWithin}
			answer, _, err = client.ExchangeWithConnContext(limited, question, &dns.Conn{Conn: conn, UDPSize: 1232})
			conn.Close() //nolint:errcheck,gosec // it was answered, or never will be
		}
		cancel()
		if err != nil {
			return nil, err
		}
		if !answer.Truncated {
			break
		}
	}
	if answer.Rcode != dns.RcodeSuccess && answer.Rcode != dns.RcodeNameError {
		return nil, errors.New("the name server answers " + dns.RcodeToString[answer.Rcode])
	}
	var found []netip.Addr
	for _, record := range answer.Answer {
		switch r := record.(type) {
		case *dns.A:
			if a, ok := netip.AddrFromSlice(r.A.To4()); ok {
				found = append(found, a)
			}
		case *dns.AAAA:
			if a, ok := netip.AddrFromSlice(r.AAAA); ok {
				found = append(found, a)
			}
		}
	}
	return found, nil
}
