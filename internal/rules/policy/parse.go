package policy

import "strings"

// The versions of the language. Only the newer one has variables.
const (
	version2008 = "2008-10-17"
	version2012 = "2012-10-17"
)

// SyntaxError is what is wrong with a document, in the words of
// MalformedPolicyDocument.
type SyntaxError struct{ Message string }

// Error returns the message.
func (e *SyntaxError) Error() string { return e.Message }

func malformed(message string) *SyntaxError { return &SyntaxError{Message: message} }

// Texts that AWS uses for many faults.
const (
	syntaxErrors  = "Syntax errors in policy."
	legacyParsing = "The policy failed legacy parsing"
	invalidJSON   = "This policy contains invalid Json"
)

// Parse reads a document and checks all that AWS checks when it is stored. Its
// error is a *SyntaxError.
//
// A document may have several faults; AWS names the one that its first failing
// stage finds. The stages, in order: the grammar; the version; what the old
// parser refuses (the case of Effect, dates, ARNs with missing fields); Sids;
// elements that are not for this kind; those that are missing; the form of
// resources; that of actions.
func Parse(kind Kind, text string) (*Document, error) {
	root, err := parseJSON(text)
	if err != nil || root.kind != objectNode {
		if kind == Resource || kind == Trust || kind == Repository {
			return nil, malformed(invalidJSON)
		}
		return nil, malformed(syntaxErrors)
	}
	r := &reader{
		document: &Document{kind: kind, version: version2008, text: text},
		keys:     map[string]bool{}, actions: map[string]bool{},
	}
	// A nil *SyntaxError in an error would not be nil.
	if fault := r.read(&root); fault != nil {
		return nil, fault
	}
	return r.document, nil
}

// reader turns JSON into a document, stage by stage.
type reader struct {
	document *Document
	raw      []rawStatement
	// What Document.ContextKeys and Document.Actions list already.
	keys, actions map[string]bool
}

// rawStatement is a statement whose grammar is right, before its texts are.
type rawStatement struct {
	node       *node
	sid        string
	effect     string
	actions    []string // of Action or NotAction
	hasAction  bool
	notAction  bool
	resources  []string
	hasRes     bool
	notRes     bool
	conditions []rawCondition
}

type rawCondition struct {
	operator operator
	key      string
	values   []string
}

func (r *reader) read(root *node) *SyntaxError {
	for _, stage := range []func(*node) *SyntaxError{
		r.grammar, r.checkVersion, r.checkLegacy, r.checkSids, r.checkProhibited, r.checkPrincipals, r.checkElements, r.checkResources, r.checkActions,
	} {
		if fault := stage(root); fault != nil {
			return fault
		}
	}
	for i := range r.raw {
		if fault := r.compile(&r.raw[i]); fault != nil {
			return fault
		}
	}
	return nil
}

func (r *reader) checkVersion(root *node) *SyntaxError {
	if version, ok := root.get("Version"); ok {
		r.document.version = version.text
	}
	if r.document.kind == Managed && r.document.version != version2012 {
		return malformed("Policy document must be version 2012-10-17 or greater.")
	}
	return nil
}

// checkLegacy refuses what AWS's older parser does.
func (r *reader) checkLegacy(*node) *SyntaxError {
	variables := r.variables()
	for i := range r.raw {
		s := &r.raw[i]
		if s.effect != "Allow" && s.effect != "Deny" {
			return malformed(legacyParsing)
		}
		for _, c := range s.conditions {
			for _, value := range c.values {
				if _, err := compileExpected(c.operator.family, value, variables); err != nil {
					return malformed(legacyParsing)
				}
			}
		}
	}
	if fault := r.resourceFault(); fault != nil && fault.Message == legacyParsing {
		return fault
	}
	return nil
}

func (r *reader) variables() bool { return r.document.version == version2012 }

func (r *reader) checkSids(*node) *SyntaxError {
	seen := map[string]bool{}
	for i := range r.raw {
		sid := r.raw[i].sid
		if sid == "" {
			continue
		}
		if seen[sid] {
			if r.document.kind == Trust {
				return malformed("The Statement Ids in the policy are not unique")
			}
			return malformed("Statement IDs (SID) in a single policy must be unique.")
		}
		seen[sid] = true
		// Key policies and the like have Sids with spaces.
		if r.document.kind != Resource && r.document.kind != Repository && strings.ContainsFunc(sid, notAlphanumeric) {
			return malformed("Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*")
		}
	}
	return nil
}

func notAlphanumeric(r rune) bool {
	return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
}

// checkProhibited refuses resources in policies that mean what they belong to. It comes before the
// principals are missed: a permissions policy that is taken for a trust policy
// is told of its Resource.
func (r *reader) checkProhibited(*node) *SyntaxError {
	for i := range r.raw {
		switch s := &r.raw[i]; {
		case !s.hasRes || !r.document.kind.itself():
		case r.document.kind == Repository:
			return malformed("Has prohibited field Resource")
		case s.notRes:
			return malformed("AssumeRole policy must not contain resources.")
		default:
			return malformed("Has prohibited field Resource")
		}
	}
	return nil
}

// checkElements refuses statements without actions or resources.
func (r *reader) checkElements(*node) *SyntaxError {
	for i := range r.raw {
		if s := &r.raw[i]; !s.hasAction || len(s.actions) == 0 {
			if r.document.kind == Trust {
				return malformed("Missing required field Action")
			}
			return malformed("Policy statement must contain actions.")
		}
	}
	for i := range r.raw {
		if s := &r.raw[i]; !r.document.kind.itself() && (!s.hasRes || len(s.resources) == 0) {
			return malformed("Policy statement must contain resources.")
		}
	}
	return nil
}

// checkPrincipals refuses principals where the document's holder is the
// principal, and asks for them elsewhere.
func (r *reader) checkPrincipals(*node) *SyntaxError {
	for i := range r.raw {
		s := &r.raw[i]
		principal, has := s.node.get("Principal")
		_, hasNot := s.node.get("NotPrincipal")
		switch {
		case r.document.kind == Identity || r.document.kind == Managed:
			if has || hasNot {
				return malformed("Policy document should not specify a principal.")
			}
		case r.document.kind == Trust && hasNot && s.effect == "Allow":
			return malformed("Allow with NotPrincipal is not allowed.")
		case r.document.kind == Trust && hasNot:
			return malformed("AssumeRole policy must not contain NotPrincipal field.")
		case !has && !hasNot:
			return malformed("Missing required field Principal")
		case has && principal.kind == objectNode && len(principal.members) == 0:
			return malformed("Missing required field Principal cannot be empty!")
		}
	}
	return nil
}

func (r *reader) checkResources(*node) *SyntaxError { return r.resourceFault() }

// resourceFault is the first fault of any resource, in order of the text.
func (r *reader) resourceFault() *SyntaxError {
	if r.document.kind.itself() {
		return nil
	}
	for i := range r.raw {
		for _, resource := range r.raw[i].resources {
			if fault := checkResource(resource, r.variables()); fault != nil {
				return fault
			}
		}
	}
	return nil
}

func (r *reader) checkActions(*node) *SyntaxError {
	for i := range r.raw {
		for _, action := range r.raw[i].actions {
			if fault := checkAction(action); fault != nil {
				return fault
			}
			if r.document.kind == Trust && !strings.HasPrefix(strings.ToLower(action), "sts:") {
				return malformed("AssumeRole policy may only specify STS AssumeRole actions.")
			}
		}
	}
	return nil
}

// compile adds a statement to the document.
func (r *reader) compile(raw *rawStatement) *SyntaxError {
	d := r.document
	s := statement{
		sid: raw.sid, deny: raw.effect == "Deny",
		notAction: raw.notAction, notResource: raw.notRes,
		actions: compileActions(raw.actions),
		start:   raw.node.start, end: raw.node.end,
	}
	if !s.deny && !s.notAction {
		for _, action := range raw.actions {
			if !r.actions[action] {
				r.actions[action] = true
				d.actions = append(d.actions, action)
			}
		}
	}
	for _, text := range raw.resources {
		p, err := compileARN(text, r.variables(), true)
		if err != nil {
			return malformed(legacyParsing)
		}
		s.resources = append(s.resources, p)
		r.addVariables(p.fields[:]...)
	}
	if fault := s.compilePrincipals(raw.node); fault != nil {
		return fault
	}
	for _, c := range raw.conditions {
		compiled := condition{operator: c.operator, name: c.key, key: strings.ToLower(c.key)}
		r.addKey(c.key)
		for _, text := range c.values {
			v, err := compileExpected(c.operator.family, text, r.variables())
			if err != nil {
				return malformed(legacyParsing)
			}
			compiled.values = append(compiled.values, v)
			r.addVariables(v.text)
			r.addVariables(v.arn.fields[:]...)
		}
		s.conditions = append(s.conditions, compiled)
	}
	d.statements = append(d.statements, s)
	return nil
}

func (s *statement) compilePrincipals(n *node) *SyntaxError {
	principal, ok := n.get("Principal")
	if !ok {
		if principal, ok = n.get("NotPrincipal"); !ok {
			return nil
		}
		s.notPrincipal = true
	}
	list, offender, ok := compilePrincipals(principal)
	if !ok {
		return malformed("Invalid principal in policy: " + offender)
	}
	s.principals = list
	return nil
}

func (r *reader) addVariables(patterns ...pattern) {
	for i := range patterns {
		for _, part := range patterns[i].parts {
			if part.variable != nil {
				r.addKey(part.variable.name)
			}
		}
	}
}

// addKey lists a context key once.
func (r *reader) addKey(name string) {
	if !r.keys[name] {
		r.keys[name] = true
		r.document.keys = append(r.document.keys, name)
	}
}
