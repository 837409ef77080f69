package netstate_test

import (
	"fmt"
	"testing"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// What one task's start costs the dispatcher, with 20 tasks on each of many
// nodes: in a group that no rule refers to, and in one whose members every node
// must know.
func BenchmarkTaskStart(b *testing.B) {
	for _, nodes := range []int{50, 5000} {
		s := open(b)
		groups := []*model.SecurityGroup{
			{ID: "open", VPCID: "vpc", Ingress: []model.SecurityGroupRule{{Protocol: "-1", CIDR: "0.0.0.0/0"}}},
			{ID: "self", VPCID: "vpc", Ingress: []model.SecurityGroupRule{{Protocol: "-1", GroupID: "self"}}},
		}
		update(b, s, func(tx *store.Tx) {
			records.VPCs.Put(tx, &model.VPC{ID: "vpc", CIDR: "10.0.0.0/8"})
			for _, g := range groups {
				records.SecurityGroups.Put(tx, g)
			}
		})
		eni := func(id int, group string) *model.NetworkInterface {
			return &model.NetworkInterface{
				ID: fmt.Sprintf("eni-%d", id), VPCID: "vpc", SubnetID: "subnet", Address: fmt.Sprintf("10.%d.%d.%d", id>>16, id>>8&255, id&255),
				InstanceID: fmt.Sprintf("n%d", id%nodes), GroupIDs: []string{group},
			}
		}
		ids := make([]int, nodes*20)
		for i := range ids {
			ids[i] = i
		}
		if _, err := store.Batch(b.Context(), s, ids, func(tx *store.Tx, id int) error {
			records.NetworkInterfaces.Put(tx, eni(id, groups[id/nodes%2].ID))
			return nil
		}); err != nil {
			b.Fatal(err)
		}
		for _, g := range groups {
			before := s.Snapshot()
			id := len(ids) + 1
			update(b, s, func(tx *store.Tx) { records.NetworkInterfaces.Put(tx, eni(id, g.ID)) })
			after := s.Snapshot()
			change := store.Change{Table: records.NetworkInterfaces.Name(), Key: fmt.Sprintf("eni-%d", id)}
			b.Run(fmt.Sprintf("nodes=%d/group=%s", nodes, g.ID), func(b *testing.B) {
				named := 0
				for b.Loop() {
					named = 0
					for _, src := range sources() {
						for _, keys := range src.Affected(before, after, change) {
							named += len(keys)
						}
					}
				}
				b.ReportMetric(float64(named), "documents")
			})
			update(b, s, func(tx *store.Tx) { records.NetworkInterfaces.Delete(tx, change.Key) })
		}
	}
}
