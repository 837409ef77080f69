package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/sigv4"
	"berth.dev/berth/internal/wire/smithy"
)

// DefaultMaxBody is the longest body in bytes of a service that sets no other.
const DefaultMaxBody = 1 << 20

// RequestTimeout is how long one request may take from its first byte to its
// answer. It is shorter than the 60 s after which SDKs give up by default, so
// that a client hears what went wrong.
const RequestTimeout = 50 * time.Second

// CredentialStore knows access keys.
type CredentialStore interface {
	// Credentials returns the secret of an access key and whose it is.
	// sessionToken is what came with the request, empty when nothing did; nothing
	// of the request is believed yet. The error of a key that does not exist or
	// is inactive, and of a token that is not the key's or whose principal is
	// gone, has class fault.NotFound; any other error is answered with
	// InternalFailure. The gateway fills in what the request says of its sender:
	// AccessKeyID, SourceIP, SourceVPC, Secure, Host, UserAgent, Region and RequestID.
	Credentials(ctx context.Context, accessKeyID, sessionToken string) (sigv4.Credential, caller.Identity, error)
}

// Service is one API that the gateway serves.
type Service struct {
	// API is the generated table, such as ecsapi.API. It says which protocol
	// is spoken.
	API *smithy.Service
	// Provider implements the generated Service interface of the same package.
	Provider any
	// MaxBody is the longest body in bytes; 0 means what the service needs:
	// DefaultMaxBody, and more for logs, whose batches of 1 MiB grow in JSON.
	MaxBody int64
}

// Config is what a Gateway is made of.
type Config struct {
	Services    []Service
	Credentials CredentialStore
	// Authorizer decides what a verified caller may do; nil means AllowRoot.
	Authorizer Authorizer
	// Auditor keeps a record of each request; nil means nobody does.
	Auditor Auditor
	// RateLimit is how many requests a second one principal may make, and
	// RateBurst how many of them at once; a role is one principal with all its
	// sessions. 0 means no limit.
	RateLimit float64
	RateBurst int
	// MaxBodies is how many bytes of bodies may be held at a time; 0 means
	// DefaultMaxBodies.
	MaxBodies int64
	// Region is the one that credential scopes must name. Global services (iam,
	// sts) accept us-east-1 too. Empty accepts any.
	Region string
	// Ready returns nil once the API can serve; its error is what /readyz says.
	// nil means always.
	Ready func() error
	// Metrics answers /metrics to loopback addresses; nil means 404.
	Metrics http.Handler
	// Registerer receives the gateway's metrics; nil means nobody.
	Registerer prometheus.Registerer
	Logger     *slog.Logger
	// Now and NewID are the clock and the maker of request ids; nil means
	// time.Now and random UUIDs.
	Now   func() time.Time
	NewID func() string
}

// Gateway is an http.Handler; see the package comment. It is safe for
// concurrent use. Between requests it remembers how often who has asked, and
// nothing else.
type Gateway struct {
	routes      routes
	credentials CredentialStore
	authorizer  Authorizer
	auditor     Auditor
	principals  *buckets // nil without a limit
	failed      *buckets // sources that failed to authenticate
	bodies      budget
	region      string
	ready       func() error
	scrape      http.Handler
	metrics     metrics
	log         *slog.Logger
	now         func() time.Time
	newID       func() string
}

// New checks cfg and makes a gateway. It fails when two services cannot be told
// apart, when one speaks a protocol that has no codec, and when the metrics are
// registered already.
func New(cfg Config) (*Gateway, error) {
	if cfg.Credentials == nil || cfg.Logger == nil {
		return nil, errors.New("gateway: credentials and logger are required")
	}
	g := &Gateway{
		credentials: cfg.Credentials, authorizer: cfg.Authorizer, auditor: cfg.Auditor, region: cfg.Region,
		ready: cfg.Ready, scrape: cfg.Metrics, log: cfg.Logger, now: cfg.Now, newID: cfg.NewID,
	}
	if g.authorizer == nil {
		g.authorizer = AllowRoot{}
	}
	if g.ready == nil {
		g.ready = func() error { return nil }
	}
	if g.now == nil {
		g.now = time.Now
	}
	if g.newID == nil {
		g.newID = ident.UUID
	}
	var err error
	if g.routes, err = newRoutes(cfg.Services); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	if err := g.setLimits(cfg); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	if g.metrics, err = newMetrics(cfg.Registerer); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	return g, nil
}

func (g *Gateway) setLimits(cfg Config) (err error) {
	if cfg.MaxBodies == 0 {
		cfg.MaxBodies = DefaultMaxBodies
	}
	g.bodies.give(cfg.MaxBodies)
	if g.failed, err = newBuckets(failureRate, failureBurst); err != nil {
		return err
	}
	if cfg.RateLimit > 0 {
		g.principals, err = newBuckets(rate.Limit(cfg.RateLimit), max(cfg.RateBurst, 1))
	}
	return err
}

// ServeHTTP answers one request.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := g.now()
	id := g.newID()
	rec := &recorder{ResponseWriter: w}
	rec.Header().Set(requestIDHeader, id)
	if g.probe(rec, r) {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), RequestTimeout)
	defer cancel()
	c := &call{g: g, w: rec, r: r.WithContext(ctx), client: r.Context(), id: id, start: start}
	defer func() { g.bodies.give(c.held) }()
	out, err := c.serve()
	c.answer(out, err)
	c.report()
}

const requestIDHeader = "x-amzn-RequestId"

// recorder remembers whether and with which status an answer has begun.
type recorder struct {
	http.ResponseWriter
	status int // 0 until the header is written
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
