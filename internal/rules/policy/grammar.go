package policy

import (
	"slices"
	"strings"
)

// grammar is the first stage: the elements, their types and their names. All of
// its faults have one text, except in trust policies, which another parser of
// AWS's reads.
func (r *reader) grammar(root *node) *SyntaxError {
	for _, m := range root.members {
		switch m.name {
		case "Version":
			if m.value.kind != stringNode || m.value.text != version2008 && m.value.text != version2012 {
				return r.syntax("The policy must contain a valid version string")
			}
		case "Id":
			if m.value.kind != stringNode {
				return r.syntax("Syntax error in policy.")
			}
			r.document.id = m.value.text
		case "Statement":
		default:
			return r.syntax("Syntax error in policy.")
		}
	}
	statements, ok := root.get("Statement")
	if !ok || statements.kind == nullNode || statements.kind == arrayNode && len(statements.items) == 0 {
		return r.syntax("Could not parse the policy: Statement is empty!")
	}
	r.document.bracketed = statements.kind == arrayNode
	items := statements.list()
	for i := range items {
		raw, fault := r.statement(&items[i])
		if fault != nil {
			return fault
		}
		r.raw = append(r.raw, raw)
	}
	return nil
}

// syntax is the one text of identity and resource policies, or that of trust
// policies.
func (r *reader) syntax(trust string) *SyntaxError {
	if r.document.kind == Trust {
		return malformed(trust)
	}
	return malformed(syntaxErrors)
}

// statement checks one statement's elements.
func (r *reader) statement(n *node) (rawStatement, *SyntaxError) {
	raw := rawStatement{node: n}
	broken := r.syntax("Syntax error in policy.")
	if n.kind != objectNode {
		return raw, broken
	}
	for _, m := range n.members {
		var ok bool
		switch m.name {
		case "Sid":
			raw.sid, ok = m.value.text, m.value.kind == stringNode
		case "Effect":
			raw.effect, ok = m.value.text, m.value.kind == stringNode
		case "Action", "NotAction":
			ok = !raw.hasAction
			raw.hasAction, raw.notAction = true, m.name == "NotAction"
			if ok {
				raw.actions, ok = m.value.strings()
			}
		case "Resource", "NotResource":
			ok = !raw.hasRes
			raw.hasRes, raw.notRes = true, m.name == "NotResource"
			if ok {
				raw.resources, ok = m.value.strings()
			}
		case "Principal", "NotPrincipal":
			ok = validPrincipal(&m.value)
		case "Condition":
			raw.conditions, ok = conditionBlock(&m.value)
		}
		if !ok {
			return raw, broken
		}
	}
	_, principal := n.get("Principal")
	_, notPrincipal := n.get("NotPrincipal")
	if principal && notPrincipal {
		return raw, broken
	}
	return raw, r.effect(n, raw.effect)
}

// effect checks that there is one. A wrong case is the next stage's fault, for
// identity policies.
func (r *reader) effect(n *node, effect string) *SyntaxError {
	if _, ok := n.get("Effect"); !ok {
		return r.syntax("Missing required field Effect")
	}
	if !strings.EqualFold(effect, "Allow") && !strings.EqualFold(effect, "Deny") ||
		r.document.kind == Trust && effect != "Allow" && effect != "Deny" {
		return r.syntax("Invalid effect: " + effect)
	}
	return nil
}

// validPrincipal checks types: "*" or an object of strings and lists of them.
func validPrincipal(n *node) bool {
	if n.kind == stringNode {
		return true
	}
	return n.kind == objectNode && !slices.ContainsFunc(n.members, func(m member) bool {
		_, ok := m.value.strings()
		return !ok
	})
}

// conditionBlock reads {"operator": {"key": values}}. As on AWS an operator
// without keys is not looked at, so its name may be anything.
func conditionBlock(n *node) ([]rawCondition, bool) {
	if n.kind != objectNode {
		return nil, false
	}
	var conditions []rawCondition
	for _, block := range n.members {
		if block.value.kind != objectNode {
			return nil, false
		}
		op, known := operatorNamed(block.name)
		for _, key := range block.value.members {
			values, ok := scalars(&key.value)
			if !ok || !known {
				return nil, false
			}
			conditions = append(conditions, rawCondition{operator: op, key: key.name, values: values})
		}
	}
	return conditions, true
}

// scalars reads condition values: the grammar lets numbers and booleans stand
// without quotes.
func scalars(n *node) ([]string, bool) {
	items := n.list()
	texts := make([]string, 0, len(items))
	for _, item := range items {
		if item.kind != stringNode && item.kind != numberNode && item.kind != boolNode {
			return nil, false
		}
		texts = append(texts, item.text)
	}
	return texts, true
}

// checkAction checks "*" or "vendor:Name".
func checkAction(text string) *SyntaxError {
	vendor, name, found := strings.Cut(text, ":")
	switch {
	case !found && text != "*":
		return malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
	case strings.Contains(name, ":"):
		return malformed("Actions/Condition can contain only one colon.")
	case vendor != "*" && (vendor == "" || strings.ContainsFunc(vendor, notVendor)):
		return malformed("Vendor " + vendor + " is not valid")
	default:
		return nil
	}
}

func notVendor(r rune) bool { return notAlphanumeric(r) && r != '-' && r != '.' }

// iamPaths are the resources that IAM has.
const iamPaths = "user/, federated-user/, role/, group/, instance-profile/, mfa/, server-certificate/, policy/, sms-mfa/, saml-provider/, oidc-provider/, report/, access-report/"

// checkResource checks "*" or an ARN, of which the last fields may be left out.
func checkResource(text string, variables bool) *SyntaxError {
	if text == "*" {
		return nil
	}
	fields := splitFields(text, variables)
	if len(fields) < 2 {
		return malformed("Resource " + text + ` must be in ARN format or "*".`)
	}
	isARN := fields[0] == "arn"
	if isARN && len(fields) < arnFields && strings.Contains(text, "::") {
		return malformed(legacyParsing)
	}
	if fields[1] != "aws" && fields[1] != "*" || !isARN {
		return malformed(partitionFault(fields))
	}
	if len(fields) < 3 || strings.ContainsAny(fields[2], "*?") {
		return malformed("Resource vendor must be fully qualified and cannot contain regexes.")
	}
	if fields[2] == "" {
		return malformed(legacyParsing)
	}
	if len(fields) < arnFields {
		return nil
	}
	return checkFields(text, fields)
}

// partitionFault words the refusal of another partition as AWS does, which
// shows the ARN as it read it: with "arn" in front and fields filled up.
func partitionFault(fields []string) string {
	fields = slices.Clone(fields)
	fields[0] = "arn"
	if len(fields) == 3 && fields[2] == "" {
		fields[2] = "*"
	}
	for len(fields) < arnFields {
		fields = append(fields, "*")
	}
	return `Partition "` + fields[1] + `" is not valid for resource "` + strings.Join(fields, ":") + `".`
}

// checkFields checks region, account and resource of a whole ARN.
func checkFields(text string, fields []string) *SyntaxError {
	service, region, account, resource := fields[2], fields[3], fields[4], fields[5]
	switch {
	case service == "iam" && region != "":
		return malformed("IAM resource " + text + " cannot contain region information.")
	case service == "s3" && region != "" && account == "":
		return malformed("Resource " + text + " can not contain region information.")
	case strings.ContainsFunc(account, notAccount) && (service == "iam" || !strings.HasPrefix(account, "${")):
		// A placeholder such as <ACCOUNT>. A variable was seen refused for
		// resources of IAM, while a managed policy of AWS's own has one for KMS.
		return malformed(legacyParsing)
	case service == "iam" && !iamResource(resource):
		return malformed(`IAM resource path must either be "*" or start with ` + iamPaths + ".")
	default:
		return nil
	}
}

func notAccount(r rune) bool { return notAlphanumeric(r) && !strings.ContainsRune("-*?", r) }

func iamResource(resource string) bool {
	if resource == "*" || resource == "root" {
		return true
	}
	for path := range strings.SplitSeq(iamPaths, ", ") {
		if strings.HasPrefix(resource, path) {
			return true
		}
	}
	return false
}
