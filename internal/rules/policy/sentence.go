package policy

import "strings"

// Sentence is how AWS words the refusal: "User: … is not authorized to
// perform: … on resource: … because no identity-based policy allows the …
// action". It is empty for a request that is allowed.
//
// The ARN of the policy that denies is shown as in AWS's messages since 2025:
// for managed policies of the principal, not for inline ones nor for those of
// resources, and only within one account. A trust policy that does not allow
// has no reason in AWS's text, and the call of a web identity has a sentence of
// its own.
func (d Decision) Sentence(req Request) string {
	if d.Outcome == Allowed {
		return ""
	}
	if strings.EqualFold(req.Action, "sts:AssumeRoleWithWebIdentity") && d.Outcome == ImplicitDeny {
		return "Not authorized to perform " + req.Action
	}
	resource := req.Resource
	if resource == "" {
		resource = "*"
	}
	base := "User: " + req.Principal.name() + " is not authorized to perform: " + req.Action + " on resource: " + resource
	if d.Outcome == ExplicitDeny {
		return base + " with an explicit deny in " + d.denier()
	}
	switch d.Layer {
	case LayerTrust:
		return base
	case LayerBoundary:
		return base + " because no permissions boundary allows the " + req.Action + " action"
	default:
		return base + " because no " + d.Layer + " allows the " + req.Action + " action"
	}
}

// denier names the policy of an explicit deny.
func (d Decision) denier() string {
	switch d.Layer {
	case LayerIdentity:
		return "an " + d.Layer + d.suffix()
	case LayerTrust:
		return "the " + d.Layer
	case LayerResource:
		return "a " + d.Layer
	default:
		return "a " + d.Layer + d.suffix()
	}
}

func (d Decision) suffix() string {
	if d.By == nil || d.By.Source.ARN == "" || d.CrossAccount {
		return ""
	}
	return ": " + d.By.Source.ARN
}

// name is how messages call the principal.
func (p *Principal) name() string {
	switch {
	case p.ARN != "":
		return p.ARN
	case p.Service != "":
		return p.Service
	case p.Federated != "":
		return p.Federated
	default:
		return "anonymous"
	}
}
