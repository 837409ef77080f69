package authority_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/awsjson"
	"berth.dev/berth/internal/wire/sigv4"
	wire "berth.dev/berth/internal/wire/smithy"
)

// crowd puts an account as it is after some years: 100 roles and 300 managed
// policies, of which each role has three, an inline policy and a boundary. The
// role app is one of them.
func (w *world) crowd() {
	name := func(i int) string { return fmt.Sprintf("arn:aws:iam::123456789012:policy/p%03d", i) }
	for i := range 300 {
		w.write(func(tx *store.Tx) {
			records.Policies.Put(tx, &model.Policy{
				ARN: name(i), Name: fmt.Sprintf("p%03d", i), Path: "/", DefaultID: "v1",
				Versions: []model.PolicyVersion{{ID: "v1", Document: fmt.Sprintf(`{"Version":"2012-10-17","Statement":[
{"Sid":"Buckets","Effect":"Allow","Action":["s3:GetObject","s3:PutObject","s3:ListBucket"],"Resource":["arn:aws:s3:::bucket-%[1]d","arn:aws:s3:::bucket-%[1]d/*"]},
{"Sid":"Tables","Effect":"Allow","Action":"dynamodb:*","Resource":"arn:aws:dynamodb:*:*:table/t-%[1]d","Condition":{"StringEquals":{"aws:PrincipalTag/Team":"team-%[1]d"}}},
{"Sid":"Tasks","Effect":"Allow","Action":["ecs:Describe*","ecs:List*","ecs:RunTask"],"Resource":"*","Condition":{"ArnLike":{"ecs:cluster":"arn:aws:ecs:*:*:cluster/c-%[1]d"}}}]}`, i)}},
			})
		})
	}
	for i := range 100 {
		w.write(func(tx *store.Tx) {
			role := &model.Role{ID: fmt.Sprintf("AROA%03d", i), Name: fmt.Sprintf("role%03d", i), Path: "/"}
			if i == 50 {
				role.ID, role.Name, role.Path = "AROAAPP", "app", "/team/"
			}
			role.Attached = []string{name(3 * i), name(3*i + 1), name(3*i + 2)}
			role.Inline = []model.InlinePolicy{{Name: "own", Document: statement("Allow", "ecs:DescribeTasks", "arn:aws:ecs:*:123456789012:task/prod/*",
				`{"ArnEquals":{"ecs:cluster":"arn:aws:ecs:eu-central-1:123456789012:cluster/prod"}}`)}}
			role.BoundaryARN = "arn:aws:iam::aws:policy/PowerUserAccess"
			role.Tags = []model.Tag{{Key: "Team", Value: "blue"}}
			records.Roles.Put(tx, role)
		})
	}
}

const describeBody = `{"cluster":"prod","tasks":["` + taskID + `"]}`

// signed is DescribeTasks of one task, as the role's session sends it.
func signed(b *testing.B) *http.Request {
	r := httptest.NewRequest("POST", "http://localhost:4566/", bytes.NewReader([]byte(describeBody)))
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", ecsapi.API.TargetPrefix+".DescribeTasks")
	r.Header.Set("User-Agent", "aws-cli/2.31.0 md/Botocore#1.40.0")
	sum := sha256.Sum256([]byte(describeBody))
	key := aws.Credentials{AccessKeyID: "ASIAAPP", SecretAccessKey: "secret", SessionToken: "token"}
	if err := v4.NewSigner().SignHTTP(b.Context(), key, r, hex.EncodeToString(sum[:]), "ecs", scope.Region, time.Now()); err != nil {
		b.Fatal(err)
	}
	return r
}

// sink takes an answer and forgets it.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(status int)      { s.status = status }
func (s *sink) Write(b []byte) (int, error) { return len(b), nil }

// One DescribeTasks of one task by a role, in an account with 100 roles and 300
// policies: all of it, and the steps by themselves.
func BenchmarkDescribeTasks(b *testing.B) {
	w := newWorld(b)
	w.crowd()
	op, _ := ecsapi.API.Operation("DescribeTasks")
	r := signed(b)
	whole := func(b *testing.B) {
		body := bytes.NewReader([]byte(describeBody))
		out := &sink{header: http.Header{}}
		again := *r
		for b.Loop() {
			body.Reset([]byte(describeBody))
			again.Body = noClose{body}
			clear(out.header)
			out.status = 0
			w.door.ServeHTTP(out, &again)
			if out.status != 0 && out.status != http.StatusOK {
				b.Fatal(out.status)
			}
		}
	}
	in, err := awsjson.JSON11().DecodeRequest(ecsapi.API, op, r, []byte(describeBody))
	if err != nil {
		b.Fatal(err)
	}
	asked := gateway.Access{Caller: w.who["ASIAAPP"], Service: ecsapi.API, Operation: op, Input: in}
	for _, step := range []struct {
		name string
		run  func(b *testing.B)
	}{
		{"whole", whole},
		{"signature", func(b *testing.B) {
			lookup := func(string, string) (sigv4.Credential, error) {
				return sigv4.Credential{SecretAccessKey: "secret", SessionToken: "token"}, nil
			}
			for b.Loop() {
				if _, err := sigv4.Verify(time.Now(), r, []byte(describeBody), sigv4.Expect{}, lookup); err != nil {
					b.Fatal(err)
				}
			}
		}},
		{"decode", func(b *testing.B) {
			for b.Loop() {
				if _, err := awsjson.JSON11().DecodeRequest(ecsapi.API, op, r, []byte(describeBody)); err != nil {
					b.Fatal(err)
				}
			}
		}},
		{"authorize", func(b *testing.B) {
			for b.Loop() {
				if err := w.Authorize(b.Context(), asked); err != nil {
					b.Fatal(err)
				}
			}
		}},
		{"validate", func(b *testing.B) {
			for b.Loop() {
				if err := wire.Validate(op, in); err != nil {
					b.Fatal(err)
				}
			}
		}},
	} {
		b.Run(step.name, func(b *testing.B) {
			b.ReportAllocs()
			step.run(b)
		})
	}
}

type noClose struct{ *bytes.Reader }

func (noClose) Close() error { return nil }
