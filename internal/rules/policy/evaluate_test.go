package policy

import "testing"

func TestSmoke(t *testing.T) {
	d, err := Parse(Identity, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["ecs:*Task*"],"Resource":"arn:aws:ecs:*:*:task/*"}}`)
	if err != nil {
		t.Fatal(err)
	}
	req := Request{Principal: Principal{ARN: "arn:aws:iam::123456789012:user/u", AccountID: "123456789012"}, Action: "ecs:stoptask", Resource: "arn:aws:ecs:us-east-1:123456789012:task/c/1"}
	if got := Evaluate(req, Policies{Identity: []Source{{Document: d}}}); got.Outcome != Allowed {
		t.Fatal(got)
	}
	req.Action = "ecs:RunService"
	got := Evaluate(req, Policies{Identity: []Source{{Document: d}}})
	if got.Outcome != ImplicitDeny {
		t.Fatal(got)
	}
	t.Log(got.Sentence(req))
}
