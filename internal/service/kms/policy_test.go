package kms_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"berth.dev/berth/internal/data/keys"
	"berth.dev/berth/internal/rules/policy"
)

// statement is a policy of one statement for a principal.
func statement(principal, action string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":` + principal + `,"Action":"` + action + `","Resource":"*"}]}`
}

func TestKeyPolicy(t *testing.T) {
	w := newWorld(t)
	id := w.key().KeyId
	get := func() string {
		out := must[awskms.GetKeyPolicyOutput](w)(w.kms.GetKeyPolicy(t.Context(), &awskms.GetKeyPolicyInput{KeyId: id}))
		if *out.PolicyName != "default" {
			t.Errorf("the policy is named %s", *out.PolicyName)
		}
		return *out.Policy
	}
	if got := get(); !strings.Contains(got, `"key-default-1"`) || !strings.Contains(got, rootARN) {
		t.Errorf("the default policy is %s", got)
	}
	text := statement(`{"AWS":["`+rootARN+`","`+alice+`","`+app+`"],"Service":"ecs-tasks.amazonaws.com"}`, "kms:*")
	must[awskms.PutKeyPolicyOutput](w)(w.kms.PutKeyPolicy(t.Context(), &awskms.PutKeyPolicyInput{KeyId: id, Policy: &text}))
	if got := get(); got != text {
		t.Errorf("got %s, want %s", got, text)
	}
	list := must[awskms.ListKeyPoliciesOutput](w)(w.kms.ListKeyPolicies(t.Context(), &awskms.ListKeyPoliciesInput{KeyId: id}))
	if len(list.PolicyNames) != 1 || list.PolicyNames[0] != "default" || list.Truncated {
		t.Errorf("policies %+v", list)
	}
	made := w.key(func(in *awskms.CreateKeyInput) { in.Policy = &text })
	if out := must[awskms.GetKeyPolicyOutput](w)(w.kms.GetKeyPolicy(t.Context(), &awskms.GetKeyPolicyInput{KeyId: made.KeyId})); *out.Policy != text {
		t.Errorf("a key made with a policy has %s", *out.Policy)
	}
}

// The keys of services have policies that can be read and decided with.
func TestManagedPolicies(t *testing.T) {
	w := newWorld(t)
	for name, service := range map[string]string{keys.SSM: "ssm", keys.SecretsManager: "secretsmanager"} {
		key := w.describe(name)
		out := must[awskms.GetKeyPolicyOutput](w)(w.kms.GetKeyPolicy(t.Context(), &awskms.GetKeyPolicyInput{KeyId: key.KeyId}))
		document, err := policy.Parse(policy.Resource, *out.Policy)
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, *out.Policy)
		}
		may := func(via, action string) bool {
			return policy.Evaluate(policy.Request{
				Principal: policy.Principal{ARN: alice, AccountID: account}, Action: action, Resource: *key.Arn,
				Context: map[string][]string{"kms:viaservice": {via + ".us-east-1.amazonaws.com"}, "kms:calleraccount": {account}},
			}, policy.Policies{Resource: &policy.Source{Document: document}, ResourceDecides: true}).Outcome == policy.Allowed
		}
		for _, action := range []string{"kms:Decrypt", "kms:GenerateDataKey"} {
			if !may(service, action) || may("s3", action) {
				t.Errorf("%s: %s through %s is %v, through s3 %v", name, action, service, may(service, action), may("s3", action))
			}
		}
		if may(service, "kms:ScheduleKeyDeletion") {
			t.Errorf("%s can be deleted", name)
		}
	}
}

// Who sets a policy must be able to set it again, or say that he knows.
func TestLockout(t *testing.T) {
	w := newWorld(t)
	const refused = "MalformedPolicyDocumentException: The new key policy will not allow you to update the key policy in the future."
	for _, tc := range []struct {
		caller, policy string
		locked         bool
	}{
		{"ROOT", statement(`{"AWS":"`+rootARN+`"}`, "kms:*"), false},
		{"ALICE", statement(`{"AWS":"`+rootARN+`"}`, "kms:*"), false}, // her identity policies decide
		{"ALICE", statement(`{"AWS":"`+account+`"}`, "kms:Put*"), false},
		{"ALICE", statement(`{"AWS":"`+alice+`"}`, "kms:PutKeyPolicy"), false},
		{"ALICE", statement(`"*"`, "kms:*"), false},
		{"ALICE", statement(`{"AWS":"`+app+`"}`, "kms:*"), true},
		{"ALICE", statement(`{"AWS":"`+alice+`"}`, "kms:Decrypt"), true},
		{"ALICE", statement(`{"Service":"ssm.amazonaws.com"}`, "kms:*"), true},
		{"SESSION", statement(`{"AWS":"`+app+`"}`, "kms:*"), false},
		{"SESSION", statement(`{"AWS":"`+session+`"}`, "kms:*"), false},
		{"SESSION", statement(`{"AWS":"`+alice+`"}`, "kms:*"), true},
	} {
		client := w.client(tc.caller)
		_, err := client.CreateKey(t.Context(), &awskms.CreateKeyInput{Policy: &tc.policy})
		if locked := err != nil; locked != tc.locked || locked && refusal(err) != refused {
			t.Errorf("%s makes a key with %s: %v", tc.caller, tc.policy, err)
		}
		id := w.key().KeyId
		_, err = client.PutKeyPolicy(t.Context(), &awskms.PutKeyPolicyInput{KeyId: id, Policy: &tc.policy})
		if locked := err != nil; locked != tc.locked || locked && refusal(err) != refused {
			t.Errorf("%s puts %s: %v", tc.caller, tc.policy, err)
		}
		if _, err := client.PutKeyPolicy(t.Context(), &awskms.PutKeyPolicyInput{KeyId: id, Policy: &tc.policy, BypassPolicyLockoutSafetyCheck: true}); err != nil {
			t.Errorf("%s insists on %s: %v", tc.caller, tc.policy, err)
		}
	}
}

func TestPolicyPrincipals(t *testing.T) {
	w := newWorld(t)
	for principal, valid := range map[string]bool{
		`"*"`:                    true,
		`{"AWS":"*"}`:            true,
		`{"AWS":"123456789012"}`: true,
		`{"AWS":"210987654321"}`: true,
		`{"AWS":"` + app + `"}`:  true,
		`{"AWS":["` + alice + `","` + app + `"]}`:                         true,
		`{"AWS":"` + session + `"}`:                                       true,
		`{"AWS":"arn:aws:iam::210987654321:role/x"}`:                      true, // who knows
		`{"AWS":"arn:aws:iam::210987654321:root"}`:                        true,
		`{"AWS":"arn:aws:iam::123456789012:role/app"}`:                    false, // it has a path
		`{"AWS":"arn:aws:iam::123456789012:user/bob"}`:                    false,
		`{"AWS":["` + alice + `","arn:aws:iam::123456789012:role/none"]}`: false,
		`{"AWS":"arn:aws:sts::123456789012:assumed-role/none/s"}`:         false,
		`{"AWS":"arn:aws:iam::123456789012:group/g"}`:                     false,
	} {
		_, err := w.kms.CreateKey(t.Context(), &awskms.CreateKeyInput{Policy: aws.String(statement(principal, "kms:*")), BypassPolicyLockoutSafetyCheck: true})
		if (err == nil) != valid || err != nil && !strings.HasPrefix(refusal(err), "MalformedPolicyDocumentException: ") {
			t.Errorf("%s: %v", principal, err)
		}
	}
}

func TestGrants(t *testing.T) {
	w := newWorld(t)
	key, mac := w.key(), w.key(hmac)
	grant := func(in awskms.CreateGrantInput) *awskms.CreateGrantOutput {
		t.Helper()
		if in.KeyId == nil {
			in.KeyId = key.KeyId
		}
		return must[awskms.CreateGrantOutput](w)(w.kms.CreateGrant(t.Context(), &in))
	}
	first := awskms.CreateGrantInput{
		Name: aws.String("n"), GranteePrincipal: aws.String(app), RetiringPrincipal: aws.String(alice), Operations: []types.GrantOperation{"Decrypt", "Encrypt"},
		Constraints: &types.GrantConstraints{EncryptionContextSubset: map[string]string{"a": "1"}},
	}
	a := grant(first)
	if again := grant(first); *again.GrantId != *a.GrantId {
		t.Error("the same grant was made twice")
	}
	changed := first
	changed.Operations = []types.GrantOperation{"Decrypt"}
	b := grant(changed)
	c := grant(awskms.CreateGrantInput{GranteePrincipal: aws.String(session), Operations: []types.GrantOperation{"Decrypt", "RetireGrant"}})
	d := grant(awskms.CreateGrantInput{KeyId: mac.Arn, GranteePrincipal: aws.String(app), RetiringPrincipal: aws.String(alice), Operations: []types.GrantOperation{"GenerateMac", "VerifyMac"}})

	list := func(in awskms.ListGrantsInput) (ids []string) {
		t.Helper()
		in.KeyId, in.Limit = key.KeyId, aws.Int32(1)
		pages := awskms.NewListGrantsPaginator(w.kms, &in)
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range page.Grants {
				ids = append(ids, *g.GrantId)
				if *g.GrantId == *a.GrantId && (*g.KeyId != *key.Arn || *g.Name != "n" || *g.GranteePrincipal != app || *g.RetiringPrincipal != alice ||
					*g.IssuingAccount != rootARN || len(g.Operations) != 2 || g.Constraints.EncryptionContextSubset["a"] != "1" || !g.CreationDate.Equal(begin)) {
					t.Errorf("listed %+v", g)
				}
			}
		}
		return ids
	}
	same := func(what string, got []string, want ...string) {
		t.Helper()
		left := map[string]bool{}
		for _, id := range want {
			left[id] = true
		}
		for _, id := range got {
			if !left[id] {
				t.Errorf("%s: %s is one too many", what, id)
			}
			delete(left, id)
		}
		if len(left) > 0 {
			t.Errorf("%s: %v are missing", what, left)
		}
	}
	same("all", list(awskms.ListGrantsInput{}), *a.GrantId, *b.GrantId, *c.GrantId)
	same("by id", list(awskms.ListGrantsInput{GrantId: b.GrantId}), *b.GrantId)
	same("by grantee", list(awskms.ListGrantsInput{GranteePrincipal: aws.String(session)}), *c.GrantId)
	var retirable []string
	pages := awskms.NewListRetirableGrantsPaginator(w.kms, &awskms.ListRetirableGrantsInput{RetiringPrincipal: aws.String(alice), Limit: aws.Int32(2)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range page.Grants {
			retirable = append(retirable, *g.GrantId)
		}
	}
	same("retirable", retirable, *a.GrantId, *b.GrantId, *d.GrantId)

	must[awskms.RevokeGrantOutput](w)(w.kms.RevokeGrant(t.Context(), &awskms.RevokeGrantInput{KeyId: key.KeyId, GrantId: b.GrantId}))
	same("after a revocation", list(awskms.ListGrantsInput{}), *a.GrantId, *c.GrantId)

	// Policies allow nobody to retire grants: what they say themselves counts.
	refused := "kms:RetireGrant"
	w.guard.refuse.Store(&refused)
	retire := func(caller string, in awskms.RetireGrantInput) error {
		_, err := w.client(caller).RetireGrant(t.Context(), &in)
		return err
	}
	for _, caller := range []string{"ROOT", "SESSION"} {
		if err := retire(caller, awskms.RetireGrantInput{GrantToken: a.GrantToken}); !strings.HasPrefix(refusal(err), "AccessDeniedException: ") {
			t.Errorf("%s retires a grant that is not for it to retire: %v", caller, err)
		}
	}
	if err := retire("ALICE", awskms.RetireGrantInput{GrantToken: a.GrantToken}); err != nil {
		t.Errorf("the retiring principal: %v", err)
	}
	if err := retire("SESSION", awskms.RetireGrantInput{KeyId: key.Arn, GrantId: c.GrantId}); err != nil {
		t.Errorf("the grantee that may: %v", err)
	}
	same("after retiring", list(awskms.ListGrantsInput{}))
	w.guard.refuse.Store(nil)
	if err := retire("ROOT", awskms.RetireGrantInput{GrantToken: d.GrantToken}); err != nil {
		t.Errorf("who may by policy: %v", err)
	}
}
