package sts

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/policy"
	"berth.dev/berth/internal/wire/api/stsapi"
	"berth.dev/berth/internal/wire/caller"
)

// algorithms are those that AWS takes of OIDC providers.
var algorithms = []string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512"}

// notSupported are claims that AWS acts upon and Berth does not: better refused
// than ignored.
var notSupported = []string{"https://aws.amazon.com/tags", "https://aws.amazon.com/source_identity"}

// AssumeRoleWithWebIdentity implements stsapi.Service. It is called without a
// signature: the token is the proof.
func (p *Provider) AssumeRoleWithWebIdentity(ctx context.Context, in *stsapi.AssumeRoleWithWebIdentityInput) (*stsapi.AssumeRoleWithWebIdentityOutput, error) {
	if value(in.ProviderId) != "" {
		return nil, invalid("ProviderId is for OAuth 2.0 access tokens, which Berth does not support. Send an OpenID Connect ID token without it.")
	}
	token, err := p.verify(ctx, *in.WebIdentityToken)
	if err != nil {
		return nil, err
	}
	role, ok := records.RoleByARN(p.store.Snapshot(), p.scope, *in.RoleArn)
	question := asked{request: policy.Request{Action: "sts:AssumeRoleWithWebIdentity", Resource: *in.RoleArn, Principal: token.principal()}}
	if ok {
		question = p.asks(role, question.request.Action, token.principal(), token.keys(ctx, *in.RoleSessionName))
	}
	if question.decision.Outcome != policy.Allowed {
		return nil, denied("%s", question.decision.Sentence(question.request))
	}
	lasts, err := lasting(role, in.DurationSeconds, false)
	if err != nil {
		return nil, err
	}
	session := &caller.Session{FederatedProvider: token.provider.ARN, Subject: token.subject, Audience: token.audience}
	packed, err := p.limit(session, in.Policy, in.PolicyArns, nil)
	if err != nil {
		return nil, err
	}
	made, err := p.assume(role, *in.RoleSessionName, lasts, session)
	if err != nil {
		return nil, err
	}
	return &stsapi.AssumeRoleWithWebIdentityOutput{
		Credentials: made.credentials, AssumedRoleUser: made.user, PackedPolicySize: packed,
		SubjectFromWebIdentityToken: &token.subject, Audience: &token.audience, Provider: &token.provider.ARN,
	}, nil
}

// webToken is a verified token.
type webToken struct {
	provider  *model.OIDCProvider
	issuer    string
	subject   string
	audience  string   // the one that is a client of the provider
	audiences []string // all
	claims    jwt.MapClaims
}

func (t *webToken) principal() policy.Principal {
	return policy.Principal{Federated: t.provider.ARN}
}

// keys are the condition keys that a trust policy may ask for: claims under the
// provider's name.
func (t *webToken) keys(ctx context.Context, session string) map[string][]string {
	keys := map[string][]string{"sts:rolesessionname": {session}, "aws:federatedprovider": {t.provider.ARN}}
	name := strings.ToLower(t.provider.URL) + ":"
	keys[name+"sub"], keys[name+"aud"], keys[name+"iss"] = []string{t.subject}, t.audiences, []string{t.issuer}
	for _, claim := range []string{"azp", "email"} {
		if text, ok := t.claims[claim].(string); ok {
			keys[name+claim] = []string{text}
		}
	}
	if methods, ok := t.claims["amr"].([]any); ok {
		keys[name+"amr"] = []string{}
		for _, m := range methods {
			if text, ok := m.(string); ok {
				keys[name+"amr"] = append(keys[name+"amr"], text)
			}
		}
	}
	if who, ok := caller.From(ctx); ok && who.SourceIP != "" {
		keys["aws:sourceip"] = []string{who.SourceIP}
	}
	return keys
}

// verify reads a token and proves that its issuer made it for us, now. The
// texts are AWS's but where marked.
func (p *Provider) verify(ctx context.Context, raw string) (*webToken, error) {
	provider, issuer, err := p.providerOf(raw)
	if err != nil {
		return nil, err
	}
	parser := jwt.NewParser(jwt.WithValidMethods(algorithms), jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation())
	claims := jwt.MapClaims{}
	if _, err := parser.ParseWithClaims(raw, claims, func(t *jwt.Token) (any, error) {
		id, _ := t.Header["kid"].(string)
		return p.issuers.key(ctx, provider, id, t.Method.Alg())
	}); err != nil {
		return nil, unverified(err)
	}
	t := &webToken{provider: provider, issuer: issuer, claims: claims}
	if err := t.read(p.now()); err != nil {
		return nil, err
	}
	return t, nil
}

// providerOf finds the provider that a token claims to be from. Nothing of the
// token is proved yet.
func (p *Provider) providerOf(raw string) (*model.OIDCProvider, string, error) {
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser(jwt.WithStrictDecoding()).ParseUnverified(raw, claims); err != nil {
		return nil, "", badToken("The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)")
	}
	issuer, err := claims.GetIssuer()
	if err != nil || issuer == "" {
		return nil, "", badToken("Missing a required claim: iss")
	}
	url, isHTTPS := strings.CutPrefix(issuer, "https://")
	provider, ok := records.OIDCProviders.Get(p.store.Snapshot(), p.scope.IAM("oidc-provider", "/", url))
	if !isHTTPS || !ok {
		return nil, "", badToken("No OpenIDConnect provider found in your account for %s", issuer)
	}
	return provider, issuer, nil
}

// unverified words why a signature could not be verified.
func unverified(err error) error {
	if api, ok := errors.AsType[*stsapi.InvalidIdentityTokenException](err); ok {
		return api
	}
	if api, ok := errors.AsType[*stsapi.IDPCommunicationErrorException](err); ok {
		return api
	}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, jwt.ErrTokenMalformed):
		return badToken("The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)")
	}
	return badToken("The ID Token provided has an invalid signature") // [GK]
}

// read checks the claims of a token whose signature is right.
func (t *webToken) read(now time.Time) error {
	var err error
	if t.subject, err = t.claims.GetSubject(); err != nil || t.subject == "" {
		return badToken("Missing a required claim: sub")
	}
	audiences, err := t.claims.GetAudience()
	if err != nil || len(audiences) == 0 {
		return badToken("Missing a required claim: aud")
	}
	ends, err := t.claims.GetExpirationTime()
	if err != nil || ends == nil {
		return badToken("Missing a required claim: exp")
	}
	issued, err := t.claims.GetIssuedAt()
	if err != nil || issued == nil {
		return badToken("Missing a required claim: iat")
	}
	if !now.Before(ends.Time) {
		return &stsapi.ExpiredTokenException{Message: new("Token expired: current date/time " + unix(now) + " must be before the expiration date/time " + unix(ends.Time))}
	}
	notBefore, err := t.claims.GetNotBefore()
	if err != nil || notBefore != nil && now.Add(clockSkew).Before(notBefore.Time) || now.Add(clockSkew).Before(issued.Time) {
		return badToken("The ID Token provided is not valid yet") // [GK]
	}
	at := slices.IndexFunc(audiences, func(a string) bool { return slices.Contains(t.provider.ClientIDs, a) })
	if at < 0 {
		return badToken("Incorrect token audience")
	}
	t.audience, t.audiences = audiences[at], audiences
	for _, claim := range notSupported {
		if _, ok := t.claims[claim]; ok {
			return &stsapi.IDPRejectedClaimException{Message: new("The claim " + claim + " is not supported by Berth.")}
		}
	}
	return nil
}

// clockSkew is how far an issuer's clock may be ahead of ours.
const clockSkew = 5 * time.Minute

func unix(t time.Time) string { return itoa64(t.Unix()) }
