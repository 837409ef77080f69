package balancing_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/control/balancing"
	"berth.dev/berth/internal/data/keyring"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

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
	<-s.Ready()
	return s
}

const groupARN = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/%s/0000000000000000"

func groupID(name string) string { return "targetgroup/" + name + "/0000000000000000" }

func forwardTo(groups ...string) []model.BalancerAction {
	a := model.BalancerAction{Type: "forward"}
	for _, g := range groups {
		a.TargetGroups = append(a.TargetGroups, model.WeightedTarget{TargetGroupARN: fmt.Sprintf(groupARN, g), Weight: 1})
	}
	return []model.BalancerAction{a}
}

// step is one random write of one random record of a small world.
func step(t *rapid.T, tx *store.Tx) {
	pick := func(label string, names ...string) string { return rapid.SampledFrom(names).Draw(t, label) }
	del := rapid.IntRange(0, 3).Draw(t, "delete") == 0
	node := func() string { return pick("node", "", "n1", "n2") }
	switch rapid.IntRange(0, 8).Draw(t, "table") {
	case 0:
		id := pick("lb", "app/a/1", "net/b/2")
		if del {
			records.LoadBalancers.Delete(tx, id)
			return
		}
		records.LoadBalancers.Put(tx, &model.LoadBalancer{
			ID: id, Name: id, VPCID: pick("vpc", "v1", "v2"), InstanceID: node(), State: pick("state", "active", "provisioning"),
			Tags:  []model.Tag{{Key: pick("tag", "x", "y")}},
			Zones: []model.BalancerZone{{SubnetID: pick("subnet", "s1", "s2"), ENIID: pick("eni", "e1", "e2"), AvailabilityZone: pick("zone", "za", "zb")}},
		})
	case 1:
		id := pick("listener", "l1", "l2")
		if del {
			records.Listeners.Delete(tx, id)
			return
		}
		records.Listeners.Put(tx, &model.Listener{
			ID: id, LoadBalancerID: pick("lb", "app/a/1", "net/b/2"), Port: int32(rapid.IntRange(80, 81).Draw(t, "port")),
			Certificates: []string{pick("certificate", "c1", "c2")}, DefaultActions: forwardTo(pick("group", "g1", "g2")),
		})
	case 2:
		id := pick("rule", "r1", "r2")
		if del {
			records.ListenerRules.Delete(tx, id)
			return
		}
		records.ListenerRules.Put(tx, &model.ListenerRule{ID: id, ListenerID: pick("listener", "l1", "l2"), Priority: rapid.IntRange(1, 2).Draw(t, "priority"), Actions: forwardTo(pick("group", "g1", "g2", "g3"))})
	case 3:
		name := pick("group", "g1", "g2", "g3")
		if del {
			records.TargetGroups.Delete(tx, groupID(name))
			return
		}
		records.TargetGroups.Put(tx, &model.TargetGroup{ID: groupID(name), ARN: fmt.Sprintf(groupARN, name), Name: name, Port: int32(rapid.IntRange(1, 2).Draw(t, "port"))})
	case 4:
		target := &model.Target{
			TargetGroupID: groupID(pick("group", "g1", "g2", "g3")), TargetID: pick("target", "10.0.0.1", "10.0.0.2"), Port: 80,
			AvailabilityZone: pick("zone", "", "za", "zb"), Health: model.TargetHealth{State: pick("health", "healthy", "unhealthy")},
			RegisteredAt: time.Unix(int64(rapid.IntRange(0, 1).Draw(t, "registered")), 0).UTC(),
		}
		if rapid.Bool().Draw(t, "draining") {
			target.DeregisteredAt = new(time.Unix(5, 0).UTC())
		}
		if del {
			records.Targets.Delete(tx, target.Key())
			return
		}
		records.Targets.Put(tx, target)
	case 5:
		name := pick("certificate", "c1", "c2")
		if del {
			records.Certificates.Delete(tx, name)
			return
		}
		records.Certificates.Put(tx, &model.Certificate{ARN: name, Body: pick("body", "one", "two")})
	case 6:
		id := pick("eni", "e1", "e2")
		if del {
			records.NetworkInterfaces.Delete(tx, id)
			return
		}
		records.NetworkInterfaces.Put(tx, &model.NetworkInterface{
			ID: id, SubnetID: pick("subnet", "s1", "s2"), VPCID: pick("vpc", "v1", "v2"), InstanceID: node(),
			Owner: model.InterfaceOfLoadBalancer, OwnerID: pick("lb", "app/a/1", "net/b/2"), GroupIDs: []string{pick("sg", "sg-1", "sg-2")},
		})
	case 7:
		id := pick("subnet", "s1", "s2")
		if del {
			records.Subnets.Delete(tx, id)
			return
		}
		records.Subnets.Put(tx, &model.Subnet{ID: id, CIDR: pick("cidr", "10.0.0.0/24", "10.0.1.0/24")})
	case 8:
		id := pick("vpc", "v1", "v2")
		if del {
			records.VPCs.Delete(tx, id)
			return
		}
		records.VPCs.Put(tx, &model.VPC{ID: id, CIDR: pick("cidr", "10.0.0.0/16", "10.1.0.0/16")})
	}
}

func newSource(t *testing.T) *balancing.Source {
	t.Helper()
	ring, err := keyring.Ephemeral()
	if err != nil {
		t.Fatal(err)
	}
	return balancing.NewSource(ring, slog.New(slog.DiscardHandler))
}

// documents is everything that nodes have, encoded.
func documents(source *balancing.Source, r store.Reader) map[string]map[string]string {
	all := map[string]map[string]string{}
	for _, node := range []string{"n1", "n2"} {
		all[node] = map[string]string{}
		for _, key := range source.Keys(r, node) {
			all[node][key] = encoded(source, r, node, key)
		}
	}
	return all
}

func encoded(source *balancing.Source, r store.Reader, node, key string) string {
	d, ok := source.Document(r, node, key)
	if !ok {
		return ""
	}
	data, err := json.Marshal(d)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// Renewing what Affected names gives what looking at everything gives.
func TestSource_IncrementalEqualsRecomputation(t *testing.T) {
	source := newSource(t)
	rapid.Check(t, func(rt *rapid.T) {
		s := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		watch := s.Watch(ctx, source.Tables()...)
		before, held := s.Snapshot(), documents(source, s.Snapshot())
		for range rapid.IntRange(1, 30).Draw(rt, "batches") {
			if _, err := s.Update(ctx, func(tx *store.Tx) error {
				for range rapid.IntRange(1, 4).Draw(rt, "writes") {
					step(rt, tx)
				}
				return nil
			}); err != nil {
				rt.Fatal(err)
			}
			after, changes := watch.Take()
			for _, c := range changes {
				for node, keys := range source.Affected(before, after, c) {
					for _, key := range keys {
						if body := encoded(source, after, node, key); body != "" {
							held[node][key] = body
						} else {
							delete(held[node], key)
						}
					}
				}
			}
			before = after
			for node, want := range documents(source, after) {
				if len(want) != len(held[node]) {
					rt.Fatalf("node %s has %d documents, want %d, after %v", node, len(held[node]), len(want), changes)
				}
				for key, body := range want {
					if held[node][key] != body {
						rt.Fatalf("node %s, %s after %v:\n%s\nwant\n%s", node, key, changes, held[node][key], body)
					}
				}
			}
		}
	})
}

// What only nodes and users look at does not wake nodes.
func TestSource_IsQuiet(t *testing.T) {
	source := newSource(t)
	s := open(t)
	put := func(state, tag, health string) *store.Snapshot {
		if _, err := s.Update(t.Context(), func(tx *store.Tx) error {
			records.LoadBalancers.Put(tx, &model.LoadBalancer{ID: "app/a/1", InstanceID: "n1", State: state, Tags: []model.Tag{{Key: tag}}})
			records.Listeners.Put(tx, &model.Listener{ID: "l", LoadBalancerID: "app/a/1", DefaultActions: forwardTo("g1")})
			records.TargetGroups.Put(tx, &model.TargetGroup{ID: groupID("g1"), ARN: fmt.Sprintf(groupARN, "g1")})
			records.Targets.Put(tx, &model.Target{TargetGroupID: groupID("g1"), TargetID: "10.0.0.1", Port: 80, Health: model.TargetHealth{State: health}})
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return s.Snapshot()
	}
	before, after := put("provisioning", "x", "initial"), put("active", "y", "healthy")
	if a, b := encoded(source, before, "n1", "app/a/1"), encoded(source, after, "n1", "app/a/1"); a == "" || a != b {
		t.Errorf("the document changed from\n%s\nto\n%s", a, b)
	}
	key := model.TargetKey(groupID("g1"), "10.0.0.1", 80)
	if got := source.Affected(before, after, store.Change{Table: records.Targets.Name(), Key: key}); len(got) != 0 {
		t.Errorf("a target's health affects %v", got)
	}
	got := source.Affected(before, after, store.Change{Table: records.TargetGroups.Name(), Key: groupID("g1")})
	if !slices.Equal(got["n1"], []string{"app/a/1"}) {
		t.Errorf("got %v", got)
	}
}

// A private key is in clear in the node's document and nowhere else; one that
// cannot be opened, because it was sealed for another certificate, is left out.
func TestSource_opensPrivateKeys(t *testing.T) {
	s := open(t)
	ring, err := keyring.Ephemeral()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := ring.Seal([]byte("PEM"), keyring.CertificateKey("sealed"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Update(t.Context(), func(tx *store.Tx) error {
		records.LoadBalancers.Put(tx, &model.LoadBalancer{ID: "app/a/1", InstanceID: "n1"})
		records.Listeners.Put(tx, &model.Listener{ID: "l", LoadBalancerID: "app/a/1", Certificates: []string{"sealed", "clear", "stolen", "gone"}})
		records.Certificates.Put(tx, &model.Certificate{ARN: "sealed", Body: "one", SealedKey: sealed})
		records.Certificates.Put(tx, &model.Certificate{ARN: "clear", Body: "two", Clear: "of an older Berth"})
		records.Certificates.Put(tx, &model.Certificate{ARN: "stolen", Body: "three", SealedKey: sealed})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	d, ok := balancing.NewSource(ring, slog.New(slog.NewTextHandler(&log, nil))).Document(s.Snapshot(), "n1", "app/a/1")
	if !ok {
		t.Fatal("no document")
	}
	want := map[string]model.NodeTLSKey{"sealed": {Certificate: "one", PrivateKey: "PEM"}, "clear": {Certificate: "two", PrivateKey: "of an older Berth"}}
	if got := d.(*model.NodeLoadBalancer).Certificates; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if !strings.Contains(log.String(), "private key of stolen") {
		t.Errorf("what was left out is not said: %q", log.String())
	}
}
