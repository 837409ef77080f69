package firewall

import (
	"context"
	"encoding/json"
	"fmt"

	"berth.dev/berth/internal/model"
)

// documents are what the control plane wants, as it was last said. Maps are replaced and never written to.
type documents struct {
	interfaces map[string]model.NodeInterface
	groups     map[string]model.NodeSecurityGroup
	balancers  map[string]model.NodeLoadBalancer
}

// complete reports whether every kind was heard of: until then what concerns several of them must stay as it is.
func (d documents) complete() bool {
	return d.interfaces != nil && d.groups != nil && d.balancers != nil
}

// ApplyInterfaces takes all documents of kind interface. It and its neighbours return at once; Run does the work.
func (f *Firewall) ApplyInterfaces(_ context.Context, docs map[string]json.RawMessage) error {
	return take(f, docs, func(d *documents, all map[string]model.NodeInterface) { d.interfaces = all })
}

// ApplyGroups takes all documents of kind securitygroup.
func (f *Firewall) ApplyGroups(_ context.Context, docs map[string]json.RawMessage) error {
	return take(f, docs, func(d *documents, all map[string]model.NodeSecurityGroup) { d.groups = all })
}

// ApplyLoadBalancers takes all documents of kind loadbalancer.
func (f *Firewall) ApplyLoadBalancers(_ context.Context, docs map[string]json.RawMessage) error {
	return take(f, docs, func(d *documents, all map[string]model.NodeLoadBalancer) { d.balancers = all })
}

// take reads documents of one kind. When one of them cannot be read, none is taken: half of a set is none.
func take[T any](f *Firewall, docs map[string]json.RawMessage, set func(*documents, map[string]T)) error {
	all := make(map[string]T, len(docs))
	for key, body := range docs {
		var doc T
		if err := json.Unmarshal(body, &doc); err != nil {
			return fmt.Errorf("read document %s: %w", key, err)
		}
		all[key] = doc
	}
	f.mu.Lock()
	set(&f.docs, all)
	f.mu.Unlock()
	f.wake()
	return nil
}

// wake makes Run look at everything, and those that wait for documents look again.
func (f *Firewall) wake() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.changed)
	f.changed = make(chan struct{})
}

// now returns the documents, and a channel that is closed when they change.
func (f *Firewall) now() (documents, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.docs, f.changed
}
