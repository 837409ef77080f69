package gateway

import (
	"fmt"
	"net/http"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/sigv4"
	"berth.dev/berth/internal/wire/smithy"
)

// How often one source may fail to authenticate, so that guessing keys is slow:
// some mistakes at once, then one every other second. A key that has worked from
// a source counts by itself there: others' mistakes do not shut it out, which
// matters where all come from one address, such as the loopback one.
const (
	failureRate  rate.Limit = 0.5
	failureBurst int        = 60
)

// maxBuckets is how many principals, and how many sources, are told apart. Who
// falls out starts with a full bucket.
const maxBuckets = 16384

// buckets are token buckets by name. They are safe for concurrent use.
type buckets struct {
	rate  rate.Limit
	burst int
	all   *lru.Cache[string, *rate.Limiter]
}

func newBuckets(r rate.Limit, burst int) (*buckets, error) {
	all, err := lru.New[string, *rate.Limiter](maxBuckets)
	if err != nil {
		return nil, fmt.Errorf("rate limits: %w", err)
	}
	return &buckets{rate: r, burst: burst, all: all}, nil
}

// of returns the bucket with a name, and makes a full one at first.
func (b *buckets) of(name string) *rate.Limiter {
	if l, ok := b.all.Get(name); ok {
		return l
	}
	fresh := rate.NewLimiter(b.rate, b.burst)
	if other, ok, _ := b.all.PeekOrAdd(name, fresh); ok {
		return other
	}
	return fresh
}

// has reports whether there is a bucket with the name.
func (b *buckets) has(name string) bool { return b.all.Contains(name) }

// principal is whom a rate limit counts: a user, root, or a role with all its
// sessions, since sessions cost nothing to make.
func principal(who caller.Identity) string {
	if who.Session != nil && who.Session.RoleARN != "" {
		return who.Session.RoleARN
	}
	return who.ARN
}

// limit takes the request from its principal's bucket.
func (c *call) limit() error {
	if c.g.principals == nil || c.g.principals.of(principal(c.caller)).AllowN(c.g.now(), 1) {
		return nil
	}
	return c.throttled()
}

// failures is the bucket that a failure to authenticate counts in.
func (c *call) failures() *rate.Limiter {
	source := sourceOf(c.r).Address
	if own := c.ownBucket(); c.g.failed.has(own) {
		return c.g.failed.of(own)
	}
	return c.g.failed.of(source)
}

func (c *call) ownBucket() string { return sourceOf(c.r).Address + " " + c.claim.AccessKeyID }

// suspect refuses a request, unread, whose source has failed too often.
func (c *call) suspect(now time.Time) error {
	if c.failures().TokensAt(now) >= 1 {
		return nil
	}
	c.unrecorded = true
	return c.throttled()
}

// proven remembers that the key has worked from its source.
func (c *call) proven() {
	if own := c.ownBucket(); !c.g.failed.has(own) {
		c.g.failed.of(own)
	}
}

// throttled is what a service of the family says when somebody asks too often.
// SDKs wait and try again.
func (c *call) throttled() error {
	switch c.route.family {
	case sigv4.JSON:
		return smithy.NewError(http.StatusBadRequest, "ThrottlingException", "Rate exceeded")
	case sigv4.EC2:
		return smithy.NewError(http.StatusServiceUnavailable, "RequestLimitExceeded", "Request limit exceeded.")
	default:
		return smithy.NewError(http.StatusBadRequest, "Throttling", "Rate exceeded")
	}
}
