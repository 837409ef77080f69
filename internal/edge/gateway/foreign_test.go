package gateway_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/wire/caller"
)

// allowing allows one action on one resource.
type allowing struct {
	gateway.AllowRoot
	action, resource string
}

func (a allowing) Check(ctx context.Context, action, resource string, _ map[string][]string) error {
	if action == a.action && resource == a.resource {
		return nil
	}
	who, _ := caller.From(ctx)
	return fault.New(fault.Denied, "%s may not %s %s", who.ARN, action, resource)
}

// A call to a service that is not here is refused as on AWS when its caller may
// not make it, and told that the service is not here when he may.
func TestForeignServices(t *testing.T) {
	const table = "arn:aws:dynamodb:eu-central-1:123456789012:table/t"
	dynamo := request{contentType: "application/x-amz-json-1.0", amzTarget: "DynamoDB_20120810.GetItem", body: []byte(`{"TableName":"t"}`), service: "dynamodb"}
	s3 := func(method, target string) request {
		return request{method: method, target: "http://h" + target, service: "s3"}
	}
	for _, tc := range []struct {
		name             string
		request          request
		action, resource string // "" for what is not checked
	}{
		{"dynamodb", dynamo, "dynamodb:GetItem", table},
		{"s3 get", s3("GET", "/b/file?x-id=GetObject"), "s3:GetObject", "arn:aws:s3:::b/file"},
		{"s3 put", s3("PUT", "/b/k/l"), "s3:PutObject", "arn:aws:s3:::b/k/l"},
		{"s3 delete", s3("DELETE", "/b/k"), "s3:DeleteObject", "arn:aws:s3:::b/k"},
		{"s3 list", s3("GET", "/b?list-type=2&prefix=x"), "s3:ListBucket", "arn:aws:s3:::b"},
		{"s3 list, slash", s3("GET", "/b/?list-type=2"), "s3:ListBucket", "arn:aws:s3:::b"},
		{"s3 make", s3("PUT", "/b"), "s3:CreateBucket", "arn:aws:s3:::b"},
		{"s3 buckets", s3("GET", "/"), "s3:ListAllMyBuckets", "*"},
		{"s3 sub-resource", s3("GET", "/b/k?acl"), "", ""},
		{"sqs", request{contentType: "application/x-amz-json-1.0", amzTarget: "AmazonSQS.SendMessage", body: []byte(`{}`), service: "sqs"}, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			family := "json"
			if tc.request.service == "s3" {
				family = "s3"
			}
			q := tc.request
			q.key = userKey
			closed := open(t, func(cfg *gateway.Config) { cfg.Authorizer = allowing{} })
			opened := open(t, func(cfg *gateway.Config) { cfg.Authorizer = allowing{action: tc.action, resource: tc.resource} })
			if tc.action != "" {
				status, code := 400, "AccessDeniedException"
				if family == "s3" {
					status, code = 403, "AccessDenied"
				}
				wantForeign(t, closed.send(t, q), family, status, code, "arn:aws:iam::123456789012:user/dev may not "+tc.action+" "+tc.resource)
			}
			wantForeign(t, opened.send(t, q), family, 501, "NotImplemented", "Berth does not have "+q.service)
			q.key = "AKIANOBODY"
			if got := opened.send(t, q); !strings.Contains(got.body, "security token included in the request is invalid") {
				t.Errorf("a stranger learns %s", got)
			}
		})
	}
}

func wantForeign(t *testing.T, got reply, family string, status int, code, message string) {
	t.Helper()
	gotCode, gotMessage, err := got.failure(family)
	if err != nil || got.status != status || gotCode != code || !strings.HasPrefix(gotMessage, message) {
		t.Errorf("%s, %v; want %d %s %s", got, err, status, code, message)
	}
}

// S3's clients sign paths once and bodies not always; what they would store may
// be longer than anything that is read here.
func TestS3Signatures(t *testing.T) {
	d := open(t, nil)
	for _, tc := range []struct {
		name, method, path, payload string
		body                        io.Reader
	}{
		{"a path with signs", "GET", "/b/a%20b%2Bc/d", hashOf(""), nil},
		{"an unsigned body", "PUT", "/b/k", "UNSIGNED-PAYLOAD", strings.NewReader("anything")},
		{"a body in chunks", "PUT", "/b/k", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", strings.NewReader("anything")},
		{"a long body, unread", "PUT", "/b/k", "UNSIGNED-PAYLOAD", unread{t}},
	} {
		for _, with := range []string{secret, "wrong"} {
			t.Run(tc.name+"/"+with, func(t *testing.T) {
				r := httptest.NewRequest(tc.method, "http://h"+tc.path, tc.body)
				if _, long := tc.body.(unread); long {
					r.ContentLength = 1 << 30
				}
				r.Header.Set("X-Amz-Content-Sha256", tc.payload)
				signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
				key := aws.Credentials{AccessKeyID: rootKey, SecretAccessKey: with}
				if err := signer.SignHTTP(t.Context(), key, r, tc.payload, "s3", "eu-central-1", now); err != nil {
					t.Fatal(err)
				}
				if with == secret {
					wantForeign(t, d.do(t, r), "s3", 501, "NotImplemented", "Berth does not have s3")
				} else {
					wantForeign(t, d.do(t, r), "s3", 403, "SignatureDoesNotMatch", "The request signature")
				}
			})
		}
	}
}

func hashOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
