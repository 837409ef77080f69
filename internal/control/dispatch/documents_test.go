package dispatch_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

// A node gets all its documents once, then those that became different.
func TestSession_SendsDocuments(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		put := func(id, node, cidr string) {
			p.update(func(tx *store.Tx) error {
				records.Subnets.Put(tx, &model.Subnet{ID: id, AvailabilityZone: node, CIDR: cidr})
				return nil
			})
		}
		put("a", nodeA, "1")
		put("b", nodeB, "2")
		n := p.connect(nodeA)
		expectSaid(t, n, welcomeA, `all documents; subnet a="1"`, "complete")
		put("c", nodeA, "3")
		expectSaid(t, n, `documents; subnet c="3"`)
		put("b", nodeB, "22")
		expectSaid(t, n)
		p.update(func(tx *store.Tx) error { // nothing that the document shows
			return records.Subnets.Edit(tx, "a", func(s *model.Subnet) error { s.MapPublicIP = true; return nil })
		})
		expectSaid(t, n)
		put("a", nodeB, "1") // from this node to the other
		expectSaid(t, n, "documents; subnet a=")
		p.update(func(tx *store.Tx) error { records.Subnets.Delete(tx, "c"); return nil })
		expectSaid(t, n, "documents; subnet c=")
		n.leave()
		n = p.connect(nodeA)
		expectSaid(t, n, welcomeA, "all documents", "complete")
	})
}

func TestSession_HandsOnObservations(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		n := p.connect(nodeA)
		n.observe("thing", "x", "1")
		n.observe("nonsense", "x", "1")
		n.observe("thing", "y", "2")
		synctest.Wait()
		if want := []string{nodeA + " x 1", nodeA + " y 2"}; !slices.Equal(p.observed.said, want) {
			t.Errorf("recorded %q, want %q", p.observed.said, want)
		}
	})
}

// A node is not told to end a task that a load balancer may still lead to.
func TestSession_ATaskRunsOnWhileItIsReachable(t *testing.T) {
	bubble(t, func(t *testing.T, p *plane) {
		p.place("1", nodeA)
		p.edit("1", func(t *model.Task) { t.LoadBalancers = []model.ServiceLoadBalancer{{TargetGroupARN: "tg"}} })
		n := p.connect(nodeA)
		n.report("1", model.TaskObserved{Seq: 1, Status: model.TaskRunning})
		n.said()
		p.edit("1", func(t *model.Task) { t.DecideStop(time.Now(), model.StopUserInitiated, "enough") })
		expectSaid(t, n)
		if task := p.task("1"); task.LastStatus() != model.TaskDeactivating {
			t.Errorf("users see %s", task.LastStatus())
		}
		p.edit("1", func(t *model.Task) { t.Released = true })
		expectSaid(t, n, "changed; 1 STOPPED at 172.31.0.1 in 172.31.0.0/20 of 172.31.0.0/16")
	})
}

func (n *node) observe(kind, key, body string) {
	n.t.Helper()
	n.send(&nodeapi.NodeMessage{Message: &nodeapi.NodeMessage_Observation{
		Observation: &nodeapi.Observation{Kind: kind, Key: key, Body: []byte(body)},
	}})
}
