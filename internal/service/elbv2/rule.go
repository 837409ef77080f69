package elbv2

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/elbv2api"
)

// priorityDefault is the priority of the rule that comes last.
const priorityDefault = "default"

// CreateRule implements elbv2api.Service.
func (p *Provider) CreateRule(ctx context.Context, in *elbv2api.CreateRuleInput) (*elbv2api.CreateRuleOutput, error) {
	if len(in.Transforms) > 0 {
		return nil, unsupported("transforms of requests")
	}
	tags, err := newTags(in.Tags)
	if err != nil {
		return nil, err
	}
	conditions, err := conditionsOf(in.Conditions)
	if err != nil {
		return nil, err
	}
	var made *model.ListenerRule
	_, err = p.store.Update(ctx, func(tx *store.Tx) error {
		l, lb, err := p.listener(tx, in.ListenerArn)
		if err != nil {
			return err
		}
		if lb.Type != model.LoadBalancerApplication {
			return failure(codeUnsupportedProtocol, "Rules are not supported for listeners with the protocol '%s'", l.Protocol)
		}
		records.LoadBalancers.Guard(tx, lb.ID)
		records.Listeners.Guard(tx, l.ID)
		records.ListenerRules.GuardIndex(tx, records.RulesByListener, l.ID)
		made = &model.ListenerRule{ListenerID: l.ID, Priority: int(*in.Priority), Conditions: conditions, CreatedAt: tx.Now(), Tags: tags}
		for other := range records.ListenerRules.By(tx, records.RulesByListener, l.ID) {
			records.ListenerRules.Guard(tx, other.ID) // SetRulePriorities may be moving it
			if other.Priority == made.Priority {
				return failure(codePriorityInUse, "Priority '%d' is currently in use", made.Priority)
			}
		}
		if err := roomForRule(tx, lb); err != nil {
			return err
		}
		if made.Actions, err = p.actions(at{tx: tx, balancer: lb, protocol: l.Protocol, port: l.Port}, in.Actions); err != nil {
			return err
		}
		if err := expressible(trial(at{balancer: lb, protocol: l.Protocol, port: l.Port}, made.Actions, made)); err != nil {
			return err
		}
		if err := groupLimit(tx, lb, made.Actions); err != nil {
			return err
		}
		made.ID = kindRule + strings.TrimPrefix(l.ID, kindListener) + "/" + ident.Hex(16)
		made.ARN = p.arn(made.ID)
		records.ListenerRules.Put(tx, made)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &elbv2api.CreateRuleOutput{Rules: []elbv2api.Rule{ruleOut(made)}}, nil
}

func roomForRule(tx *store.Tx, lb *model.LoadBalancer) error {
	n := 0
	for l := range records.Listeners.By(tx, records.ListenersByLoadBalancer, lb.ID) {
		for range records.ListenerRules.By(tx, records.RulesByListener, l.ID) {
			n++
		}
	}
	if n >= maxRules {
		return failure(codeTooManyRules, "The maximum number of rules per load balancer has been reached")
	}
	return nil
}

// groupLimit bounds the target groups of a load balancer, with those that
// actions add.
func groupLimit(tx *store.Tx, lb *model.LoadBalancer, actions []model.BalancerAction) error {
	groups := map[string]bool{}
	for l := range records.Listeners.By(tx, records.ListenersByLoadBalancer, lb.ID) {
		for _, g := range groupsIn(l.DefaultActions) {
			groups[g] = true
		}
		for r := range records.ListenerRules.By(tx, records.RulesByListener, l.ID) {
			for _, g := range groupsIn(r.Actions) {
				groups[g] = true
			}
		}
	}
	for _, g := range groupsIn(actions) {
		groups[g] = true
	}
	if len(groups) > maxGroupsPerApplication {
		return failure(codeTooManyTargetGroups, "The maximum number of target groups per load balancer has been reached")
	}
	return nil
}

// ModifyRule implements elbv2api.Service.
func (p *Provider) ModifyRule(ctx context.Context, in *elbv2api.ModifyRuleInput) (*elbv2api.ModifyRuleOutput, error) {
	if len(in.Transforms) > 0 {
		return nil, unsupported("transforms of requests")
	}
	var changed *model.ListenerRule
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		rule, l, lb, err := p.rule(tx, in.RuleArn)
		if err != nil {
			return err
		}
		if rule == nil {
			return failure(codeOperationNotPermitted, "Default rule '%s' cannot be modified", *in.RuleArn)
		}
		records.Listeners.Guard(tx, l.ID)
		if err := records.ListenerRules.Edit(tx, rule.ID, func(r *model.ListenerRule) error {
			if in.Conditions != nil {
				if r.Conditions, err = conditionsOf(in.Conditions); err != nil {
					return err
				}
			}
			where := at{tx: tx, balancer: lb, protocol: l.Protocol, port: l.Port}
			if in.Actions != nil {
				if r.Actions, err = p.actions(where, in.Actions); err != nil {
					return err
				}
			}
			return expressible(trial(where, r.Actions, r))
		}); err != nil {
			return err
		}
		changed, _ = records.ListenerRules.Get(tx, rule.ID)
		return groupLimit(tx, lb, nil)
	})
	if err != nil {
		return nil, err
	}
	return &elbv2api.ModifyRuleOutput{Rules: []elbv2api.Rule{ruleOut(changed)}}, nil
}

// DeleteRule implements elbv2api.Service.
func (p *Provider) DeleteRule(ctx context.Context, in *elbv2api.DeleteRuleInput) (*elbv2api.DeleteRuleOutput, error) {
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		rule, _, _, err := p.rule(tx, in.RuleArn)
		if err != nil {
			return err
		}
		if rule == nil {
			return failure(codeOperationNotPermitted, "Default rule '%s' cannot be deleted", *in.RuleArn)
		}
		records.ListenerRules.Delete(tx, rule.ID)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &elbv2api.DeleteRuleOutput{}, nil
}

// SetRulePriorities implements elbv2api.Service. All change at once, so two
// rules may change places.
func (p *Provider) SetRulePriorities(ctx context.Context, in *elbv2api.SetRulePrioritiesInput) (*elbv2api.SetRulePrioritiesOutput, error) {
	var out *elbv2api.SetRulePrioritiesOutput
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		out = &elbv2api.SetRulePrioritiesOutput{Rules: []elbv2api.Rule{}}
		listeners := map[string]bool{}
		for _, pair := range in.RulePriorities {
			if pair.RuleArn == nil || pair.Priority == nil {
				return invalid("A rule ARN and a priority must be specified")
			}
			rule, l, _, err := p.rule(tx, pair.RuleArn)
			if err != nil {
				return err
			}
			if rule == nil {
				return failure(codeOperationNotPermitted, "The priority of default rule '%s' cannot be set", *pair.RuleArn)
			}
			listeners[l.ID] = true
			if err := records.ListenerRules.Edit(tx, rule.ID, func(r *model.ListenerRule) error {
				r.Priority = int(*pair.Priority)
				return nil
			}); err != nil {
				return err
			}
			changed, _ := records.ListenerRules.Get(tx, rule.ID)
			out.Rules = append(out.Rules, ruleOut(changed))
		}
		for id := range listeners {
			if err := distinctPriorities(tx, id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func distinctPriorities(tx *store.Tx, listenerID string) error {
	records.ListenerRules.GuardIndex(tx, records.RulesByListener, listenerID)
	used := map[int]bool{}
	for r := range records.ListenerRules.By(tx, records.RulesByListener, listenerID) {
		records.ListenerRules.Guard(tx, r.ID)
		if used[r.Priority] {
			return failure(codePriorityInUse, "Priority '%d' is currently in use", r.Priority)
		}
		used[r.Priority] = true
	}
	return nil
}

// DescribeRules implements elbv2api.Service: by priority, the default last.
func (p *Provider) DescribeRules(_ context.Context, in *elbv2api.DescribeRulesInput) (*elbv2api.DescribeRulesOutput, error) {
	if (in.ListenerArn == nil) == (len(in.RuleArns) == 0) {
		return nil, invalid("You must specify either listener rule ARNs or a listener ARN")
	}
	snap := p.store.Snapshot()
	var found []elbv2api.Rule
	for _, name := range in.RuleArns {
		rule, l, _, err := p.rule(snap, &name)
		switch {
		case err != nil:
			return nil, err
		case rule == nil:
			found = append(found, p.defaultRuleOut(l))
		default:
			found = append(found, ruleOut(rule))
		}
	}
	if in.ListenerArn != nil {
		l, _, err := p.listener(snap, in.ListenerArn)
		if err != nil {
			return nil, err
		}
		for r := range records.ListenerRules.By(snap, records.RulesByListener, l.ID) {
			found = append(found, ruleOut(r))
		}
		found = append(found, p.defaultRuleOut(l))
	}
	order := func(r elbv2api.Rule) string { // numbers of one length, then "default"
		if *r.Priority == priorityDefault {
			return priorityDefault + *r.RuleArn
		}
		return strings.Repeat("0", 5-len(*r.Priority)) + *r.Priority + *r.RuleArn
	}
	slices.SortFunc(found, func(a, b elbv2api.Rule) int { return cmp.Compare(order(a), order(b)) })
	page, next, err := pageOf("DescribeRules", found, order, in.Marker, in.PageSize)
	if err != nil {
		return nil, err
	}
	return &elbv2api.DescribeRulesOutput{Rules: append([]elbv2api.Rule{}, page...), NextMarker: next}, nil
}

// rule finds a rule by its ARN, with its listener and load balancer; it is nil
// for the listener's default rule.
func (p *Provider) rule(r store.Reader, name *string) (*model.ListenerRule, *model.Listener, *model.LoadBalancer, error) {
	id, ok := p.resource(kindRule, *name)
	if !ok {
		return nil, nil, nil, invalid("'%s' is not a valid listener rule ARN", *name)
	}
	missing := failure(codeRuleNotFound, "One or more rules not found")
	end := strings.LastIndex(id, "/")
	listenerARN := p.arn(kindListener + strings.TrimPrefix(id[:end], kindRule))
	l, lb, err := p.listener(r, &listenerARN)
	if err != nil {
		return nil, nil, nil, missing
	}
	if id == defaultRuleID(l.ID) {
		return nil, l, lb, nil
	}
	rule, found := records.ListenerRules.Get(r, id)
	if !found {
		return nil, nil, nil, missing
	}
	return rule, l, lb, nil
}

func ruleOut(r *model.ListenerRule) elbv2api.Rule {
	return elbv2api.Rule{
		RuleArn: &r.ARN, Priority: new(strconv.Itoa(r.Priority)), Conditions: conditionsOut(r.Conditions), Actions: actionsOut(r.Actions), IsDefault: new(false),
		Transforms: []elbv2api.RuleTransform{},
	}
}

func (p *Provider) defaultRuleOut(l *model.Listener) elbv2api.Rule {
	return elbv2api.Rule{
		RuleArn: new(p.arn(defaultRuleID(l.ID))), Priority: new(priorityDefault), Conditions: []elbv2api.RuleCondition{},
		Actions: actionsOut(l.DefaultActions), IsDefault: new(true), Transforms: []elbv2api.RuleTransform{},
	}
}
