package dns_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	mdns "github.com/miekg/dns"

	"berth.dev/berth/internal/agent/dns"
	"berth.dev/berth/internal/agent/network"
)

// TestATaskAsksInItsNamespace serves inside a namespace without any route, and asks from there.
func TestATaskAsksInItsNamespace(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: makes a network namespace")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs iproute2")
	}
	name := "dns-" + strings.ToLower(rand.Text()[:8])
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v\n%s", args, err, out)
		}
	}
	ip("netns", "add", name)
	t.Cleanup(func() { ip("netns", "del", name) })
	ip("-n", name, "link", "set", "lo", "up")
	ip("-n", name, "addr", "add", network.ResolverAddress+"/32", "dev", "lo")
	path := "/run/netns/" + name

	up := startUpstream(t, mdns.RcodeSuccess) // on the host's loopback, where the namespace cannot go
	r := dns.New(dns.Config{Region: "us-east-1", ResolvConf: "/nonexistent", Fallback: []string{up.addr}})
	e, err := r.Open(t.Context(), path, vpc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	for _, transport := range []string{"udp", "tcp"} {
		for question, want := range map[string]string{
			"example.com.":                 `NOERROR "` + transport + `0"`,
			"ip-172-31-16-5.ec2.internal.": "NOERROR",
		} {
			var conn net.Conn
			err := network.In(path, func() (err error) {
				conn, err = net.Dial(transport+"4", network.ResolverAddress+":53")
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			answer, _, err := new(mdns.Client).ExchangeWithConn(new(mdns.Msg).SetQuestion(question, mdns.TypeTXT), &mdns.Conn{Conn: conn})
			conn.Close()
			if err != nil {
				t.Fatal(err)
			}
			if got := summary(answer); got != want {
				t.Errorf("%s by %s: got %q, want %q", question, transport, got, want)
			}
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v", err)
	}
}
