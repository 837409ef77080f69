package imagelifecycle

import (
	"slices"
	"strings"
	"time"
)

// What a rule selects.
const (
	Tagged   = "tagged"
	Untagged = "untagged"
	Any      = "any"
)

// How a rule decides which of the selected images are too many or too old.
const (
	ImageCountMoreThan = "imageCountMoreThan"
	SinceImagePushed   = "sinceImagePushed"
	SinceImagePulled   = "sinceImagePulled"
)

// Policy is a policy that was checked. Its rules are in order of priority.
type Policy struct{ Rules []Rule }

// Rule expires images.
type Rule struct {
	Priority  int32
	TagStatus string
	// Of Prefixes or Patterns, each must fit one of the image's tags. Only rules
	// for tagged images have them; at most one of the lists is set.
	Prefixes, Patterns []string
	CountType          string
	Count              int
}

// Image is what rules know of an image.
type Image struct {
	Digest   string
	Tags     []string
	PushedAt time.Time
	PulledAt time.Time // zero when it never was
	// Manifests are the digests of what an index refers to.
	Manifests []string
	// Subject is the digest of the image that this one is attached to.
	Subject string
}

// Expiry is an image that a rule expires.
type Expiry struct {
	Digest   string
	Priority int32
}

// selects reports whether the image's tags are what the rule asks for.
func (r *Rule) selects(image *Image) bool {
	switch r.TagStatus {
	case Any:
		return true
	case Untagged:
		return len(image.Tags) == 0
	}
	if len(image.Tags) == 0 {
		return false
	}
	for _, prefix := range r.Prefixes {
		if !slices.ContainsFunc(image.Tags, func(tag string) bool { return strings.HasPrefix(tag, prefix) }) {
			return false
		}
	}
	for _, pattern := range r.Patterns {
		if !slices.ContainsFunc(image.Tags, func(tag string) bool { return fits(pattern, tag) }) {
			return false
		}
	}
	return true
}

// fits compares a tag with a pattern, in which * stands for any characters.
func fits(pattern, tag string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == tag
	}
	first, last := parts[0], parts[len(parts)-1]
	tag, ok := strings.CutPrefix(tag, first)
	if !ok {
		return false
	}
	// The earliest place is as good as any for what stands between wildcards.
	for _, part := range parts[1 : len(parts)-1] {
		at := strings.Index(tag, part)
		if at < 0 {
			return false
		}
		tag = tag[at+len(part):]
	}
	return strings.HasSuffix(tag, last)
}

// aged reports whether the rule is about age, and when the image reaches it.
func (r *Rule) aged(image *Image) (time.Time, bool) {
	from := image.PushedAt
	switch r.CountType {
	case SinceImagePushed:
	case SinceImagePulled:
		if !image.PulledAt.IsZero() {
			from = image.PulledAt
		}
	default:
		return time.Time{}, false
	}
	return from.UTC().AddDate(0, 0, r.Count), true
}

// takes reports whether the rule wants the image gone, which is the nth that it
// selects, from youngest to oldest, beginning with 0.
func (r *Rule) takes(image *Image, n int, now time.Time) bool {
	if at, ok := r.aged(image); ok {
		return now.After(at)
	}
	return n >= r.Count
}
