package elbv2

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"reflect"
	"slices"
	"strings"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/elbv2api"
)

// CreateListener implements elbv2api.Service. The same port with the same
// settings is the same listener.
func (p *Provider) CreateListener(ctx context.Context, in *elbv2api.CreateListenerInput) (*elbv2api.CreateListenerOutput, error) {
	if err := mutualTLS(in.MutualAuthentication); err != nil {
		return nil, err
	}
	if in.Protocol == "" {
		return nil, invalid("A listener protocol must be specified")
	}
	if in.Port == nil {
		return nil, invalid("A listener port must be specified")
	}
	tags, err := newTags(in.Tags)
	if err != nil {
		return nil, err
	}
	var made *model.Listener
	_, err = p.store.Update(ctx, func(tx *store.Tx) error {
		lb, err := p.balancer(tx, in.LoadBalancerArn)
		if err != nil {
			return err
		}
		made = &model.Listener{LoadBalancerID: lb.ID, Port: *in.Port, Tags: tags}
		if err := p.changeListener(tx, lb, made, listenerChange{
			protocol: string(in.Protocol), policy: in.SslPolicy, alpn: in.AlpnPolicy, certificates: in.Certificates, actions: append([]elbv2api.Action{}, in.DefaultActions...),
		}); err != nil {
			return err
		}
		count := 0
		for other := range records.Listeners.By(tx, records.ListenersByLoadBalancer, lb.ID) {
			count++
			if other.Port != made.Port {
				continue
			}
			if !sameListener(other, made) {
				return failure(codeDuplicateListener, "A listener already exists on this port for this load balancer '%s'", lb.ARN)
			}
			made = other
			return nil
		}
		if count >= maxListeners {
			return failure(codeTooManyListeners, "The maximum number of listeners per load balancer has been reached")
		}
		made.ID = kindListener + "/" + lb.ID + "/" + ident.Hex(16)
		made.ARN = p.arn(made.ID)
		made.CreatedAt = tx.Now()
		records.Listeners.Put(tx, made)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &elbv2api.CreateListenerOutput{Listeners: []elbv2api.Listener{p.listenerOut(made)}}, nil
}

func sameListener(a, b *model.Listener) bool {
	return a.Protocol == b.Protocol && a.SSLPolicy == b.SSLPolicy && slices.Equal(a.ALPNPolicy, b.ALPNPolicy) &&
		slices.Equal(a.Certificates[:min(len(a.Certificates), 1)], b.Certificates) && reflect.DeepEqual(a.DefaultActions, b.DefaultActions)
}

// listenerChange is what a call says about a listener; what it leaves out
// stays.
type listenerChange struct {
	protocol     string
	policy       *string
	alpn         []string
	certificates []elbv2api.Certificate
	actions      []elbv2api.Action
}

// changeListener applies a change to a listener and refuses one that could not
// serve. The transaction depends on the load balancer and its listeners.
func (p *Provider) changeListener(tx *store.Tx, lb *model.LoadBalancer, l *model.Listener, change listenerChange) error {
	records.LoadBalancers.Guard(tx, lb.ID)
	records.Listeners.GuardIndex(tx, records.ListenersByLoadBalancer, lb.ID)
	if change.protocol != "" {
		if err := listenerProtocol(lb, change.protocol); err != nil {
			return err
		}
		l.Protocol = change.protocol
	}
	if err := secure(tx, l, change); err != nil {
		return err
	}
	where := at{tx: tx, balancer: lb, protocol: l.Protocol, port: l.Port}
	if change.actions != nil {
		actions, err := p.actions(where, change.actions)
		if err != nil {
			return err
		}
		l.DefaultActions = actions
		return nil
	}
	for _, group := range groupsIn(l.DefaultActions) { // the protocol may have changed
		if err := p.forwardable(where, group); err != nil {
			return err
		}
	}
	return nil
}

func listenerProtocol(lb *model.LoadBalancer, protocol string) error {
	supported := []string{"HTTP", "HTTPS"}
	if lb.Type == model.LoadBalancerNetwork {
		supported = []string{"TCP", "TLS", "UDP", "TCP_UDP"}
	}
	switch {
	case slices.Contains(supported, protocol):
		return nil
	case strings.Contains(protocol, "QUIC"):
		return unsupported("listeners with protocol '" + protocol + "'")
	}
	return invalid("Listener protocol '%s' must be one of '%s'", protocol, strings.Join(supported, ", "))
}

// secure sets what only listeners with TLS have.
func secure(tx *store.Tx, l *model.Listener, change listenerChange) error {
	if l.Protocol != "HTTPS" && l.Protocol != "TLS" {
		switch {
		case len(change.certificates) > 0:
			return invalid("Certificates cannot be specified for %s listeners", l.Protocol)
		case change.policy != nil && *change.policy != "":
			return invalid("An SSL policy cannot be specified for %s listeners", l.Protocol)
		case len(change.alpn) > 0:
			return invalid("An ALPN policy cannot be specified for %s listeners", l.Protocol)
		}
		l.SSLPolicy, l.Certificates, l.ALPNPolicy = "", nil, nil
		return nil
	}
	if change.policy != nil && *change.policy != "" {
		if _, known := policies()[*change.policy]; !known {
			return failure(codeSSLPolicyNotFound, "SSL policy '%s' not found", *change.policy)
		}
		l.SSLPolicy = *change.policy
	}
	l.SSLPolicy = orElse(l.SSLPolicy, defaultPolicy)
	switch {
	case change.certificates == nil && len(l.Certificates) > 0:
	case len(change.certificates) == 0:
		return failure(codeCertificateNotFound, "A certificate must be specified for %s listeners", l.Protocol)
	case len(change.certificates) > 1:
		return failure(codeTooManyCertificates, "Only one certificate can be specified; use AddListenerCertificates for others")
	default:
		name, err := certificate(tx, &change.certificates[0])
		if err != nil {
			return err
		}
		// The default certificate changes; those for other names stay.
		others := slices.DeleteFunc(slices.Clone(l.Certificates[min(len(l.Certificates), 1):]), func(c string) bool { return c == name })
		l.Certificates = append([]string{name}, others...)
	}
	return alpn(l, change.alpn)
}

func alpn(l *model.Listener, policy []string) error {
	if policy == nil {
		return nil
	}
	if l.Protocol != "TLS" {
		return invalid("An ALPN policy cannot be specified for %s listeners", l.Protocol)
	}
	known := []string{"HTTP1Only", "HTTP2Only", "HTTP2Optional", "HTTP2Preferred", "None"}
	if len(policy) != 1 || !slices.Contains(known, policy[0]) {
		return failure("ALPNPolicyNotFound", "ALPN policy '%s' is not supported", strings.Join(policy, ","))
	}
	l.ALPNPolicy = policy
	return nil
}

// mutualTLS refuses what would check clients' certificates.
func mutualTLS(m *elbv2api.MutualAuthenticationAttributes) error {
	if m == nil || m.Mode == nil || *m.Mode == "off" {
		return nil
	}
	return unsupported("mutual authentication of clients")
}

// ModifyListener implements elbv2api.Service.
func (p *Provider) ModifyListener(ctx context.Context, in *elbv2api.ModifyListenerInput) (*elbv2api.ModifyListenerOutput, error) {
	if err := mutualTLS(in.MutualAuthentication); err != nil {
		return nil, err
	}
	var changed *model.Listener
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		l, lb, err := p.listener(tx, in.ListenerArn)
		if err != nil {
			return err
		}
		if in.Port != nil && *in.Port != l.Port {
			for other := range records.Listeners.By(tx, records.ListenersByLoadBalancer, lb.ID) {
				records.Listeners.Guard(tx, other.ID) // its port may be changing too
				if other.Port == *in.Port {
					return failure(codeDuplicateListener, "A listener already exists on this port for this load balancer '%s'", lb.ARN)
				}
			}
		}
		if err := records.Listeners.Edit(tx, l.ID, func(l *model.Listener) error {
			if in.Port != nil {
				l.Port = *in.Port
			}
			return p.changeListener(tx, lb, l, listenerChange{
				protocol: string(in.Protocol), policy: in.SslPolicy, alpn: in.AlpnPolicy, certificates: in.Certificates, actions: in.DefaultActions,
			})
		}); err != nil {
			return err
		}
		changed, _ = records.Listeners.Get(tx, l.ID)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &elbv2api.ModifyListenerOutput{Listeners: []elbv2api.Listener{p.listenerOut(changed)}}, nil
}

// DeleteListener implements elbv2api.Service. Its rules go with it.
func (p *Provider) DeleteListener(ctx context.Context, in *elbv2api.DeleteListenerInput) (*elbv2api.DeleteListenerOutput, error) {
	var id string
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		l, _, err := p.listener(tx, in.ListenerArn)
		if err != nil {
			return err
		}
		id = l.ID
		records.Listeners.Delete(tx, id)
		return nil
	})
	if err != nil {
		return nil, err
	}
	var rules []string
	for r := range records.ListenerRules.By(p.store.Snapshot(), records.RulesByListener, id) {
		rules = append(rules, r.ID)
	}
	if err := remove(ctx, p.store, records.ListenerRules, rules); err != nil {
		return nil, err
	}
	return &elbv2api.DeleteListenerOutput{}, nil
}

// DescribeListeners implements elbv2api.Service.
func (p *Provider) DescribeListeners(_ context.Context, in *elbv2api.DescribeListenersInput) (*elbv2api.DescribeListenersOutput, error) {
	if (in.LoadBalancerArn == nil) == (len(in.ListenerArns) == 0) {
		return nil, invalid("You must specify either listener ARNs or a load balancer ARN")
	}
	snap := p.store.Snapshot()
	var found []*model.Listener
	for _, name := range in.ListenerArns {
		l, _, err := p.listener(snap, &name)
		if err != nil {
			return nil, err
		}
		found = append(found, l)
	}
	if in.LoadBalancerArn != nil {
		lb, err := p.balancer(snap, in.LoadBalancerArn)
		if err != nil {
			return nil, err
		}
		found = slices.Collect(records.Listeners.By(snap, records.ListenersByLoadBalancer, lb.ID))
	}
	slices.SortFunc(found, func(a, b *model.Listener) int { return strings.Compare(a.ID, b.ID) })
	page, next, err := pageOf("DescribeListeners", slices.Compact(found), (*model.Listener).Key, in.Marker, in.PageSize)
	if err != nil {
		return nil, err
	}
	out := &elbv2api.DescribeListenersOutput{Listeners: []elbv2api.Listener{}, NextMarker: next}
	for _, l := range page {
		out.Listeners = append(out.Listeners, p.listenerOut(l))
	}
	return out, nil
}

// listener finds a listener by its ARN, with its load balancer.
func (p *Provider) listener(r store.Reader, name *string) (*model.Listener, *model.LoadBalancer, error) {
	id, ok := p.resource(kindListener, *name)
	if !ok {
		return nil, nil, invalid("'%s' is not a valid listener ARN", *name)
	}
	if l, found := records.Listeners.Get(r, id); found {
		if lb, found := records.LoadBalancers.Get(r, l.LoadBalancerID); found {
			return l, lb, nil
		}
	}
	return nil, nil, failure(codeListenerNotFound, "One or more listeners not found")
}

// defaultRuleID is the id of the rule that stands for a listener's default
// actions. It is no record: it is there as long as the listener.
func defaultRuleID(listenerID string) string {
	sum := sha256.Sum256([]byte(listenerID))
	return kindRule + strings.TrimPrefix(listenerID, kindListener) + "/" + hex.EncodeToString(sum[:8])
}

func (p *Provider) listenerOut(l *model.Listener) elbv2api.Listener {
	out := elbv2api.Listener{
		ListenerArn: &l.ARN, LoadBalancerArn: new(p.arn(kindLoadBalancer + "/" + l.LoadBalancerID)), Port: &l.Port,
		Protocol: elbv2api.ProtocolEnum(l.Protocol), DefaultActions: actionsOut(l.DefaultActions), AlpnPolicy: l.ALPNPolicy,
	}
	if len(l.Certificates) > 0 {
		out.Certificates = []elbv2api.Certificate{{CertificateArn: new(l.Certificates[0])}}
		out.SslPolicy = &l.SSLPolicy
	}
	if l.Protocol == "HTTPS" {
		out.MutualAuthentication = &elbv2api.MutualAuthenticationAttributes{Mode: new("off")}
	}
	return out
}
