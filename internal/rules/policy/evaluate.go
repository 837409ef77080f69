package policy

// Outcome is what was decided.
type Outcome int

// The outcomes. The zero value denies.
const (
	ImplicitDeny Outcome = iota
	ExplicitDeny
	Allowed
)

// The layers of a decision, in AWS's words.
const (
	LayerIdentity = "identity-based policy"
	LayerResource = "resource-based policy"
	LayerTrust    = "role trust policy"
	LayerBoundary = "permissions boundary"
	LayerSession  = "session policy"
)

// Decision is an outcome and its reason.
type Decision struct {
	Outcome Outcome
	// Layer is the kind of policy that decided, one of the Layer constants;
	// empty when root is allowed without a policy's word.
	Layer string
	// By is the statement that decided; nil for an implicit deny and for root.
	By *Matched
	// Matched are all statements that matched, for simulation: identity
	// policies first, then boundary, session and resource.
	Matched []Matched
	// MissingContext are keys that conditions and variables asked for and the
	// request has not, as they are written. Only statements whose action
	// matches ask.
	MissingContext []string
	// CrossAccount is true when the resource belongs to another account than
	// the principal.
	CrossAccount bool
}

// Matched is a statement that matched.
type Matched struct {
	Source Source
	Layer  string
	Index  int // of the statement
	Sid    string
	Deny   bool
}

// Evaluate decides as AWS does within one account and across accounts
// (behaviour §6). An explicit deny in any policy wins. Within an account, a
// resource's policy that names the user or the session itself allows at once;
// one that names the role or everybody stands in for an identity policy, and
// boundary and session policies limit it; one that names the account leaves the
// word to the identity policies. Across accounts both sides must allow.
//
// Root has no identity policies, and needs none; what a resource's policy
// denies it, or does not give it where ResourceDecides, root cannot do either.
func Evaluate(req Request, p Policies) Decision {
	e := evaluation{asking: asking{request: &req}, principal: &req.Principal}
	e.decide(&p)
	e.decision.MissingContext = e.asking.missing
	return e.decision
}

// evaluation is one decision in the making.
type evaluation struct {
	asking    asking
	principal *Principal
	decision  Decision
}

// verdict is what one layer says: positions in Matched, -1 for none.
type verdict struct {
	allow, deny int
	grade       grade // of the closest allow in a resource's policy
}

func (e *evaluation) decide(p *Policies) {
	resourceLayer := LayerResource
	if p.Resource != nil && p.Resource.Document != nil && p.Resource.Document.kind == Trust {
		resourceLayer = LayerTrust
	}
	account := e.principal.AccountID
	e.decision.CrossAccount = e.principal.ARN != "" && p.ResourceAccountID != "" && p.ResourceAccountID != account

	identity := e.layer(LayerIdentity, p.Identity)
	boundary, session, resource := verdict{-1, -1, unnamed}, verdict{-1, -1, unnamed}, verdict{-1, -1, unnamed}
	if p.Boundary != nil {
		boundary = e.one(LayerBoundary, p.Boundary)
	}
	if p.Session != nil {
		session = e.layer(LayerSession, p.Session)
	}
	if p.Resource != nil {
		resource = e.resource(resourceLayer, p.Resource)
	}
	for _, v := range [...]verdict{identity, boundary, session, resource} {
		if v.deny >= 0 {
			e.by(ExplicitDeny, v.deny)
			return
		}
	}

	switch {
	case e.principal.ARN == "":
		// A service or a web identity: it has no policies of its own.
		if resource.grade < byRole {
			e.refuse(resourceLayer)
			return
		}
		e.by(Allowed, resource.allow)
		return
	case resource.grade == unnamed && (p.ResourceDecides || e.decision.CrossAccount):
		e.refuse(resourceLayer)
		return
	case resource.grade == byName && !e.decision.CrossAccount:
		e.by(Allowed, resource.allow)
		return
	}
	lent := resource.grade >= byRole && !e.decision.CrossAccount
	switch {
	case e.principal.Root:
		e.decision.Outcome = Allowed
		return
	case identity.allow < 0 && !lent:
		e.refuse(LayerIdentity)
	case p.Boundary != nil && boundary.allow < 0:
		e.refuse(LayerBoundary)
	case p.Session != nil && session.allow < 0:
		e.refuse(LayerSession)
	case identity.allow >= 0:
		e.by(Allowed, identity.allow)
	default:
		e.by(Allowed, resource.allow)
	}
}

// by records that a statement decided.
func (e *evaluation) by(outcome Outcome, index int) {
	e.decision.Outcome = outcome
	e.decision.By = &e.decision.Matched[index]
	e.decision.Layer = e.decision.By.Layer
}

// refuse records that a layer did not allow.
func (e *evaluation) refuse(layer string) {
	e.decision.Outcome = ImplicitDeny
	e.decision.Layer = layer
}

// layer asks policies of one layer, which allow together.
func (e *evaluation) layer(name string, sources []Source) verdict {
	all := verdict{allow: -1, deny: -1}
	for i := range sources {
		v := e.one(name, &sources[i])
		if all.allow < 0 {
			all.allow = v.allow
		}
		if all.deny < 0 {
			all.deny = v.deny
		}
	}
	return all
}

// one asks a policy that belongs to the principal.
func (e *evaluation) one(layer string, source *Source) verdict {
	v := verdict{allow: -1, deny: -1}
	if source.Document == nil {
		return v
	}
	for i := range source.Document.statements {
		s := &source.Document.statements[i]
		if s.applies(&e.asking) {
			e.add(&v, layer, source, i, unnamed)
		}
	}
	return v
}

// resource asks the resource's policy.
func (e *evaluation) resource(layer string, source *Source) verdict {
	v := verdict{allow: -1, deny: -1}
	if source.Document == nil {
		return v
	}
	for i := range source.Document.statements {
		s := &source.Document.statements[i]
		if g := s.about(e.principal); g != unnamed && s.applies(&e.asking) {
			e.add(&v, layer, source, i, g)
		}
	}
	return v
}

// about is how closely a statement of a resource's policy names p. A
// NotPrincipal that does not spare p is about p, as "*" is.
func (s *statement) about(p *Principal) grade {
	switch {
	case !s.notPrincipal:
		return s.principals.grade(p)
	case s.deny && !s.principals.spares(p), !s.deny && s.principals.grade(p) == unnamed:
		return byRole
	default:
		return unnamed
	}
}

// add records a match and keeps in v the first deny and the closest allow.
func (e *evaluation) add(v *verdict, layer string, source *Source, index int, g grade) {
	s := &source.Document.statements[index]
	position := len(e.decision.Matched)
	e.decision.Matched = append(e.decision.Matched, Matched{Source: *source, Layer: layer, Index: index, Sid: s.sid, Deny: s.deny})
	switch {
	case s.deny && v.deny < 0:
		v.deny = position
	case !s.deny && (v.allow < 0 || g > v.grade):
		v.allow, v.grade = position, g
	}
}
