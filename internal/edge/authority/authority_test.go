package authority_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/caller"
)

const (
	devDenied  = "User: arn:aws:iam::123456789012:user/dev is not authorized to perform: "
	appDenied  = "User: arn:aws:sts::123456789012:assumed-role/app/0123 is not authorized to perform: "
	because    = " because no identity-based policy allows the "
	definition = "arn:aws:ecs:eu-central-1:123456789012:task-definition/web:2"
	taskARN    = "arn:aws:ecs:eu-central-1:123456789012:task/prod/" + taskID
	vpcARN     = "arn:aws:ec2:eu-central-1:123456789012:vpc/vpc-1"
)

// What the user dev may do with some policies, as the official SDK sees it.
func TestUser(t *testing.T) {
	w := newWorld(t)
	type call = func(context.Context, aws.Config) error
	for _, tc := range []struct {
		name     string
		policies []string
		call     call
		want     string
	}{
		{"nothing", nil, describeTask, "AccessDeniedException: " + devDenied + "ecs:DescribeTasks on resource: " + taskARN + because + "ecs:DescribeTasks action"},
		{"nothing, EC2", nil, deleteVPC, "UnauthorizedOperation: You are not authorized to perform this operation. " + devDenied + "ec2:DeleteVpc on resource: " + vpcARN + because + "ec2:DeleteVpc action"},
		{"nothing, query: never denied", nil, whoAmI, "OK"},
		{"everything", []string{statement("Allow", "*", "*", "")}, describeTask, "OK"},
		{"the task", []string{statement("Allow", "ecs:DescribeTasks", "arn:aws:ecs:*:*:task/prod/*", "")}, describeTask, "OK"},
		{
			"another cluster's tasks",
			[]string{statement("Allow", "ecs:DescribeTasks", "arn:aws:ecs:*:*:task/dev/*", "")},
			describeTask,
			"AccessDeniedException: " + devDenied + "ecs:DescribeTasks on resource: " + taskARN + because + "ecs:DescribeTasks action",
		},
		{"by cluster", []string{statement("Allow", "ecs:*", "*", `{"ArnEquals":{"ecs:cluster":"arn:aws:ecs:eu-central-1:123456789012:cluster/prod"}}`)}, describeTask, "OK"},
		{"by tag of the task", []string{statement("Allow", "ecs:*", "*", `{"StringEquals":{"aws:ResourceTag/Team":"${aws:PrincipalTag/Team}","ecs:ResourceTag/Team":"blue"}}`)}, describeTask, "OK"},
		{
			"by another tag",
			[]string{statement("Allow", "ecs:*", "*", `{"StringEquals":{"aws:ResourceTag/Team":"red"}}`)},
			describeTask,
			"AccessDeniedException: " + devDenied + "ecs:DescribeTasks on resource: " + taskARN + because + "ecs:DescribeTasks action",
		},
		{
			"denied",
			[]string{statement("Allow", "*", "*", ""), statement("Deny", "ecs:Describe*", "*", "")},
			describeTask,
			"AccessDeniedException: " + devDenied + "ecs:DescribeTasks on resource: " + taskARN + " with an explicit deny in an identity-based policy",
		},
		{
			"no TLS here",
			[]string{statement("Allow", "*", "*", `{"Bool":{"aws:SecureTransport":"true"}}`)},
			describeTask,
			"AccessDeniedException: " + devDenied + "ecs:DescribeTasks on resource: " + taskARN + because + "ecs:DescribeTasks action",
		},
		{"from here", []string{statement("Allow", "*", "*", `{"IpAddress":{"aws:SourceIp":"127.0.0.0/8"},"StringEquals":{"aws:username":"dev","aws:RequestedRegion":"eu-central-1"},"DateGreaterThan":{"aws:CurrentTime":"2026-11-22T11:59:59Z"},"Null":{"aws:TokenIssueTime":"true","aws:SourceVpc":"true","aws:MultiFactorAuthPresent":"true"}}`)}, describeTask, "OK"},

		{
			"run without the role",
			[]string{statement("Allow", "ecs:*", "*", "")},
			runTask,
			"AccessDeniedException: " + devDenied + "iam:PassRole on resource: " + appRole + because + "iam:PassRole action",
		},
		{"run with the role", []string{
			statement("Allow", "ecs:RunTask", definition, ""),
			statement("Allow", "iam:PassRole", appRole, `{"StringEquals":{"iam:PassedToService":"ecs-tasks.amazonaws.com"}}`),
		}, runTask, "OK"},
		{
			"the role, but for EC2",
			[]string{
				statement("Allow", "ecs:RunTask", definition, ""),
				statement("Allow", "iam:PassRole", appRole, `{"StringEquals":{"iam:PassedToService":"ec2.amazonaws.com"}}`),
			},
			runTask,
			"AccessDeniedException: " + devDenied + "iam:PassRole on resource: " + appRole + because + "iam:PassRole action",
		},
		{
			"run an older revision",
			[]string{statement("Allow", "ecs:RunTask", strings.Replace(definition, ":2", ":1", 1), "")},
			runTask,
			"AccessDeniedException: " + devDenied + "ecs:RunTask on resource: " + definition + because + "ecs:RunTask action",
		},

		{"a secret by its name", []string{statement("Allow", "secretsmanager:GetSecretValue", "arn:aws:secretsmanager:*:*:secret:db-*", "")}, getSecret, "OK"},
		{"no secret", nil, getSecret, "AccessDeniedException: " + devDenied + "secretsmanager:GetSecretValue on resource: " + secretARN + because + "secretsmanager:GetSecretValue action"},
		{"a key by its alias", []string{statement("Allow", "kms:Encrypt", keyARN, `{"StringEquals":{"kms:RequestAlias":"alias/app","kms:EncryptionContext:Purpose":"test"}}`)}, encrypt, "OK"},
		{"no key", nil, encrypt, "AccessDeniedException: " + devDenied + "kms:Encrypt on resource: " + keyARN + because + "kms:Encrypt action"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w.may(tc.policies...)
			if got := said(tc.call(t.Context(), w.as("AKIADEV"))); got != tc.want {
				t.Errorf("\n got %s\nwant %s", got, tc.want)
			}
			if got := said(tc.call(t.Context(), w.as("AKIAROOT"))); got != "OK" {
				t.Errorf("root: %s", got)
			}
		})
	}
}

// Policies come from groups, managed policies and AWS's own; a change counts at
// once, wherever it is made.
func TestPoliciesFromEverywhere(t *testing.T) {
	w := newWorld(t)
	const refused = "AccessDeniedException: " + devDenied + "ecs:DescribeTasks on resource: " + taskARN
	step := func(name, want string, change func(tx *store.Tx)) {
		t.Helper()
		w.write(change)
		if got := said(describeTask(t.Context(), w.as("AKIADEV"))); !strings.HasPrefix(got, want) {
			t.Fatalf("%s: %s, want %s…", name, got, want)
		}
	}
	dev := func(edit func(u *model.User)) func(tx *store.Tx) {
		return func(tx *store.Tx) {
			must(t, records.Users.Edit(tx, "dev", func(u *model.User) error { edit(u); return nil }))
		}
	}
	step("nothing", refused+because, func(*store.Tx) {})
	step("a group that has nothing", refused+because, func(tx *store.Tx) {
		records.Groups.Put(tx, &model.Group{ID: "AGPA", Name: "Ops", Path: "/"})
		dev(func(u *model.User) { u.Groups = []string{"Ops"} })(tx)
	})
	step("the group gets a policy", "OK", func(tx *store.Tx) {
		must(t, records.Groups.Edit(tx, "ops", func(g *model.Group) error {
			g.Inline = []model.InlinePolicy{{Name: "all", Document: statement("Allow", "ecs:*", "*", "")}}
			return nil
		}))
	})
	step("the group is gone", refused+because, func(tx *store.Tx) { records.Groups.Delete(tx, "ops") })
	step("AWS's policy", "OK", dev(func(u *model.User) { u.Groups, u.Attached = nil, []string{"arn:aws:iam::aws:policy/ReadOnlyAccess"} }))
	step("a policy that is not there yet", refused+because, dev(func(u *model.User) { u.Attached = []string{limits} }))
	managed := &model.Policy{
		ARN: limits, Name: "limits", Path: "/", DefaultID: "v1",
		Versions: []model.PolicyVersion{{ID: "v1", Document: statement("Allow", "ecs:*", "*", "")}, {ID: "v2", Document: statement("Deny", "ecs:*", "*", "")}},
	}
	step("it is made", "OK", func(tx *store.Tx) { records.Policies.Put(tx, managed) })
	step("another version counts", refused+" with an explicit deny in an identity-based policy: "+limits, func(tx *store.Tx) {
		must(t, records.Policies.Edit(tx, limits, func(p *model.Policy) error { p.DefaultID = "v2"; return nil }))
	})
	step("a boundary that allows something else", refused+" because no permissions boundary allows the ecs:DescribeTasks action", func(tx *store.Tx) {
		must(t, records.Policies.Edit(tx, limits, func(p *model.Policy) error {
			p.Versions[1].Document = statement("Allow", "s3:*", "*", "")
			return nil
		}))
		dev(func(u *model.User) {
			u.Attached, u.BoundaryARN = []string{"arn:aws:iam::aws:policy/AdministratorAccess"}, limits
		})(tx)
	})
	step("a boundary that is gone allows nothing", refused+" because no permissions boundary", func(tx *store.Tx) { records.Policies.Delete(tx, limits) })
	step("no boundary", "OK", dev(func(u *model.User) { u.BoundaryARN = "" }))
	step("the user is gone", "AccessDeniedException: User: arn:aws:iam::123456789012:user/dev", func(tx *store.Tx) { records.Users.Delete(tx, "dev") })
}

// A role session has its role's policies, within its own.
func TestRoleSession(t *testing.T) {
	w := newWorld(t)
	role := func(edit func(r *model.Role)) {
		t.Helper()
		w.write(func(tx *store.Tx) {
			must(t, records.Roles.Edit(tx, "app", func(r *model.Role) error { edit(r); return nil }))
		})
	}
	session := func(change func(s *caller.Session)) {
		who := w.who["ASIAAPP"]
		s := *who.Session
		change(&s)
		who.Session = &s
		w.who["ASIAAPP"] = who
	}
	check := func(name, want string) {
		t.Helper()
		if got := said(describeTask(t.Context(), w.as("ASIAAPP"))); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s…", name, got, want)
		}
	}
	refused := "AccessDeniedException: " + appDenied + "ecs:DescribeTasks on resource: " + taskARN
	check("nothing", refused+because)
	role(func(r *model.Role) {
		r.Inline = []model.InlinePolicy{{Name: "p", Document: statement("Allow", "ecs:*", "*",
			`{"ArnEquals":{"aws:PrincipalArn":"`+appRole+`"},"StringEquals":{"aws:PrincipalType":"AssumedRole","aws:userid":"AROAAPP:0123","aws:PrincipalTag/Env":"test"},"Bool":{"aws:MultiFactorAuthPresent":"false"}}`)}}
		r.Tags = []model.Tag{{Key: "Env", Value: "prod"}}
	})
	check("the role's tag does not fit", refused+because)
	session(func(s *caller.Session) { s.Tags = map[string]string{"Env": "test"} })
	check("a session's tag goes before the role's", "OK")
	session(func(s *caller.Session) { s.Policies = []string{statement("Allow", "s3:*", "*", "")} })
	check("a session policy limits", refused+" because no session policy allows the ecs:DescribeTasks action")
	session(func(s *caller.Session) { s.PolicyARNs = []string{"arn:aws:iam::aws:policy/ReadOnlyAccess"} })
	check("one of them must allow", "OK")
	session(func(s *caller.Session) { s.Policies, s.PolicyARNs = nil, nil })

	role(func(r *model.Role) {
		r.Inline = append(r.Inline, model.InlinePolicy{Name: "AWSRevokeOlderSessions", Document: statement("Deny", "*", "*",
			`{"DateLessThan":{"aws:TokenIssueTime":"2026-11-22T11:30:00Z"}}`)})
	})
	check("revoked as on AWS", refused+" with an explicit deny in an identity-based policy")
	session(func(s *caller.Session) { s.IssuedAt = began.Add(-time.Minute) })
	check("a newer session", "OK")
	role(func(r *model.Role) { r.ID = "AROAOTHER" })
	check("the role was made anew", "AccessDeniedException: User: arn:aws:sts::123456789012:assumed-role/app/0123 is not authorized")
}

// Who may assume a role is for the role to say.
func TestAssumeRole(t *testing.T) {
	w := newWorld(t)
	const refused = "AccessDenied: " + devDenied + "sts:AssumeRole on resource: " + appRole
	trust := func(text string) {
		t.Helper()
		w.write(func(tx *store.Tx) {
			must(t, records.Roles.Edit(tx, "app", func(r *model.Role) error {
				r.Trust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole",` + text + `}]}`
				return nil
			}))
		})
	}
	check := func(name, want string) {
		t.Helper()
		if got := said(assumeRole(t.Context(), w.as("AKIADEV"))); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	w.may(statement("Allow", "*", "*", ""))
	check("it trusts ECS alone", refused)
	trust(`"Principal":{"AWS":"arn:aws:iam::123456789012:user/dev"}`)
	check("it trusts the user", "OK")
	w.may()
	check("that is enough", "OK")
	trust(`"Principal":{"AWS":"123456789012"}`)
	check("the account's policies are to say", refused+because+"sts:AssumeRole action")
	w.may(statement("Allow", "sts:AssumeRole", appRole, ""))
	check("and do", "OK")
	trust(`"Principal":{"AWS":"123456789012"},"Condition":{"StringEquals":{"sts:ExternalId":"43"}}`)
	check("another external id", refused)
	trust(`"Principal":{"AWS":"123456789012"},"Condition":{"StringEquals":{"sts:ExternalId":"42","sts:RoleSessionName":"me"}}`)
	check("the external id", "OK")
	w.write(func(tx *store.Tx) { records.Roles.Delete(tx, "app") })
	check("a role that is not there is told of alike", refused)
}

func TestResourcePolicies(t *testing.T) {
	w := newWorld(t)
	secret := func(statement string) {
		t.Helper()
		w.write(func(tx *store.Tx) {
			must(t, records.Secrets.Edit(tx, "db", func(s *model.Secret) error {
				s.Policy = `{"Version":"2012-10-17","Statement":[` + statement + `]}`
				return nil
			}))
		})
	}
	check := func(name, key, want string) {
		t.Helper()
		if got := said(getSecret(t.Context(), w.as(key))); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	secret(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:user/dev"},"Action":"secretsmanager:GetSecretValue","Resource":"*"}`)
	check("the secret lets the user in", "AKIADEV", "OK")
	check("and nobody else", "ASIAAPP", "AccessDeniedException: "+appDenied+"secretsmanager:GetSecretValue on resource: "+secretARN+because+"secretsmanager:GetSecretValue action")
	secret(`{"Effect":"Deny","Principal":"*","Action":"secretsmanager:GetSecretValue","Resource":"*"}`)
	w.may(statement("Allow", "*", "*", ""))
	check("the secret shuts everybody out", "AKIADEV", "AccessDeniedException: "+devDenied+"secretsmanager:GetSecretValue on resource: "+secretARN+" with an explicit deny in a resource-based policy")
	check("root too", "AKIAROOT", "AccessDeniedException: User: arn:aws:iam::123456789012:root is not authorized to perform: secretsmanager:GetSecretValue on resource: "+secretARN+" with an explicit deny in a resource-based policy")
}

// A key's policy decides, and its grants add to it.
func TestKeys(t *testing.T) {
	w := newWorld(t)
	key := func(edit func(k *model.KMSKey)) {
		t.Helper()
		w.write(func(tx *store.Tx) {
			must(t, records.KMSKeys.Edit(tx, keyID, func(k *model.KMSKey) error { edit(k); return nil }))
		})
	}
	check := func(name, want string) {
		t.Helper()
		if got := said(encrypt(t.Context(), w.as("AKIADEV"))); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	const refused = "AccessDeniedException: " + devDenied + "kms:Encrypt on resource: " + keyARN
	w.may(statement("Allow", "kms:*", "*", ""))
	check("the account's policies decide", "OK")
	key(func(k *model.KMSKey) { k.Policy = keyPolicy("kms:Describe*") })
	check("no longer", refused+" because no resource-based policy allows the kms:Encrypt action")
	w.may()
	grant := model.KMSGrant{ID: "g", Grantee: "arn:aws:iam::123456789012:user/dev", Operations: []string{"Decrypt", "Encrypt"}}
	key(func(k *model.KMSKey) { k.Grants = []model.KMSGrant{grant} })
	check("a grant is enough", "OK")
	grant.ContextSubset = map[string]string{"Purpose": "other"}
	key(func(k *model.KMSKey) { k.Grants = []model.KMSGrant{grant} })
	check("for its encryption context alone", refused+" because no resource-based policy allows the kms:Encrypt action")
	grant.ContextSubset = map[string]string{"Purpose": "test"}
	key(func(k *model.KMSKey) { k.Grants = []model.KMSGrant{grant} })
	check("that one", "OK")
	grant.ContextSubset, grant.ContextEquals = nil, map[string]string{"Purpose": "test", "More": "x"}
	key(func(k *model.KMSKey) { k.Grants = []model.KMSGrant{grant} })
	check("all of it", refused+" because no resource-based policy allows the kms:Encrypt action")
	grant.ContextEquals = nil
	key(func(k *model.KMSKey) { k.Grants = []model.KMSGrant{grant} })
	w.may(statement("Deny", "kms:*", "*", ""))
	check("a deny wins", refused+" with an explicit deny in an identity-based policy")
}

// Providers ask for what the operation does not tell.
func TestGuard(t *testing.T) {
	w := newWorld(t)
	ctx := caller.With(t.Context(), w.who["AKIADEV"])
	via := map[string][]string{"kms:ViaService": {"secretsmanager.eu-central-1.amazonaws.com"}}
	w.may(statement("Allow", "kms:Decrypt", keyARN,
		`{"StringEquals":{"kms:ViaService":"secretsmanager.eu-central-1.amazonaws.com","kms:CallerAccount":"123456789012"},"ForAnyValue:StringEquals":{"aws:CalledVia":"secretsmanager.amazonaws.com"},"Bool":{"aws:ViaAWSService":"true"}}`))
	if err := w.Check(ctx, "kms:Decrypt", keyARN, via); err != nil {
		t.Errorf("by the service: %v", err)
	}
	err := w.Check(ctx, "kms:Decrypt", keyARN, nil)
	if want := devDenied + "kms:Decrypt on resource: " + keyARN + because + "kms:Decrypt action"; !errors.Is(err, fault.Denied) || err.Error() != want {
		t.Errorf("by himself: %v, want %s", err, want)
	}
	if err := w.Check(t.Context(), "kms:Decrypt", keyARN, nil); err == nil || errors.Is(err, fault.Denied) {
		t.Errorf("by nobody: %v, want a failure of ours", err)
	}
}

// The inner door asks the same questions; the request comes from a task.
func TestInnerDoor(t *testing.T) {
	w := newWorld(t)
	who := w.who["ASIAAPP"]
	who.SourceIP, who.SourceVPC = "10.0.0.7", "vpc-1"
	in := &ecsapi.DescribeTasksInput{Cluster: aws.String("prod"), Tasks: []string{taskID}}
	call := func() string {
		_, err := w.door.Call(t.Context(), who, ecsapi.API, "DescribeTasks", in)
		if err == nil {
			return "OK"
		}
		return err.Error()
	}
	if got, want := call(), "AccessDeniedException: "+appDenied; !strings.HasPrefix(got, want) {
		t.Errorf("%s, want %s…", got, want)
	}
	w.write(func(tx *store.Tx) {
		must(t, records.Roles.Edit(tx, "app", func(r *model.Role) error {
			r.Inline = []model.InlinePolicy{{Name: "p", Document: statement("Allow", "ecs:DescribeTasks", "*",
				`{"StringEquals":{"aws:SourceVpc":"vpc-1"},"IpAddress":{"aws:VpcSourceIp":"10.0.0.0/8"},"Null":{"aws:SourceIp":"true"}}`)}}
			return nil
		}))
	})
	if got := call(); got != "OK" {
		t.Error(got)
	}
}

// A document that cannot be read denies, and is no refusal: it is our failure.
func TestUnreadablePolicy(t *testing.T) {
	w := newWorld(t)
	w.may("{")
	if got := said(describeTask(t.Context(), w.as("AKIADEV"))); !strings.HasPrefix(got, "InternalFailure") {
		t.Error(got)
	}
}

// An operation that the table does not know fails.
func TestNoRow(t *testing.T) {
	w := newWorld(t)
	api := *ecsapi.API
	op := *api.Operations[0]
	op.Name = "MakeCoffee"
	err := w.Authorize(t.Context(), gateway.Access{Caller: w.who["AKIADEV"], Service: &api, Operation: &op, Input: op.NewInput()})
	if err == nil || errors.Is(err, fault.Denied) {
		t.Errorf("%v, want a failure", err)
	}
}
