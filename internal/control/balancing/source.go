package balancing

import (
	"log/slog"
	"maps"
	"slices"
	"strings"

	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/keyring"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// Source derives the documents of load balancers.
type Source struct {
	ring *keyring.Keyring
	log  *slog.Logger
}

// NewSource returns a Source. The ring opens the private keys of certificates,
// which are nowhere in clear but in the documents.
func NewSource(ring *keyring.Keyring, log *slog.Logger) *Source {
	return &Source{ring: ring, log: log}
}

// Kind implements dispatch.Source.
func (*Source) Kind() string { return model.DocumentLoadBalancer }

// Tables implements dispatch.Source.
func (*Source) Tables() []store.AnyTable {
	return []store.AnyTable{
		records.LoadBalancers, records.Listeners, records.ListenerRules, records.TargetGroups, records.Targets,
		records.Certificates, records.NetworkInterfaces, records.Subnets, records.VPCs,
	}
}

// Keys implements dispatch.Source.
func (*Source) Keys(r store.Reader, instanceID string) []string {
	var keys []string
	for lb := range records.LoadBalancers.By(r, records.LoadBalancersByInstance, instanceID) {
		keys = append(keys, lb.ID)
	}
	return keys
}

// Affected implements dispatch.Source.
func (*Source) Affected(before, after store.Reader, change store.Change) map[string][]string {
	if change.Table == records.Targets.Name() && sameTarget(before, after, change.Key) {
		return nil
	}
	nodes := map[string]map[string]bool{}
	for _, r := range []store.Reader{before, after} {
		for _, id := range balancersWith(r, change) {
			// The document goes from one node to another when its load balancer
			// does, whatever else changed.
			for _, r := range []store.Reader{before, after} {
				if lb, ok := records.LoadBalancers.Get(r, id); ok && lb.InstanceID != "" {
					if nodes[lb.InstanceID] == nil {
						nodes[lb.InstanceID] = map[string]bool{}
					}
					nodes[lb.InstanceID][id] = true
				}
			}
		}
	}
	affected := map[string][]string{}
	for node, ids := range nodes {
		affected[node] = slices.Sorted(maps.Keys(ids))
	}
	return affected
}

// sameTarget reports whether only the health of a target changed, which comes
// from the node: most changes are of this kind.
func sameTarget(before, after store.Reader, key string) bool {
	old, existed := records.Targets.Get(before, key)
	t, exists := records.Targets.Get(after, key)
	return existed && exists && old.AvailabilityZone == t.AvailabilityZone && old.Address == t.Address &&
		old.RegisteredAt.Equal(t.RegisteredAt) && (old.DeregisteredAt == nil) == (t.DeregisteredAt == nil)
}

// balancersWith are the ids of load balancers whose documents have the record.
func balancersWith(r store.Reader, change store.Change) []string {
	switch change.Table {
	case records.LoadBalancers.Name():
		return []string{change.Key}
	case records.Listeners.Name():
		return ofListener(r, change.Key)
	case records.ListenerRules.Name():
		if rule, ok := records.ListenerRules.Get(r, change.Key); ok {
			return ofListener(r, rule.ListenerID)
		}
	case records.TargetGroups.Name():
		return ofGroup(r, change.Key)
	case records.Targets.Name():
		group, _, _ := strings.Cut(change.Key, "|")
		return ofGroup(r, group)
	case records.Certificates.Name():
		return ofCertificate(r, change.Key)
	case records.NetworkInterfaces.Name():
		if n, ok := records.NetworkInterfaces.Get(r, change.Key); ok && n.Owner == model.InterfaceOfLoadBalancer {
			return []string{n.OwnerID}
		}
	case records.Subnets.Name():
		return those(r, func(lb *model.LoadBalancer) bool {
			return slices.ContainsFunc(lb.Zones, func(z model.BalancerZone) bool { return z.SubnetID == change.Key })
		})
	case records.VPCs.Name():
		return those(r, func(lb *model.LoadBalancer) bool { return lb.VPCID == change.Key })
	}
	return nil
}

func ofListener(r store.Reader, id string) []string {
	if l, ok := records.Listeners.Get(r, id); ok {
		return []string{l.LoadBalancerID}
	}
	return nil
}

// ofGroup are the load balancers that forward to a target group, by its id.
func ofGroup(r store.Reader, id string) []string {
	group, ok := records.TargetGroups.Get(r, id)
	if !ok {
		return nil
	}
	var ids []string
	for l := range records.Listeners.By(r, records.ListenersByTargetGroup, group.ARN) {
		ids = append(ids, l.LoadBalancerID)
	}
	for rule := range records.ListenerRules.By(r, records.RulesByTargetGroup, group.ARN) {
		ids = append(ids, ofListener(r, rule.ListenerID)...)
	}
	return ids
}

func ofCertificate(r store.Reader, arn string) []string {
	var ids []string
	for l := range records.Listeners.All(r) {
		if slices.Contains(l.Certificates, arn) {
			ids = append(ids, l.LoadBalancerID)
		}
	}
	return ids
}

func those(r store.Reader, is func(*model.LoadBalancer) bool) []string {
	var ids []string
	for lb := range records.LoadBalancers.All(r) {
		if is(lb) {
			ids = append(ids, lb.ID)
		}
	}
	return ids
}

// Document implements dispatch.Source.
func (s *Source) Document(r store.Reader, instanceID, key string) (any, bool) {
	lb, ok := records.LoadBalancers.Get(r, key)
	if !ok || lb.InstanceID != instanceID {
		return nil, false
	}
	d := &model.NodeLoadBalancer{LoadBalancer: *lb, Interfaces: []model.AssignedNetwork{}, Listeners: []model.Listener{}}
	// State is what the node says itself.
	d.LoadBalancer.Tags, d.LoadBalancer.State, d.LoadBalancer.StateReason = nil, "", ""
	for _, z := range lb.Zones {
		if n, ok := assigned(r, lb, z); ok {
			d.Interfaces = append(d.Interfaces, n)
		}
	}
	groups := map[string]bool{}
	for l := range records.Listeners.By(r, records.ListenersByLoadBalancer, lb.ID) {
		listener := *l
		listener.Tags = nil
		d.Listeners = append(d.Listeners, listener)
		note(groups, l.DefaultActions)
		s.addKeys(r, d, l)
		for rule := range records.ListenerRules.By(r, records.RulesByListener, l.ID) {
			copied := *rule
			copied.Tags = nil
			d.Rules = append(d.Rules, copied)
			note(groups, rule.Actions)
		}
	}
	for _, arn := range slices.Sorted(maps.Keys(groups)) {
		if g, ok := groupOf(r, lb, arn); ok {
			d.TargetGroups = append(d.TargetGroups, g)
		}
	}
	return d, true
}

// assigned is the interface of a load balancer in a zone, as its node makes it.
func assigned(r store.Reader, lb *model.LoadBalancer, z model.BalancerZone) (model.AssignedNetwork, bool) {
	n, ok := records.NetworkInterfaces.Get(r, z.ENIID)
	if !ok || n.OwnerID != lb.ID {
		return model.AssignedNetwork{}, false
	}
	subnet, ok := records.Subnets.Get(r, z.SubnetID)
	if !ok {
		return model.AssignedNetwork{}, false
	}
	vpc, ok := records.VPCs.Get(r, lb.VPCID)
	if !ok {
		return model.AssignedNetwork{}, false
	}
	copied := *n
	copied.Tags = nil
	return model.AssignedNetwork{NetworkInterface: copied, VPCCIDR: vpc.CIDR, SubnetCIDR: subnet.CIDR}, true
}

func note(groups map[string]bool, actions []model.BalancerAction) {
	for _, a := range actions {
		for _, g := range a.TargetGroups {
			groups[g.TargetGroupARN] = true
		}
	}
}

// addKeys adds the certificates of a listener with their private keys. One
// whose key cannot be opened is left out: its listener refuses connections, and
// the others go on.
func (s *Source) addKeys(r store.Reader, d *model.NodeLoadBalancer, l *model.Listener) {
	for _, arn := range l.Certificates {
		c, ok := records.Certificates.Get(r, arn)
		if !ok {
			continue
		}
		key := []byte(c.Clear)
		if len(c.SealedKey) > 0 {
			var err error
			if key, err = s.ring.Open(c.SealedKey, keyring.CertificateKey(c.ARN)); err != nil {
				s.log.Error("the private key of a certificate cannot be opened; its listener does without", telemetry.Error, err)
				continue
			}
		}
		if d.Certificates == nil {
			d.Certificates = map[string]model.NodeTLSKey{}
		}
		d.Certificates[arn] = model.NodeTLSKey{Certificate: c.Body, Chain: c.Chain, PrivateKey: string(key)}
	}
}

// groupOf is a target group with those of its targets that the load balancer
// may send anything to.
func groupOf(r store.Reader, lb *model.LoadBalancer, arn string) (model.NodeTargetGroup, bool) {
	g, ok := records.TargetGroups.Get(r, groupID(arn))
	if !ok {
		return model.NodeTargetGroup{}, false
	}
	out := model.NodeTargetGroup{TargetGroup: *g}
	out.Tags = nil
	for t := range records.Targets.Prefix(r, g.ID+"|") {
		if !lb.Serves(t.AvailabilityZone) {
			continue
		}
		out.Targets = append(out.Targets, model.NodeTarget{
			Key: t.Key(), Address: t.Address, Port: t.Port, RegisteredAt: t.RegisteredAt, Draining: t.DeregisteredAt != nil,
		})
	}
	return out, true
}

// groupID is the id of a target group by its ARN, whose end it is.
func groupID(arn string) string {
	if i := strings.Index(arn, "targetgroup/"); i >= 0 {
		return arn[i:]
	}
	return arn
}
