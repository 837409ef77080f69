package netstate

import (
	"maps"
	"slices"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// SecurityGroups is the source of model.NodeSecurityGroup: the groups that a
// node's interfaces are in, with their rules, and the groups that such rules
// refer to, with their members.
type SecurityGroups struct{}

// Kind is model.DocumentSecurityGroup.
func (SecurityGroups) Kind() string { return model.DocumentSecurityGroup }

// Tables are those that the documents are derived from.
func (SecurityGroups) Tables() []store.AnyTable {
	return []store.AnyTable{records.SecurityGroups, records.NetworkInterfaces}
}

// Keys are the ids of the node's groups and of those that they refer to.
func (SecurityGroups) Keys(r store.Reader, instanceID string) []string {
	ids := map[string]bool{}
	for n := range records.NetworkInterfaces.By(r, records.NetworkInterfacesByInstance, instanceID) {
		for _, id := range n.GroupIDs {
			g, found := records.SecurityGroups.Get(r, id)
			if !found || ids[id] && len(references(g)) == 0 {
				continue
			}
			ids[id] = true
			for _, other := range references(g) {
				if records.SecurityGroups.Has(r, other) {
					ids[other] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(ids))
}

// Document is the model.NodeSecurityGroup of the id.
func (SecurityGroups) Document(r store.Reader, instanceID, id string) (any, bool) {
	g, found := records.SecurityGroups.Get(r, id)
	if !found {
		return nil, false
	}
	has, refers := hasGroup(r, id, instanceID), refersTo(r, id, instanceID)
	if !has && !refers {
		return nil, false
	}
	out := model.NodeSecurityGroup{ID: g.ID, VPCID: g.VPCID}
	if has {
		out.Ingress, out.Egress = enforced(g.Ingress), enforced(g.Egress)
	}
	if refers {
		out.Members = []string{}
		for n := range records.NetworkInterfaces.By(r, records.NetworkInterfacesByGroup, id) {
			out.Members = append(out.Members, n.Address)
		}
		slices.Sort(out.Members)
	}
	return out, true
}

// hasGroup reports whether the node has an interface in the group.
func hasGroup(r store.Reader, id, instanceID string) bool {
	return records.NetworkInterfaces.HasBy(r, records.NetworkInterfacesByGroupOnInstance, records.OnInstance(id, instanceID))
}

// refersTo reports whether a rule for one of the node's interfaces refers to
// the group.
func refersTo(r store.Reader, id, instanceID string) bool {
	for g := range records.SecurityGroups.By(r, records.SecurityGroupsByReference, id) {
		if hasGroup(r, g.ID, instanceID) {
			return true
		}
	}
	return false
}

// enforced are the rules that can match a packet, without what nodes need not
// know.
func enforced(rules []model.SecurityGroupRule) []model.SecurityGroupRule {
	var out []model.SecurityGroupRule
	for _, r := range rules {
		if r.CIDR == "" && r.GroupID == "" {
			continue // IPv6, which no interface has
		}
		r.Description, r.Tags = "", nil
		out = append(out, r)
	}
	return out
}

// references are the groups that a group's rules refer to.
func references(g *model.SecurityGroup) []string {
	if g == nil {
		return nil
	}
	var ids []string
	for _, r := range slices.Concat(g.Ingress, g.Egress) {
		if r.GroupID != "" && !slices.Contains(ids, r.GroupID) {
			ids = append(ids, r.GroupID)
		}
	}
	return ids
}

// Affected names a group for the nodes that have it when its rules change, and
// for those whose rules refer to it when its members do.
func (SecurityGroups) Affected(before, after store.Reader, change store.Change) map[string][]string {
	out := affected{}
	switch change.Table {
	case records.SecurityGroups.Name():
		was, is := pair(records.SecurityGroups, before, after, change.Key)
		out.addGroupChange(after, change.Key, was, is)
	case records.NetworkInterfaces.Name():
		was, is := pair(records.NetworkInterfaces, before, after, change.Key)
		out.addJoined(before, after, was, is)
		out.addJoined(before, after, is, was)
	}
	return out.names()
}

// addGroupChange adds what a change of a group's own record is about. Nodes
// that got or lost interfaces in it meanwhile are named by those.
func (a affected) addGroupChange(after store.Reader, id string, was, is *model.SecurityGroup) {
	if was != nil && is != nil && was.VPCID == is.VPCID && sameRules(was.Ingress, is.Ingress) && sameRules(was.Egress, is.Egress) {
		return
	}
	names := slices.Concat([]string{id}, references(was), references(is))
	for instanceID := range nodes(after, records.NetworkInterfacesByGroupOnInstance, id) {
		for _, name := range names {
			a.add(instanceID, name)
		}
	}
	if was == nil || is == nil || was.VPCID != is.VPCID {
		a.addReferring(after, id)
	}
}

// addReferring adds a group for every node of which a rule refers to it.
func (a affected) addReferring(r store.Reader, id string) {
	for g := range records.SecurityGroups.By(r, records.SecurityGroupsByReference, id) {
		for instanceID := range nodes(r, records.NetworkInterfacesByGroupOnInstance, g.ID) {
			a.add(instanceID, id)
		}
	}
}

func sameRules(a, b []model.SecurityGroupRule) bool {
	return slices.EqualFunc(enforced(a), enforced(b), func(x, y model.SecurityGroupRule) bool {
		return x.ID == y.ID && x.Protocol == y.Protocol && samePort(x.FromPort, y.FromPort) && samePort(x.ToPort, y.ToPort) &&
			x.CIDR == y.CIDR && x.GroupID == y.GroupID && x.CIDRIPv6 == y.CIDRIPv6
	})
}

func samePort(a, b *int32) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// addJoined adds what interface n means by being in groups in which other, the
// same interface at the other time, is not: on its node when it is the first
// there, or was the last; and elsewhere for those that let its address in.
func (a affected) addJoined(before, after store.Reader, n, other *model.NetworkInterface) {
	if n == nil {
		return
	}
	for _, id := range n.GroupIDs {
		stayed := other != nil && slices.Contains(other.GroupIDs, id)
		if !stayed || other.Address != n.Address {
			a.addReferring(after, id)
		}
		if stayed && other.InstanceID == n.InstanceID || hasGroup(before, id, n.InstanceID) == hasGroup(after, id, n.InstanceID) {
			continue
		}
		a.add(n.InstanceID, id)
		for _, r := range []store.Reader{before, after} {
			g, _ := records.SecurityGroups.Get(r, id)
			for _, referred := range references(g) {
				a.add(n.InstanceID, referred)
			}
		}
	}
}
