package sts

import (
	"context"
	"crypto/sha1" //nolint:gosec // thumbprints are SHA-1 by IAM's definition
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/stsapi"
)

const (
	keysKept    = 15 * time.Minute // how long an issuer's keys are believed
	askAgain    = 30 * time.Second // how soon it is asked again for a key that it did not have, or after a failure
	fetchTime   = 5 * time.Second  // for both documents
	fetchMost   = 1 << 20          // bytes of each
	issuersKept = 256
)

// errThumbprint is that TLS ends in a certificate nobody vouches for.
var errThumbprint = errors.New("the issuer's certificate is neither trusted nor has it a thumbprint of the provider")

// issuers knows the public keys of issuers.
type issuers struct {
	roots *x509.CertPool
	now   func() time.Time

	mu   sync.Mutex
	kept *lru.Cache[string, *issuer]
}

func newIssuers(roots *x509.CertPool, now func() time.Time) *issuers {
	kept, err := lru.New[string, *issuer](issuersKept)
	if err != nil {
		panic(err) // a size that is a positive constant
	}
	return &issuers{roots: roots, now: now, kept: kept}
}

// issuer are the keys of one issuer; its mutex is held while they are fetched,
// so that many tokens fetch once.
type issuer struct {
	mu      sync.Mutex
	keys    []publicKey
	fetched time.Time // when keys are from
	tried   time.Time // when it was asked last
	failure error     // of the last attempt
}

// of is the issuer of a provider as it is now: a change of the provider's
// thumbprints begins anew.
func (i *issuers) of(p *model.OIDCProvider) *issuer {
	key := p.ARN + " " + strings.Join(p.Thumbprints, " ")
	i.mu.Lock()
	defer i.mu.Unlock()
	found, ok := i.kept.Get(key)
	if !ok {
		found = &issuer{}
		i.kept.Add(key, found)
	}
	return found
}

// key finds the key that signed a token: by id, or the only one of its kind
// when the token names none.
func (i *issuers) key(ctx context.Context, p *model.OIDCProvider, id, algorithm string) (any, error) {
	from := i.of(p)
	from.mu.Lock()
	defer from.mu.Unlock()
	now := i.now()
	if now.Sub(from.fetched) < keysKept {
		if key, ok := find(from.keys, id, algorithm); ok {
			return key, nil
		}
	}
	if now.Sub(from.tried) >= askAgain {
		keys, err := i.fetch(ctx, p)
		if ctx.Err() != nil {
			return nil, ctx.Err() // the caller went away; that says nothing of the issuer
		}
		from.tried, from.failure = now, err
		if err == nil {
			from.keys, from.fetched = keys, now
		}
	}
	if from.failure != nil {
		return nil, from.failure
	}
	if key, ok := find(from.keys, id, algorithm); ok && now.Sub(from.fetched) < keysKept {
		return key, nil
	}
	return nil, noKey()
}

func noKey() error {
	return badToken("Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements")
}

// fetch asks the issuer for its keys. Its errors are for the caller of STS.
func (i *issuers) fetch(ctx context.Context, p *model.OIDCProvider) ([]publicKey, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	client := i.client(p)
	defer client.CloseIdleConnections()
	var discovery struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := get(ctx, client, "https://"+strings.TrimSuffix(p.URL, "/")+"/.well-known/openid-configuration", &discovery); err != nil {
		return nil, unreachable(err)
	}
	if discovery.Issuer != "https://"+p.URL || !strings.HasPrefix(discovery.Keys, "https://") {
		return nil, noKey()
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := get(ctx, client, discovery.Keys, &set); err != nil {
		return nil, unreachable(err)
	}
	return parseKeys(set.Keys), nil
}

// errAnswer is an answer that is of no use.
var errAnswer = errors.New("the issuer's answer is not what it should be")

func unreachable(err error) error {
	switch {
	case errors.Is(err, errThumbprint):
		return badToken("OpenIDConnect provider's HTTPS certificate doesn't match configured thumbprint")
	case errors.Is(err, errAnswer):
		return noKey()
	}
	return &stsapi.IDPCommunicationErrorException{Message: new("The identity provider that was asked to verify the token could not be reached.")}
}

func get(ctx context.Context, client *http.Client, url string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("%w: %w", errAnswer, err)
	}
	request.Header.Set("Accept", "application/json")
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close() //nolint:errcheck // only read
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: status %d", errAnswer, answer.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, fetchMost+1))
	if err != nil {
		return err
	}
	if len(body) > fetchMost {
		return fmt.Errorf("%w: more than %d bytes", errAnswer, fetchMost)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%w: %w", errAnswer, err)
	}
	return nil
}

// client speaks TLS to whom the roots or the provider's thumbprints vouch for,
// and follows nobody elsewhere but to HTTPS.
func (i *issuers) client(p *model.OIDCProvider) *http.Client {
	return &http.Client{
		Timeout: fetchTime,
		CheckRedirect: func(to *http.Request, via []*http.Request) error {
			if to.URL.Scheme != "https" || len(via) > 2 {
				return errAnswer
			}
			return nil
		},
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			ForceAttemptHTTP2:     true,
			TLSHandshakeTimeout:   fetchTime,
			ResponseHeaderTimeout: fetchTime,
			MaxIdleConns:          2,
			TLSClientConfig: &tls.Config{
				MinVersion: tls.VersionTLS12,
				// VerifyConnection does it, with two ways to be right.
				InsecureSkipVerify: true,
				VerifyConnection:   func(state tls.ConnectionState) error { return i.vouched(p, state) },
			},
		},
	}
}

// vouched verifies the issuer's chain: up to the roots, or up to a certificate
// of it whose thumbprint the provider has.
func (i *issuers) vouched(p *model.OIDCProvider, state tls.ConnectionState) error {
	leaf := state.PeerCertificates[0]
	intermediates := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		intermediates.AddCert(c)
	}
	options := x509.VerifyOptions{DNSName: state.ServerName, Roots: i.roots, Intermediates: intermediates, CurrentTime: i.now()}
	if _, err := leaf.Verify(options); err == nil {
		return nil
	}
	options.Roots = x509.NewCertPool()
	for _, c := range state.PeerCertificates {
		sum := sha1.Sum(c.Raw) //nolint:gosec // see the import
		if slices.ContainsFunc(p.Thumbprints, func(t string) bool { return strings.EqualFold(t, hex.EncodeToString(sum[:])) }) {
			options.Roots.AddCert(c)
		}
	}
	if _, err := leaf.Verify(options); err != nil {
		return fmt.Errorf("%w: %w", errThumbprint, err)
	}
	return nil
}
