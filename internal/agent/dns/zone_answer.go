package dns

import (
	"context"
	"math/rand/v2"
	"strings"

	"github.com/miekg/dns"

	"berth.dev/berth/internal/model"
)

const (
	// mostValues is how many records of a MULTIVALUE name one answer has.
	mostValues = 8
	// mostAliases is how many names a chain of CNAMEs may have, as with most resolvers.
	mostAliases = 8
)

// answerFromZones answers a query about a name of a zone that the viewer sees, and reports whether there is one that
// knows. CNAMEs are followed, also to names outside.
func (e *Endpoint) answerFromZones(ctx context.Context, query *dns.Msg, transport string) (*dns.Msg, bool) {
	question := query.Question[0]
	if question.Qclass != dns.ClassINET {
		return nil, false
	}
	t := e.resolver.table.Load() // one for the whole answer
	answer := new(dns.Msg).SetReply(query)
	answer.Authoritative, answer.RecursionAvailable = true, true
	owner := question.Name // with the asker's capitals, which some compare
	for range mostAliases {
		z, n := t.lookup(canonical(owner), e.viewer)
		if z == nil {
			if len(answer.Answer) == 0 {
				return nil, false
			}
			return e.follow(ctx, query, answer, owner, transport), true
		}
		if n == nil {
			answer.Rcode = dns.RcodeNameError
			answer.Ns = []dns.RR{z.soa}
			return answer, true
		}
		found := n.records(owner, question.Qtype)
		if canonical(owner) == z.name && question.Qtype == dns.TypeSOA {
			found = []dns.RR{z.soa}
		}
		answer.Answer = append(answer.Answer, found...)
		if len(found) == 0 {
			answer.Ns = []dns.RR{z.soa}
			return answer, true
		}
		alias, ok := found[0].(*dns.CNAME)
		if !ok || question.Qtype == dns.TypeCNAME || question.Qtype == dns.TypeANY {
			return answer, true
		}
		owner = alias.Target
	}
	return new(dns.Msg).SetRcode(query, dns.RcodeServerFailure), true
}

// lookup returns the zone that knows about the name and what the name has, nil if it does not exist. Zones that forward
// leave what they do not know to shorter ones.
func (t *table) lookup(name string, v viewer) (*zone, *node) {
	var asked []*zone
	for {
		z := t.find(name, v, asked)
		if z == nil {
			return nil, nil
		}
		rest := strings.TrimSuffix(strings.TrimSuffix(name, z.name), ".")
		n := z.nodes[rest]
		switch {
		case !z.forward, z.withheld[rest] && (n == nil || len(n.sets) == 0):
			return z, n
		case n != nil && len(n.sets) > 0:
			return z, n
		}
		asked = append(asked, z)
	}
}

// follow completes an answer whose last CNAME leads outside.
func (e *Endpoint) follow(ctx context.Context, query, answer *dns.Msg, name, transport string) *dns.Msg {
	next := query.Copy()
	next.Question[0].Name = name
	there, ours := private(next, e.vpc, e.resolver.cfg.Region)
	if e.viewer.host || !ours {
		there = e.forward(ctx, next, transport)
	}
	answer.Rcode, answer.Ns, answer.Authoritative = there.Rcode, there.Ns, false
	answer.Answer = append(answer.Answer, there.Answer...)
	return answer
}

// records returns those of the type that the owner has, or its CNAME.
func (n *node) records(owner string, kind uint16) []dns.RR {
	var found []dns.RR
	for _, set := range n.sets {
		if set.kind == kind || set.kind == dns.TypeCNAME || kind == dns.TypeANY {
			found = append(found, set.choose(owner)...)
		}
	}
	return found
}

// choose picks the records of one answer, each time anew: clients that take the first spread over all.
func (s recordSet) choose(owner string) []dns.RR {
	count := len(s.records)
	switch s.policy {
	case model.RoutingWeighted:
		count = 1
	case model.RoutingMultivalue:
		count = min(count, mostValues)
	}
	chosen := make([]dns.RR, count)
	for i, at := range sample(len(s.records), count) {
		chosen[i] = dns.Copy(s.records[at])
		chosen[i].Header().Name = owner
	}
	return chosen
}

// sample draws count different numbers below n, in random order.
func sample(n, count int) []int {
	moved := make(map[int]int, count) // the few that the shuffle of 0…n-1 has moved so far
	at := func(i int) int {
		if v, ok := moved[i]; ok {
			return v
		}
		return i
	}
	drawn := make([]int, count)
	for i := range drawn {
		j := i + rand.IntN(n-i)
		drawn[i] = at(j)
		moved[j] = at(i)
	}
	return drawn
}
