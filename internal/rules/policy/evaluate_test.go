package policy

import (
	"slices"
	"testing"
)

const (
	account = "123456789012"
	foreign = "999999999999"
	secret  = "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf"
	roleARN = "arn:aws:iam::123456789012:role/app/web"
)

func user() Principal {
	return Principal{ARN: "arn:aws:iam::123456789012:user/dev/bob", AccountID: account}
}

func session() Principal {
	return Principal{ARN: "arn:aws:sts::123456789012:assumed-role/web/s1", AccountID: account, RoleARN: roleARN}
}

func root() Principal {
	return Principal{ARN: "arn:aws:iam::123456789012:root", AccountID: account, Root: true}
}

func service() Principal { return Principal{Service: "ecs-tasks.amazonaws.com"} }

func web() Principal {
	return Principal{Federated: "arn:aws:iam::123456789012:oidc-provider/idp.example"}
}

// must parses a document of the tests.
func must(t testing.TB, kind Kind, text string) *Document {
	t.Helper()
	d, err := Parse(kind, text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return d
}

// Documents of one statement.
const (
	allowAll  = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`
	denyAll   = `{"Version":"2012-10-17","Statement":{"Sid":"No","Effect":"Deny","Action":"*","Resource":"*"}}`
	allowElse = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}`
)

func resourcePolicy(effect, principal string) string {
	return `{"Version":"2012-10-17","Statement":{"Effect":"` + effect + `","Principal":` + principal + `,"Action":"secretsmanager:*","Resource":"*"}}`
}

func TestEvaluate_Layers(t *testing.T) {
	t.Parallel()
	byUser, bySession := `{"AWS":"`+user().ARN+`"}`, `{"AWS":"`+session().ARN+`"}`
	byRoleARN, byRoot, byID := `{"AWS":"`+roleARN+`"}`, `{"AWS":"arn:aws:iam::123456789012:root"}`, `{"AWS":"123456789012"}`
	byService, byWeb := `{"Service":"ecs-tasks.amazonaws.com"}`, `{"Federated":"`+web().Federated+`"}`
	tests := []struct {
		name                                  string
		principal                             Principal
		identity, boundary, session, resource string // "" is none
		decides, cross                        bool
		want                                  Outcome
		layer                                 string
	}{
		{"nothing", user(), "", "", "", "", false, false, ImplicitDeny, LayerIdentity},
		{"identity", user(), allowAll, "", "", "", false, false, Allowed, LayerIdentity},
		{"identity says something else", user(), allowElse, "", "", "", false, false, ImplicitDeny, LayerIdentity},
		{"identity denies", user(), denyAll, "", "", "", false, false, ExplicitDeny, LayerIdentity},
		{"boundary allows too", user(), allowAll, allowAll, "", "", false, false, Allowed, LayerIdentity},
		{"boundary limits", user(), allowAll, allowElse, "", "", false, false, ImplicitDeny, LayerBoundary},
		{"boundary alone grants nothing", user(), "", allowAll, "", "", false, false, ImplicitDeny, LayerIdentity},
		{"boundary denies", user(), allowAll, denyAll, "", "", false, false, ExplicitDeny, LayerBoundary},
		{"session limits", session(), allowAll, "", allowElse, "", false, false, ImplicitDeny, LayerSession},
		{"session allows too", session(), allowAll, "", allowAll, "", false, false, Allowed, LayerIdentity},
		{"session alone grants nothing", session(), "", "", allowAll, "", false, false, ImplicitDeny, LayerIdentity},
		{"session denies", session(), allowAll, "", denyAll, "", false, false, ExplicitDeny, LayerSession},

		// The table of AWS's page on evaluation logic: a resource's policy and
		// implicit denies elsewhere, in one account.
		{"user by name", user(), allowElse, allowElse, "", resourcePolicy("Allow", byUser), false, false, Allowed, LayerResource},
		{"session by name", session(), allowElse, allowElse, allowElse, resourcePolicy("Allow", bySession), false, false, Allowed, LayerResource},
		{"session by its role", session(), allowElse, allowElse, allowElse, resourcePolicy("Allow", byRoleARN), false, false, ImplicitDeny, LayerBoundary},
		{"session by its role, boundary allows", session(), "", allowAll, allowElse, resourcePolicy("Allow", byRoleARN), false, false, ImplicitDeny, LayerSession},
		{"session by its role, nothing limits", session(), "", "", "", resourcePolicy("Allow", byRoleARN), false, false, Allowed, LayerResource},
		{"session by its role, both allow", session(), "", allowAll, allowAll, resourcePolicy("Allow", byRoleARN), false, false, Allowed, LayerResource},
		{"service by name", service(), "", "", "", resourcePolicy("Allow", byService), false, false, Allowed, LayerResource},
		{"web identity by its provider", web(), "", "", "", resourcePolicy("Allow", byWeb), true, false, Allowed, LayerResource},

		{"by account, identity silent", user(), "", "", "", resourcePolicy("Allow", byRoot), false, false, ImplicitDeny, LayerIdentity},
		{"by account, identity allows", user(), allowAll, "", "", resourcePolicy("Allow", byID), false, false, Allowed, LayerIdentity},
		{"everybody", user(), "", "", "", resourcePolicy("Allow", `"*"`), false, false, Allowed, LayerResource},
		{"everybody, boundary limits", user(), "", allowElse, "", resourcePolicy("Allow", `{"AWS":"*"}`), false, false, ImplicitDeny, LayerBoundary},
		{"another user", user(), "", "", "", resourcePolicy("Allow", `{"AWS":"arn:aws:iam::123456789012:user/eve"}`), false, false, ImplicitDeny, LayerIdentity},
		{"resource denies", user(), allowAll, "", "", resourcePolicy("Deny", byUser), false, false, ExplicitDeny, LayerResource},
		{"resource denies the role", session(), allowAll, "", "", resourcePolicy("Deny", byRoleARN), false, false, ExplicitDeny, LayerResource},
		{"resource denies the account", user(), allowAll, "", "", resourcePolicy("Deny", byRoot), false, false, ExplicitDeny, LayerResource},
		{"resource denies another", user(), allowAll, "", "", resourcePolicy("Deny", `{"AWS":"999999999999"}`), false, false, Allowed, LayerIdentity},
		{"identity denies what the resource allows", user(), denyAll, "", "", resourcePolicy("Allow", byUser), false, false, ExplicitDeny, LayerIdentity},
		{"boundary denies what the resource allows", user(), "", denyAll, "", resourcePolicy("Allow", byUser), false, false, ExplicitDeny, LayerBoundary},
		{"session denies what the resource allows", session(), "", "", denyAll, resourcePolicy("Allow", bySession), false, false, ExplicitDeny, LayerSession},

		// Key policies: without their word nothing is allowed.
		{"key policy silent", user(), allowAll, "", "", resourcePolicy("Allow", `{"AWS":"arn:aws:iam::123456789012:user/eve"}`), true, false, ImplicitDeny, LayerResource},
		{"no key policy", user(), allowAll, "", "", "", true, false, ImplicitDeny, LayerResource},
		{"key policy trusts the account, identity allows", user(), allowAll, "", "", resourcePolicy("Allow", byRoot), true, false, Allowed, LayerIdentity},
		{"key policy trusts the account, identity silent", user(), "", "", "", resourcePolicy("Allow", byRoot), true, false, ImplicitDeny, LayerIdentity},
		{"key policy names the user", user(), "", "", "", resourcePolicy("Allow", byUser), true, false, Allowed, LayerResource},

		// Root.
		{"root", root(), "", "", "", "", false, false, Allowed, ""},
		{"root named", root(), "", "", "", resourcePolicy("Allow", byRoot), true, false, Allowed, LayerResource},
		{"root in a key policy that forgot it", root(), "", "", "", resourcePolicy("Allow", byUser), true, false, ImplicitDeny, LayerResource},
		{"root denied by a resource", root(), "", "", "", resourcePolicy("Deny", `"*"`), false, false, ExplicitDeny, LayerResource},

		// Across accounts both sides must allow.
		{"both sides", user(), allowAll, "", "", resourcePolicy("Allow", byUser), false, true, Allowed, LayerIdentity},
		{"both sides, the account", user(), allowAll, "", "", resourcePolicy("Allow", byRoot), false, true, Allowed, LayerIdentity},
		{"their side only", user(), "", "", "", resourcePolicy("Allow", byUser), false, true, ImplicitDeny, LayerIdentity},
		{"our side only", user(), allowAll, "", "", "", false, true, ImplicitDeny, LayerResource},
		{"boundary limits across accounts", user(), allowAll, allowElse, "", resourcePolicy("Allow", byUser), false, true, ImplicitDeny, LayerBoundary},
		{"root across accounts", root(), "", "", "", "", false, true, ImplicitDeny, LayerResource},
		{"root across accounts, trusted", root(), "", "", "", resourcePolicy("Allow", byRoot), false, true, Allowed, ""},

		// Callers without policies of their own.
		{"service that is not named", service(), allowAll, "", "", resourcePolicy("Allow", `{"Service":"ec2.amazonaws.com"}`), false, false, ImplicitDeny, LayerResource},
		{"service and no policy", service(), allowAll, "", "", "", false, false, ImplicitDeny, LayerResource},
		{"nobody", Principal{}, "", "", "", resourcePolicy("Allow", byID), false, false, ImplicitDeny, LayerResource},
		{"nobody, everybody may", Principal{}, "", "", "", resourcePolicy("Allow", `"*"`), false, false, Allowed, LayerResource},
	}
	for _, test := range tests {
		p := Policies{ResourceDecides: test.decides}
		if test.identity != "" {
			p.Identity = []Source{{Document: must(t, Identity, test.identity)}}
		}
		if test.boundary != "" {
			p.Boundary = &Source{Document: must(t, Identity, test.boundary)}
		}
		if test.session != "" {
			p.Session = []Source{{Document: must(t, Identity, test.session)}}
		}
		if test.resource != "" {
			p.Resource = &Source{Document: must(t, Resource, test.resource)}
		}
		if test.cross {
			p.ResourceAccountID = foreign
		}
		got := Evaluate(Request{Principal: test.principal, Action: "secretsmanager:GetSecretValue", Resource: secret}, p)
		if got.Outcome != test.want || got.Layer != test.layer {
			t.Errorf("%s: %d by %q, want %d by %q", test.name, got.Outcome, got.Layer, test.want, test.layer)
		}
		if by := got.By; (by != nil) != (got.Outcome == ExplicitDeny || got.Outcome == Allowed && got.Layer != "") {
			t.Errorf("%s: decided by %v", test.name, by)
		}
	}
}

// A session with no session policies is not limited; one whose policies say
// nothing may do nothing.
func TestEvaluate_EmptySession(t *testing.T) {
	t.Parallel()
	p := Policies{Identity: []Source{{Document: must(t, Identity, allowAll)}}, Session: []Source{}}
	request := Request{Principal: session(), Action: "ecs:RunTask", Resource: "*"}
	if got := Evaluate(request, p); got.Outcome != ImplicitDeny || got.Layer != LayerSession {
		t.Errorf("no session policy allows: %d by %s", got.Outcome, got.Layer)
	}
	p.Session = nil
	if got := Evaluate(request, p); got.Outcome != Allowed {
		t.Errorf("no session policies: %d", got.Outcome)
	}
}

// Of several statements that allow, the one that names the caller most closely
// counts, wherever it stands; of several that deny, the first is shown.
func TestEvaluate_ClosestAllowFirstDeny(t *testing.T) {
	t.Parallel()
	statement := func(sid, effect, principal string) string {
		return `{"Sid":"` + sid + `","Effect":"` + effect + `","Principal":{"AWS":"` + principal + `"},"Action":"*","Resource":"*"}`
	}
	ask := func(statements string) Decision {
		document := must(t, Resource, `{"Version":"2012-10-17","Statement":[`+statements+`]}`)
		return Evaluate(Request{Principal: user(), Action: "kms:Decrypt", Resource: "*"}, Policies{Resource: &Source{Document: document}, ResourceDecides: true})
	}
	byAccount, byUser := statement("account", "Allow", account), statement("user", "Allow", user().ARN)
	for _, statements := range []string{byAccount + "," + byUser, byUser + "," + byAccount} {
		if got := ask(statements); got.Outcome != Allowed || got.By.Sid != "user" {
			t.Errorf("%s: %d by %+v", statements, got.Outcome, got.By)
		}
	}
	if got := ask(statement("first", "Deny", account) + "," + statement("second", "Deny", user().ARN)); got.By == nil || got.By.Sid != "first" {
		t.Errorf("denied by %+v", got.By)
	}
}

// A session in whose name a service makes a call is not that service.
func TestEvaluate_ServiceIsNotItsSession(t *testing.T) {
	t.Parallel()
	principal := session()
	principal.Service = service().Service
	document := must(t, Resource, resourcePolicy("Allow", `{"Service":"ecs-tasks.amazonaws.com"}`))
	got := Evaluate(Request{Principal: principal, Action: "secretsmanager:GetSecretValue", Resource: secret}, Policies{Resource: &Source{Document: document}})
	if got.Outcome != ImplicitDeny {
		t.Errorf("%d by %+v", got.Outcome, got.By)
	}
}

// NotPrincipal in a Deny must spare the account, the role and the session for
// one session to be spared (AWS's reference of NotPrincipal).
func TestEvaluate_NotPrincipal(t *testing.T) {
	t.Parallel()
	const rootARN = `"arn:aws:iam::123456789012:root"`
	userARN, sessionARN := `"`+user().ARN+`"`, `"`+session().ARN+`"`
	tests := []struct {
		list      string
		principal Principal
		want      Outcome
	}{
		{`{"AWS":[` + userARN + `,` + rootARN + `]}`, user(), Allowed},
		{`{"AWS":` + userARN + `}`, user(), ExplicitDeny},
		{`{"AWS":` + rootARN + `}`, user(), ExplicitDeny},
		{`{"AWS":` + rootARN + `}`, root(), Allowed},
		{`{"AWS":[` + sessionARN + `,"` + roleARN + `","123456789012"]}`, session(), Allowed},
		{`{"AWS":["` + roleARN + `","123456789012"]}`, session(), ExplicitDeny},
		{`{"AWS":[` + sessionARN + `,"123456789012"]}`, session(), ExplicitDeny},
		{`{"AWS":"999999999999"}`, user(), ExplicitDeny},
		{`"*"`, user(), Allowed},
		{`{"Service":"ecs-tasks.amazonaws.com"}`, user(), ExplicitDeny},
	}
	for _, test := range tests {
		document := `{"Version":"2012-10-17","Statement":{"Effect":"Deny","NotPrincipal":` + test.list + `,"Action":"*","Resource":"*"}}`
		got := Evaluate(Request{Principal: test.principal, Action: "s3:GetObject", Resource: "*"}, Policies{
			Identity: []Source{{Document: must(t, Identity, allowAll)}},
			Resource: &Source{Document: must(t, Resource, document)},
		})
		if got.Outcome != test.want {
			t.Errorf("not %s: %s is %d, want %d", test.list, test.principal.ARN, got.Outcome, test.want)
		}
	}
	// With Allow it is everybody who is not listed.
	document := must(t, Resource, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","NotPrincipal":{"AWS":`+userARN+`},"Action":"*","Resource":"*"}}`)
	for _, principal := range []Principal{user(), session()} {
		got := Evaluate(Request{Principal: principal, Action: "s3:GetObject", Resource: "*"}, Policies{Resource: &Source{Document: document}})
		if want := principal.ARN != user().ARN; (got.Outcome == Allowed) != want {
			t.Errorf("%s: %d", principal.ARN, got.Outcome)
		}
	}
}

func TestEvaluate_Statements(t *testing.T) {
	t.Parallel()
	const task = "arn:aws:ecs:us-east-1:123456789012:task/prod/0123"
	tests := []struct {
		name, statement, action, resource string
		want                              Outcome
	}{
		{"action without case", `"Action":"ECS:runtask","Resource":"*"`, "ecs:RunTask", "*", Allowed},
		{"NotAction names it", `"NotAction":["iam:*","ecs:Stop*"],"Resource":"*"`, "ecs:StopTask", task, ImplicitDeny},
		{"NotAction names others", `"NotAction":["iam:*","ecs:Run*"],"Resource":"*"`, "ecs:StopTask", task, Allowed},
		{"resource", `"Action":"*","Resource":["arn:aws:s3:::*","arn:aws:ecs:*:*:task/prod/*"]`, "ecs:StopTask", task, Allowed},
		{"other resource", `"Action":"*","Resource":"arn:aws:ecs:*:*:task/test/*"`, "ecs:StopTask", task, ImplicitDeny},
		{"NotResource names it", `"Action":"*","NotResource":"arn:aws:ecs:*:*:task/prod/*"`, "ecs:StopTask", task, ImplicitDeny},
		{"NotResource names others", `"Action":"*","NotResource":"arn:aws:ecs:*:*:task/test/*"`, "ecs:StopTask", task, Allowed},
		{"no resource of an action that has none", `"Action":"*","Resource":"arn:aws:ecs:*:*:*"`, "ecs:ListClusters", "*", ImplicitDeny},
		{"variable in the resource", `"Action":"*","Resource":"arn:aws:ecs:*:*:task/${aws:PrincipalTag/env}/*"`, "ecs:StopTask", task, Allowed},
		{"missing variable in the resource", `"Action":"*","Resource":"arn:aws:ecs:*:*:task/${aws:PrincipalTag/team}/*"`, "ecs:StopTask", task, ImplicitDeny},
		{"condition", `"Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalTag/env":"prod"}}`, "ecs:StopTask", task, Allowed},
		{"condition that fails", `"Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalTag/env":"test"}}`, "ecs:StopTask", task, ImplicitDeny},
	}
	for _, test := range tests {
		d := must(t, Identity, allow(test.statement))
		got := Evaluate(Request{
			Principal: user(), Action: test.action, Resource: test.resource,
			Context: map[string][]string{"aws:principaltag/env": {"prod"}},
		}, Policies{Identity: []Source{{Document: d}}})
		if got.Outcome != test.want {
			t.Errorf("%s: %d, want %d", test.name, got.Outcome, test.want)
		}
	}
}

// What simulation shows: all statements that matched, and what was not known.
func TestEvaluate_Reports(t *testing.T) {
	t.Parallel()
	identity := must(t, Identity, `{"Version":"2012-10-17","Statement":[
		{"Sid":"Other","Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"true"}}},
		{"Sid":"Conditional","Effect":"Allow","Action":"ecs:*","Resource":"*","Condition":{"StringEquals":{"ecs:cluster":"x"},"Bool":{"aws:SecureTransport":"true"}}},
		{"Sid":"Mine","Effect":"Allow","Action":"ecs:*","Resource":"arn:aws:ecs:*:*:task/${aws:username}/*"},
		{"Sid":"All","Effect":"Allow","Action":"ecs:*","Resource":"*"},
		{"Sid":"Not","Effect":"Deny","Action":"ecs:StopTask","Resource":"*"}]}`)
	boundary := must(t, Identity, allowAll)
	got := Evaluate(Request{Principal: session(), Action: "ecs:StopTask", Resource: "arn:aws:ecs:us-east-1:123456789012:task/a/b"},
		Policies{Identity: []Source{{ARN: "arn:aws:iam::123456789012:policy/p", Document: identity}}, Boundary: &Source{Document: boundary}})
	if got.Outcome != ExplicitDeny || got.By == nil || got.By.Sid != "Not" || got.By.Index != 4 || got.By.Source.Document != identity {
		t.Errorf("decided by %+v", got.By)
	}
	var matched []string
	for _, m := range got.Matched {
		matched = append(matched, m.Layer+" "+m.Sid)
	}
	if want := []string{LayerIdentity + " All", LayerIdentity + " Not", LayerBoundary + " "}; !slices.Equal(matched, want) {
		t.Errorf("matched %q, want %q", matched, want)
	}
	if want := []string{"ecs:cluster", "aws:username"}; !slices.Equal(got.MissingContext, want) {
		t.Errorf("missing %q, want %q", got.MissingContext, want)
	}
}

func TestDecision_Sentence(t *testing.T) {
	t.Parallel()
	const trusting = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}}`
	const distrusting = `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Principal":"*","Action":"sts:AssumeRole"}}`
	const managedARN = "arn:aws:iam::123456789012:policy/p"
	const bob = "User: arn:aws:iam::123456789012:user/dev/bob is not authorized to perform: "
	source := func(kind Kind, arn, text string) *Source { return &Source{ARN: arn, Document: must(t, kind, text)} }
	all := []Source{*source(Identity, "", allowAll)}
	tests := []struct {
		name             string // with the source: [DOC] AWS's page on messages, [OBS] seen, [GK]
		principal        Principal
		action, resource string
		policies         Policies
		want             string
	}{
		{
			"identity, implicit [OBS]", user(), "ecs:RunTask", "arn:aws:ecs:us-east-1:123456789012:task-definition/web:1",
			Policies{},
			bob + "ecs:RunTask on resource: arn:aws:ecs:us-east-1:123456789012:task-definition/web:1 because no identity-based policy allows the ecs:RunTask action",
		},
		{
			"no resource [OBS]", session(), "ecs:ListClusters", "*",
			Policies{},
			"User: arn:aws:sts::123456789012:assumed-role/web/s1 is not authorized to perform: ecs:ListClusters on resource: * because no identity-based policy allows the ecs:ListClusters action",
		},
		{
			"identity, explicit [DOC]", user(), "s3:GetObject", "arn:aws:s3:::b/k",
			Policies{Identity: []Source{*source(Identity, "", denyAll)}},
			bob + "s3:GetObject on resource: arn:aws:s3:::b/k with an explicit deny in an identity-based policy",
		},
		{
			"managed policy, explicit [DOC]", user(), "s3:GetObject", "arn:aws:s3:::b/k",
			Policies{Identity: []Source{*source(Identity, managedARN, denyAll)}},
			bob + "s3:GetObject on resource: arn:aws:s3:::b/k with an explicit deny in an identity-based policy: " + managedARN,
		},
		{
			"managed policy, explicit, another account [DOC]", user(), "s3:GetObject", "arn:aws:s3:::b/k",
			Policies{Identity: []Source{*source(Identity, managedARN, denyAll)}, ResourceAccountID: foreign},
			bob + "s3:GetObject on resource: arn:aws:s3:::b/k with an explicit deny in an identity-based policy",
		},
		{
			"boundary, implicit [DOC]", user(), "s3:GetObject", "*",
			Policies{Identity: all, Boundary: source(Identity, managedARN, `{"Statement":{"Effect":"Allow","Action":"ecs:*","Resource":"*"}}`)},
			bob + "s3:GetObject on resource: * because no permissions boundary allows the s3:GetObject action",
		},
		{
			"boundary, explicit [DOC]", user(), "s3:GetObject", "*",
			Policies{Identity: all, Boundary: source(Identity, managedARN, denyAll)},
			bob + "s3:GetObject on resource: * with an explicit deny in a permissions boundary: " + managedARN,
		},
		{
			"session, implicit [DOC]", user(), "ecs:RunTask", "*",
			Policies{Identity: all, Session: []Source{*source(Identity, "", allowElse)}},
			bob + "ecs:RunTask on resource: * because no session policy allows the ecs:RunTask action",
		},
		{
			"session, explicit [DOC]", user(), "s3:GetObject", "*",
			Policies{Identity: all, Session: []Source{*source(Identity, "", denyAll)}},
			bob + "s3:GetObject on resource: * with an explicit deny in a session policy",
		},
		{
			"resource, implicit [DOC]", user(), "secretsmanager:GetSecretValue", secret,
			Policies{Identity: all, ResourceAccountID: foreign},
			bob + "secretsmanager:GetSecretValue on resource: " + secret + " because no resource-based policy allows the secretsmanager:GetSecretValue action",
		},
		{
			"resource, explicit [DOC]", user(), "secretsmanager:GetSecretValue", secret,
			Policies{Identity: all, Resource: source(Resource, "", resourcePolicy("Deny", `"*"`))},
			bob + "secretsmanager:GetSecretValue on resource: " + secret + " with an explicit deny in a resource-based policy",
		},
		{
			"trust, implicit [OBS]", user(), "sts:AssumeRole", roleARN,
			Policies{Identity: all, Resource: source(Trust, "", trusting), ResourceDecides: true},
			bob + "sts:AssumeRole on resource: " + roleARN,
		},
		{
			"trust, service [OBS]", service(), "sts:AssumeRole", roleARN,
			Policies{Resource: source(Trust, "", trusting), ResourceDecides: true},
			"User: ecs-tasks.amazonaws.com is not authorized to perform: sts:AssumeRole on resource: " + roleARN,
		},
		{
			"trust, explicit [DOC]", user(), "sts:AssumeRole", roleARN,
			Policies{Identity: all, Resource: source(Trust, "", distrusting), ResourceDecides: true},
			bob + "sts:AssumeRole on resource: " + roleARN + " with an explicit deny in the role trust policy",
		},
		{
			"trust allows the account, identity does not [OBS]", user(), "sts:AssumeRole", roleARN,
			Policies{Resource: source(Trust, "", `{"Statement":{"Effect":"Allow","Principal":{"AWS":"123456789012"},"Action":"sts:AssumeRole"}}`), ResourceDecides: true},
			bob + "sts:AssumeRole on resource: " + roleARN + " because no identity-based policy allows the sts:AssumeRole action",
		},
		{
			"web identity [OBS]", web(), "sts:AssumeRoleWithWebIdentity", roleARN,
			Policies{Resource: source(Trust, "", trusting), ResourceDecides: true},
			"Not authorized to perform sts:AssumeRoleWithWebIdentity",
		},
		{
			"nobody [GK]",
			Principal{},
			"s3:GetObject", "",
			Policies{},
			"User: anonymous is not authorized to perform: s3:GetObject on resource: * because no resource-based policy allows the s3:GetObject action",
		},
		{"allowed", user(), "s3:GetObject", "*", Policies{Identity: all}, ""},
	}
	for _, test := range tests {
		request := Request{Principal: test.principal, Action: test.action, Resource: test.resource}
		if got := Evaluate(request, test.policies).Sentence(request); got != test.want {
			t.Errorf("%s\n got %s\nwant %s", test.name, got, test.want)
		}
	}
}
