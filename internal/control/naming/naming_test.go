package naming_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/control/naming"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// openStore returns a store that runs until stop is called.
func openStore(t interface {
	Fatal(...any)
	Error(...any)
},
) (s *store.Store, stop func()) {
	s, err := store.Open(memkv.New(0), "/berth/", store.Options{}, records.All()...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return s, func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

func update(t interface{ Fatal(...any) }, s *store.Store, fn func(tx *store.Tx) error) {
	if _, err := s.Update(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

func vpcRecord(id string) *model.VPC { return &model.VPC{ID: id, DNSHostnames: true} }

func networkInterface(id, vpc, node string) *model.NetworkInterface {
	return &model.NetworkInterface{ID: id, VPCID: vpc, InstanceID: node, Address: "10.0.0.1"}
}

func instance(service, id string, healthy bool, attributes ...string) *model.DiscoveryInstance {
	out := &model.DiscoveryInstance{ServiceID: service, InstanceID: id, Healthy: healthy, Attributes: map[string]string{}}
	for i := 0; i < len(attributes); i += 2 {
		out.Attributes[attributes[i]] = attributes[i+1]
	}
	return out
}

// zoneOf returns what a node has under the key, as it is sent.
func zoneOf(t *testing.T, r store.Reader, node, key string) (zone model.NodeZone, ok bool) {
	t.Helper()
	document, ok := naming.New().Document(r, node, key)
	if ok {
		zone = document.(model.NodeZone)
	}
	if listed := slices.Contains(naming.New().Keys(r, node), key); listed != ok {
		t.Errorf("%s is listed for %s = %v, has a document = %v", key, node, listed, ok)
	}
	return zone, ok
}

// show writes records one a line, for comparison with what a test expects.
func show(names []model.NodeRecord) string {
	var b strings.Builder
	for _, n := range names {
		fmt.Fprintf(&b, "%s %s %d %s %s\n", n.Name, n.Type, n.TTL, n.Policy, strings.Join(n.Values, ", "))
	}
	return b.String()
}

func TestRecordsOfAService(t *testing.T) {
	const ip, port, cname = model.AttributeIPv4, model.AttributePort, model.AttributeCNAME
	a := []model.DNSRecord{{Type: "A", TTL: 15}}
	for name, test := range map[string]struct {
		service   string
		policy    string
		records   []model.DNSRecord
		instances []*model.DiscoveryInstance
		want      string
	}{
		"A": {
			"web", "MULTIVALUE", a,
			[]*model.DiscoveryInstance{instance("srv-1", "i1", true, ip, "10.0.0.1"), instance("srv-1", "i2", true, ip, "10.0.0.2")},
			"web A 15 MULTIVALUE 10.0.0.1, 10.0.0.2\n",
		},
		"only the healthy ones": {
			"web", "MULTIVALUE", a,
			[]*model.DiscoveryInstance{instance("srv-1", "i1", true, ip, "10.0.0.1"), instance("srv-1", "i2", false, ip, "10.0.0.2")},
			"web A 15 MULTIVALUE 10.0.0.1\n",
		},
		"none is healthy, so all are": {
			"web", "WEIGHTED", a,
			[]*model.DiscoveryInstance{instance("srv-1", "i1", false, ip, "10.0.0.1"), instance("srv-1", "i2", false, ip, "10.0.0.2")},
			"web A 15 WEIGHTED 10.0.0.1, 10.0.0.2\n",
		},
		"one address once": {
			"web", "MULTIVALUE", a,
			[]*model.DiscoveryInstance{instance("srv-1", "i1", true, ip, "10.0.0.1"), instance("srv-1", "i2", true, ip, "10.0.0.1")},
			"web A 15 MULTIVALUE 10.0.0.1\n",
		},
		"SRV": {
			"web", "MULTIVALUE",
			[]model.DNSRecord{{Type: "SRV", TTL: 60}},
			[]*model.DiscoveryInstance{
				instance("srv-1", "i1", true, ip, "10.0.0.1", port, "8080"), instance("srv-1", "i2", false, ip, "10.0.0.2", port, "8081"),
			},
			"web SRV 60 MULTIVALUE 1 1 8080 i1.web.apps.local\ni1.web A 60  10.0.0.1\ni2.web A 60  10.0.0.2\n",
		},
		"SRV and A": {
			"web", "MULTIVALUE",
			[]model.DNSRecord{{Type: "A", TTL: 15}, {Type: "SRV", TTL: 60}},
			[]*model.DiscoveryInstance{instance("srv-1", "i1", true, ip, "10.0.0.1", port, "80")},
			"web A 15 MULTIVALUE 10.0.0.1\nweb SRV 60 MULTIVALUE 1 1 80 i1.web.apps.local\ni1.web A 60  10.0.0.1\n",
		},
		"AAAA": {
			"web", "MULTIVALUE",
			[]model.DNSRecord{{Type: "AAAA", TTL: 15}},
			[]*model.DiscoveryInstance{instance("srv-1", "i1", true, model.AttributeIPv6, "fd00::1")},
			"web AAAA 15 MULTIVALUE fd00::1\n",
		},
		"CNAME": {
			"web", "WEIGHTED",
			[]model.DNSRecord{{Type: "CNAME", TTL: 15}},
			[]*model.DiscoveryInstance{instance("srv-1", "i1", true, cname, "example.com.")},
			"web CNAME 15 WEIGHTED example.com\n",
		},
		"the namespace itself": {
			".", "MULTIVALUE",
			[]model.DNSRecord{{Type: "SRV", TTL: 1}},
			[]*model.DiscoveryInstance{instance("srv-1", "i1", true, ip, "10.0.0.1", port, "80")},
			" SRV 1 MULTIVALUE 1 1 80 i1.apps.local\ni1 A 1  10.0.0.1\n",
		},
		"what cannot be a record": {
			"web", "MULTIVALUE",
			[]model.DNSRecord{{Type: "A", TTL: 15}, {Type: "SRV", TTL: 15}, {Type: "AAAA", TTL: 15}, {Type: "CNAME", TTL: 15}},
			[]*model.DiscoveryInstance{
				instance("srv-1", "i1", true), instance("srv-1", "i2", true, ip, "10.0.0.256", port, "70000", cname, "a b", model.AttributeIPv6, "::ffff:10.0.0.1"), instance("srv-1", "i/3", true, port, "1"),
			},
			"",
		},
		"no instances":   {"web", "MULTIVALUE", a, nil, ""},
		"no DNS records": {"web", "", nil, []*model.DiscoveryInstance{instance("srv-1", "i1", true, ip, "10.0.0.1")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, stop := openStore(t)
			defer stop()
			update(t, s, func(tx *store.Tx) error {
				records.VPCs.Put(tx, vpcRecord("vpc-1"))
				records.NetworkInterfaces.Put(tx, networkInterface("eni-1", "vpc-1", "n1"))
				records.Namespaces.Put(tx, &model.Namespace{ID: "ns-1", Name: "apps.local", Type: model.NamespaceDNSPrivate, VPCID: "vpc-1", SOATTL: 15})
				records.DiscoveryServices.Put(tx, &model.DiscoveryService{ID: "srv-1", Name: test.service, NamespaceID: "ns-1", RoutingPolicy: test.policy, Records: test.records})
				for _, i := range test.instances {
					if err := records.PutDiscoveryInstance(tx, i); err != nil {
						return err
					}
				}
				return nil
			})
			zone, _ := zoneOf(t, s.Snapshot(), "n1", "ns-1")
			if got := show(zone.Names); got != test.want {
				t.Errorf("got\n%swant\n%s", got, test.want)
			}
			if !slices.Equal(zone.VPCIDs, []string{"vpc-1"}) || zone.Public || zone.EveryVPC || zone.Forward || zone.Name != "apps.local" || zone.SOATTL != 15 {
				t.Errorf("not a private zone: %+v", zone)
			}
		})
	}
}

// Who has which zone, and what of it.
func TestWhereZonesAre(t *testing.T) {
	s, stop := openStore(t)
	defer stop()
	update(t, s, func(tx *store.Tx) error {
		records.VPCs.Put(tx, vpcRecord("vpc-1"))
		records.VPCs.Put(tx, &model.VPC{ID: "vpc-2"})                                         // without host names
		records.VPCs.Put(tx, &model.VPC{ID: "vpc-3", DNSHostnames: true, NoDNSSupport: true}) // without a resolver
		records.NetworkInterfaces.Put(tx, networkInterface("eni-1", "vpc-1", "n1"))
		records.NetworkInterfaces.Put(tx, networkInterface("eni-2", "vpc-2", "n2"))
		records.NetworkInterfaces.Put(tx, networkInterface("eni-4", "vpc-3", "n3"))
		for _, vpc := range []string{"vpc-2", "vpc-3"} {
			records.Namespaces.Put(tx, &model.Namespace{ID: "ns-" + vpc, Name: "private.local", Type: model.NamespaceDNSPrivate, VPCID: vpc})
			records.LoadBalancers.Put(tx, &model.LoadBalancer{ID: "app/" + vpc, DNSName: "x.elb", VPCID: vpc, Zones: []model.BalancerZone{{Address: "10.0.0.20"}, {Address: "10.0.1.20"}}})
		}
		records.NetworkInterfaces.Put(tx, networkInterface("eni-3", "vpc-1", "")) // nobody has it
		records.Namespaces.Put(tx, &model.Namespace{ID: "ns-private", Name: "private.local", Type: model.NamespaceDNSPrivate, VPCID: "vpc-1"})
		records.Namespaces.Put(tx, &model.Namespace{ID: "ns-public", Name: "public.example", Type: model.NamespaceDNSPublic})
		records.Namespaces.Put(tx, &model.Namespace{ID: "ns-http", Name: "http", Type: model.NamespaceHTTP})
		records.DiscoveryServices.Put(tx, &model.DiscoveryService{ID: "srv-1", Name: "empty", NamespaceID: "ns-public", Records: []model.DNSRecord{{Type: "A", TTL: 1}}})
		records.DiscoveryServices.Put(tx, &model.DiscoveryService{ID: "srv-2", Name: "http", NamespaceID: "ns-public", Type: "HTTP"})
		for _, lb := range []model.LoadBalancer{
			{ID: "app/laptop/1", DNSName: "laptop.elb", PublicAddress: "127.64.1.2"},
			{ID: "app/fleet/2", DNSName: "fleet.elb", PublicAddress: "192.0.2.7"},
			{ID: "app/internal/3", DNSName: "internal.elb"},
		} {
			lb.VPCID, lb.InstanceID, lb.Name = "vpc-1", "n1", "ecs-express-gateway-alb-"+lb.DNSName
			gateway := &model.ExpressGateway{ID: lb.DNSName, VPCID: "vpc-1"}
			records.ExpressGateways.Put(tx, gateway)
			records.ExpressServices.Put(tx, &model.ExpressService{ServiceID: "of-" + lb.DNSName, Endpoint: lb.DNSName + ".on.aws", GatewayID: gateway.ID})
			lb.Zones = []model.BalancerZone{{Address: "10.0.0.20"}, {Address: "10.0.1.20"}}
			records.LoadBalancers.Put(tx, &lb)
		}
		return nil
	})
	const inside = " A 60  10.0.0.20, 10.0.1.20\n"
	for _, test := range []struct {
		node, key string
		want      *model.NodeZone // without names and serial
		names     string
	}{
		{"n1", "ns-private", &model.NodeZone{Name: "private.local", VPCIDs: []string{"vpc-1"}}, ""},
		{"n2", "ns-private", nil, ""},
		{"n1", "ns-public", &model.NodeZone{Name: "public.example", EveryVPC: true, Public: true, Forward: true}, "empty  0  \n"},
		{"n2", "ns-public", &model.NodeZone{Name: "public.example", EveryVPC: true, Public: true, Forward: true}, "empty  0  \n"},
		{"n1", "ns-http", nil, ""},
		{"n1", "inside:app/laptop/1", &model.NodeZone{Name: "laptop.elb", VPCIDs: []string{"vpc-1"}, SOATTL: 60}, inside},
		{"n2", "inside:app/laptop/1", nil, ""},
		{"n1", "outside:app/laptop/1", &model.NodeZone{Name: "laptop.elb", Public: true, SOATTL: 60}, " A 60  127.64.1.2\n"},
		{"n2", "outside:app/laptop/1", nil, ""},
		{"n2", "outside:app/fleet/2", &model.NodeZone{Name: "fleet.elb", EveryVPC: true, Public: true, SOATTL: 60}, " A 60  192.0.2.7\n"},
		{"n1", "inside:app/internal/3", &model.NodeZone{Name: "internal.elb", VPCIDs: []string{"vpc-1"}, SOATTL: 60}, inside},
		{"n1", "outside:app/internal/3", nil, ""},
		{"n1", "express-inside:of-laptop.elb", &model.NodeZone{Name: "laptop.elb.on.aws", VPCIDs: []string{"vpc-1"}, SOATTL: 60}, inside},
		{"n2", "express-inside:of-laptop.elb", nil, ""},
		{"n1", "express-outside:of-laptop.elb", &model.NodeZone{Name: "laptop.elb.on.aws", Public: true, SOATTL: 60}, " A 60  127.64.1.2\n"},
		{"n2", "express-outside:of-laptop.elb", nil, ""},
		{"n2", "express-outside:of-fleet.elb", &model.NodeZone{Name: "fleet.elb.on.aws", EveryVPC: true, Public: true, SOATTL: 60}, " A 60  192.0.2.7\n"},
		{"n1", "express-outside:of-internal.elb", nil, ""},
		{"n1", "express-outside:nobody", nil, ""},
		{"n1", "ns-unknown", nil, ""},
		{"n2", "ns-vpc-2", nil, ""},
		{"n2", "inside:app/vpc-2", &model.NodeZone{Name: "x.elb", VPCIDs: []string{"vpc-2"}, SOATTL: 60}, inside},
		{"n3", "ns-vpc-3", nil, ""},
		{"n3", "inside:app/vpc-3", nil, ""},
	} {
		got, ok := zoneOf(t, s.Snapshot(), test.node, test.key)
		if ok != (test.want != nil) {
			t.Errorf("%s has %s = %v", test.node, test.key, ok)
		}
		if !ok || test.want == nil {
			continue
		}
		if names := show(got.Names); names != test.names {
			t.Errorf("%s: got %q, want %q", test.key, names, test.names)
		}
		if got.Serial == 0 {
			t.Errorf("%s has no serial", test.key)
		}
		if got.Names, got.Serial = nil, 0; !reflect.DeepEqual(got, *test.want) {
			t.Errorf("%s: got %+v, want %+v", test.key, got, *test.want)
		}
	}
}

// TestAffected is the promise that the dispatcher relies on: a node that takes
// only the documents that are named has what a fresh one would have.
func TestAffected(t *testing.T) {
	source := naming.New()
	nodes := []string{"n1", "n2", "n3"}
	vpcs := []string{"vpc-1", "vpc-2"}
	rapid.Check(t, func(t *rapid.T) {
		s, stop := openStore(t)
		defer stop()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		update(t, s, func(tx *store.Tx) error {
			for _, n := range nodes {
				records.Instances.Put(tx, &model.Instance{ID: n})
			}
			for _, v := range vpcs {
				records.VPCs.Put(tx, vpcRecord(v))
			}
			return nil
		})
		watcher := s.Watch(ctx, source.Tables()...)
		before := watcher.Snapshot()
		have := map[string]map[string]string{}
		for _, n := range nodes {
			have[n] = map[string]string{}
		}
		for range rapid.IntRange(1, 12).Draw(t, "rounds") {
			for range rapid.IntRange(1, 4).Draw(t, "transactions") { // which the dispatcher sees as one
				update(t, s, func(tx *store.Tx) error {
					for range rapid.IntRange(1, 3).Draw(t, "changes") {
						change(t, tx, nodes, vpcs)
					}
					return nil
				})
			}
			after, changes := watcher.Take()
			for _, c := range changes {
				for node, keys := range source.Affected(before, after, c) {
					for _, key := range keys {
						if document, ok := source.Document(after, node, key); ok {
							have[node][key] = encode(t, document)
						} else {
							delete(have[node], key)
						}
					}
				}
			}
			for _, n := range nodes {
				want := map[string]string{}
				for _, key := range source.Keys(after, n) {
					document, ok := source.Document(after, n, key)
					if !ok {
						t.Fatalf("%s is listed for %s and has no document", key, n)
					}
					want[key] = encode(t, document)
				}
				if !reflect.DeepEqual(have[n], want) {
					t.Fatalf("%s has\n%v\nwant\n%v", n, have[n], want)
				}
			}
			before = after
		}
	})
}

func encode(t *rapid.T, document any) string {
	data, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// change does one of the things that happen.
func change(t *rapid.T, tx *store.Tx, nodes, vpcs []string) {
	pick := func(label string, of ...string) string { return rapid.SampledFrom(of).Draw(t, label) }
	namespace := pick("namespace", "ns-1", "ns-2", "ns-3")
	service := pick("service", "srv-1", "srv-2")
	switch what := pick("what", "interface", "namespace", "service", "instance", "balancer", "vpc", "express service", "gateway"); what {
	case "vpc":
		id := pick("vpc", vpcs...)
		if rapid.Bool().Draw(t, "delete") {
			records.VPCs.Delete(tx, id)
			return
		}
		vpc := vpcRecord(id)
		vpc.DNSHostnames, vpc.NoDNSSupport = rapid.Bool().Draw(t, "hostnames"), rapid.Bool().Draw(t, "no resolver")
		records.VPCs.Put(tx, vpc)
	case "interface":
		id := pick("interface", "eni-1", "eni-2", "eni-3")
		if rapid.Bool().Draw(t, "delete") {
			records.NetworkInterfaces.Delete(tx, id)
			return
		}
		records.NetworkInterfaces.Put(tx, networkInterface(id, pick("vpc", vpcs...), pick("node", append(nodes, "")...)))
	case "namespace":
		if rapid.Bool().Draw(t, "delete") {
			records.Namespaces.Delete(tx, namespace)
			return
		}
		records.Namespaces.Put(tx, &model.Namespace{
			ID: namespace, Name: pick("name", "a.local", "b.local"), VPCID: pick("vpc", vpcs...),
			Type: pick("type", model.NamespaceDNSPrivate, model.NamespaceDNSPublic, model.NamespaceHTTP),
		})
	case "service":
		if rapid.Bool().Draw(t, "delete") {
			records.DiscoveryServices.Delete(tx, service)
			return
		}
		records.DiscoveryServices.Put(tx, &model.DiscoveryService{
			ID: service, Name: "s", NamespaceID: namespace,
			Records: []model.DNSRecord{{Type: pick("record", "A", "SRV"), TTL: 15}},
		})
	case "instance":
		id := pick("instance", "i/1", "i2", "i3")
		if rapid.Bool().Draw(t, "delete") {
			if _, err := records.DeleteDiscoveryInstance(tx, service, id); err != nil && !errors.Is(err, store.ErrNotFound) {
				t.Fatal(err)
			}
			return
		}
		err := records.PutDiscoveryInstance(tx, instance(service, id, rapid.Bool().Draw(t, "healthy"), model.AttributePort, "80",
			model.AttributeIPv4, pick("address", "10.0.0.1", "10.0.0.2")))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
	case "balancer":
		id := pick("balancer", "app/x/1", "net/y/2")
		if rapid.Bool().Draw(t, "delete") {
			records.LoadBalancers.Delete(tx, id)
			return
		}
		records.LoadBalancers.Put(tx, &model.LoadBalancer{
			ID: id, Name: map[string]string{"app/x/1": "ecs-express-gateway-alb-g1"}[id], DNSName: "x.elb", VPCID: pick("vpc", vpcs...),
			InstanceID: pick("node", nodes...), PublicAddress: pick("address", "", "127.64.0.9", "192.0.2.1"),
			Zones: []model.BalancerZone{{Address: "10.0.0.20"}},
		})
	case "express service":
		id := pick("express service", "e1", "e2")
		if rapid.Bool().Draw(t, "delete") {
			records.ExpressServices.Delete(tx, id)
			return
		}
		records.ExpressServices.Put(tx, &model.ExpressService{ServiceID: id, Endpoint: id + ".on.aws", GatewayID: pick("gateway", "", "g1")})
	case "gateway":
		if rapid.Bool().Draw(t, "delete") {
			records.ExpressGateways.Delete(tx, "g1")
			return
		}
		records.ExpressGateways.Put(tx, &model.ExpressGateway{ID: "g1", VPCID: pick("vpc", vpcs...)})
	}
}
