package kms

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/policy"
	"berth.dev/berth/internal/wire/api/kmsapi"
	"berth.dev/berth/internal/wire/caller"
)

const (
	// policyName is the name of the one policy that a key has.
	policyName = "default"
	// maxPolicy is how many bytes a key's policy can have.
	maxPolicy = 32768
)

// defaultPolicy is that of a key which is made without one: the account's
// identity policies decide.
func (p *Provider) defaultPolicy() string {
	return `{
  "Version" : "2012-10-17",
  "Id" : "key-default-1",
  "Statement" : [ {
    "Sid" : "Enable IAM User Permissions",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "` + p.scope.Root() + `"
    },
    "Action" : "kms:*",
    "Resource" : "*"
  } ]
}`
}

func malformed(text string) error {
	return &kmsapi.MalformedPolicyDocumentException{Message: &text}
}

// checkPolicy refuses a policy that does not parse, that names principals of
// this account which do not exist, or that locks out whoever sets it.
func (p *Provider) checkPolicy(ctx context.Context, r store.Reader, keyARN, text string, lockoutIsFine bool) error {
	if len(text) > maxPolicy {
		return &kmsapi.LimitExceededException{Message: new("The key policy is longer than 32768 bytes.")}
	}
	document, err := policy.Parse(policy.Resource, text)
	if err != nil {
		if e, ok := errors.AsType[*policy.SyntaxError](err); ok {
			return malformed(e.Message)
		}
		return err
	}
	for _, name := range principalsOf(text) {
		if !p.principal(r, name) {
			return malformed("Policy contains a statement with one or more invalid principals.")
		}
	}
	if !lockoutIsFine && p.lockedOut(ctx, keyARN, document) {
		return malformed("The new key policy will not allow you to update the key policy in the future.")
	}
	return nil
}

// lockedOut reports whether the caller could not set the policy again. Where
// the policy leaves the word to the account's identity policies it is assumed
// that they go on to allow what they allow now.
func (p *Provider) lockedOut(ctx context.Context, keyARN string, document *policy.Document) bool {
	who, ok := caller.From(ctx)
	if !ok {
		return false
	}
	everything, err := policy.Parse(policy.Identity, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`)
	if err != nil {
		return false
	}
	principal := policy.Principal{ARN: who.ARN, AccountID: who.AccountID, Root: who.ARN == p.scope.Root()}
	if who.Session != nil {
		principal.RoleARN = who.Session.RoleARN
	}
	return policy.Evaluate(policy.Request{
		Principal: principal, Action: "kms:PutKeyPolicy", Resource: keyARN,
		Context: map[string][]string{"aws:principalarn": {who.ARN}, "aws:principalaccount": {who.AccountID}, "kms:calleraccount": {who.AccountID}},
	}, policy.Policies{Identity: []policy.Source{{Document: everything}}, Resource: &policy.Source{Document: document}, ResourceDecides: true}).Outcome != policy.Allowed
}

// principalsOf are the AWS principals of a document that has been parsed.
func principalsOf(text string) []string {
	var document struct{ Statement json.RawMessage }
	type statement struct{ Principal, NotPrincipal json.RawMessage }
	var statements []statement
	if json.Unmarshal([]byte(text), &document) != nil {
		return nil
	}
	if json.Unmarshal(document.Statement, &statements) != nil { // one that is not in an array
		statements = make([]statement, 1)
		if json.Unmarshal(document.Statement, &statements[0]) != nil {
			return nil
		}
	}
	var out []string
	for _, s := range statements {
		for _, raw := range []json.RawMessage{s.Principal, s.NotPrincipal} {
			var kinds struct{ AWS json.RawMessage }
			if json.Unmarshal(raw, &kinds) != nil {
				continue // absent, or "*"
			}
			var many []string
			var one string
			if json.Unmarshal(kinds.AWS, &many) == nil {
				out = append(out, many...)
			} else if json.Unmarshal(kinds.AWS, &one) == nil {
				out = append(out, one)
			}
		}
	}
	return out
}

var accountID = regexp.MustCompile(`^[0-9]{12}$`)

// principal reports whether a principal exists, as far as that can be known:
// those of other accounts do.
func (p *Provider) principal(r store.Reader, name string) bool {
	if name == "*" || accountID.MatchString(name) {
		return true
	}
	a, err := arn.Parse(name)
	if err != nil || a.Service != "iam" && a.Service != "sts" || !accountID.MatchString(a.AccountID) || a.Region != "" {
		return false
	}
	kind, rest, _ := strings.Cut(a.Resource, "/")
	if a.AccountID != p.scope.AccountID {
		return a.Resource == "root" || rest != "" && slices.Contains([]string{"user", "role", "assumed-role", "federated-user"}, kind)
	}
	last := rest[strings.LastIndexByte(rest, '/')+1:]
	switch {
	case a.Service == "iam" && a.Resource == "root":
		return true
	case a.Service == "iam" && kind == "user":
		u, ok := records.Users.Get(r, model.FoldName(last))
		return ok && u.Path+u.Name == "/"+rest
	case a.Service == "iam" && kind == "role":
		role, ok := records.Roles.Get(r, model.FoldName(last))
		return ok && role.Path+role.Name == "/"+rest
	case a.Service == "sts" && kind == "assumed-role":
		role, _, named := strings.Cut(rest, "/")
		return named && records.Roles.Has(r, model.FoldName(role))
	}
	return false
}

// GetKeyPolicy implements kmsapi.Service.
func (p *Provider) GetKeyPolicy(_ context.Context, in *kmsapi.GetKeyPolicyInput) (*kmsapi.GetKeyPolicyOutput, error) {
	key, err := p.byID(p.store.Snapshot(), in.KeyId)
	if err != nil {
		return nil, err
	}
	if in.PolicyName != nil && *in.PolicyName != policyName {
		return nil, missing("No such policy exists")
	}
	return &kmsapi.GetKeyPolicyOutput{Policy: &key.Policy, PolicyName: new(policyName)}, nil
}

// PutKeyPolicy implements kmsapi.Service.
func (p *Provider) PutKeyPolicy(ctx context.Context, in *kmsapi.PutKeyPolicyInput) (*kmsapi.PutKeyPolicyOutput, error) {
	if in.PolicyName != nil && *in.PolicyName != policyName {
		return nil, unsupported("A key has one policy, named default.")
	}
	_, err := p.change(ctx, in.KeyId, "PutKeyPolicy", whatever, func(tx *store.Tx, key *model.KMSKey) error {
		key.Policy = *in.Policy
		return p.checkPolicy(ctx, tx, key.ARN, *in.Policy, value(in.BypassPolicyLockoutSafetyCheck))
	})
	return &kmsapi.PutKeyPolicyOutput{}, err
}

// ListKeyPolicies implements kmsapi.Service.
func (p *Provider) ListKeyPolicies(_ context.Context, in *kmsapi.ListKeyPoliciesInput) (*kmsapi.ListKeyPoliciesOutput, error) {
	if _, err := p.byID(p.store.Snapshot(), in.KeyId); err != nil {
		return nil, err
	}
	page, err := pageOf("policies", slices.Values([]string{policyName}), func(s string) string { return s }, in.Marker, in.Limit, 100)
	if err != nil {
		return nil, err
	}
	return &kmsapi.ListKeyPoliciesOutput{PolicyNames: page.items, NextMarker: page.next, Truncated: page.truncated()}, nil
}
