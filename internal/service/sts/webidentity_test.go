package sts_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	stsclient "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/golang-jwt/jwt/v5"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/service/sts"
	"berth.dev/berth/internal/wire/api/stsapi"
	"berth.dev/berth/internal/wire/wiretest"
)

// rsaKey is one for all issuers: making it takes a while.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// allow is an authorizer that leaves everything to the provider.
type allow struct{}

func (allow) Authorize(context.Context, gateway.Access) error { return nil }

func (allow) Check(context.Context, string, string, map[string][]string) error { return nil }

// issuer is an OIDC issuer on a real TLS connection.
type issuer struct {
	*httptest.Server
	rsa   *rsa.PrivateKey
	ec    *ecdsa.PrivateKey
	asked atomic.Int32 // for keys
	// discovery and keys replace what it answers, when set.
	discovery, keys func(w http.ResponseWriter)
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{rsa: rsaKey()}
	var err error
	if i.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		if i.discovery != nil {
			i.discovery(w)
			return
		}
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, i.URL, i.URL+"/keys")
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		i.asked.Add(1)
		if i.keys != nil {
			i.keys(w)
			return
		}
		encode := base64.RawURLEncoding.EncodeToString
		point, err := i.ec.PublicKey.Bytes()
		if err != nil {
			t.Error(err)
			return
		}
		json.NewEncoder(w).Encode(map[string]any{"keys": []any{ //nolint:errcheck // a test's answer
			map[string]string{"kty": "RSA", "kid": "r", "use": "sig", "n": encode(i.rsa.N.Bytes()), "e": "AQAB"},
			map[string]string{"kty": "EC", "kid": "e", "alg": "ES256", "crv": "P-256", "x": encode(point[1:33]), "y": encode(point[33:])},
			map[string]string{"kty": "RSA", "kid": "encryption", "use": "enc", "n": encode(i.rsa.N.Bytes()), "e": "AQAB"},
			map[string]string{"kty": "oct", "kid": "secret", "k": "c2VjcmV0"},
		}})
	})
	i.Server = httptest.NewUnstartedServer(mux)
	i.Config.ErrorLog = log.New(io.Discard, "", 0)
	i.StartTLS()
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) name() string { return strings.TrimPrefix(i.URL, "https://") }

// token signs claims; those that are nil are left out.
func (i *issuer) token(t *testing.T, method jwt.SigningMethod, kid string, key crypto.PrivateKey, claims jwt.MapClaims) string {
	t.Helper()
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	token := jwt.NewWithClaims(method, claims)
	if kid != "" {
		token.Header["kid"] = kid
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// web is a world with an issuer, its provider, and a role that trusts it.
type web struct {
	*world
	*issuer
}

func newWeb(t *testing.T, trusted bool) *web {
	t.Helper()
	i := newIssuer(t)
	w := &web{issuer: i}
	w.world = newWorld(t, func(cfg *sts.Config) {
		cfg.Roots = x509.NewCertPool()
		if trusted {
			cfg.Roots.AddCert(i.Certificate())
		}
	})
	w.provider(func(*model.OIDCProvider) {})
	w.trust(`"StringEquals":{"` + i.name() + `:sub":"repo:me/app","` + i.name() + `:aud":"sts.amazonaws.com"}`)
	return w
}

func (w *web) provider(change func(*model.OIDCProvider)) {
	p := &model.OIDCProvider{ARN: w.arn(), URL: w.name(), ClientIDs: []string{"sts.amazonaws.com"}}
	change(p)
	w.put(func(tx *store.Tx) { records.OIDCProviders.Put(tx, p) })
}

func (w *web) arn() string { return "arn:aws:iam::123456789012:oidc-provider/" + w.name() }

func (w *web) trust(condition string) {
	w.role(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Federated":"`+w.arn()+`"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{`+condition+`}}]}`, 3600)
}

func (w *web) claims(change map[string]any) jwt.MapClaims {
	claims := jwt.MapClaims{"iss": w.URL, "sub": "repo:me/app", "aud": "sts.amazonaws.com", "iat": w.now.Unix(), "exp": w.now.Add(time.Hour).Unix()}
	maps.Copy(claims, change)
	return claims
}

func (w *web) signed(change map[string]any) string {
	return w.token(w.T, jwt.SigningMethodRS256, "r", w.rsa, w.claims(change))
}

func (w *web) assume(token string) (*stsapi.AssumeRoleWithWebIdentityOutput, error) {
	return w.AssumeRoleWithWebIdentity(w.Context(), &stsapi.AssumeRoleWithWebIdentityInput{RoleArn: new(appRole), RoleSessionName: new("ci"), WebIdentityToken: &token})
}

func TestAssumeRoleWithWebIdentity(t *testing.T) {
	w := newWeb(t, true)
	out, err := w.assume(w.signed(nil))
	if err != nil {
		t.Fatal(said(err))
	}
	who := w.open(out.Credentials)
	if who.ARN != "arn:aws:sts::123456789012:assumed-role/app/ci" || who.Session.FederatedProvider != w.arn() || who.Session.Subject != "repo:me/app" ||
		who.Session.Audience != "sts.amazonaws.com" || who.Session.Chained || *out.SubjectFromWebIdentityToken != "repo:me/app" || *out.Provider != w.arn() || *out.Audience != "sts.amazonaws.com" {
		t.Errorf("issued %+v %+v", who, who.Session)
	}
	for name, token := range map[string]string{
		"elliptic":               w.token(t, jwt.SigningMethodES256, "e", w.ec, w.claims(nil)),
		"RS512":                  w.token(t, jwt.SigningMethodRS512, "r", w.rsa, w.claims(nil)),
		"the only key of a kind": w.token(t, jwt.SigningMethodES256, "", w.ec, w.claims(nil)),
		"several audiences":      w.signed(map[string]any{"aud": []string{"other", "sts.amazonaws.com"}}),
	} {
		w.trust(`"StringEquals":{"` + w.name() + `:sub":"repo:me/app"},"ForAnyValue:StringEquals":{"` + w.name() + `:aud":"sts.amazonaws.com"}`)
		if _, err := w.assume(token); err != nil {
			t.Errorf("%s: %s", name, said(err))
		}
	}
	if n := w.asked.Load(); n != 1 {
		t.Errorf("the issuer was asked %d times", n)
	}
}

// The texts are AWS's unless marked in the code.
func TestAssumeRoleWithWebIdentity_Refusals(t *testing.T) {
	w := newWeb(t, true)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	good := w.signed(nil)
	parts := strings.Split(good, ".")
	const (
		noJWT     = "400 InvalidIdentityToken: The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"
		noKey     = "400 InvalidIdentityToken: Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements"
		signature = "400 InvalidIdentityToken: The ID Token provided has an invalid signature"
		denied    = "403 AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity"
	)
	unix := func(d time.Duration) int64 { return w.now.Add(d).Unix() }
	for _, test := range []struct{ name, token, want string }{
		{"no JWT", "ya29.a0AfH6", noJWT},
		{"an issuer nobody made", w.signed(map[string]any{"iss": "https://issuer.example.com"}), "400 InvalidIdentityToken: No OpenIDConnect provider found in your account for https://issuer.example.com"},
		{"an issuer without TLS", w.signed(map[string]any{"iss": "http://" + w.name()}), "400 InvalidIdentityToken: No OpenIDConnect provider found in your account for http://" + w.name()},
		{"no issuer", w.signed(map[string]any{"iss": nil}), "400 InvalidIdentityToken: Missing a required claim: iss"},
		{"no subject", w.signed(map[string]any{"sub": nil}), "400 InvalidIdentityToken: Missing a required claim: sub"},
		{"no audience", w.signed(map[string]any{"aud": nil}), "400 InvalidIdentityToken: Missing a required claim: aud"},
		{"no end", w.signed(map[string]any{"exp": nil}), "400 InvalidIdentityToken: Missing a required claim: exp"},
		{"no beginning", w.signed(map[string]any{"iat": nil}), "400 InvalidIdentityToken: Missing a required claim: iat"},
		{"expired", w.signed(map[string]any{"exp": unix(0)}), fmt.Sprintf("400 ExpiredTokenException: Token expired: current date/time %d must be before the expiration date/time %[1]d", unix(0))},
		{"not yet", w.signed(map[string]any{"nbf": unix(6 * time.Minute)}), "400 InvalidIdentityToken: The ID Token provided is not valid yet"},
		{"from the future", w.signed(map[string]any{"iat": unix(6 * time.Minute)}), "400 InvalidIdentityToken: The ID Token provided is not valid yet"},
		{"for another client", w.signed(map[string]any{"aud": "other"}), "400 InvalidIdentityToken: Incorrect token audience"},
		{"session tags", w.signed(map[string]any{"https://aws.amazon.com/tags": map[string]any{}}), "403 IDPRejectedClaim: The claim https://aws.amazon.com/tags is not supported by Berth."},
		{"another subject", w.signed(map[string]any{"sub": "repo:you/app"}), denied},
		{"another's signature", w.token(t, jwt.SigningMethodRS256, "r", other, w.claims(nil)), signature},
		{"other claims", parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"`+w.URL+`","sub":"repo:me/app"}`)) + "." + parts[2], signature},
		{"no signature", parts[0] + "." + parts[1] + ".", signature},
		{"the algorithm none", w.token(t, jwt.SigningMethodNone, "r", jwt.UnsafeAllowNoneSignatureType, w.claims(nil)), signature},
		{"the public key as a secret", w.token(t, jwt.SigningMethodHS256, "r", x509.MarshalPKCS1PublicKey(&w.rsa.PublicKey), w.claims(nil)), signature},
		{"an algorithm that AWS does not take", w.token(t, jwt.SigningMethodPS256, "r", w.rsa, w.claims(nil)), signature},
		{"another kind of key", w.token(t, jwt.SigningMethodRS256, "e", w.rsa, w.claims(nil)), noKey},
		{"a key for encryption", w.token(t, jwt.SigningMethodRS256, "encryption", w.rsa, w.claims(nil)), noKey},
		{"an unknown key", w.token(t, jwt.SigningMethodRS256, "x", w.rsa, w.claims(nil)), noKey},
	} {
		if out, err := w.assume(test.token); said(err) != test.want || out != nil {
			t.Errorf("%s:\ngot  %s\nwant %s", test.name, said(err), test.want)
		}
	}
	if n := w.asked.Load(); n != 1 {
		t.Errorf("strangers made us ask %d times", n)
	}
	for name, change := range map[string]func(in *stsapi.AssumeRoleWithWebIdentityInput){
		denied: func(in *stsapi.AssumeRoleWithWebIdentityInput) {
			in.RoleArn = new("arn:aws:iam::123456789012:role/nobody")
		},
		"400 ValidationError: The requested DurationSeconds exceeds the MaxSessionDuration set for this role.": func(in *stsapi.AssumeRoleWithWebIdentityInput) {
			in.DurationSeconds = new(int32(3601))
		},
		"400 ValidationError: ProviderId is for OAuth 2.0 access tokens, which Berth does not support. Send an OpenID Connect ID token without it.": func(in *stsapi.AssumeRoleWithWebIdentityInput) {
			in.ProviderId = new("www.amazon.com")
		},
	} {
		in := &stsapi.AssumeRoleWithWebIdentityInput{RoleArn: new(appRole), RoleSessionName: new("ci"), WebIdentityToken: &good}
		change(in)
		if _, err := w.AssumeRoleWithWebIdentity(t.Context(), in); said(err) != name {
			t.Errorf("got %s, want %s", said(err), name)
		}
	}
}

// What an issuer may do to us, and how we find out that it has new keys.
func TestAssumeRoleWithWebIdentity_Issuers(t *testing.T) {
	const (
		noKey = "400 InvalidIdentityToken: Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements"
		away  = "400 IDPCommunicationError: The identity provider that was asked to verify the token could not be reached."
	)
	text := func(s string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { fmt.Fprint(w, s) }
	}
	for name, test := range map[string]struct {
		change func(w *web)
		want   string
	}{
		"an error": {func(w *web) { w.keys = func(w http.ResponseWriter) { w.WriteHeader(500) } }, noKey},
		"no JSON":  {func(w *web) { w.discovery = text("<html>") }, noKey},
		"another's name": {func(w *web) {
			w.discovery = text(`{"issuer":"https://other.example.com","jwks_uri":"` + w.URL + `/keys"}`)
		}, noKey},
		"keys without TLS": {func(w *web) {
			w.discovery = text(`{"issuer":"` + w.URL + `","jwks_uri":"http://` + w.name() + `/keys"}`)
		}, noKey},
		"leads away": {func(w *web) {
			w.keys = func(to http.ResponseWriter) { to.Header().Set("Location", "http://"+w.name()); to.WriteHeader(302) }
		}, noKey},
		"too much": {func(w *web) { w.keys = text(`{"keys":["` + strings.Repeat("x", 1<<20) + `"]}`) }, noKey},
		"no keys":  {func(w *web) { w.keys = text(`{"keys":[]}`) }, noKey},
		"keys that are none": {func(w *web) {
			w.keys = text(`{"keys":[1,{"kty":"RSA","kid":"r","n":"AQAB","e":"AQAB"},{"kty":"EC","kid":"r","crv":"P-256","x":"AA","y":"AA"}]}`)
		}, noKey},
		"away": {func(w *web) { w.Close() }, away},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWeb(t, true)
			test.change(w)
			for range 2 {
				if _, err := w.assume(w.signed(nil)); said(err) != test.want {
					t.Errorf("got  %s\nwant %s", said(err), test.want)
				}
			}
			if w.asked.Load() > 1 {
				t.Error("a failure is not remembered")
			}
		})
	}
}

func TestAssumeRoleWithWebIdentity_NewKeys(t *testing.T) {
	w := newWeb(t, true)
	if _, err := w.assume(w.signed(nil)); err != nil {
		t.Fatal(said(err))
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	w.keys = func(to http.ResponseWriter) {
		fmt.Fprintf(to, `{"keys":[{"kty":"RSA","kid":"new","n":%q,"e":"AQAB"}]}`, base64.RawURLEncoding.EncodeToString(key.N.Bytes()))
	}
	fresh := func() string {
		_, err := w.assume(w.token(t, jwt.SigningMethodRS256, "new", key, w.claims(nil)))
		return said(err)
	}
	if said := fresh(); !strings.HasPrefix(said, "400 InvalidIdentityToken: Couldn't retrieve") {
		t.Errorf("asked again at once: %s", said)
	}
	w.now = w.now.Add(time.Minute)
	if said := fresh(); said != "OK" {
		t.Error(said)
	}
	if _, err := w.assume(w.signed(nil)); err == nil {
		t.Error("a key that the issuer has withdrawn is still good")
	}
	// Keys are not believed for ever.
	w.keys = func(to http.ResponseWriter) { fmt.Fprint(to, `{"keys":[]}`) }
	w.now = w.now.Add(time.Hour)
	if said := fresh(); said == "OK" {
		t.Error("a key from an hour ago is still good")
	}
}

// Without a root that vouches for the issuer its certificate's thumbprint does.
func TestAssumeRoleWithWebIdentity_Thumbprints(t *testing.T) {
	w := newWeb(t, false)
	const refused = "400 InvalidIdentityToken: OpenIDConnect provider's HTTPS certificate doesn't match configured thumbprint"
	sum := sha1.Sum(w.Certificate().Raw) //nolint:gosec // IAM's thumbprints are that
	for _, test := range []struct{ print, want string }{
		{"", refused},
		{strings.Repeat("0", 40), refused},
		{hex.EncodeToString(sum[:]), "OK"},
		{strings.ToUpper(hex.EncodeToString(sum[:])), "OK"},
	} {
		w.provider(func(p *model.OIDCProvider) {
			if test.print != "" {
				p.Thumbprints = []string{test.print}
			}
		})
		if _, err := w.assume(w.signed(nil)); said(err) != test.want {
			t.Errorf("%q: %s", test.print, said(err))
		}
	}
}

// The call has no signature, and AWS's client sends none.
func TestAssumeRoleWithWebIdentity_OfficialClient(t *testing.T) {
	w := newWeb(t, true)
	door, err := gateway.New(gateway.Config{
		Services: []gateway.Service{{API: stsapi.API, Provider: w.Provider}}, Credentials: keys{w.world}, Authorizer: allow{}, Region: "us-east-1", Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(door)
	defer server.Close()
	client := stsclient.New(stsclient.Options{Region: "us-east-1", BaseEndpoint: &server.URL, HTTPClient: wiretest.Client(server.Client().Transport), RetryMaxAttempts: 1})
	made, err := client.AssumeRoleWithWebIdentity(t.Context(), &stsclient.AssumeRoleWithWebIdentityInput{RoleArn: aws.String(appRole), RoleSessionName: aws.String("ci"), WebIdentityToken: aws.String(w.signed(nil))})
	if err != nil {
		t.Fatal(err)
	}
	if _, who, err := w.sessions.Open(*made.Credentials.AccessKeyId, *made.Credentials.SessionToken); err != nil || who.Session.Subject != "repo:me/app" {
		t.Error(who, err)
	}
}
