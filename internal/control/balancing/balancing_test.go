package balancing_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"berth.dev/berth/internal/control/balancing"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// plane is a store with the loop on it.
type plane struct {
	*testing.T
	store *store.Store
	loop  *balancing.Loop
}

// run runs test in a bubble of its own time, with a plane.
func run(t *testing.T, test func(p *plane)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, err := store.Open(memkv.New(0), "/berth/", store.Options{CheckMutation: true}, records.All()...)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return s.Run(ctx) })
		<-s.Ready()
		p := &plane{t, s, balancing.New(balancing.Config{Store: s, NodeLostAfter: time.Minute, Log: slog.New(slog.DiscardHandler)})}
		g.Go(func() error { return p.loop.Run(ctx) })
		test(p)
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
}

func (p *plane) update(fn func(tx *store.Tx)) {
	p.Helper()
	if _, err := p.store.Update(p.Context(), func(tx *store.Tx) error { fn(tx); return nil }); err != nil {
		p.Fatal(err)
	}
	synctest.Wait()
}

func (p *plane) node(id string, connected bool) {
	p.Helper()
	p.update(func(tx *store.Tx) {
		i := &model.Instance{ID: id, Status: model.InstanceActive, Connected: connected}
		if !connected {
			i.DisconnectedAt = new(tx.Now())
		}
		records.Instances.Put(tx, i)
	})
}

// balancer makes a load balancer as the provider does.
func (p *plane) balancer(id string) {
	p.Helper()
	p.update(func(tx *store.Tx) { balancerIn(tx, id) })
}

func balancerIn(tx *store.Tx, id string) {
	address := "10.0.0." + id
	records.LoadBalancers.Put(tx, &model.LoadBalancer{
		ID: id, Name: id, State: model.LoadBalancerProvisioning, PublicAddress: "127.64.3." + id,
		Zones: []model.BalancerZone{{SubnetID: "s", AvailabilityZone: "za", ENIID: "eni-" + id, Address: address}},
	})
	records.NetworkInterfaces.Put(tx, &model.NetworkInterface{ID: "eni-" + id, SubnetID: "s", Address: address, Owner: model.InterfaceOfLoadBalancer, OwnerID: id})
	records.AddressClaims.Put(tx, &model.AddressClaim{SubnetID: "s", Address: address, ENIID: "eni-" + id})
	records.PublicAddresses.Put(tx, &model.PublicAddress{Address: "127.64.3." + id, LoadBalancerID: id})
}

// serving makes a load balancer that forwards to group g1, and not to g2.
func (p *plane) serving(id string) {
	p.Helper()
	p.update(func(tx *store.Tx) {
		balancerIn(tx, id)
		records.TargetGroups.Put(tx, &model.TargetGroup{ID: groupID("g1"), ARN: fmt.Sprintf(groupARN, "g1"), Name: "g1", Protocol: "HTTP"})
		records.TargetGroups.Put(tx, &model.TargetGroup{ID: groupID("g2"), ARN: fmt.Sprintf(groupARN, "g2"), Name: "g2", Protocol: "HTTP"})
		records.Listeners.Put(tx, &model.Listener{ID: "l" + id, LoadBalancerID: id, DefaultActions: forwardTo("g1")})
		records.ListenerRules.Put(tx, &model.ListenerRule{ID: "r" + id, ListenerID: "l" + id, Priority: 1, Actions: forwardTo("g1")})
	})
}

func (p *plane) target(group, id string, dereg bool) string {
	p.Helper()
	t := &model.Target{TargetGroupID: groupID(group), TargetID: id, Port: 80}
	p.update(func(tx *store.Tx) {
		t.RegisteredAt = tx.Now()
		if dereg {
			t.DeregisteredAt = new(tx.Now())
		}
		records.Targets.Put(tx, t)
	})
	return t.Key()
}

// on is the node of a load balancer, which its interface must share.
func (p *plane) on(id string) string {
	p.Helper()
	lb, ok := records.LoadBalancers.Get(p.store.Snapshot(), id)
	if !ok {
		p.Fatalf("no load balancer %s", id)
	}
	n, ok := records.NetworkInterfaces.Get(p.store.Snapshot(), "eni-"+id)
	if !ok || n.InstanceID != lb.InstanceID {
		p.Errorf("load balancer %s is on %q, its interface on %q", id, lb.InstanceID, n.InstanceID)
	}
	return lb.InstanceID
}

func (p *plane) expect(what string, got, want any) {
	p.Helper()
	if got != want {
		p.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func (p *plane) observed(node, id string, o model.LoadBalancerObserved) {
	p.Helper()
	body, err := json.Marshal(o)
	if err != nil {
		p.Fatal(err)
	}
	if err := p.loop.Observed(p.Context(), node, id, body); err != nil {
		p.Fatal(err)
	}
	synctest.Wait()
}

func TestRun_SpreadsAndMoves(t *testing.T) {
	run(t, func(p *plane) {
		p.balancer("1")
		p.expect("without a node", p.on("1"), "")
		p.node("n1", true)
		p.node("n2", true)
		p.expect("the first", p.on("1"), "n1")
		p.balancer("2")
		p.balancer("3")
		p.expect("the second", p.on("2"), "n2")
		p.expect("the third", p.on("3"), "n1")

		p.observed("n1", "1", model.LoadBalancerObserved{State: model.LoadBalancerActive})
		p.node("n1", false)
		time.Sleep(59 * time.Second)
		synctest.Wait()
		p.expect("while its node may come back", p.on("1"), "n1")
		time.Sleep(time.Second)
		synctest.Wait()
		p.expect("when its node is lost", p.on("1"), "n2")
		lb, _ := records.LoadBalancers.Get(p.store.Snapshot(), "1")
		p.expect("state", lb.State, model.LoadBalancerProvisioning)
		p.observed("n1", "1", model.LoadBalancerObserved{State: model.LoadBalancerActive}) // speaks of the past
		lb, _ = records.LoadBalancers.Get(p.store.Snapshot(), "1")
		p.expect("state", lb.State, model.LoadBalancerProvisioning)
		p.node("n1", true)
		p.expect("when its node is back", p.on("1"), "n2")

		p.update(func(tx *store.Tx) { records.Instances.Delete(tx, "n2") })
		p.expect("when its node is gone", p.on("2"), "n1")
	})
}

func TestRun_StaysWithALostNodeWhenThereIsNoOther(t *testing.T) {
	run(t, func(p *plane) {
		p.node("n1", true)
		p.balancer("1")
		p.node("n1", false)
		time.Sleep(time.Hour)
		synctest.Wait()
		p.expect("node", p.on("1"), "n1")
	})
}

func TestObserved(t *testing.T) {
	run(t, func(p *plane) {
		p.node("n1", true)
		p.serving("1")
		key := p.target("g1", "10.0.0.9", false)
		foreign := p.target("g2", "10.0.0.9", false)
		health := func(key string) string {
			t, _ := records.Targets.Get(p.store.Snapshot(), key)
			return t.Health.State
		}
		target, _ := records.Targets.Get(p.store.Snapshot(), key)
		seen := model.LoadBalancerObserved{State: model.LoadBalancerActive, Targets: []model.TargetObserved{
			{Key: key, Registered: target.RegisteredAt, State: model.TargetHealthy},
			{Key: foreign, Registered: target.RegisteredAt, State: model.TargetHealthy},
			{Key: "gone", Registered: target.RegisteredAt, State: model.TargetHealthy},
		}}
		p.observed("n2", "1", seen)
		p.expect("another node is not heard", health(key), "")
		p.observed("n1", "1", seen)
		p.expect("health", health(key), model.TargetHealthy)
		p.expect("health of a group that is not its own", health(foreign), "")
		lb, _ := records.LoadBalancers.Get(p.store.Snapshot(), "1")
		p.expect("state", lb.State, model.LoadBalancerActive)

		rev := p.store.Snapshot().Rev()
		p.observed("n1", "1", seen)
		p.expect("a report that says nothing new writes nothing", p.store.Snapshot().Rev(), rev)

		time.Sleep(time.Second)
		p.target("g1", "10.0.0.9", false) // registered anew
		p.observed("n1", "1", seen)
		p.expect("health of an earlier registration is not its own", health(key), "")

		if err := p.loop.Observed(p.Context(), "n1", "1", []byte("{")); err != nil {
			p.Errorf("a report that cannot be read ends the session: %v", err)
		}
	})
}

func TestRun_Drains(t *testing.T) {
	run(t, func(p *plane) {
		p.serving("1")
		has := func(key string) bool { return records.Targets.Has(p.store.Snapshot(), key) }
		waits := p.target("g1", "10.0.0.1", true)
		again := p.target("g1", "10.0.0.2", true)
		p.expect("a target of no listener", has(p.target("g2", "10.0.0.1", true)), false)
		p.expect("one that is not deregistered", has(p.target("g1", "10.0.0.3", false)), true)
		time.Sleep(299 * time.Second)
		synctest.Wait()
		p.expect("before the delay is over", has(waits), true)
		p.target("g1", "10.0.0.2", false)
		time.Sleep(time.Second)
		synctest.Wait()
		p.expect("after the delay", has(waits), false)
		p.expect("registered again", has(again), true)

		shorter := p.target("g1", "10.0.0.4", true)
		p.update(func(tx *store.Tx) {
			if err := records.TargetGroups.Edit(tx, groupID("g1"), func(g *model.TargetGroup) error {
				g.Attributes = map[string]string{model.AttributeDeregistrationDelay: "0"}
				return nil
			}); err != nil {
				p.Error(err)
			}
		})
		p.expect("the delay was taken away", has(shorter), false)
	})
}

// The delay begins when the node has said that new requests go elsewhere, and
// without its word, later.
func TestRun_TheDelayBeginsWhenTheNodeSaysSo(t *testing.T) {
	run(t, func(p *plane) {
		has := func(key string) bool { return records.Targets.Has(p.store.Snapshot(), key) }
		p.node("n1", true)
		p.serving("1")
		p.observed("n1", "1", model.LoadBalancerObserved{State: model.LoadBalancerActive})
		heard, unheard := p.target("g1", "10.0.0.1", true), p.target("g1", "10.0.0.2", true)
		target, _ := records.Targets.Get(p.store.Snapshot(), heard)
		time.Sleep(10 * time.Second)
		p.observed("n1", "1", model.LoadBalancerObserved{State: model.LoadBalancerActive, Targets: []model.TargetObserved{
			{Key: heard, Registered: target.RegisteredAt, State: model.TargetDraining},
		}})
		time.Sleep(300*time.Second - 1)
		synctest.Wait()
		p.expect("after the wish, before the delay is over", has(heard), true)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		p.expect("after the delay", has(heard), false)
		time.Sleep(20*time.Second - 1)
		synctest.Wait()
		p.expect("the node may still say so", has(unheard), true)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		p.expect("the node said nothing", has(unheard), false)
	})
}

func TestRun_DrainsAtOnceWhenNothingLeadsToIt(t *testing.T) {
	run(t, func(p *plane) {
		p.serving("1")
		key := p.target("g1", "10.0.0.1", true)
		other := p.target("g1", "10.0.0.2", false)
		p.update(func(tx *store.Tx) { records.ListenerRules.Delete(tx, "r1") })
		p.expect("the listener still leads to it", records.Targets.Has(p.store.Snapshot(), key), true)
		p.update(func(tx *store.Tx) { records.LoadBalancers.Delete(tx, "1") })
		p.expect("draining target of a deleted load balancer", records.Targets.Has(p.store.Snapshot(), key), false)
		p.expect("listeners left", records.Listeners.Len(p.store.Snapshot()), 0)
		p.update(func(tx *store.Tx) { records.TargetGroups.Delete(tx, groupID("g1")) })
		p.expect("target of a deleted group", records.Targets.Has(p.store.Snapshot(), other), false)
	})
}

func TestRun_FreesAddressesWhenTheNodeHasLetGo(t *testing.T) {
	run(t, func(p *plane) {
		left := func(id string) string {
			s := p.store.Snapshot()
			return fmt.Sprint(records.NetworkInterfaces.Has(s, "eni-"+id), records.AddressClaims.Has(s, model.AddressClaimKey("s", "10.0.0."+id)), records.PublicAddresses.Has(s, "127.64.3."+id))
		}
		const all, none = "true true true", "false false false"
		p.balancer("1")
		p.update(func(tx *store.Tx) { records.LoadBalancers.Delete(tx, "1") })
		p.expect("of one that no node ever had", left("1"), none)

		p.node("n1", true)
		for _, id := range []string{"2", "3", "4", "5"} {
			p.balancer(id)
		}
		p.observed("n1", "5", model.LoadBalancerObserved{State: model.LoadBalancerDeleted}) // it is not
		p.expect("of one that exists", left("5"), all)
		p.update(func(tx *store.Tx) {
			records.LoadBalancers.Delete(tx, "2")
			records.LoadBalancers.Delete(tx, "3")
		})
		p.expect("while the node may serve it", left("2")+left("3"), all+all)
		p.observed("n2", "2", model.LoadBalancerObserved{State: model.LoadBalancerDeleted})
		p.expect("another node is not heard", left("2"), all)
		p.observed("n1", "2", model.LoadBalancerObserved{State: model.LoadBalancerDeleted})
		p.expect("let go", left("2"), none)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		p.expect("of one that the connected node said nothing of", left("3"), none)

		p.node("n1", false)
		p.update(func(tx *store.Tx) { records.LoadBalancers.Delete(tx, "4") })
		time.Sleep(59 * time.Second)
		synctest.Wait()
		p.expect("on a node that may come back", left("4"), all)
		time.Sleep(time.Second)
		synctest.Wait()
		p.expect("on a node that is lost", left("4"), none)
		p.expect("of one that exists", left("5"), all)
	})
}

// A subnet that the load balancer has left gives its address back too.
func TestRun_FreesALeftSubnet(t *testing.T) {
	run(t, func(p *plane) {
		p.node("n1", true)
		p.balancer("1")
		p.update(func(tx *store.Tx) {
			records.NetworkInterfaces.Put(tx, &model.NetworkInterface{ID: "eni-x", SubnetID: "s", Address: "10.0.0.77", Owner: model.InterfaceOfLoadBalancer, OwnerID: "1", InstanceID: "n1"})
			records.NetworkInterfaces.Put(tx, &model.NetworkInterface{ID: "eni-task", InstanceID: "n1"})
		})
		p.expect("at first", records.NetworkInterfaces.Has(p.store.Snapshot(), "eni-x"), true)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		p.expect("after a while", records.NetworkInterfaces.Has(p.store.Snapshot(), "eni-x"), false)
		p.expect("a task's interface", records.NetworkInterfaces.Has(p.store.Snapshot(), "eni-task"), true)
		p.expect("its own", p.on("1"), "n1")
	})
}
