package netstate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"berth.dev/berth/internal/control/netstate"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// source is what the dispatcher knows of a source.
type source interface {
	Kind() string
	Tables() []store.AnyTable
	Keys(r store.Reader, instanceID string) []string
	Affected(before, after store.Reader, change store.Change) map[string][]string
	Document(r store.Reader, instanceID, key string) (any, bool)
}

func sources() []source {
	vpcs, interfaces, groups := netstate.Sources()
	return []source{vpcs, interfaces, groups}
}

func open(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(memkv.New(0), "/berth/", store.Options{CheckMutation: true}, records.All()...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return s
}

func update(t rapid.TB, s *store.Store, fn func(tx *store.Tx)) {
	t.Helper()
	if _, err := s.Update(context.Background(), func(tx *store.Tx) error {
		fn(tx)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// documents are all documents of all nodes, by "node kind key".
type documents map[string]string

func (d documents) set(t rapid.TB, src source, r store.Reader, node, key string) {
	name := node + " " + src.Kind() + " " + key
	document, found := src.Document(r, node, key)
	if !found {
		delete(d, name)
		return
	}
	body, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	d[name] = string(body)
}

func derive(t rapid.TB, r store.Reader, nodes []string) documents {
	all := documents{}
	for _, src := range sources() {
		for _, node := range nodes {
			for _, key := range src.Keys(r, node) {
				before := len(all)
				if all.set(t, src, r, node, key); len(all) == before {
					t.Fatalf("%s has the key %s of kind %s, but not the document", node, key, src.Kind())
				}
			}
		}
	}
	return all
}

// After any history, what nodes were told change by change is what they would
// be told anew.
func TestAffected_ForgetsNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := open(t)
		watch := s.Watch(t.Context())
		before := watch.Snapshot()
		told := derive(rt, before, nodeNames)
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			// Several transactions between two looks are one step to a watcher.
			for range rapid.IntRange(1, 4).Draw(rt, "transactions") {
				update(rt, s, func(tx *store.Tx) { world{rt}.change(tx) })
			}
			after, changes := watch.Take()
			for _, change := range changes {
				for _, src := range sources() {
					if !slices.ContainsFunc(src.Tables(), func(table store.AnyTable) bool { return table.Name() == change.Table }) {
						continue
					}
					for node, keys := range src.Affected(before, after, change) {
						for _, key := range keys {
							told.set(rt, src, after, node, key)
						}
					}
				}
			}
			before = after
			if diff := cmp.Diff(derive(rt, after, nodeNames), told); diff != "" {
				rt.Fatalf("after %v (-derived +told):\n%s", changes, diff)
			}
		}
	})
}

var nodeNames = []string{"n1", "n2", "n3"}

// world changes small VPCs at random, also in ways that no API would: what a
// node is told follows from whatever is there.
type world struct{ t *rapid.T }

func (w world) pick(what string, n int) string {
	return fmt.Sprintf("%s-%d", what, rapid.IntRange(1, n).Draw(w.t, what))
}

func (w world) maybe(what string, n int) string {
	if i := rapid.IntRange(0, n).Draw(w.t, what); i > 0 {
		return fmt.Sprintf("%s-%d", what, i)
	}
	return ""
}

func (w world) vpc() string { return w.pick("vpc", 2) }

func (w world) change(tx *store.Tx) {
	gone := rapid.IntRange(0, 3).Draw(w.t, "gone") == 0
	switch rapid.SampledFrom([]string{"eni", "eni", "eni", "group", "group", "vpc", "subnet", "table", "igw", "nat"}).Draw(w.t, "what") {
	case "eni":
		n := w.networkInterface()
		putOrDelete(tx, records.NetworkInterfaces, n.ID, n, gone)
	case "group":
		g := &model.SecurityGroup{ID: w.pick("sg", 4), VPCID: w.vpc(), Ingress: w.rules(), Egress: w.rules()}
		putOrDelete(tx, records.SecurityGroups, g.ID, g, gone)
	case "vpc":
		v := &model.VPC{ID: w.vpc(), CIDR: "10.0.0.0/16", NoDNSSupport: rapid.Bool().Draw(w.t, "dns")}
		putOrDelete(tx, records.VPCs, v.ID, v, gone)
	case "subnet":
		s := &model.Subnet{ID: w.pick("subnet", 3), VPCID: w.vpc(), CIDR: "10.0.1.0/24", MapPublicIP: rapid.Bool().Draw(w.t, "map")}
		putOrDelete(tx, records.Subnets, s.ID, s, gone)
	case "table":
		table := w.routeTable()
		putOrDelete(tx, records.RouteTables, table.ID, table, gone)
	case "igw":
		g := &model.InternetGateway{ID: w.pick("igw", 2), VPCID: w.maybe("vpc", 2)}
		putOrDelete(tx, records.InternetGateways, g.ID, g, gone)
	case "nat":
		g := &model.NATGateway{
			ID: w.pick("nat", 2), VPCID: w.vpc(), SubnetID: w.pick("subnet", 3), Public: w.maybe("public", 1),
			State: rapid.SampledFrom([]string{model.NATAvailable, model.NATDeleted}).Draw(w.t, "state"),
		}
		putOrDelete(tx, records.NATGateways, g.ID, g, gone)
	}
}

func putOrDelete[R any](tx *store.Tx, table *store.Table[R], key string, rec *R, gone bool) {
	if gone {
		table.Delete(tx, key)
		return
	}
	table.Put(tx, rec)
}

func (w world) networkInterface() *model.NetworkInterface {
	n := &model.NetworkInterface{
		ID: w.pick("eni", 5), VPCID: w.vpc(), SubnetID: w.pick("subnet", 3), Address: w.pick("address", 5),
		PublicAddress: w.maybe("public", 1), Description: w.maybe("text", 2),
		GroupIDs: rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"sg-1", "sg-2", "sg-3", "sg-4"}), 0, 3, rapid.ID[string]).Draw(w.t, "groups"),
	}
	if node := rapid.IntRange(0, len(nodeNames)).Draw(w.t, "node"); node > 0 {
		n.InstanceID = nodeNames[node-1]
	}
	return n
}

func (w world) rules() []model.SecurityGroupRule {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) model.SecurityGroupRule {
		r := model.SecurityGroupRule{Protocol: "tcp", FromPort: new(int32(rapid.IntRange(1, 2).Draw(t, "port"))), Description: world{t}.maybe("text", 2)}
		switch rapid.IntRange(0, 3).Draw(t, "peer") {
		case 0:
			r.CIDR = "10.0.0.0/8"
		case 1:
			r.CIDRIPv6 = "::/0"
		default:
			r.GroupID = world{t}.pick("sg", 4)
		}
		return r
	}), 0, 2).Draw(w.t, "rules")
}

func (w world) routeTable() *model.RouteTable {
	t := &model.RouteTable{ID: w.pick("rtb", 3), VPCID: w.vpc()}
	for range rapid.IntRange(0, 2).Draw(w.t, "routes") {
		r := model.Route{DestinationCIDR: rapid.SampledFrom([]string{"0.0.0.0/0", "192.168.0.0/16", "192.168.7.0/24"}).Draw(w.t, "to")}
		if rapid.Bool().Draw(w.t, "by NAT") {
			r.NATGatewayID = w.pick("nat", 2)
		} else {
			r.GatewayID = w.pick("igw", 2)
		}
		t.Routes = append(t.Routes, r)
	}
	for range rapid.IntRange(0, 2).Draw(w.t, "associations") {
		subnet := w.maybe("subnet", 3)
		t.Associations = append(t.Associations, model.RouteTableAssociation{SubnetID: subnet, Main: subnet == ""})
	}
	return t
}

// What a subnet's routes mean for an interface.
func TestInternet(t *testing.T) {
	const all = "0.0.0.0/0"
	for _, tc := range []struct {
		name     string
		public   bool
		attached bool // the internet gateway
		main     []model.Route
		own      []model.Route // of the subnet's own table; nil: it has none
		nat      string        // state of the NAT gateway, which is in another subnet with the main table
		want     []string
	}{
		{name: "no route", public: true, attached: true},
		{name: "public subnet, public address", public: true, attached: true, main: []model.Route{{DestinationCIDR: all, GatewayID: "igw"}}, want: []string{all}},
		{name: "public subnet, no public address", attached: true, main: []model.Route{{DestinationCIDR: all, GatewayID: "igw"}}},
		{name: "detached gateway", public: true, main: []model.Route{{DestinationCIDR: all, GatewayID: "igw"}}},
		{name: "own table hides the main one", public: true, attached: true, main: []model.Route{{DestinationCIDR: all, GatewayID: "igw"}}, own: []model.Route{}},
		{
			name: "NAT gateway", attached: true, nat: model.NATAvailable, want: []string{all},
			main: []model.Route{{DestinationCIDR: all, GatewayID: "igw"}}, own: []model.Route{{DestinationCIDR: all, NATGatewayID: "nat"}},
		},
		{
			name: "deleted NAT gateway", attached: true, nat: model.NATDeleted,
			main: []model.Route{{DestinationCIDR: all, GatewayID: "igw"}}, own: []model.Route{{DestinationCIDR: all, NATGatewayID: "nat"}},
		},
		{
			name: "NAT gateway without a way out", attached: true, nat: model.NATAvailable,
			own: []model.Route{{DestinationCIDR: all, NATGatewayID: "nat"}},
		},
		{
			name: "some of the internet", public: true, attached: true, want: []string{"192.0.2.0/24", "198.51.100.0/24"},
			own: []model.Route{{DestinationCIDR: "198.51.100.0/24", GatewayID: "igw"}, {DestinationCIDR: "192.0.2.0/24", GatewayID: "igw"}, {DestinationCIDR: "203.0.113.0/24", ENIID: "eni-2"}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := open(t)
			update(t, s, func(tx *store.Tx) {
				n := &model.NetworkInterface{ID: "eni", VPCID: "vpc", SubnetID: "subnet", Address: "10.0.0.4", InstanceID: "n1"}
				if tc.public {
					n.PublicAddress = "127.64.0.1"
				}
				records.NetworkInterfaces.Put(tx, n)
				records.Subnets.Put(tx, &model.Subnet{ID: "subnet", VPCID: "vpc", CIDR: "10.0.0.0/24"})
				records.Subnets.Put(tx, &model.Subnet{ID: "nat-subnet", VPCID: "vpc", CIDR: "10.0.1.0/24"})
				gateway := &model.InternetGateway{ID: "igw"}
				if tc.attached {
					gateway.VPCID = "vpc"
				}
				records.InternetGateways.Put(tx, gateway)
				records.RouteTables.Put(tx, &model.RouteTable{ID: "main", VPCID: "vpc", Routes: tc.main, Associations: []model.RouteTableAssociation{{ID: "m", Main: true}}})
				if tc.own != nil {
					records.RouteTables.Put(tx, &model.RouteTable{ID: "own", VPCID: "vpc", Routes: tc.own, Associations: []model.RouteTableAssociation{{ID: "o", SubnetID: "subnet"}}})
				}
				if tc.nat != "" {
					records.NATGateways.Put(tx, &model.NATGateway{ID: "nat", VPCID: "vpc", SubnetID: "nat-subnet", State: tc.nat, Public: "127.64.0.2"})
				}
			})
			document, found := netstate.Interfaces{}.Document(s.Snapshot(), "n1", "eni")
			if !found {
				t.Fatal("no document")
			}
			got := document.(model.NodeInterface)
			if !slices.Equal(got.Egress, tc.want) || got.Internet != (len(tc.want) > 0) {
				t.Errorf("internet %v, egress %v; want %v", got.Internet, got.Egress, tc.want)
			}
		})
	}
}

// Whom a change concerns, with some nodes full of tasks.
func TestAffected_NamesFew(t *testing.T) {
	s := open(t)
	eni := func(id, node, group string) *model.NetworkInterface {
		return &model.NetworkInterface{ID: id, VPCID: "vpc", SubnetID: "subnet", Address: "10.0.0." + id, InstanceID: node, GroupIDs: []string{group}}
	}
	update(t, s, func(tx *store.Tx) {
		records.VPCs.Put(tx, &model.VPC{ID: "vpc", CIDR: "10.0.0.0/16"})
		records.Subnets.Put(tx, &model.Subnet{ID: "subnet", VPCID: "vpc", CIDR: "10.0.0.0/24"})
		records.SecurityGroups.Put(tx, &model.SecurityGroup{ID: "open", VPCID: "vpc", Ingress: []model.SecurityGroupRule{{Protocol: "-1", CIDR: "0.0.0.0/0"}}})
		records.SecurityGroups.Put(tx, &model.SecurityGroup{ID: "db", VPCID: "vpc", Ingress: []model.SecurityGroupRule{{Protocol: "-1", GroupID: "web"}}})
		records.SecurityGroups.Put(tx, &model.SecurityGroup{ID: "web", VPCID: "vpc"})
		for i := range 20 {
			records.NetworkInterfaces.Put(tx, eni(fmt.Sprint(i), fmt.Sprintf("n%d", i), "open"))
		}
		records.NetworkInterfaces.Put(tx, eni("30", "n1", "db"))
		records.NetworkInterfaces.Put(tx, eni("31", "n2", "db"))
	})
	for _, tc := range []struct {
		name   string
		change func(*store.Tx)
		want   []string
	}{
		{"a task in an open group", func(tx *store.Tx) { records.NetworkInterfaces.Put(tx, eni("40", "n3", "open")) }, []string{"n3 interface 40"}},
		{
			"a node's first task", func(tx *store.Tx) { records.NetworkInterfaces.Put(tx, eni("41", "new", "open")) },
			[]string{"new interface 41", "new securitygroup open", "new vpc vpc"},
		},
		{
			"a task in a group that others refer to", func(tx *store.Tx) { records.NetworkInterfaces.Put(tx, eni("42", "n4", "web")) },
			[]string{"n1 securitygroup web", "n2 securitygroup web", "n4 interface 42", "n4 securitygroup web"},
		},
		{
			"and another there", func(tx *store.Tx) { records.NetworkInterfaces.Put(tx, eni("43", "n4", "web")) },
			[]string{"n1 securitygroup web", "n2 securitygroup web", "n4 interface 43"},
		},
		{"a description", func(tx *store.Tx) {
			n := eni("43", "n4", "web")
			n.Description = "x"
			records.NetworkInterfaces.Put(tx, n)
		}, nil},
		{"a rule of a group of two nodes", func(tx *store.Tx) {
			records.SecurityGroups.Put(tx, &model.SecurityGroup{ID: "db", VPCID: "vpc", Ingress: []model.SecurityGroupRule{{Protocol: "tcp", GroupID: "web"}}})
		}, []string{"n1 securitygroup db", "n1 securitygroup web", "n2 securitygroup db", "n2 securitygroup web"}},
		{"an IPv6 rule", func(tx *store.Tx) {
			records.SecurityGroups.Put(tx, &model.SecurityGroup{ID: "web", VPCID: "vpc", Ingress: []model.SecurityGroupRule{{Protocol: "tcp", CIDRIPv6: "::/0"}}})
		}, nil},
		{"a route that leads nowhere", func(tx *store.Tx) {
			records.RouteTables.Put(tx, &model.RouteTable{
				ID: "rtb", VPCID: "vpc", Routes: []model.Route{{DestinationCIDR: "0.0.0.0/0", GatewayID: "igw"}},
				Associations: []model.RouteTableAssociation{{Main: true}},
			})
		}, nil},
		{"the VPC's name", func(tx *store.Tx) {
			records.VPCs.Put(tx, &model.VPC{ID: "vpc", CIDR: "10.0.0.0/16", Tags: []model.Tag{{Key: "Name"}}})
		}, nil},
	} {
		watch := s.Watch(t.Context())
		before := watch.Snapshot()
		update(t, s, tc.change)
		after, changes := watch.Take()
		names := map[string]bool{}
		for _, change := range changes {
			for _, src := range sources() {
				for node, keys := range src.Affected(before, after, change) {
					for _, key := range keys {
						names[node+" "+src.Kind()+" "+key] = true
					}
				}
			}
		}
		if diff := cmp.Diff(tc.want, slices.Sorted(maps.Keys(names))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}
