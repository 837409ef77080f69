package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"berth.dev/berth/internal/data/imagestore"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// Logins finds the credentials of upstream registries.
type Logins interface {
	// Login returns what the secret of a pull through cache rule holds.
	Login(ctx context.Context, credentialARN string) (user, password string, err error)
}

// upstream is where a repository's images come from.
type upstream struct {
	rule       *model.PullThroughCacheRule
	repository string // ours
	remote     name.Repository
}

// rootPrefix is the prefix of a rule for every repository, and the upstream
// prefix of a rule that adds nothing.
const rootPrefix = "ROOT"

// covering finds the cache rule of a repository: the one with the longest prefix.
func covering(r store.Reader, repository string) *model.PullThroughCacheRule {
	for prefix := repository; ; {
		i := strings.LastIndexByte(prefix, '/')
		if i < 0 {
			break
		}
		prefix = prefix[:i]
		if rule, ok := records.PullThroughCacheRules.Get(r, prefix); ok {
			return rule
		}
	}
	rule, _ := records.PullThroughCacheRules.Get(r, rootPrefix)
	return rule
}

// upstream is nil when no rule covers the repository.
func (c *call) upstream() (*upstream, error) {
	rule := covering(c.Store.Snapshot(), c.name)
	if rule == nil {
		return nil, nil
	}
	rest := c.name
	if rule.Prefix != rootPrefix {
		rest = strings.TrimPrefix(c.name, rule.Prefix+"/")
	}
	if p := rule.UpstreamPrefix; p != "" && p != rootPrefix {
		rest = p + "/" + rest
	}
	repository, err := name.NewRepository(rule.UpstreamURL + "/" + rest)
	if err != nil {
		return nil, fmt.Errorf("upstream of %s: %w", c.name, err)
	}
	return &upstream{rule, c.name, repository}, nil
}

// reference is what a tag or digest is upstream.
func (up *upstream) reference(text string) (name.Reference, error) {
	if strings.Contains(text, ":") {
		return name.NewDigest(up.remote.String() + "@" + text)
	}
	return name.NewTag(up.remote.String() + ":" + text)
}

// mayImport asks for what a pull through the cache needs besides the pull.
func (c *call) mayImport() error {
	if !records.Repositories.Has(c.Store.Snapshot(), c.name) {
		if err := c.may("ecr:CreateRepository", c.name); err != nil {
			return err
		}
	}
	return c.may("ecr:BatchImportUpstreamImage", c.name)
}

// revalidateAfter is for how long a tag is believed before upstream is asked
// again, as on AWS.
const revalidateAfter = 24 * time.Hour

// manifest finds the manifest of the request: here, or upstream.
func (c *call) manifest() (found, error) {
	here, missing := c.stored()
	if missing != nil && !errors.Is(missing, imagestore.ErrNoImage) && !errors.Is(missing, imagestore.ErrNoRepository) {
		return found{}, missing
	}
	if missing == nil && c.current() {
		return here, nil
	}
	up, err := c.upstream()
	if up == nil || err != nil {
		return here, errors.Join(missing, err)
	}
	if err := c.mayImport(); err != nil {
		if missing == nil {
			return here, nil
		}
		return found{}, err
	}
	there, err := c.through.manifest(c.r.Context(), up, c.rest, here.digest, c.r.Method == http.MethodHead && missing != nil)
	switch {
	case err == nil && there.digest == here.digest:
		return here, nil
	case err != nil && missing == nil:
		c.Logger.Warn("upstream of a pull through cache does not answer; what is kept is served", "repository", c.name, "error", err)
		return here, nil
	case err != nil:
		return found{}, upstreamError(err, imagestore.ErrNoImage)
	}
	return there, nil
}

// current reports whether what is stored need not be compared with upstream:
// digests never change.
func (c *call) current() bool {
	tag, ok := records.ImageTags.Get(c.Store.Snapshot(), model.ImageTagKey(c.name, c.rest))
	if !ok {
		return true
	}
	at := tag.TaggedAt
	if tag.CheckedAt != nil {
		at = *tag.CheckedAt
	}
	return c.Now().Sub(at) < revalidateAfter
}

// fetchLayer gets a layer from upstream, if the repository has one.
func (c *call) fetchLayer() (bool, error) {
	if c.r.Method != http.MethodGet || !records.Repositories.Has(c.Store.Snapshot(), c.name) {
		return false, nil
	}
	up, err := c.upstream()
	if up == nil || err != nil {
		return false, err
	}
	if err := c.mayImport(); err != nil {
		return false, err
	}
	if _, err := name.NewDigest(up.remote.String() + "@" + c.rest); err != nil {
		return false, nil
	}
	if err := c.through.layer(c.r.Context(), up, c.rest); err != nil {
		return false, upstreamError(err, imagestore.ErrNoLayer)
	}
	return true, nil
}

// upstreamError is what the client hears: not what upstream said, which may
// name what is not the client's to know.
func upstreamError(err, missing error) error {
	if e, ok := errors.AsType[*transport.Error](err); ok && e.StatusCode == http.StatusNotFound {
		return fmt.Errorf("%w: %w", missing, err)
	}
	if errors.Is(err, imagestore.ErrNoSpace) || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w: %w", problem{http.StatusBadGateway, errcode.ErrorCodeUnavailable.WithMessage("The upstream registry of the pull through cache rule did not give the image.")}, err)
}

// options are how the library reaches an upstream. It bounds its retries, and
// what it reads of a manifest.
func (t *through) options(ctx context.Context, up *upstream) ([]remote.Option, error) {
	options := []remote.Option{remote.WithContext(ctx)}
	if t.h.Upstream != nil {
		options = append(options, remote.WithTransport(t.h.Upstream))
	}
	if up.rule.CredentialARN == "" || t.h.Logins == nil {
		return append(options, remote.WithAuth(authn.Anonymous)), nil
	}
	user, password, err := t.h.Logins.Login(ctx, up.rule.CredentialARN)
	if err != nil {
		return nil, fmt.Errorf("credentials of the upstream registry: %w", err)
	}
	return append(options, remote.WithAuth(&authn.Basic{Username: user, Password: password})), nil
}
