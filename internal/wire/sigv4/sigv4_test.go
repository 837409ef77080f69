package sigv4_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/wire/sigv4"
)

const (
	keyID    = "AKIAIOSFODNN7EXAMPLE"
	tempID   = "ASIAIOSFODNN7EXAMPLE"
	endedID  = "ASIAENDED"
	secret   = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	token    = "FQoGZXIvYXdzEJr//////////wEaD"
	jsonType = "application/x-amz-json-1.1"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func lookup(id, _ string) (sigv4.Credential, error) {
	switch id {
	case keyID:
		return sigv4.Credential{SecretAccessKey: secret}, nil
	case tempID:
		return sigv4.Credential{SecretAccessKey: secret, SessionToken: token, Expires: now.Add(time.Hour)}, nil
	case endedID:
		return sigv4.Credential{SecretAccessKey: secret, SessionToken: token, Expires: now}, nil
	case "AKIABROKEN":
		return sigv4.Credential{}, errors.New("store is away")
	}
	return sigv4.Credential{}, fault.New(fault.NotFound, "access key %s", id)
}

var expect = sigv4.Expect{Regions: []string{"us-east-1"}, Services: []string{"ecs"}}

// call is one request and how to sign it.
type call struct {
	method, target, body string
	header               http.Header
	key                  aws.Credentials
	service, region      string
	at                   time.Time
	expires              int // presigned form when not 0
}

func plain() call {
	return call{
		method: "POST", target: "http://ecs.example:8080/", body: `{"cluster":"default"}`,
		header: http.Header{"Content-Type": {jsonType}, "X-Amz-Target": {"AmazonEC2ContainerServiceV20141113.ListTasks"}},
		key:    aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secret}, service: "ecs", region: "us-east-1", at: now,
	}
}

func presigned() call {
	c := plain()
	c.method, c.body, c.header, c.expires = "GET", "", http.Header{}, 900
	c.target = "http://ecs.example:8080/?Action=GetCallerIdentity&Version=2011-06-15&Name=a+b%2Fc~%C3%A9"
	return c
}

// sign returns the request as a server gets it: signed by the SDK's signer,
// written out and read back by net/http.
func (c call) sign(t testing.TB) (*http.Request, []byte) {
	t.Helper()
	r, err := http.NewRequest(c.method, c.target, strings.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = c.header.Clone()
	sum := sha256.Sum256([]byte(c.body))
	payload := hex.EncodeToString(sum[:])
	if c.expires != 0 {
		query := r.URL.Query()
		query.Set("X-Amz-Expires", strconv.Itoa(c.expires))
		r.URL.RawQuery = query.Encode()
		signed, _, err := v4.NewSigner().PresignHTTP(t.Context(), c.key, r, payload, c.service, c.region, c.at)
		if err != nil {
			t.Fatal(err)
		}
		if r.URL, err = url.Parse(signed); err != nil {
			t.Fatal(err)
		}
	} else if err := v4.NewSigner().SignHTTP(t.Context(), c.key, r, payload, c.service, c.region, c.at); err != nil {
		t.Fatal(err)
	}
	return arrive(t, r), []byte(c.body)
}

func arrive(t testing.TB, r *http.Request) *http.Request {
	t.Helper()
	var wire bytes.Buffer
	if err := r.Write(&wire); err != nil {
		t.Fatal(err)
	}
	got, err := http.ReadRequest(bufio.NewReader(&wire))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestAccepts(t *testing.T) {
	with := func(c call, change func(*call)) call { change(&c); return c }
	temporary := aws.Credentials{AccessKeyID: tempID, SecretAccessKey: secret, SessionToken: token}
	for name, c := range map[string]call{
		"header":                   plain(),
		"presigned":                presigned(),
		"presigned post":           with(plain(), func(c *call) { c.expires = 60 }),
		"temporary":                with(plain(), func(c *call) { c.key = temporary }),
		"temporary presigned":      with(presigned(), func(c *call) { c.key = temporary }),
		"no body":                  with(plain(), func(c *call) { c.body = "" }),
		"path and query":           with(plain(), func(c *call) { c.target = "http://h/a%20b/c%2Fd/ü//e?x=1&x=0&y&%C3%A9=%2B&a-b=1&a/b=2" }),
		"slow by five minutes":     with(plain(), func(c *call) { c.at = now.Add(-5 * time.Minute) }),
		"fast by five minutes":     with(plain(), func(c *call) { c.at = now.Add(5 * time.Minute) }),
		"presigned a week ago":     with(presigned(), func(c *call) { c.expires = 604800; c.at = now.Add(-7 * 24 * time.Hour) }),
		"default port in the host": with(plain(), func(c *call) { c.target = "http://ecs.example/" }),
		"content hash declared": with(plain(), func(c *call) {
			sum := sha256.Sum256([]byte(c.body))
			c.header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
		}),
		"repeated and padded headers": with(plain(), func(c *call) { c.header["X-Amz-Meta-List"] = []string{" a   b ", "c"} }),
	} {
		t.Run(name, func(t *testing.T) {
			r, body := c.sign(t)
			claim, err := sigv4.Verify(now, r, body, expect, lookup)
			if err != nil {
				t.Fatalf("refused: %v\n%s\n%v", err, r.URL, r.Header)
			}
			want := sigv4.Scope{Date: c.at.Format("20060102"), Region: "us-east-1", Service: "ecs"}
			if claim.AccessKeyID != c.key.AccessKeyID || claim.Scope != want || claim.Presigned != (c.expires != 0) || !claim.Time.Equal(c.at) {
				t.Fatalf("claim %+v, want key %s and scope %+v", claim, c.key.AccessKeyID, want)
			}
		})
	}
}

// Some clients sign headers that the Go SDK leaves alone. The signature below
// was computed by hand from the specification, not by the signer under test.
func TestAcceptsHeadersTheSignerWouldIgnore(t *testing.T) {
	r, _ := http.NewRequest("GET", "http://ecs.example/", nil)
	r.Header.Set("User-Agent", "aws-sdk-java/1.12")
	r.Header.Set("X-Amz-Date", now.Format("20060102T150405Z"))
	canonical := "GET\n/\n\nhost:ecs.example\nuser-agent:aws-sdk-java/1.12\nx-amz-date:20261122T120000Z\n\nhost;user-agent;x-amz-date\n" + hash("")
	signature := byHand(canonical, "20261122", "us-east-1", "ecs")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+keyID+"/20261122/us-east-1/ecs/aws4_request,SignedHeaders=host;user-agent;x-amz-date,Signature="+signature)
	if _, err := sigv4.Verify(now, arrive(t, r), nil, expect, lookup); err != nil {
		t.Fatal(err)
	}
	r.Header.Set("User-Agent", "curl/8")
	if _, err := sigv4.Verify(now, arrive(t, r), nil, expect, lookup); reasonOf(err) != sigv4.Mismatch {
		t.Fatalf("a changed signed user agent: %v", err)
	}
}

func reasonOf(err error) sigv4.Reason {
	if e, ok := errors.AsType[*sigv4.Error](err); ok {
		return e.Reason
	}
	return -1
}

// Each thing is broken once; the three answers are what AWS's three families
// of services say.
func TestRefuses(t *testing.T) {
	auth := func(old, new string) func(*http.Request, *[]byte) {
		return func(r *http.Request, _ *[]byte) {
			value := r.Header.Get("Authorization")
			if !strings.Contains(value, old) {
				panic("the test is wrong: " + value)
			}
			r.Header.Set("Authorization", strings.Replace(value, old, new, 1))
		}
	}
	query := func(name, value string) func(*http.Request, *[]byte) {
		return func(r *http.Request, _ *[]byte) {
			q := r.URL.Query()
			if q.Del(name); value != "" {
				q.Set(name, value)
			}
			r.URL.RawQuery = q.Encode()
		}
	}
	header := func(name, value string) func(*http.Request, *[]byte) {
		return func(r *http.Request, _ *[]byte) { r.Header.Set(name, value) }
	}
	re := func(change func(*call)) func(*call) { return change }
	hashed := "(hashed with SHA-256 and encoded with Base64): '"

	const (
		mismatch = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
		invalid  = "The security token included in the request is invalid."
		ec2      = "401 AuthFailure: AWS was not able to validate the provided access credentials"
	)
	jsonMismatch := "400 InvalidSignatureException: " + mismatch
	for _, tc := range []struct {
		name  string
		from  call
		sign  func(*call)                  // before signing
		after func(*http.Request, *[]byte) // after signing
		json  string                       // status code: message, "..." at the end cuts
		xml   string                       // when it is not the json one in query clothes
		ec2   string                       // when it differs from xml
	}{
		{
			name: "no signature", from: plain(), after: func(r *http.Request, _ *[]byte) { r.Header.Del("Authorization") },
			json: "400 MissingAuthenticationTokenException: Missing Authentication Token",
			xml:  "403 MissingAuthenticationToken: Request is missing Authentication Token",
		},
		{
			name: "empty header", from: plain(), after: header("Authorization", " "),
			json: "400 MissingAuthenticationTokenException: Missing Authentication Token",
			xml:  "403 MissingAuthenticationToken: Request is missing Authentication Token",
		},
		{
			name: "other scheme", from: plain(), after: header("Authorization", "Basic Zm9v"),
			json: "400 IncompleteSignatureException: Unsupported AWS 'algorithm': 'Basic'.",
			xml:  "400 IncompleteSignature: Unsupported AWS 'algorithm': 'Basic'.",
		},
		{
			name: "two headers", from: plain(), after: func(r *http.Request, _ *[]byte) { r.Header.Add("Authorization", "Basic Zm9v") },
			json: "400 IncompleteSignatureException: Only one Authorization header is allowed.",
			xml:  "400 IncompleteSignature: Only one Authorization header is allowed.",
		},
		{
			name: "no credential", from: plain(), after: auth("Credential=", "Cred="),
			json: "400 IncompleteSignatureException: Authorization header requires 'Credential' parameter. Authorization header " + hashed + "...",
			xml:  "400 IncompleteSignature: Authorization header requires 'Credential' parameter. Authorization header " + hashed + "...",
		},
		{
			name: "garbage", from: plain(), after: header("Authorization", "AWS4-HMAC-SHA256 qwe"),
			json: "400 IncompleteSignatureException: Invalid key=value pair (missing equal-sign) in Authorization header " + hashed + "...",
			xml:  "400 IncompleteSignature: Invalid key=value pair (missing equal-sign) in Authorization header " + hashed + "...",
		},
		{
			name: "malformed credential", from: plain(), after: auth("/us-east-1/ecs/", "/ecs/"),
			json: "400 IncompleteSignatureException: Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '" + keyID + "/20261122/ecs/aws4_request'.",
			xml:  "400 IncompleteSignature: Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '" + keyID + "/20261122/ecs/aws4_request'.",
		},
		{
			name: "no date", from: plain(), after: func(r *http.Request, _ *[]byte) { r.Header.Del("X-Amz-Date") },
			json: "400 IncompleteSignatureException: Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. Authorization header " + hashed + "...",
			xml:  "400 IncompleteSignature: Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. Authorization header " + hashed + "...",
		},
		{
			name: "bad date", from: plain(), after: header("X-Amz-Date", "yesterday"),
			json: "400 IncompleteSignatureException: Date must be in ISO-8601 'basic format'. Got 'yesterday'. See http://en.wikipedia.org/wiki/ISO_8601",
			xml:  "400 IncompleteSignature: Date must be in ISO-8601 'basic format'. Got 'yesterday'. See http://en.wikipedia.org/wiki/ISO_8601",
		},
		{
			name: "fraction in the date", from: plain(), after: header("X-Amz-Date", "20261122T120000.0Z"),
			json: "400 IncompleteSignatureException: Date must be in ISO-8601 ...", xml: "400 IncompleteSignature: Date must be in ISO-8601 ...",
		},
		{
			name: "host not signed", from: plain(), after: auth("host;", ""),
			json: "400 IncompleteSignatureException: 'Host' must be a 'SignedHeader' in the AWS Authorization.",
			xml:  "400 IncompleteSignature: 'Host' must be a 'SignedHeader' in the AWS Authorization.",
		},
		{
			name: "unknown key", from: plain(), sign: re(func(c *call) { c.key.AccessKeyID = "AKIANOBODY" }),
			json: "400 UnrecognizedClientException: " + invalid, xml: "403 InvalidClientTokenId: " + invalid, ec2: ec2,
		},
		{
			name: "wrong secret", from: plain(), sign: re(func(c *call) { c.key.SecretAccessKey = "guess" }),
			json: jsonMismatch, xml: "403 SignatureDoesNotMatch: " + mismatch, ec2: ec2,
		},
		{
			name: "altered body", from: plain(), after: func(_ *http.Request, body *[]byte) { (*body)[3] ^= 1 },
			json: jsonMismatch, xml: "403 SignatureDoesNotMatch: " + mismatch, ec2: ec2,
		},
		{
			name: "altered target", from: plain(), after: header("X-Amz-Target", "AmazonEC2ContainerServiceV20141113.DeleteCluster"),
			json: jsonMismatch, xml: "403 SignatureDoesNotMatch: " + mismatch, ec2: ec2,
		},
		{
			name: "signed header gone", from: plain(), after: func(r *http.Request, _ *[]byte) { r.Header.Del("X-Amz-Target") },
			json: jsonMismatch, xml: "403 SignatureDoesNotMatch: " + mismatch, ec2: ec2,
		},
		{
			name: "signed headers reordered", from: plain(), after: auth("content-length;content-type", "content-type;content-length"),
			json: jsonMismatch, xml: "403 SignatureDoesNotMatch: " + mismatch, ec2: ec2,
		},
		{
			name: "unsigned payload", from: plain(), sign: re(func(c *call) { c.header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD") }),
			json: jsonMismatch, xml: "403 SignatureDoesNotMatch: " + mismatch, ec2: ec2,
		},
		{
			name: "other hash declared", from: plain(), sign: re(func(c *call) { c.header.Set("X-Amz-Content-Sha256", hash("other")) }),
			json: jsonMismatch, xml: "403 SignatureDoesNotMatch: " + mismatch, ec2: ec2,
		},
		{
			name: "wrong region", from: plain(), sign: re(func(c *call) { c.region = "eu-west-1" }),
			json: "400 InvalidSignatureException: Credential should be scoped to a valid region, not 'eu-west-1'.",
			xml:  "403 SignatureDoesNotMatch: Credential should be scoped to a valid region, not 'eu-west-1'.", ec2: ec2,
		},
		{
			name: "wrong service", from: plain(), sign: re(func(c *call) { c.service = "s3" }),
			json: "400 InvalidSignatureException: Credential should be scoped to correct service: 'ecs'.",
			xml:  "403 SignatureDoesNotMatch: Credential should be scoped to correct service: 'ecs'.", ec2: ec2,
		},
		{
			name: "wrong terminator", from: plain(), after: auth("aws4_request", "aws5_request"),
			json: "400 InvalidSignatureException: Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'.",
			xml:  "403 SignatureDoesNotMatch: Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'.", ec2: ec2,
		},
		{
			name: "scope of another day", from: plain(), after: auth("/20261122/", "/20261121/"),
			json: "400 InvalidSignatureException: Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20261121' != '20261122', from '20261122T120000Z'.",
			xml:  "403 SignatureDoesNotMatch: Date in Credential scope ...", ec2: ec2,
		},
		{
			name: "too old", from: plain(), sign: re(func(c *call) { c.at = now.Add(-5*time.Minute - time.Second) }),
			json: "400 InvalidSignatureException: Signature expired: 20261122T115459Z is now earlier than 20261122T115500Z (20261122T120000Z - 5 min.)",
			xml:  "403 SignatureDoesNotMatch: Signature expired: 20261122T115459Z is now earlier than 20261122T115500Z (20261122T120000Z - 5 min.)", ec2: ec2,
		},
		{
			name: "from the future", from: plain(), sign: re(func(c *call) { c.at = now.Add(5*time.Minute + time.Second) }),
			json: "400 InvalidSignatureException: Signature not yet current: 20261122T120501Z is still later than 20261122T120500Z (20261122T120000Z + 5 min.)",
			xml:  "403 SignatureDoesNotMatch: Signature not yet current: 20261122T120501Z is still later than 20261122T120500Z (20261122T120000Z + 5 min.)", ec2: ec2,
		},
		{
			name: "token with a long-lived key", from: plain(), sign: re(func(c *call) { c.key.SessionToken = token }),
			json: "400 UnrecognizedClientException: " + invalid, xml: "403 InvalidClientTokenId: " + invalid, ec2: ec2,
		},
		{
			name: "temporary key without token", from: plain(), sign: re(func(c *call) { c.key.AccessKeyID = tempID }),
			json: "400 UnrecognizedClientException: " + invalid, xml: "403 InvalidClientTokenId: " + invalid, ec2: ec2,
		},
		{
			name: "temporary key has ended", from: plain(), sign: re(func(c *call) { c.key.AccessKeyID = endedID; c.key.SessionToken = token }),
			json: "400 ExpiredTokenException: The security token included in the request is expired",
			xml:  "403 ExpiredToken: The security token included in the request is expired", ec2: "400 RequestExpired: Request has expired.",
		},
		{
			name: "unparsable query", from: plain(), after: func(r *http.Request, _ *[]byte) { r.URL.RawQuery = "a=1;b=2" },
			json: "400 MalformedQueryStringException: The query string contains a syntax error.",
			xml:  "400 MalformedQueryString: The query string contains a syntax error.",
		},
		{
			name: "presigned: expired", from: presigned(), sign: re(func(c *call) { c.at = now.Add(-901 * time.Second) }),
			json: "400 InvalidSignatureException: Signature expired: 20261122T114459Z is now earlier than 20261122T114500Z (20261122T120000Z - 15 min.)",
			xml:  "403 SignatureDoesNotMatch: Signature expired: ...", ec2: ec2,
		},
		{
			name: "presigned: longer than a week", from: presigned(), sign: re(func(c *call) { c.expires = 604801 }),
			json: "400 IncompleteSignatureException: X-Amz-Expires must be ...", xml: "400 IncompleteSignature: X-Amz-Expires must be ...",
		},
		{
			name: "presigned: life prolonged", from: presigned(), after: query("X-Amz-Expires", "9000"),
			json: jsonMismatch, xml: "403 SignatureDoesNotMatch: " + mismatch, ec2: ec2,
		},
		{
			name: "presigned: no date", from: presigned(), after: query("X-Amz-Date", ""),
			json: "400 IncompleteSignatureException: AWS query-string parameters must include ...", xml: "400 IncompleteSignature: AWS query-string parameters must include ...",
		},
		{
			name: "presigned: parameter twice", from: presigned(), after: func(r *http.Request, _ *[]byte) { r.URL.RawQuery += "&X-Amz-Date=20261122T120000Z" },
			json: "400 IncompleteSignatureException: Query-string parameter 'X-Amz-Date' must be given once.", xml: "400 IncompleteSignature: ...",
		},
		{
			name: "presigned: other action", from: presigned(), after: query("Action", "DeleteUser"),
			json: jsonMismatch, xml: "403 SignatureDoesNotMatch: " + mismatch, ec2: ec2,
		},
		{
			name: "presigned: body added", from: presigned(), after: func(_ *http.Request, body *[]byte) { *body = []byte("x") },
			json: jsonMismatch, xml: "403 SignatureDoesNotMatch: " + mismatch, ec2: ec2,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := tc.from
			c.header = c.header.Clone()
			if tc.sign != nil {
				tc.sign(&c)
			}
			r, body := c.sign(t)
			if tc.after != nil {
				tc.after(r, &body)
			}
			_, err := sigv4.Verify(now, r, body, expect, lookup)
			refusal, ok := errors.AsType[*sigv4.Error](err)
			if !ok {
				t.Fatalf("error %v, want a refusal", err)
			}
			if tc.ec2 == "" {
				tc.ec2 = tc.xml
			}
			for family, want := range map[sigv4.Family]string{sigv4.JSON: tc.json, sigv4.Query: tc.xml, sigv4.EC2: tc.ec2} {
				a := refusal.Answer(family)
				got := fmt.Sprintf("%d %s: %s", a.Status, a.Code, a.Message)
				if prefix, cut := strings.CutSuffix(want, "..."); got != want && (!cut || !strings.HasPrefix(got, prefix)) {
					t.Errorf("family %d:\n got %s\nwant %s", family, got, want)
				}
			}
		})
	}
}

func TestLookupFailureIsNotARefusal(t *testing.T) {
	c := plain()
	c.key.AccessKeyID = "AKIABROKEN"
	r, body := c.sign(t)
	_, err := sigv4.Verify(now, r, body, expect, lookup)
	if err == nil || reasonOf(err) != -1 || !strings.Contains(err.Error(), "store is away") {
		t.Fatalf("error %v, want the cause itself", err)
	}
}

// A key whose secret was replaced must not verify by the old secret, although
// the SDK's signer caches derived keys by access key id.
func TestSecretReplaced(t *testing.T) {
	r, body := plain().sign(t)
	if _, err := sigv4.Verify(now, r, body, expect, lookup); err != nil {
		t.Fatal(err)
	}
	replaced := func(string, string) (sigv4.Credential, error) { return sigv4.Credential{SecretAccessKey: "new"}, nil }
	if _, err := sigv4.Verify(now, r, body, expect, replaced); reasonOf(err) != sigv4.Mismatch {
		t.Fatalf("old signature with a new secret: %v", err)
	}
}
