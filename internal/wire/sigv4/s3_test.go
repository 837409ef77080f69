package sigv4_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"berth.dev/berth/internal/wire/sigv4"
)

// S3's form is accepted where it is expected and nowhere else: such a signature
// does not vouch for the body.
func TestS3Form(t *testing.T) {
	for _, tc := range []struct {
		name, path, payload, body string
		elsewhere                 bool // what the other services accept too
	}{
		{"a signed body", "/b/k", hash("x"), "x", true},
		{"an unsigned body", "/b/k", "UNSIGNED-PAYLOAD", "x", false},
		{"another body", "/b/k", hash("y"), "x", false},
		{"a path with signs", "/b/a%20b%2Bc", hash("x"), "x", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := httptest.NewRequest("PUT", "http://h"+tc.path, strings.NewReader(tc.body))
			r.Header.Set("X-Amz-Content-Sha256", tc.payload)
			signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
			key := aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secret}
			if err := signer.SignHTTP(t.Context(), key, r, tc.payload, "s3", "us-east-1", now); err != nil {
				t.Fatal(err)
			}
			if _, err := sigv4.Verify(now, r, []byte(tc.body), sigv4.Expect{S3: true}, lookup); err != nil {
				t.Errorf("refused: %v", err)
			}
			if _, err := sigv4.Verify(now, r, []byte(tc.body), sigv4.Expect{}, lookup); (err == nil) != tc.elsewhere {
				t.Errorf("another service: %v", err)
			}
			r.Header.Set("X-Amz-Content-Sha256", hash("changed"))
			if _, err := sigv4.Verify(now, r, []byte(tc.body), sigv4.Expect{S3: true}, lookup); reasonOf(err) != sigv4.Mismatch {
				t.Errorf("what is said of the body was changed: %v", err)
			}
		})
	}
}

// The lookup gets the token that came with the request, in either form.
func TestLookupSeesTheToken(t *testing.T) {
	for name, c := range map[string]call{"header": plain(), "presigned": presigned()} {
		c.key.AccessKeyID, c.key.SessionToken = tempID, token
		r, body := c.sign(t)
		seen := ""
		_, err := sigv4.Verify(now, r, body, expect, func(id, sent string) (sigv4.Credential, error) {
			seen = sent
			return lookup(id, sent)
		})
		if err != nil || seen != token {
			t.Errorf("%s: token %q, %v", name, seen, err)
		}
	}
}
