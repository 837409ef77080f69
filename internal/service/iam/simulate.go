package iam

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/rules/policy"
	"berth.dev/berth/internal/wire/api/iamapi"
)

// question is what a simulation asks, whoever's policies it is about.
type question struct {
	call       string
	identity   []string // documents from the request
	boundaries []string
	actions    []string
	resources  []string
	resource   *string // the resource's policy
	owner      *string
	callerARN  *string
	context    []iamapi.ContextEntry
	handling   *string
	marker     *string
	maxItems   *int32
}

// SimulateCustomPolicy implements iamapi.Service.
func (p *Provider) SimulateCustomPolicy(_ context.Context, in *iamapi.SimulateCustomPolicyInput) (*iamapi.SimulateCustomPolicyOutput, error) {
	part, err := p.simulate(question{
		call: "SimulateCustomPolicy", identity: in.PolicyInputList, boundaries: in.PermissionsBoundaryPolicyInputList,
		actions: in.ActionNames, resources: in.ResourceArns, resource: in.ResourcePolicy, owner: in.ResourceOwner, callerARN: in.CallerArn,
		context: in.ContextEntries, handling: in.ResourceHandlingOption, marker: in.Marker, maxItems: in.MaxItems,
	}, &bearing{})
	if err != nil {
		return nil, err
	}
	return &iamapi.SimulateCustomPolicyOutput{EvaluationResults: part.items, IsTruncated: part.truncated, Marker: part.marker}, nil
}

// SimulatePrincipalPolicy implements iamapi.Service: the policies of a user,
// with those of the groups, of a group or of a role, and more from the request.
func (p *Provider) SimulatePrincipalPolicy(_ context.Context, in *iamapi.SimulatePrincipalPolicyInput) (*iamapi.SimulatePrincipalPolicyOutput, error) {
	of, err := p.policiesOf(p.store.Snapshot(), *in.PolicySourceArn)
	if err != nil {
		return nil, err
	}
	part, err := p.simulate(question{
		call: "SimulatePrincipalPolicy", identity: in.PolicyInputList, boundaries: in.PermissionsBoundaryPolicyInputList,
		actions: in.ActionNames, resources: in.ResourceArns, resource: in.ResourcePolicy, owner: in.ResourceOwner, callerARN: in.CallerArn,
		context: in.ContextEntries, handling: in.ResourceHandlingOption, marker: in.Marker, maxItems: in.MaxItems,
	}, of)
	if err != nil {
		return nil, err
	}
	return &iamapi.SimulatePrincipalPolicyOutput{EvaluationResults: part.items, IsTruncated: part.truncated, Marker: part.marker}, nil
}

// simulate asks each action of each resource. The bearing policies are those of
// the principal; the request's are added to them.
func (p *Provider) simulate(q question, of *bearing) (page[iamapi.EvaluationResult], error) {
	none := page[iamapi.EvaluationResult]{}
	if q.handling != nil {
		return none, invalidInput("Berth does not simulate scenarios of EC2: ResourceHandlingOption must not be given.")
	}
	if err := of.addRequested(q); err != nil {
		return none, err
	}
	principal, err := p.simulated(q, of)
	if err != nil {
		return none, err
	}
	keys, err := contextOf(q.context, of)
	if err != nil {
		return none, err
	}
	resources := q.resources
	if len(resources) == 0 {
		resources = []string{"*"}
	}
	type pair struct{ action, resource, order string }
	var pairs []pair
	for _, action := range q.actions {
		if service, name, ok := strings.Cut(action, ":"); !ok || service == "" || name == "" {
			return none, invalidInput("Invalid action: %s. An action is written as service:Action.", action)
		}
		for _, resource := range resources {
			pairs = append(pairs, pair{action, resource, fmt.Sprintf("%08d", len(pairs))})
		}
	}
	part, err := pageOf(asked{q.call, q.marker, q.maxItems}, pairs, func(each pair) string { return each.order })
	if err != nil {
		return none, err
	}
	return page[iamapi.EvaluationResult]{truncated: part.truncated, marker: part.marker, items: each(part.items, func(each pair) iamapi.EvaluationResult {
		req := policy.Request{Principal: principal, Action: each.action, Resource: each.resource, Context: keys}
		return of.result(req, of.ownerOf(each.resource, q, principal))
	})}, nil
}

// simulated is the principal that the resource's policy sees. AWS takes a
// user's ARN only.
func (p *Provider) simulated(q question, of *bearing) (policy.Principal, error) {
	name := of.userARN
	if q.callerARN != nil {
		a, err := arn.Parse(*q.callerARN)
		if err != nil || a.Service != "iam" || a.Type() != kindUser {
			return policy.Principal{}, invalidInput("CallerArn %s must be the ARN of a user.", *q.callerARN)
		}
		name = *q.callerARN
	}
	if name == "" {
		if q.resource != nil {
			return policy.Principal{}, invalidInput("CallerArn must be given with ResourcePolicy unless the policies are a user's.")
		}
		// Nobody in particular: no policy that is asked names a principal.
		name = p.scope.IAM(kindUser, "/", "*")
	}
	a, err := arn.Parse(name)
	if err != nil {
		return policy.Principal{}, fmt.Errorf("principal of a simulation: %w", err)
	}
	return policy.Principal{ARN: name, AccountID: a.AccountID}, nil
}

// ownerOf is the account that a resource belongs to. Without a resource policy
// all is within one account.
func (b *bearing) ownerOf(resource string, q question, principal policy.Principal) string {
	if q.resource == nil {
		return principal.AccountID
	}
	if a, err := arn.Parse(resource); err == nil && isAccountID(a.AccountID) {
		return a.AccountID
	}
	if q.owner == nil {
		return principal.AccountID
	}
	if a, err := arn.Parse(*q.owner); err == nil {
		return a.AccountID
	}
	return *q.owner
}

// contextOf are the condition keys of the simulated requests: those that were
// given, and those that are the principal's own.
func contextOf(entries []iamapi.ContextEntry, of *bearing) (map[string][]string, error) {
	keys := map[string][]string{}
	maps.Copy(keys, of.keys)
	for _, entry := range entries {
		if entry.ContextKeyName == nil {
			return nil, invalidInput("Every context entry needs a ContextKeyName.")
		}
		if len(entry.ContextKeyValues) > 1 && !strings.HasSuffix(string(entry.ContextKeyType), "List") {
			return nil, invalidInput("Context key %s has several values, but its type is not a list.", *entry.ContextKeyName)
		}
		keys[strings.ToLower(*entry.ContextKeyName)] = append([]string{}, entry.ContextKeyValues...)
	}
	return keys, nil
}

// result is the decision on one action and resource.
func (b *bearing) result(req policy.Request, owner string) iamapi.EvaluationResult {
	decision := policy.Evaluate(req, policy.Policies{Identity: b.identity, Boundary: b.boundary, Resource: b.resource, ResourceAccountID: owner})
	out := iamapi.EvaluationResult{
		EvalActionName: &req.Action, EvalResourceName: &req.Resource, EvalDecision: iamapi.PolicyEvaluationDecisionTypeImplicitDeny,
		MatchedStatements: []iamapi.Statement{}, MissingContextValues: append([]string{}, decision.MissingContext...),
	}
	switch decision.Outcome { //nolint:exhaustive // the others need nothing here
	case policy.Allowed:
		out.EvalDecision = iamapi.PolicyEvaluationDecisionTypeAllowed
	case policy.ExplicitDeny:
		out.EvalDecision = iamapi.PolicyEvaluationDecisionTypeExplicitDeny
	}
	allowed, denied := false, false
	for _, m := range decision.Matched {
		if m.Layer == policy.LayerBoundary {
			allowed, denied = allowed || !m.Deny, denied || m.Deny
		}
		// What decided is listed: the denials, or else what allowed. Where
		// nothing allows, nothing is.
		if decision.Outcome != policy.ImplicitDeny && m.Deny == (decision.Outcome == policy.ExplicitDeny) {
			out.MatchedStatements = append(out.MatchedStatements, b.statement(m))
		}
	}
	if b.boundary != nil {
		out.PermissionsBoundaryDecisionDetail = &iamapi.PermissionsBoundaryDecisionDetail{AllowedByPermissionsBoundary: new(allowed && !denied)}
	}
	return out
}

func (b *bearing) statement(m policy.Matched) iamapi.Statement {
	from := b.origin[m.Source.Document]
	at := m.Source.Document.Statements()[m.Index]
	return iamapi.Statement{SourcePolicyId: &from.id, SourcePolicyType: from.kind, StartPosition: position(at.Start), EndPosition: position(at.End)}
}

func position(at policy.Position) *iamapi.Position {
	//nolint:gosec // places in a document of 128 KiB at most
	return &iamapi.Position{Line: new(int32(at.Line)), Column: new(int32(at.Column))}
}

// GetContextKeysForCustomPolicy implements iamapi.Service.
func (p *Provider) GetContextKeysForCustomPolicy(_ context.Context, in *iamapi.GetContextKeysForCustomPolicyInput) (*iamapi.GetContextKeysForCustomPolicyOutput, error) {
	of := &bearing{}
	if err := of.addRequested(question{identity: in.PolicyInputList}); err != nil {
		return nil, err
	}
	return &iamapi.GetContextKeysForCustomPolicyOutput{ContextKeyNames: of.contextKeys()}, nil
}

// GetContextKeysForPrincipalPolicy implements iamapi.Service.
func (p *Provider) GetContextKeysForPrincipalPolicy(_ context.Context, in *iamapi.GetContextKeysForPrincipalPolicyInput) (*iamapi.GetContextKeysForPrincipalPolicyOutput, error) {
	of, err := p.policiesOf(p.store.Snapshot(), *in.PolicySourceArn)
	if err != nil {
		return nil, err
	}
	if err := of.addRequested(question{identity: in.PolicyInputList}); err != nil {
		return nil, err
	}
	return &iamapi.GetContextKeysForPrincipalPolicyOutput{ContextKeyNames: of.contextKeys()}, nil
}

// contextKeys are the condition keys that the policies refer to, each once
// without regard to case, in order.
func (b *bearing) contextKeys() []string {
	keys := []string{}
	for _, source := range b.identity {
		for _, key := range source.Document.ContextKeys() {
			if !slices.ContainsFunc(keys, func(known string) bool { return strings.EqualFold(known, key) }) {
				keys = append(keys, key)
			}
		}
	}
	slices.Sort(keys)
	return keys
}

// parseGiven is parse for the simulator, which refuses a bad document as bad
// input.
func parseGiven(kind policy.Kind, text string) (*policy.Document, error) {
	doc, err := policy.Parse(kind, text)
	if syntax, ok := errors.AsType[*policy.SyntaxError](err); ok {
		return nil, invalidInput("%s", syntax.Message)
	}
	return doc, err
}
