package dns_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"go.uber.org/goleak"

	"berth.dev/berth/internal/agent/dns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var vpc = dns.VPC{ID: "vpc-1", CIDR: netip.MustParsePrefix("172.31.0.0/16")}

// start runs a resolver in the test's own namespace on a port of the kernel's choice and returns its address.
func start(t *testing.T, cfg dns.Config) string {
	t.Helper()
	cfg.Address = "127.0.0.1:0"
	if cfg.Region == "" {
		cfg.Region = "eu-west-1"
	}
	if cfg.ResolvConf == "" {
		cfg.ResolvConf = filepath.Join(t.TempDir(), "none")
	}
	e := open(t, cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	})
	return e.Addr()
}

// open opens an endpoint on a port that is free for both transports.
func open(t *testing.T, cfg dns.Config) *dns.Endpoint {
	t.Helper()
	return retry(t, func() (*dns.Endpoint, error) { return dns.New(cfg).Open(t.Context(), "", vpc) })
}

// retry opens until the port is free for both transports: the kernel chooses UDP's, and another process may have the
// same one for TCP.
func retry(t *testing.T, open func() (*dns.Endpoint, error)) *dns.Endpoint {
	t.Helper()
	for {
		e, err := open()
		if err == nil {
			return e
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
	}
}

// An upstream is a resolver of the host; it counts what it is asked.
type upstream struct {
	addr  string
	asked atomic.Int32
}

func startUpstream(t *testing.T, rcode int) *upstream {
	t.Helper()
	u := new(upstream)
	u.serve(t, mdns.HandlerFunc(func(w mdns.ResponseWriter, q *mdns.Msg) {
		u.asked.Add(1)
		answer := new(mdns.Msg).SetRcode(q, rcode)
		if rcode == mdns.RcodeSuccess {
			text := w.RemoteAddr().Network()
			if strings.HasPrefix(q.Question[0].Name, "big.") {
				text = strings.Repeat("x", 200)
			}
			for i := range 1 + 10*strings.Count(q.Question[0].Name, "big") {
				rr, _ := mdns.NewRR(fmt.Sprintf("%s 5 IN TXT %q", q.Question[0].Name, fmt.Sprint(text, i)))
				answer.Answer = append(answer.Answer, rr)
			}
		}
		_ = w.WriteMsg(answer)
	}))
	return u
}

// A forwarder is a resolver of the host that asks another one.
type forwarder struct {
	upstream
	to atomic.Pointer[string]
}

func startForwarder(t *testing.T) *forwarder {
	t.Helper()
	f := new(forwarder)
	f.serve(t, mdns.HandlerFunc(func(w mdns.ResponseWriter, q *mdns.Msg) {
		f.asked.Add(1)
		client := mdns.Client{Net: "tcp", Timeout: 30 * time.Second}
		answer, _, err := client.Exchange(q.Copy(), *f.to.Load())
		if err != nil {
			answer = new(mdns.Msg).SetRcode(q, mdns.RcodeServerFailure)
		}
		_ = w.WriteMsg(answer)
	}))
	return f
}

// serve answers on a free port until the test ends.
func (u *upstream) serve(t *testing.T, handler mdns.Handler) {
	t.Helper()
	var pc net.PacketConn
	var ln net.Listener
	for ln == nil {
		var err error
		if pc, err = net.ListenPacket("udp4", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if ln, err = net.Listen("tcp4", pc.LocalAddr().String()); err != nil {
			pc.Close()
		}
	}
	u.addr = pc.LocalAddr().String()
	for _, s := range []*mdns.Server{{PacketConn: pc, Handler: handler}, {Listener: ln, Handler: handler}} {
		started, done := make(chan struct{}), make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() { defer close(done); _ = s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = s.Shutdown(); <-done })
	}
}

// ask sends one query and returns the answer.
func ask(t *testing.T, transport, addr, name string, kind uint16) *mdns.Msg {
	t.Helper()
	client := mdns.Client{Net: transport, Timeout: 30 * time.Second}
	answer, _, err := client.Exchange(new(mdns.Msg).SetQuestion(mdns.Fqdn(name), kind), addr)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return answer
}

// summary is an answer in one line: its code and the data of its records.
func summary(m *mdns.Msg) string {
	var s strings.Builder
	s.WriteString(mdns.RcodeToString[m.Rcode])
	for _, rr := range m.Answer {
		s.WriteString(" " + strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	return s.String()
}

func TestPrivateNames(t *testing.T) {
	up := startUpstream(t, mdns.RcodeSuccess)
	for _, test := range []struct {
		region, name string
		kind         uint16
		want         string
	}{
		{"eu-west-1", "ip-172-31-16-5.eu-west-1.compute.internal", mdns.TypeA, "NOERROR 172.31.16.5"},
		{"eu-west-1", "IP-172-31-16-5.EU-west-1.compute.internal", mdns.TypeA, "NOERROR 172.31.16.5"},
		{"us-east-1", "ip-172-31-16-5.ec2.internal", mdns.TypeA, "NOERROR 172.31.16.5"},
		{"us-east-1", "ip-172-31-16-5.us-east-1.compute.internal", mdns.TypeA, "NOERROR 172.31.16.5"},
		{"eu-west-1", "ip-172-31-16-5.eu-west-1.compute.internal", mdns.TypeAAAA, "NOERROR"},
		{"eu-west-1", "eu-west-1.compute.internal", mdns.TypeA, "NOERROR"},
		{"eu-west-1", "db.eu-west-1.compute.internal", mdns.TypeA, "NXDOMAIN"},
		{"eu-west-1", "ip-172-31-16-500.eu-west-1.compute.internal", mdns.TypeA, "NXDOMAIN"},
		{"eu-west-1", "a.ip-172-31-16-5.eu-west-1.compute.internal", mdns.TypeA, "NXDOMAIN"},
		{"eu-west-1", "5.16.31.172.in-addr.arpa", mdns.TypePTR, "NOERROR ip-172-31-16-5.eu-west-1.compute.internal."},
		{"us-east-1", "5.16.31.172.in-addr.arpa", mdns.TypePTR, "NOERROR ip-172-31-16-5.ec2.internal."},
	} {
		t.Run(test.name, func(t *testing.T) {
			addr := start(t, dns.Config{Region: test.region, Fallback: []string{up.addr}})
			answer := ask(t, "udp", addr, test.name, test.kind)
			if got := summary(answer); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if len(answer.Answer) == 0 && len(answer.Ns) == 0 {
				t.Error("an empty answer without SOA cannot be cached")
			}
		})
	}
	if n := up.asked.Load(); n != 0 {
		t.Errorf("%d private queries left the host", n)
	}
}

func TestTheRestIsForwarded(t *testing.T) {
	up := startUpstream(t, mdns.RcodeSuccess)
	addr := start(t, dns.Config{Fallback: []string{up.addr}})
	for _, test := range []struct{ transport, name, want string }{
		{"udp", "example.com", `NOERROR "udp0"`},
		{"tcp", "example.com", `NOERROR "tcp0"`},
		{"udp", "ip-10-0-0-9.eu-west-1.compute.internal", `NOERROR "udp0"`}, // not of this VPC
		{"udp", "9.0.0.10.in-addr.arpa", `NOERROR "udp0"`},
		{"udp", "1.10.in-addr.arpa", `NOERROR "udp0"`},
	} {
		if got := summary(ask(t, test.transport, addr, test.name, mdns.TypeTXT)); got != test.want {
			t.Errorf("%s by %s: got %q, want %q", test.name, test.transport, got, test.want)
		}
	}
}

func TestALongAnswerIsCutAndWholeByTCP(t *testing.T) {
	addr := start(t, dns.Config{Fallback: []string{startUpstream(t, mdns.RcodeSuccess).addr}})
	if m := ask(t, "udp", addr, "big.example.com", mdns.TypeTXT); !m.Truncated || m.Len() > mdns.MinMsgSize {
		t.Errorf("truncated = %v with %d bytes", m.Truncated, m.Len())
	}
	if m := ask(t, "tcp", addr, "big.example.com", mdns.TypeTXT); m.Truncated || len(m.Answer) != 11 {
		t.Errorf("truncated = %v with %d records", m.Truncated, len(m.Answer))
	}
}

func TestResolversThatDoNotHelp(t *testing.T) {
	good, refusing, failing := startUpstream(t, mdns.RcodeSuccess), startUpstream(t, mdns.RcodeRefused), startUpstream(t, mdns.RcodeServerFailure)
	missing := startUpstream(t, mdns.RcodeNameError)
	closed, err := net.ListenPacket("udp4", "127.0.0.1:0") // bound, then closed: refuses at once
	if err != nil {
		t.Fatal(err)
	}
	dead := closed.LocalAddr().String()
	closed.Close()
	for _, test := range []struct {
		name      string
		resolvers []string
		want      string
	}{
		{"none", nil, "SERVFAIL"},
		{"only a dead one", []string{dead}, "SERVFAIL"},
		{"the next one helps", []string{dead, refusing.addr, failing.addr, good.addr}, `NOERROR "udp0"`},
		{"the last refusal is passed on", []string{failing.addr, refusing.addr}, "REFUSED"},
		{"that a name is missing is an answer", []string{missing.addr, good.addr}, "NXDOMAIN"},
	} {
		t.Run(test.name, func(t *testing.T) {
			addr := start(t, dns.Config{Fallback: test.resolvers})
			if got := summary(ask(t, "udp", addr, "example.com", mdns.TypeTXT)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	t.Run("the one that helped is asked first", func(t *testing.T) {
		addr := start(t, dns.Config{Fallback: []string{refusing.addr, good.addr}})
		before := refusing.asked.Load()
		for range 5 {
			ask(t, "udp", addr, "example.com", mdns.TypeTXT)
		}
		if n := refusing.asked.Load() - before; n != 1 {
			t.Errorf("the refusing one was asked %d times", n)
		}
	})
}

func TestResolvConfIsReadWhenItChanges(t *testing.T) {
	// The format has no ports; an address that has one is taken as it is, which lets the test have resolvers of its own.
	first, second := startUpstream(t, mdns.RcodeSuccess), startUpstream(t, mdns.RcodeNameError)
	file := filepath.Join(t.TempDir(), "resolv.conf")
	write := func(addr string, when time.Time) {
		t.Helper()
		if err := os.WriteFile(file, []byte("search lan\nnameserver "+addr+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, when, when); err != nil {
			t.Fatal(err)
		}
	}
	write(first.addr, time.Unix(1, 0))
	addr := start(t, dns.Config{ResolvConf: file})
	if got := summary(ask(t, "udp", addr, "example.com", mdns.TypeTXT)); got != `NOERROR "udp0"` {
		t.Errorf("got %q", got)
	}
	write(second.addr, time.Unix(2, 0))
	if got := summary(ask(t, "udp", addr, "example.com", mdns.TypeTXT)); got != "NXDOMAIN" {
		t.Errorf("after the change: got %q", got)
	}
}

func TestOddQueries(t *testing.T) {
	addr := start(t, dns.Config{})
	for name, test := range map[string]struct {
		spoil func(*mdns.Msg)
		want  int
	}{
		"update":        {func(m *mdns.Msg) { m.Opcode = mdns.OpcodeUpdate }, mdns.RcodeNotImplemented},
		"two questions": {func(m *mdns.Msg) { m.Question = append(m.Question, m.Question[0]) }, mdns.RcodeFormatError},
	} {
		query := new(mdns.Msg).SetQuestion("example.com.", mdns.TypeA)
		test.spoil(query)
		client := mdns.Client{Net: "tcp", Timeout: 30 * time.Second}
		answer, _, err := client.Exchange(query, addr)
		if err != nil || answer.Rcode != test.want {
			t.Errorf("%s: %v, %v", name, answer, err)
		}
	}
}

// TestRunEndsWhileAQueryIsOpen has a resolver that never answers.
func TestRunEndsWhileAQueryIsOpen(t *testing.T) {
	silent, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	e := open(t, dns.Config{
		Region: "eu-west-1", Address: "127.0.0.1:0", ResolvConf: "/nonexistent",
		Fallback: []string{silent.LocalAddr().String()},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	conn, err := net.Dial("udp4", e.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	query, _ := new(mdns.Msg).SetQuestion("example.com.", mdns.TypeA).Pack()
	if _, err := conn.Write(query); err != nil {
		t.Fatal(err)
	}
	if _, _, err := silent.ReadFrom(make([]byte, 512)); err != nil { // it is being asked
		t.Fatal(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v", err)
	}
}

func TestFilesOfContainers(t *testing.T) {
	addr := netip.MustParseAddr("172.31.16.5")
	for _, test := range []struct{ got, want string }{
		{string(dns.ResolvConf("us-east-1")), "search ec2.internal\nnameserver 169.254.169.253\noptions timeout:2 attempts:5\n"},
		{string(dns.ResolvConf("eu-west-1")), "search eu-west-1.compute.internal\nnameserver 169.254.169.253\noptions timeout:2 attempts:5\n"},
		{string(dns.Hosts(addr, "us-east-1")), "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n172.31.16.5 ip-172-31-16-5.ec2.internal\n"},
		{dns.PrivateName(addr, "eu-west-1"), "ip-172-31-16-5.eu-west-1.compute.internal"},
	} {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
}
