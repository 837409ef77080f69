package sigv4

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"berth.dev/berth/internal/base/fault"
)

// Credential is the secret half of an access key.
type Credential struct {
	SecretAccessKey string
	// SessionToken must come with every request signed by temporary
	// credentials; long-lived keys have none and a request must not send one.
	SessionToken string
	// Expires is when temporary credentials end; zero means never.
	Expires time.Time
}

// Lookup finds the secret of an access key. sessionToken is the one that came
// with the request, empty when none did: temporary credentials may have their
// secret inside it. Nothing of the request is believed yet. It answers an error
// of class fault.NotFound for a key that does not exist or is inactive and for a
// token that is not this key's; any other error means that the question could
// not be answered.
type Lookup func(accessKeyID, sessionToken string) (Credential, error)

// Expect limits which scopes are accepted. An empty list accepts all.
type Expect struct {
	Regions  []string
	Services []string
	// S3 is the form of S3's clients: the path is signed as it was sent, and the
	// body by what X-Amz-Content-Sha256 says of it, if at all. Such a signature
	// does not vouch for the body, which must not be used.
	S3 bool
}

// Verify parses r's signature and checks all of it; see Claim.Verify.
func Verify(now time.Time, r *http.Request, body []byte, expect Expect, lookup Lookup) (Claim, error) {
	claim, err := Parse(r)
	if err != nil {
		return claim, err
	}
	return claim, claim.Verify(now, r, body, expect, lookup)
}

// Verify returns nil only if the owner of the claimed key signed r with body
// within the time allowed, for a scope that expect accepts. Refusals are *Error;
// every other error comes from lookup. The checks run from cheap to dear, and
// whether a key exists is told only to a request that is otherwise acceptable.
// r is not changed.
func (c *Claim) Verify(now time.Time, r *http.Request, body []byte, expect Expect, lookup Lookup) error {
	if err := expect.check(c.Scope); err != nil {
		return err
	}
	if err := c.checkTime(now); err != nil {
		return err
	}
	credential, err := lookup(c.AccessKeyID, c.token)
	switch {
	case errors.Is(err, fault.NotFound):
		return &Error{Reason: UnknownKey}
	case err != nil:
		return fmt.Errorf("look up access key %s: %w", c.AccessKeyID, err)
	case !equal(c.token, credential.SessionToken):
		return &Error{Reason: UnknownKey}
	case !credential.Expires.IsZero() && !now.Before(credential.Expires):
		return &Error{Reason: TokenExpired}
	}

	payload, ok := c.payload(r, body, expect)
	if !ok {
		return &Error{Reason: Mismatch}
	}
	want, err := c.resign(r, payload, expect, credential)
	if err != nil {
		return err
	}
	if !equal(c.Signature, want) {
		return &Error{Reason: Mismatch}
	}
	return nil
}

// payload is what stands for the body in the canonical request, and false when
// the request says otherwise.
func (c *Claim) payload(r *http.Request, body []byte, expect Expect) (string, bool) {
	declared := r.Header.Get("X-Amz-Content-Sha256")
	switch {
	case expect.S3 && declared != "":
		return declared, true
	case expect.S3 && c.Presigned:
		return "UNSIGNED-PAYLOAD", true
	}
	sum := sha256.Sum256(body)
	payload := hex.EncodeToString(sum[:])
	return payload, declared == "" || strings.EqualFold(declared, payload)
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

func (e Expect) check(s Scope) error {
	if len(e.Services) > 0 && !slices.Contains(e.Services, s.Service) {
		return &Error{OutOfScope, fmt.Sprintf("Credential should be scoped to correct service: '%s'.", e.Services[0])}
	}
	if len(e.Regions) > 0 && !slices.Contains(e.Regions, s.Region) {
		return &Error{OutOfScope, fmt.Sprintf("Credential should be scoped to a valid region, not '%s'.", s.Region)}
	}
	return nil
}

func (c *Claim) checkTime(now time.Time) error {
	now = now.UTC()
	if oldest := now.Add(-c.lifetime); c.Time.Before(oldest.Truncate(time.Second)) {
		return &Error{OutOfTime, fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - %s.)",
			c.Time.Format(timeForm), oldest.Format(timeForm), now.Format(timeForm), inWords(c.lifetime))}
	}
	if newest := now.Add(maxSkew); c.Time.After(newest) {
		return &Error{OutOfTime, fmt.Sprintf("Signature not yet current: %s is still later than %s (%s + %s.)",
			c.Time.Format(timeForm), newest.Format(timeForm), now.Format(timeForm), inWords(maxSkew))}
	}
	return nil
}

// inWords writes "5 min", and seconds where minutes would not be exact.
func inWords(d time.Duration) string {
	if d%time.Minute == 0 {
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d sec", d/time.Second)
}

// canonical reports whether a list of signed headers is written as the
// canonical request has it: lower case, ascending, each name once. The signer
// would tidy up another list, and so accept one that was not what was signed.
func canonical(names []string) bool {
	for i, name := range names {
		if name != strings.ToLower(name) || i > 0 && names[i-1] >= name {
			return false
		}
	}
	return true
}

// resign returns the signature that credential makes of r.
//
// The signer runs on a request made of the signed headers alone. Header names
// are put there in lower case on purpose: the signer leaves some headers out
// when it finds them by their canonical name (User-Agent, Expect, …), but a
// client that did sign them is right too. The signer adds X-Amz-Date and, in
// the query, its own parameters itself, from the same values that the claim
// was parsed from.
func (c *Claim) resign(r *http.Request, payload string, expect Expect, credential Credential) (string, error) {
	if !canonical(c.SignedHeaders) {
		return "", &Error{Reason: Mismatch}
	}
	query := r.URL.Query()
	query.Del("X-Amz-Signature")
	again := &http.Request{
		Method: r.Method,
		Host:   r.Host,
		// No scheme, so that a Host that names a default port stays as sent.
		URL:    &url.URL{Opaque: "//host" + r.URL.EscapedPath(), RawQuery: query.Encode()},
		Header: http.Header{},
	}
	if !c.Presigned {
		// In header form X-Amz-Signature has no meaning and is a parameter
		// like any other.
		again.URL.RawQuery = r.URL.RawQuery
	}
	for _, name := range c.SignedHeaders {
		switch name {
		case "host":
			continue
		case "content-length":
			again.ContentLength = r.ContentLength
			continue
		case "x-amz-date":
			if !c.Presigned {
				continue
			}
		}
		values := r.Header.Values(name)
		if len(values) == 0 {
			return "", &Error{Reason: Mismatch}
		}
		again.Header[name] = values
	}

	// A signer of its own for every request: the SDK's signer caches derived
	// keys by access key id and would not see that a secret has changed.
	signer := v4.NewSigner(func(o *v4.SignerOptions) {
		o.DisableHeaderHoisting = true
		o.DisableSessionToken = true
		o.DisableURIPathEscaping = expect.S3
	})
	keys := aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: credential.SecretAccessKey}
	if c.Presigned {
		signed, _, err := signer.PresignHTTP(context.Background(), keys, again, payload, c.Scope.Service, c.Scope.Region, c.Time)
		if err != nil {
			return "", fmt.Errorf("sign again: %w", err)
		}
		_, signature, _ := strings.Cut(signed, "&X-Amz-Signature=")
		return signature, nil
	}
	if err := signer.SignHTTP(context.Background(), keys, again, payload, c.Scope.Service, c.Scope.Region, c.Time); err != nil {
		return "", fmt.Errorf("sign again: %w", err)
	}
	_, signature, _ := strings.Cut(again.Header.Get("Authorization"), "Signature=")
	return signature, nil
}
