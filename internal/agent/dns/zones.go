package dns

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"berth.dev/berth/internal/model"
)

// A viewer is who asks; what exists depends on it.
type viewer struct {
	host  bool   // at the host's resolver address
	vpcID string // in a namespace of this VPC
}

// A zone is a document made ready to answer from. It never changes.
type zone struct {
	raw     json.RawMessage
	name    string // lower case, without a final dot
	vpcs    []string
	every   bool
	public  bool
	forward bool
	soa     *dns.SOA
	// nodes are the names that exist, by their part below the zone in lower case; one without records exists because
	// there are names below it.
	nodes map[string]*node
	// withheld are the names that do not exist although the zone forwards what it does not know.
	withheld map[string]bool
}

// A node is what one name has.
type node struct {
	sets []recordSet
}

// A recordSet is all records of one type. Their owner is filled in when they are given out.
type recordSet struct {
	kind    uint16
	policy  string
	records []dns.RR
}

// visible reports whether the viewer sees the zone, and whether because the zone names the viewer's VPC.
func (z *zone) visible(v viewer) (sees, own bool) {
	if v.host {
		return z.public, false
	}
	own = slices.Contains(z.vpcs, v.vpcID)
	return own || z.every, own
}

// A table is all zones. It never changes; a new one takes its place.
type table struct {
	byName map[string][]*zone // with the zones of one name in order of their keys
}

// find returns the zone that answers for the name: the one with the longest name, and of those of one name the viewer's
// own, as a private hosted zone hides a public one. skip are zones that were asked already and forward.
func (t *table) find(name string, v viewer, skip []*zone) *zone {
	for suffix := name; ; {
		var found *zone
		for _, z := range t.byName[suffix] {
			if slices.Contains(skip, z) {
				continue
			}
			sees, own := z.visible(v)
			if own {
				return z
			}
			if sees && found == nil {
				found = z
			}
		}
		if found != nil {
			return found
		}
		_, parent, more := strings.Cut(suffix, ".")
		if !more {
			return nil
		}
		suffix = parent
	}
}

// Apply makes the zones, which are the documents of kind [model.DocumentZone], those that are answered from. They take
// effect together and at once: a query sees all of the old or all of the new ones. A document that cannot be understood
// leaves its zone out, and is an error; the others count all the same.
func (r *Resolver) Apply(_ context.Context, docs map[string]json.RawMessage) error {
	r.applying.Lock()
	defer r.applying.Unlock()
	next := make(map[string]*zone, len(docs))
	t := &table{byName: make(map[string][]*zone)}
	var failed []error
	for _, key := range slices.Sorted(maps.Keys(docs)) {
		z := r.zones[key] // most do not change
		if z == nil || !bytes.Equal(z.raw, docs[key]) {
			var err error
			if z, err = newZone(docs[key]); err != nil {
				failed = append(failed, fmt.Errorf("zone %s: %w", key, err))
				continue
			}
		}
		next[key] = z
		t.byName[z.name] = append(t.byName[z.name], z)
	}
	r.zones = next
	r.table.Store(t)
	return errors.Join(failed...)
}

// ApplyVPCs makes the documents of kind [model.DocumentVPC] those that say which VPCs have a resolver at all: in one whose
// enableDnsSupport is off every query is refused. A VPC without a document has one.
func (r *Resolver) ApplyVPCs(_ context.Context, docs map[string]json.RawMessage) error {
	silent := make(map[string]bool)
	var failed []error
	for _, key := range slices.Sorted(maps.Keys(docs)) {
		var doc model.NodeVPC
		if err := json.Unmarshal(docs[key], &doc); err != nil {
			failed = append(failed, fmt.Errorf("VPC %s: %w", key, err))
			continue
		}
		if !doc.DNSSupport {
			silent[doc.ID] = true
		}
	}
	r.silent.Store(&silent)
	return errors.Join(failed...)
}

func newZone(raw json.RawMessage) (*zone, error) {
	var doc model.NodeZone
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, err
	}
	name := canonical(doc.Name)
	if _, ok := dns.IsDomainName(name); !ok || name == "" {
		return nil, fmt.Errorf("bad name %q", doc.Name)
	}
	z := &zone{
		raw: raw, name: name, vpcs: doc.VPCIDs, every: doc.EveryVPC, public: doc.Public, forward: doc.Forward,
		nodes: map[string]*node{"": {}}, withheld: make(map[string]bool),
	}
	fqdn := dns.Fqdn(name)
	z.soa = &dns.SOA{
		Hdr: dns.RR_Header{Name: fqdn, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: doc.SOATTL},
		Ns:  "ns0." + fqdn, Mbox: "hostmaster." + fqdn, Serial: doc.Serial,
		Refresh: 7200, Retry: 900, Expire: 1209600, Minttl: doc.SOATTL,
	}
	for _, rec := range doc.Names {
		if len(rec.Values) == 0 {
			z.withheld[canonical(rec.Name)] = true
			continue
		}
		set, err := newRecordSet(rec)
		if err != nil {
			return nil, err
		}
		z.node(canonical(rec.Name)).sets = append(z.node(canonical(rec.Name)).sets, set)
	}
	return z, nil
}

// node returns the node of a name, which from now on exists with all names above it.
func (z *zone) node(name string) *node {
	if n := z.nodes[name]; n != nil {
		return n
	}
	n := new(node)
	z.nodes[name] = n
	if _, parent, more := strings.Cut(name, "."); more {
		z.node(parent)
	}
	return n
}

func newRecordSet(rec model.NodeRecord) (recordSet, error) {
	kind, ok := dns.StringToType[rec.Type]
	if !ok {
		return recordSet{}, fmt.Errorf("%s: unknown type %q", rec.Name, rec.Type)
	}
	set := recordSet{kind: kind, policy: rec.Policy}
	for _, value := range rec.Values {
		if address, err := netip.ParseAddr(value); kind == dns.TypeA && err == nil && address.Is4() {
			// Most records are of this kind, and text is slow to read.
			set.records = append(set.records, &dns.A{
				A:   address.AsSlice(),
				Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: rec.TTL},
			})
			continue
		}
		if kind == dns.TypeSRV || kind == dns.TypeCNAME {
			value = dns.Fqdn(value) // the target is last
		}
		rr, err := dns.NewRR(fmt.Sprintf(". %d IN %s %s", rec.TTL, rec.Type, value))
		if err != nil || rr == nil || rr.Header().Rrtype != kind {
			return recordSet{}, fmt.Errorf("%s: bad %s value %q", rec.Name, rec.Type, value)
		}
		set.records = append(set.records, rr)
	}
	return set, nil
}

// canonical is the form of names in tables: lower case, without a final dot.
func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
