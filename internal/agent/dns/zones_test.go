package dns_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"berth.dev/berth/internal/agent/dns"
	"berth.dev/berth/internal/model"
)

// documents encodes zones the way a node gets them.
func documents(t *testing.T, zones map[string]model.NodeZone) map[string]json.RawMessage {
	t.Helper()
	docs := make(map[string]json.RawMessage)
	for key, z := range zones {
		raw, err := json.Marshal(z)
		if err != nil {
			t.Fatal(err)
		}
		docs[key] = raw
	}
	return docs
}

// run answers at an endpoint until the test ends.
func run(t *testing.T, e *dns.Endpoint) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	})
}

// inVPC opens an endpoint for a task of the VPC and runs it.
func inVPC(t *testing.T, r *dns.Resolver, id string) string {
	t.Helper()
	e := retry(t, func() (*dns.Endpoint, error) { return r.Open(t.Context(), "", dns.VPC{ID: id, CIDR: vpc.CIDR}) })
	run(t, e)
	return e.Addr()
}

func onHost(t *testing.T, r *dns.Resolver) string {
	t.Helper()
	e := retry(t, func() (*dns.Endpoint, error) { return r.OpenHost(t.Context()) })
	run(t, e)
	return e.Addr()
}

func newResolver(t *testing.T, upstreams ...string) *dns.Resolver {
	t.Helper()
	return dns.New(dns.Config{
		Region: "eu-west-1", Address: "127.0.0.1:0", HostAddress: "127.0.0.1:0",
		ResolvConf: "/nonexistent", Fallback: upstreams,
	})
}

func apply(t *testing.T, r *dns.Resolver, zones map[string]model.NodeZone) {
	t.Helper()
	if err := r.Apply(t.Context(), documents(t, zones)); err != nil {
		t.Fatal(err)
	}
}

func a(name string, values ...string) model.NodeRecord {
	return model.NodeRecord{Name: name, Type: "A", TTL: 15, Values: values}
}

// everything that the tests ask for in one table: who sees what, and what a name has.
var world = map[string]model.NodeZone{
	"ns-1": {Name: "my-apps.local", VPCIDs: []string{"vpc-1"}, SOATTL: 7, Serial: 42, Names: []model.NodeRecord{
		a("my-service", "10.0.0.1"),
		{Name: "my-service", Type: "SRV", TTL: 20, Values: []string{"1 1 8080 i-1.my-service.my-apps.local"}},
		a("i-1.my-service", "10.0.0.1"),
		a("deep.down.here", "10.0.0.2"),
		{Name: "alias", Type: "CNAME", TTL: 30, Policy: model.RoutingWeighted, Values: []string{"my-service.my-apps.local"}},
		{Name: "outside", Type: "CNAME", TTL: 30, Values: []string{"example.com"}},
		{Name: "round", Type: "CNAME", TTL: 30, Values: []string{"round.my-apps.local"}},
		{Name: "lost", Type: "CNAME", TTL: 30, Values: []string{"gone.my-apps.local"}},
	}},
	"ns-2": {Name: "My-Apps.local", VPCIDs: []string{"vpc-2"}, SOATTL: 7, Names: []model.NodeRecord{a("my-service", "10.2.0.1")}},
	"ns-3": {Name: "sub.my-apps.local", VPCIDs: []string{"vpc-1"}, SOATTL: 7, Names: []model.NodeRecord{a("x", "10.0.0.3")}},
	"ns-4": {Name: "example.org", EveryVPC: true, Public: true, Forward: true, SOATTL: 9, Names: []model.NodeRecord{
		a("www", "10.0.0.4"), {Name: "empty"}, a("below.nothing", "10.0.0.5"),
	}},
	"ns-5":    {Name: "example.org", VPCIDs: []string{"vpc-2"}, SOATTL: 9, Names: []model.NodeRecord{a("www", "10.2.0.4")}},
	"lb:vpc":  {Name: "lb-1.eu-west-1.elb.amazonaws.com", VPCIDs: []string{"vpc-1"}, SOATTL: 60, Names: []model.NodeRecord{a("", "10.0.0.9")}},
	"lb:host": {Name: "lb-1.eu-west-1.elb.amazonaws.com", Public: true, SOATTL: 60, Names: []model.NodeRecord{a("", "127.64.1.9")}},
}

func TestZones(t *testing.T) {
	up := startUpstream(t, mdns.RcodeRefused)
	r := newResolver(t, up.addr)
	apply(t, r, world)
	addrs := map[string]string{"vpc-1": inVPC(t, r, "vpc-1"), "vpc-2": inVPC(t, r, "vpc-2"), "vpc-3": inVPC(t, r, "vpc-3"), "host": onHost(t, r)}
	const upstream = "REFUSED" // what the upstream says to everything
	for _, test := range []struct {
		who, name string
		kind      uint16
		want      string
	}{
		{"vpc-1", "my-service.my-apps.local", mdns.TypeA, "NOERROR 10.0.0.1"},
		{"vpc-1", "MY-service.my-APPS.local", mdns.TypeA, "NOERROR 10.0.0.1"},
		{"vpc-1", "my-service.my-apps.local", mdns.TypeSRV, "NOERROR 1 1 8080 i-1.my-service.my-apps.local."},
		{"vpc-1", "i-1.my-service.my-apps.local", mdns.TypeA, "NOERROR 10.0.0.1"},
		{"vpc-1", "my-service.my-apps.local", mdns.TypeAAAA, "NOERROR"},
		{"vpc-1", "nobody.my-apps.local", mdns.TypeA, "NXDOMAIN"},
		{"vpc-1", "my-apps.local", mdns.TypeA, "NOERROR"},
		{"vpc-1", "my-apps.local", mdns.TypeSOA, "NOERROR ns0.my-apps.local. hostmaster.my-apps.local. 42 7200 900 1209600 7"},
		{"vpc-1", "down.here.my-apps.local", mdns.TypeA, "NOERROR"}, // there is a name below it
		{"vpc-1", "alias.my-apps.local", mdns.TypeA, "NOERROR my-service.my-apps.local. 10.0.0.1"},
		{"vpc-1", "alias.my-apps.local", mdns.TypeCNAME, "NOERROR my-service.my-apps.local."},
		{"vpc-1", "alias.my-apps.local", mdns.TypeAAAA, "NOERROR my-service.my-apps.local."},
		{"vpc-1", "lost.my-apps.local", mdns.TypeA, "NXDOMAIN gone.my-apps.local."},
		{"vpc-1", "outside.my-apps.local", mdns.TypeA, "REFUSED example.com."},
		{"vpc-1", "round.my-apps.local", mdns.TypeA, "SERVFAIL"},
		{"vpc-1", "x.sub.my-apps.local", mdns.TypeA, "NOERROR 10.0.0.3"},
		{"vpc-1", "y.sub.my-apps.local", mdns.TypeA, "NXDOMAIN"},
		{"vpc-1", "notmy-apps.local", mdns.TypeA, upstream},
		{"vpc-1", "www.example.org", mdns.TypeA, "NOERROR 10.0.0.4"},
		{"vpc-1", "www.example.org", mdns.TypeAAAA, "NOERROR"},
		{"vpc-1", "empty.example.org", mdns.TypeA, "NXDOMAIN"},
		{"vpc-1", "mail.example.org", mdns.TypeA, upstream},
		{"vpc-1", "example.org", mdns.TypeA, upstream},
		{"vpc-1", "nothing.example.org", mdns.TypeA, upstream},
		{"vpc-1", "lb-1.eu-west-1.elb.amazonaws.com", mdns.TypeA, "NOERROR 10.0.0.9"},
		{"vpc-1", "lb-2.eu-west-1.elb.amazonaws.com", mdns.TypeA, upstream},

		{"vpc-2", "my-service.my-apps.local", mdns.TypeA, "NOERROR 10.2.0.1"},
		{"vpc-2", "x.sub.my-apps.local", mdns.TypeA, "NXDOMAIN"},
		{"vpc-2", "www.example.org", mdns.TypeA, "NOERROR 10.2.0.4"}, // its own hides the public one
		{"vpc-2", "mail.example.org", mdns.TypeA, "NXDOMAIN"},
		{"vpc-2", "lb-1.eu-west-1.elb.amazonaws.com", mdns.TypeA, upstream},

		{"vpc-3", "my-service.my-apps.local", mdns.TypeA, upstream},
		{"vpc-3", "www.example.org", mdns.TypeA, "NOERROR 10.0.0.4"},

		{"host", "my-service.my-apps.local", mdns.TypeA, upstream},
		{"host", "www.example.org", mdns.TypeA, "NOERROR 10.0.0.4"},
		{"host", "lb-1.eu-west-1.elb.amazonaws.com", mdns.TypeA, "NOERROR 127.64.1.9"},
		{"host", "ip-172-31-16-5.eu-west-1.compute.internal", mdns.TypeA, upstream},
	} {
		t.Run(fmt.Sprint(test.who, " ", test.name, " ", mdns.TypeToString[test.kind]), func(t *testing.T) {
			before := up.asked.Load()
			answer := ask(t, "udp", addrs[test.who], test.name, test.kind)
			if got := summary(answer); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			outside := strings.HasPrefix(test.want, upstream)
			if asked := up.asked.Load() != before; asked != outside {
				t.Errorf("asked upstream = %v, want %v", asked, outside)
			}
			if outside || test.want == "SERVFAIL" {
				return
			}
			if !answer.Authoritative || !answer.RecursionAvailable {
				t.Errorf("aa = %v, ra = %v", answer.Authoritative, answer.RecursionAvailable)
			}
			last := len(answer.Answer) - 1
			if last >= 0 && answer.Rcode == mdns.RcodeSuccess && answer.Answer[last].Header().Rrtype == test.kind {
				if len(answer.Ns) != 0 {
					t.Errorf("an answer with authority: %v", answer.Ns)
				}
			} else if len(answer.Ns) != 1 || answer.Ns[0].Header().Rrtype != mdns.TypeSOA {
				t.Errorf("without a SOA nobody can remember that there is nothing: %v", answer.Ns)
			}
		})
	}
}

// TTLs are those of the documents, and owners are written as they were asked for.
func TestTTLsAndOwners(t *testing.T) {
	r := newResolver(t)
	apply(t, r, world)
	addr := inVPC(t, r, "vpc-1")
	for _, test := range []struct {
		name string
		kind uint16
		want []string
	}{
		{"My-Service.my-apps.local", mdns.TypeA, []string{"My-Service.my-apps.local.\t15\tIN\tA\t10.0.0.1"}},
		{"my-service.my-apps.local", mdns.TypeSRV, []string{"my-service.my-apps.local.\t20\tIN\tSRV\t1 1 8080 i-1.my-service.my-apps.local."}},
		{"alias.my-apps.local", mdns.TypeA, []string{"alias.my-apps.local.\t30\tIN\tCNAME\tmy-service.my-apps.local.", "my-service.my-apps.local.\t15\tIN\tA\t10.0.0.1"}},
	} {
		var got []string
		for _, rr := range ask(t, "tcp", addr, test.name, test.kind).Answer {
			got = append(got, rr.String())
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
	nothing := ask(t, "udp", addr, "nobody.my-apps.local", mdns.TypeA).Ns[0].(*mdns.SOA)
	if nothing.Hdr.Ttl != 7 || nothing.Minttl != 7 {
		t.Errorf("absence is remembered for %d or %d seconds, want 7", nothing.Hdr.Ttl, nothing.Minttl)
	}
}

// Routing policies: how many records an answer has, and that every record has its turn at the first place.
func TestPolicies(t *testing.T) {
	var many []string
	for i := range 20 {
		many = append(many, fmt.Sprintf("10.0.1.%d", i+1))
	}
	for _, test := range []struct {
		policy string
		values int
		want   int
	}{
		{model.RoutingMultivalue, 20, 8},
		{model.RoutingMultivalue, 8, 8},
		{model.RoutingMultivalue, 3, 3},
		{model.RoutingWeighted, 20, 1},
		{model.RoutingWeighted, 1, 1},
		{"", 20, 20},
	} {
		t.Run(fmt.Sprint(test.policy, test.values), func(t *testing.T) {
			r := newResolver(t)
			apply(t, r, map[string]model.NodeZone{"z": {
				Name: "zone.local", VPCIDs: []string{"vpc-1"},
				Names: []model.NodeRecord{{Name: "s", Type: "A", TTL: 1, Policy: test.policy, Values: many[:test.values]}},
			}})
			addr := inVPC(t, r, "vpc-1")
			first := make(map[string]bool)
			// Of 20 values one is not first in 2,000 answers once in 10^43 runs.
			for n := 0; n < 2000 && len(first) < test.values; n++ {
				answer := ask(t, "udp", addr, "s.zone.local", mdns.TypeA).Answer
				seen := make(map[string]bool)
				for _, rr := range answer {
					seen[rr.(*mdns.A).A.String()] = true
				}
				if len(answer) != test.want || len(seen) != test.want {
					t.Fatalf("%d records, %d different, want %d", len(answer), len(seen), test.want)
				}
				first[answer[0].(*mdns.A).A.String()] = true
			}
			if len(first) != test.values {
				t.Errorf("only %d of %d were ever first", len(first), test.values)
			}
		})
	}
}

// A change counts for the very next query, for running endpoints and all transports.
func TestApplyTakesEffectAtOnce(t *testing.T) {
	r := newResolver(t, startUpstream(t, mdns.RcodeNameError).addr)
	addr := inVPC(t, r, "vpc-1")
	for i := range 50 {
		want := fmt.Sprintf("10.0.%d.1", i)
		apply(t, r, map[string]model.NodeZone{"z": {Name: "zone.local", VPCIDs: []string{"vpc-1"}, Names: []model.NodeRecord{a("s", want)}}})
		for _, transport := range []string{"udp", "tcp"} {
			if got := summary(ask(t, transport, addr, "s.zone.local", mdns.TypeA)); got != "NOERROR "+want {
				t.Fatalf("by %s: got %q, want %s", transport, got, want)
			}
		}
	}
	apply(t, r, nil)
	if got := summary(ask(t, "udp", addr, "s.zone.local", mdns.TypeA)); got != "NXDOMAIN" {
		t.Errorf("without zones: %q", got)
	}
}

// A VPC without DNS support has no resolver, for any name, until it has it again.
func TestVPCsWithoutAResolver(t *testing.T) {
	r := newResolver(t, startUpstream(t, mdns.RcodeSuccess).addr)
	apply(t, r, world)
	one, two := inVPC(t, r, "vpc-1"), inVPC(t, r, "vpc-2")
	expect := func(addr, name string, kind uint16, want string) {
		t.Helper()
		if got := summary(ask(t, "udp", addr, name, kind)); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	for _, support := range []bool{true, false, true} {
		raw, err := json.Marshal(model.NodeVPC{ID: "vpc-1", CIDR: "172.31.0.0/16", DNSSupport: support})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.ApplyVPCs(t.Context(), map[string]json.RawMessage{"vpc-1": raw}); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{"my-service.my-apps.local": "NOERROR 10.0.0.1", "ip-172-31-16-5.eu-west-1.compute.internal": "NOERROR 172.31.16.5"} {
			if !support {
				want = "REFUSED"
			}
			expect(one, name, mdns.TypeA, want)
		}
		expect(two, "my-service.my-apps.local", mdns.TypeA, "NOERROR 10.2.0.1")
		expect(two, "example.com", mdns.TypeTXT, `NOERROR "udp0"`)
	}
	if err := r.ApplyVPCs(t.Context(), map[string]json.RawMessage{"vpc-1": json.RawMessage(`{`)}); err == nil {
		t.Error("a document that is none is not told of")
	}
}

// What one document has wrong does not take the others with it.
func TestABadDocument(t *testing.T) {
	r := newResolver(t, startUpstream(t, mdns.RcodeRefused).addr)
	addr := inVPC(t, r, "vpc-1")
	docs := documents(t, map[string]model.NodeZone{
		"good":     {Name: "good.local", VPCIDs: []string{"vpc-1"}, Names: []model.NodeRecord{a("s", "10.0.0.1")}},
		"nameless": {VPCIDs: []string{"vpc-1"}},
		"address":  {Name: "address.local", VPCIDs: []string{"vpc-1"}, Names: []model.NodeRecord{a("s", "10.0.0")}},
		"type":     {Name: "type.local", VPCIDs: []string{"vpc-1"}, Names: []model.NodeRecord{{Name: "s", Type: "B", Values: []string{"x"}}}},
	})
	docs["json"] = json.RawMessage(`{`)
	err := r.Apply(t.Context(), docs)
	for _, key := range []string{"nameless", "address", "type", "json"} {
		if err == nil || !strings.Contains(err.Error(), "zone "+key+":") {
			t.Errorf("the error does not name %s: %v", key, err)
		}
	}
	if got := summary(ask(t, "udp", addr, "s.good.local", mdns.TypeA)); got != "NOERROR 10.0.0.1" {
		t.Errorf("got %q", got)
	}
	if got := summary(ask(t, "udp", addr, "s.address.local", mdns.TypeA)); got != "REFUSED" {
		t.Errorf("got %q", got)
	}
}

// EDNS: the size that the client takes is used, an OPT answers an OPT, and what is too long comes by TCP.
func TestEDNS(t *testing.T) {
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("10.0.2.%d", i+1))
	}
	r := newResolver(t)
	apply(t, r, map[string]model.NodeZone{"z": {Name: "zone.local", VPCIDs: []string{"vpc-1"}, Names: []model.NodeRecord{a("s", many...)}}})
	addr := inVPC(t, r, "vpc-1")
	for _, test := range []struct {
		transport string
		size      uint16 // 0: no EDNS
		version   uint8
		rcode     int
		cut       bool
	}{
		{"udp", 0, 0, mdns.RcodeSuccess, true},
		{"udp", 1232, 0, mdns.RcodeSuccess, true},
		{"udp", 4096, 0, mdns.RcodeSuccess, false},
		{"tcp", 0, 0, mdns.RcodeSuccess, false},
		{"udp", 1232, 1, mdns.RcodeBadVers, false},
	} {
		query := new(mdns.Msg).SetQuestion("s.zone.local.", mdns.TypeA)
		if test.size > 0 {
			query.SetEdns0(test.size, false)
			query.IsEdns0().SetVersion(test.version)
		}
		client := mdns.Client{Net: test.transport, Timeout: 30 * time.Second}
		answer, _, err := client.Exchange(query, addr)
		if err != nil {
			t.Fatal(err)
		}
		answer.Compress = true // as it came
		limit := max(int(test.size), mdns.MinMsgSize)
		if answer.Truncated != test.cut || answer.Rcode != test.rcode || test.transport == "udp" && answer.Len() > limit ||
			!test.cut && test.rcode == 0 && len(answer.Answer) != len(many) || (answer.IsEdns0() != nil) != (test.size > 0) {
			t.Errorf("%s with %d: cut = %v, %s, %d records, %d bytes, EDNS %v", test.transport, test.size,
				answer.Truncated, mdns.RcodeToString[answer.Rcode], len(answer.Answer), answer.Len(), answer.IsEdns0())
		}
	}
}

// A host's resolver that sends what it does not know back to us ends soon: every query is answered although each is
// asked of ourselves once more.
func TestALoopEnds(t *testing.T) {
	forwarder := startForwarder(t)
	r := newResolver(t, forwarder.addr)
	addr := onHost(t, r)
	forwarder.to.Store(&addr)
	if got := summary(ask(t, "tcp", addr, "example.com", mdns.TypeA)); got != "SERVFAIL" {
		t.Errorf("got %q", got)
	}
	if n := forwarder.asked.Load(); n < 2 || n > 20 {
		t.Errorf("the question went round %d times", n)
	}
}

// We are never asked what we ask others, even if the host's configuration names us.
func TestOurselvesAreNoUpstream(t *testing.T) {
	up := startUpstream(t, mdns.RcodeSuccess)
	var own string
	e := retry(t, func() (*dns.Endpoint, error) {
		probe := retry(t, func() (*dns.Endpoint, error) { return newResolver(t).OpenHost(t.Context()) })
		own = probe.Addr()
		probe.Close()
		return dns.New(dns.Config{
			Region: "eu-west-1", HostAddress: own, ResolvConf: "/nonexistent",
			Fallback: []string{own, up.addr},
		}).OpenHost(t.Context())
	})
	run(t, e)
	if got := summary(ask(t, "udp", own, "example.com", mdns.TypeTXT)); got != `NOERROR "udp0"` {
		t.Errorf("got %q", got)
	}
	if n := up.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}
