package policy

import (
	"os"
	"strings"
	"testing"
)

// A principal as in `make bench`: a managed policy of AWS's, one of the
// account's and an inline one, of which one statement allows.
func benchPolicies(b *testing.B, names ...string) Policies {
	b.Helper()
	var p Policies
	for _, name := range names {
		text, err := os.ReadFile("managed/documents/" + name + ".json")
		if err != nil {
			b.Fatal(err)
		}
		p.Identity = append(p.Identity, Source{ARN: "arn:aws:iam::aws:policy/" + name, Document: must(b, Managed, string(text))})
	}
	p.Identity = append(p.Identity, Source{Document: must(b, Identity, `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":"arn:aws:s3:::assets/${aws:PrincipalTag/team}/*"},
		{"Effect":"Allow","Action":["ecs:DescribeTasks","ecs:StopTask"],"Resource":"arn:aws:ecs:*:*:task/prod/*","Condition":{"ArnEquals":{"ecs:cluster":"arn:aws:ecs:us-east-1:123456789012:cluster/prod"}}},
		{"Effect":"Deny","Action":"iam:*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}]}`)})
	return p
}

func benchRequest(action string) Request {
	return Request{
		Principal: session(), Action: action, Resource: "arn:aws:ecs:us-east-1:123456789012:task/prod/0123456789abcdef0123456789abcdef",
		Context: map[string][]string{
			"aws:username": {"bob"}, "aws:sourceip": {"10.0.0.1"}, "aws:securetransport": {"true"}, "aws:currenttime": {"2026-11-22T12:00:00Z"},
			"ecs:cluster": {"arn:aws:ecs:us-east-1:123456789012:cluster/prod"}, "aws:principaltag/team": {"shop"},
		},
	}
}

func BenchmarkEvaluate(b *testing.B) {
	for _, bench := range []struct {
		name, action string
		policies     []string
		want         Outcome
	}{
		{"allowed", "ecs:DescribeTasks", []string{"AmazonECSTaskExecutionRolePolicy", "AmazonSSMManagedInstanceCore"}, Allowed},
		{"nothing matches", "sqs:SendMessage", []string{"AmazonECSTaskExecutionRolePolicy", "AmazonSSMManagedInstanceCore"}, ImplicitDeny},
		{"ReadOnlyAccess", "ecs:DescribeTasks", []string{"ReadOnlyAccess", "SecurityAudit", "ViewOnlyAccess"}, Allowed},
	} {
		b.Run(bench.name, func(b *testing.B) {
			p, request := benchPolicies(b, bench.policies...), benchRequest(bench.action)
			if got := Evaluate(request, p); got.Outcome != bench.want {
				b.Fatalf("%+v", got)
			}
			b.ReportAllocs()
			for b.Loop() {
				Evaluate(request, p)
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	for _, name := range []string{"AmazonECSTaskExecutionRolePolicy", "AmazonECS_FullAccess", "ReadOnlyAccess"} {
		b.Run(name, func(b *testing.B) {
			text, err := os.ReadFile("managed/documents/" + name + ".json")
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, err := Parse(Managed, string(text)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A pattern that would take exponential time with naive backtracking.
func BenchmarkPattern_Hostile(b *testing.B) {
	p, err := compile(strings.Repeat("*a", 50)+"b", true, false)
	if err != nil {
		b.Fatal(err)
	}
	text := strings.Repeat("a", 1000)
	b.ReportAllocs()
	for b.Loop() {
		if p.match(text, nil) {
			b.Fatal("matches")
		}
	}
}

// Deciding must not allocate for statements that are not about the action.
func TestEvaluate_AllocatesNothingForOtherActions(t *testing.T) {
	p := Policies{Identity: []Source{{Document: must(t, Identity, `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["s3:Get*","s3:PutObject"],"Resource":"arn:aws:s3:::${aws:username}/*","Condition":{"StringLike":{"aws:userid":"*"}}},
		{"Effect":"Deny","NotAction":["ecs:*","s3:*"],"Resource":"*"}]}`)}}}
	request := benchRequest("ecs:DescribeTasks")
	if got := testing.AllocsPerRun(100, func() { Evaluate(request, p) }); got > 1 {
		t.Errorf("%v allocations, want one at most: the request's copy", got)
	}
}
