package elbv2

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/routing"
	"berth.dev/berth/internal/wire/api/elbv2api"
)

// Types of action that have an effect here.
const (
	actionForward       = "forward"
	actionRedirect      = "redirect"
	actionFixedResponse = "fixed-response"
)

// at is what actions are checked against: the listener that has them, and its
// load balancer.
type at struct {
	tx       *store.Tx
	balancer *model.LoadBalancer
	protocol string // of the listener
	port     int32
}

// actions checks what is to happen to requests. Exactly one action decides
// that; those that AWS has before it are refused.
func (p *Provider) actions(where at, given []elbv2api.Action) ([]model.BalancerAction, error) {
	if len(given) == 0 {
		return nil, invalid("An action must be specified")
	}
	for _, a := range given {
		switch string(a.Type) {
		case actionForward, actionRedirect, actionFixedResponse:
		default:
			return nil, unsupported("actions of type '" + string(a.Type) + "'")
		}
	}
	if len(given) > 1 {
		return nil, failure(codeInvalidAction, "You must specify exactly one of the following actions: forward, redirect, or fixed-response")
	}
	action, err := p.action(where, &given[0])
	if err != nil {
		return nil, err
	}
	actions := []model.BalancerAction{*action}
	return actions, expressible(trial(where, actions, nil))
}

// trial is the smallest load balancer that would do the actions, by a rule if
// there is one.
func trial(where at, actions []model.BalancerAction, rule *model.ListenerRule) *model.NodeLoadBalancer {
	d := &model.NodeLoadBalancer{LoadBalancer: model.LoadBalancer{Type: where.balancer.Type}}
	for _, name := range groupsIn(actions) {
		d.TargetGroups = append(d.TargetGroups, model.NodeTargetGroup{TargetGroup: model.TargetGroup{ID: name, ARN: name, Protocol: where.protocol}})
	}
	protocol := where.protocol
	switch protocol { // certificates are not in question
	case "HTTPS":
		protocol = "HTTP"
	case "TLS":
		protocol = "TCP"
	}
	d.Listeners = []model.Listener{{ID: "trial", Port: where.port, Protocol: protocol, DefaultActions: actions}}
	if rule != nil {
		d.Rules = []model.ListenerRule{{ID: "trial", ListenerID: "trial", Priority: rule.Priority, Conditions: rule.Conditions, Actions: actions}}
	}
	return d
}

// expressible refuses what AWS allows and the engine on the node cannot do:
// it would leave that out.
func expressible(d *model.NodeLoadBalancer) error {
	if problems := routing.Compile(d, routing.Site{}).Problems; len(problems) > 0 {
		return failure(codeOperationNotPermitted, "Berth cannot serve this: %s.", strings.ReplaceAll(problems[0], "\n", ": "))
	}
	return nil
}

func (p *Provider) action(where at, a *elbv2api.Action) (*model.BalancerAction, error) {
	out := &model.BalancerAction{Type: string(a.Type)}
	if a.Order != nil {
		out.Order = *a.Order
	}
	if where.balancer.Type == model.LoadBalancerNetwork && out.Type != actionForward {
		return nil, failure(codeInvalidAction, "Actions of type '%s' are not supported for listeners of network load balancers", out.Type)
	}
	var err error
	switch out.Type {
	case actionForward:
		err = p.forward(where, a, out)
	case actionRedirect:
		out.Redirect, err = redirect(where, a.RedirectConfig)
	default:
		out.FixedResponse, err = fixedResponse(a.FixedResponseConfig)
	}
	return out, err
}

// forward names target groups, in either of the two ways.
func (p *Provider) forward(where at, a *elbv2api.Action, out *model.BalancerAction) error {
	var tuples []elbv2api.TargetGroupTuple
	if a.ForwardConfig != nil {
		tuples = a.ForwardConfig.TargetGroups
	}
	switch {
	case len(tuples) == 0 && a.TargetGroupArn == nil:
		return invalid("A target group ARN must be specified")
	case len(tuples) == 0:
		tuples = []elbv2api.TargetGroupTuple{{TargetGroupArn: a.TargetGroupArn}}
	case a.TargetGroupArn != nil && (len(tuples) != 1 || *tuples[0].TargetGroupArn != *a.TargetGroupArn):
		return failure(codeInvalidAction, "You can specify both a target group ARN and a forward configuration only if they name the same target group")
	case len(tuples) > maxGroupsPerAction:
		return failure(codeTooManyUniqueGroups, "The maximum number of target groups per action is %d", maxGroupsPerAction)
	}
	sum := int32(0)
	for _, t := range tuples {
		weighted := model.WeightedTarget{Weight: 1}
		if t.TargetGroupArn == nil {
			return invalid("A target group ARN must be specified")
		}
		if t.Weight != nil {
			weighted.Weight = *t.Weight
		}
		if weighted.Weight < 0 || weighted.Weight > 999 {
			return invalid("Target group weight '%d' must be between '0' and '999' inclusive", weighted.Weight)
		}
		weighted.TargetGroupARN = *t.TargetGroupArn
		if slices.ContainsFunc(out.TargetGroups, func(w model.WeightedTarget) bool { return w.TargetGroupARN == weighted.TargetGroupARN }) {
			return invalid("Target group '%s' is specified more than once", weighted.TargetGroupARN)
		}
		if err := p.forwardable(where, weighted.TargetGroupARN); err != nil {
			return err
		}
		sum += weighted.Weight
		out.TargetGroups = append(out.TargetGroups, weighted)
	}
	if sum == 0 && len(tuples) > 1 {
		return invalid("At least one target group must have a weight greater than 0")
	}
	if where.balancer.Type == model.LoadBalancerNetwork && len(out.TargetGroups) > 1 && where.protocol == "TLS" {
		return unsupported("several target groups of a TLS listener")
	}
	return stickiness(where, a.ForwardConfig, out)
}

func stickiness(where at, config *elbv2api.ForwardActionConfig, out *model.BalancerAction) error {
	if config == nil || config.TargetGroupStickinessConfig == nil {
		return nil
	}
	s := config.TargetGroupStickinessConfig
	if s.Enabled == nil || !*s.Enabled {
		return nil
	}
	if where.balancer.Type == model.LoadBalancerNetwork {
		return failure(codeInvalidAction, "Target group stickiness is not supported for listeners of network load balancers")
	}
	if s.DurationSeconds == nil || *s.DurationSeconds < 1 || *s.DurationSeconds > 604800 {
		return invalid("Target group stickiness duration must be between '1' and '604800' seconds inclusive")
	}
	out.StickySeconds = *s.DurationSeconds
	return nil
}

// forwardable checks that a load balancer can forward to a target group: it
// exists, speaks the listener's protocol, is in the same VPC, and serves no
// other load balancer.
func (p *Provider) forwardable(where at, name string) error {
	id, err := p.groupID(&name)
	if err != nil {
		return err
	}
	records.TargetGroups.Guard(where.tx, id)
	group, found := records.TargetGroups.Get(where.tx, id)
	if !found {
		return failure(codeTargetGroupNotFound, "Target groups '%s' not found", name)
	}
	if !slices.Contains(compatible(where.protocol), group.Protocol) {
		return failure(codeIncompatibleProtocols, "The protocol '%s' of target group '%s' is not compatible with the listener protocol '%s'", group.Protocol, name, where.protocol)
	}
	if group.VPCID != where.balancer.VPCID {
		return failure(codeInvalidConfiguration, "The following target group is not in the same VPC as the load balancer: %s", name)
	}
	records.Listeners.GuardIndex(where.tx, records.ListenersByTargetGroup, name)
	records.ListenerRules.GuardIndex(where.tx, records.RulesByTargetGroup, name)
	for _, lb := range balancersOf(where.tx, name) {
		if lb.ID != where.balancer.ID {
			return failure(codeTargetGroupAssociation, "The following target groups cannot be associated with more than one load balancer: %s", name)
		}
	}
	return nil
}

// compatible are the target groups' protocols that a listener can forward to.
func compatible(protocol string) []string {
	switch protocol {
	case "HTTP", "HTTPS":
		return []string{"HTTP", "HTTPS"}
	case "TCP":
		return []string{"TCP", "TCP_UDP"}
	case "UDP":
		return []string{"UDP", "TCP_UDP"}
	case "TCP_UDP":
		return []string{"TCP_UDP"}
	case "TLS":
		return []string{"TCP", "TLS"}
	}
	return nil
}

var redirectPort = regexp.MustCompile(`\A(#\{port\}|[1-9][0-9]{0,4})\z`)

// redirect fills what a redirection leaves as it was, and refuses one that
// leads to itself.
func redirect(where at, c *elbv2api.RedirectActionConfig) (*model.RedirectAction, error) {
	if c == nil {
		return nil, invalid("A redirect configuration must be specified")
	}
	out := &model.RedirectAction{
		Protocol: "#{protocol}", Host: "#{host}", Port: "#{port}", Path: "/#{path}", Query: "#{query}", StatusCode: string(c.StatusCode),
	}
	for target, given := range map[*string]*string{&out.Protocol: c.Protocol, &out.Host: c.Host, &out.Port: c.Port, &out.Path: c.Path, &out.Query: c.Query} {
		if given != nil {
			*target = *given
		}
	}
	if n, err := strconv.Atoi(out.Port); !redirectPort.MatchString(out.Port) || err == nil && n > 65535 {
		return nil, invalid("The redirect port '%s' must be a number between 1 and 65535 or #{port}", out.Port)
	}
	if !strings.HasPrefix(out.Path, "/") {
		return nil, invalid("The redirect path '%s' must begin with a '/'", out.Path)
	}
	if out.Protocol == "HTTP" && where.protocol == "HTTPS" {
		return nil, failure(codeInvalidAction, "You cannot redirect HTTPS to HTTP")
	}
	sameProtocol := out.Protocol == "#{protocol}" || out.Protocol == where.protocol
	samePort := out.Port == "#{port}" || out.Port == strconv.Itoa(int(where.port))
	if sameProtocol && samePort && out.Host == "#{host}" && out.Path == "/#{path}" {
		return nil, failure(codeInvalidAction, "The redirect configuration is not valid because it creates a loop.")
	}
	return out, nil
}

func fixedResponse(c *elbv2api.FixedResponseActionConfig) (*model.FixedResponseAction, error) {
	if c == nil {
		return nil, invalid("A fixed response configuration must be specified")
	}
	out := &model.FixedResponseAction{StatusCode: *c.StatusCode}
	if c.ContentType != nil {
		out.ContentType = *c.ContentType
		types := []string{"text/plain", "text/css", "text/html", "application/javascript", "application/json"}
		if out.ContentType != "" && !slices.Contains(types, out.ContentType) {
			return nil, invalid("The content type '%s' must be one of '%s'", out.ContentType, strings.Join(types, ", "))
		}
	}
	if c.MessageBody != nil {
		out.Body = *c.MessageBody
	}
	return out, nil
}

// groupsIn are the ARNs of the target groups that actions forward to.
func groupsIn(actions []model.BalancerAction) []string {
	var arns []string
	for _, a := range actions {
		for _, g := range a.TargetGroups {
			arns = append(arns, g.TargetGroupARN)
		}
	}
	return arns
}

func actionsOut(actions []model.BalancerAction) []elbv2api.Action {
	out := []elbv2api.Action{}
	for _, a := range actions {
		out = append(out, actionOut(&a))
	}
	return out
}

func actionOut(a *model.BalancerAction) elbv2api.Action {
	out := elbv2api.Action{Type: elbv2api.ActionTypeEnum(a.Type)}
	if a.Order != 0 {
		out.Order = new(a.Order)
	}
	switch {
	case a.Redirect != nil:
		r := *a.Redirect
		out.RedirectConfig = &elbv2api.RedirectActionConfig{
			Protocol: &r.Protocol, Host: &r.Host, Port: &r.Port, Path: &r.Path, Query: &r.Query, StatusCode: elbv2api.RedirectActionStatusCodeEnum(r.StatusCode),
		}
	case a.FixedResponse != nil:
		f := *a.FixedResponse
		out.FixedResponseConfig = &elbv2api.FixedResponseActionConfig{StatusCode: &f.StatusCode}
		if f.ContentType != "" {
			out.FixedResponseConfig.ContentType = &f.ContentType
		}
		if f.Body != "" {
			out.FixedResponseConfig.MessageBody = &f.Body
		}
	default:
		out.ForwardConfig = forwardOut(a)
		if len(a.TargetGroups) == 1 {
			out.TargetGroupArn = new(a.TargetGroups[0].TargetGroupARN)
		}
	}
	return out
}

func forwardOut(a *model.BalancerAction) *elbv2api.ForwardActionConfig {
	out := &elbv2api.ForwardActionConfig{
		TargetGroups:                []elbv2api.TargetGroupTuple{},
		TargetGroupStickinessConfig: &elbv2api.TargetGroupStickinessConfig{Enabled: new(a.StickySeconds > 0)},
	}
	if a.StickySeconds > 0 {
		out.TargetGroupStickinessConfig.DurationSeconds = new(a.StickySeconds)
	}
	for _, g := range a.TargetGroups {
		out.TargetGroups = append(out.TargetGroups, elbv2api.TargetGroupTuple{TargetGroupArn: &g.TargetGroupARN, Weight: &g.Weight})
	}
	return out
}
