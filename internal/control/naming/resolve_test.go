package naming_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	mdns "github.com/miekg/dns"

	"berth.dev/berth/internal/agent/dns"
	"berth.dev/berth/internal/agent/network"
	"berth.dev/berth/internal/control/naming"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// From the record to the packet: what is registered resolves inside a task's
// namespace by the next query after the node has the document, and does not
// after it has left.
func TestARegisteredInstanceResolvesInATask(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: makes a network namespace")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs iproute2")
	}
	name := "naming-" + strings.ToLower(rand.Text()[:8])
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

	resolver := dns.New(dns.Config{Region: "us-east-1", ResolvConf: "/nonexistent"})
	e, err := resolver.Open(t.Context(), path, dns.VPC{ID: "vpc-1", CIDR: netip.MustParsePrefix("10.0.0.0/16")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	}()

	s, stop := openStore(t)
	defer stop()
	source, watcher := naming.New(), s.Watch(ctx, naming.New().Tables()...)
	before, docs := watcher.Snapshot(), map[string]json.RawMessage{}
	// do commits a change and hands the node what it concerns, as the dispatcher does.
	do := func(fn func(tx *store.Tx) error) {
		t.Helper()
		update(t, s, fn)
		after, changes := watcher.Take()
		for _, c := range changes {
			for _, key := range source.Affected(before, after, c)["n1"] {
				delete(docs, key)
				if document, ok := source.Document(after, "n1", key); ok {
					if docs[key], err = json.Marshal(document); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		before = after
		if err := resolver.Apply(ctx, docs); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(name string, kind uint16) string {
		t.Helper()
		var conn net.Conn
		if err := network.In(path, func() (err error) {
			conn, err = net.Dial("udp4", network.ResolverAddress+":53")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		answer, _, err := new(mdns.Client).ExchangeWithConn(new(mdns.Msg).SetQuestion(name, kind), &mdns.Conn{Conn: conn})
		if err != nil {
			t.Fatal(err)
		}
		var values []string
		for _, rr := range answer.Answer {
			values = append(values, strings.TrimPrefix(rr.String(), rr.Header().String()))
		}
		slices.Sort(values)
		return strings.Join(append([]string{mdns.RcodeToString[answer.Rcode]}, values...), " ")
	}
	expect := func(want string) {
		t.Helper()
		if got := ask("my-service.my-apps.local.", mdns.TypeA); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	put := func(id, address string, healthy bool) func(tx *store.Tx) error {
		return func(tx *store.Tx) error {
			return records.PutDiscoveryInstance(tx, instance("srv-1", id, healthy, model.AttributeIPv4, address, model.AttributePort, "80"))
		}
	}

	do(func(tx *store.Tx) error {
		records.VPCs.Put(tx, &model.VPC{ID: "vpc-1", DNSHostnames: true})
		records.Namespaces.Put(tx, &model.Namespace{ID: "ns-1", Name: "my-apps.local", Type: model.NamespaceDNSPrivate, VPCID: "vpc-1"})
		records.DiscoveryServices.Put(tx, &model.DiscoveryService{
			ID: "srv-1", NamespaceID: "ns-1", Name: "my-service",
			RoutingPolicy: model.RoutingMultivalue, Records: []model.DNSRecord{{Type: "A", TTL: 10}, {Type: "SRV", TTL: 10}},
		})
		return nil
	})
	expect("SERVFAIL") // the node has nothing in the VPC yet, and no other resolver knows
	do(func(tx *store.Tx) error {
		records.NetworkInterfaces.Put(tx, networkInterface("eni-1", "vpc-1", "n1"))
		return nil
	})
	expect("NXDOMAIN")
	do(put("task-1", "10.0.0.1", false))
	expect("NOERROR 10.0.0.1") // the only one there is
	do(put("task-2", "10.0.0.2", true))
	expect("NOERROR 10.0.0.2")
	do(put("task-1", "10.0.0.1", true))
	expect("NOERROR 10.0.0.1 10.0.0.2")
	if got := ask("my-service.my-apps.local.", mdns.TypeSRV); got != "NOERROR 1 1 80 task-1.my-service.my-apps.local. 1 1 80 task-2.my-service.my-apps.local." {
		t.Errorf("got %q", got)
	}
	if got := ask("task-2.my-service.my-apps.local.", mdns.TypeA); got != "NOERROR 10.0.0.2" {
		t.Errorf("got %q", got)
	}
	for i, want := range []string{"NOERROR 10.0.0.2", "NXDOMAIN"} {
		do(func(tx *store.Tx) error {
			_, err := records.DeleteDiscoveryInstance(tx, "srv-1", []string{"task-1", "task-2"}[i])
			return err
		})
		expect(want)
	}
	do(func(tx *store.Tx) error { records.NetworkInterfaces.Delete(tx, "eni-1"); return nil })
	expect("SERVFAIL")
}
