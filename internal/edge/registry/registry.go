package registry

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/imagestore"
	"berth.dev/berth/internal/data/keyring"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/wire/caller"
)

// Config is what a Handler is made of.
type Config struct {
	Images *imagestore.Store
	Store  *store.Store
	Scope  arn.Scope
	// Authenticate says whose a password is. The error of a password that is not
	// ours has class fault.NotFound, of one that has expired fault.Denied.
	Authenticate func(ctx context.Context, password string) (caller.Identity, error)
	// Guard decides what a caller may do; edge/authority's Authority.
	Guard caller.Guard
	// Auditor keeps records of pushes, pulls, deletions and refusals; nil means
	// nobody does.
	Auditor gateway.Auditor
	// Ring seals what makes a layer's URL valid.
	Ring *keyring.Keyring
	// Logins finds the credentials of upstream registries; nil means that there
	// are none.
	Logins Logins
	// Upstream reaches upstream registries; nil is http.DefaultTransport.
	Upstream http.RoundTripper
	Logger   *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Handler is an http.Handler for /v2/; see the package comment. It is safe for
// concurrent use.
type Handler struct {
	Config
	uploads slots
	through *through
}

// New returns a Handler.
func New(cfg Config) (*Handler, error) {
	if cfg.Images == nil || cfg.Store == nil || cfg.Authenticate == nil || cfg.Guard == nil || cfg.Ring == nil || cfg.Logger == nil {
		return nil, errors.New("registry: images, store, authentication, guard, keyring and logger are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	h := &Handler{Config: cfg, uploads: slots{of: make(map[string]int)}}
	h.through = newThrough(h)
	return h, nil
}

// Run keeps what clients pull through cache rules, until ctx ends. Without it
// images are passed on, and fetched again by the next who asks.
func (h *Handler) Run(ctx context.Context) error { return h.through.run(ctx) }

// call is one request.
type call struct {
	*Handler
	w http.ResponseWriter
	r *http.Request
	// route, name and rest are what the path says: the kind of thing, the
	// repository, and a digest, tag or upload.
	route, name, rest string
	id                string
	start             time.Time
	who               caller.Identity
	inner             bool // authorised by whoever passed it on
	paced             *pace
}

// The names of repositories, as CreateRepository checks them.
const component = `[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*`

var (
	repositoryName = regexp.MustCompile(`^` + component + `(?:/` + component + `)*$`)
	// The greedy name lets a repository be called a/blobs.
	paths = regexp.MustCompile(`^/v2/(.+)/(?:(blobs/uploads)/([^/]*)|(blobs|manifests|referrers)/([^/]+)|(tags)/list)$`)
)

const maxName = 256

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.serve(w, r, "") }

// ForRepository answers for who may pull from one repository and has proved so
// to the caller: no credentials are asked for, and nothing else can be done.
func (h *Handler) ForRepository(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, name) })
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, only string) {
	c := &call{Handler: h, r: r, id: ident.UUID(), start: h.Now(), inner: only != ""}
	c.paced = newPace(w, r)
	defer c.paced.end()
	c.w = c.paced
	c.w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	c.w.Header().Set("x-amzn-RequestId", c.id)
	if err := c.find(only); err != nil {
		c.fail(err)
		return
	}
	if err := c.act(); err != nil {
		c.fail(err)
	}
}

// find reads the path and finds out who asks.
func (c *call) find(only string) error {
	switch m := paths.FindStringSubmatch(c.r.URL.Path); {
	case strings.TrimSuffix(c.r.URL.Path, "/") == "/v2":
		c.route = "base"
	case m != nil:
		c.name, c.route, c.rest = m[1], m[2]+m[4]+m[6], m[3]+m[5]
	}
	if c.inner {
		if c.route != "base" && c.name != only || c.r.Method != http.MethodGet && c.r.Method != http.MethodHead {
			return errcode.ErrorCodeDenied.WithMessage("This connection is for pulling from " + only + " only.")
		}
		return nil
	}
	if c.route == "blobs" && c.r.URL.Query().Has(signatureParameter) {
		c.inner = true
		return c.signed()
	}
	return c.authenticate()
}

// act authorises and performs the request.
func (c *call) act() error {
	switch {
	case c.route == "base":
		if c.r.Method != http.MethodGet && c.r.Method != http.MethodHead {
			return errcode.ErrorCodeUnsupported
		}
		return c.json(http.StatusOK, struct{}{})
	case c.r.URL.Path == "/v2/_catalog":
		return errcode.ErrorCodeUnsupported.WithMessage("The registry has no catalog. Use DescribeRepositories.")
	case c.route == "":
		return errNoSuchPath
	case len(c.name) > maxName || !repositoryName.MatchString(c.name):
		return errcode.ErrorCodeNameInvalid
	}
	do, ok := c.handlers()[c.route+" "+c.r.Method]
	if !ok {
		return errcode.ErrorCodeUnsupported
	}
	if err := c.may(do.action, c.name); err != nil {
		return err
	}
	return do.run()
}

// handler is what a request does, and the action that it is.
type handler struct {
	action string
	run    func() error
}

func (c *call) handlers() map[string]handler {
	return map[string]handler{
		"blobs GET":            {"ecr:GetDownloadUrlForLayer", c.getLayer},
		"blobs HEAD":           {"ecr:BatchCheckLayerAvailability", c.getLayer},
		"blobs/uploads POST":   {"ecr:InitiateLayerUpload", c.beginUpload},
		"blobs/uploads GET":    {"ecr:UploadLayerPart", c.uploadStatus},
		"blobs/uploads PATCH":  {"ecr:UploadLayerPart", c.appendUpload},
		"blobs/uploads PUT":    {"ecr:CompleteLayerUpload", c.completeUpload},
		"blobs/uploads DELETE": {"ecr:CompleteLayerUpload", c.cancelUpload},
		"manifests GET":        {"ecr:BatchGetImage", c.getManifest},
		"manifests HEAD":       {"ecr:BatchGetImage", c.getManifest},
		"manifests PUT":        {"ecr:PutImage", c.putManifest},
		"manifests DELETE":     {"ecr:BatchDeleteImage", c.deleteManifest},
		"tags GET":             {"ecr:ListImages", c.listTags},
		"referrers GET":        {"ecr:BatchGetImage", c.listReferrers},
	}
}
