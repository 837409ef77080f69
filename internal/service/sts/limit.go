package sts

import (
	"bytes"
	"compress/flate"
	"errors"
	"slices"
	"strings"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/policy"
	"berth.dev/berth/internal/rules/policy/managed"
	"berth.dev/berth/internal/wire/api/stsapi"
	"berth.dev/berth/internal/wire/caller"
)

const (
	maxPolicies = 10
	// packedMost is how many bytes policies and tags may take in a token, packed.
	// AWS has a limit and does not tell it.
	packedMost = 2048
)

// limit puts session policies and tags into a session and returns how much of
// the room for them they take, in percent; nil when there are none.
func (p *Provider) limit(s *caller.Session, text *string, arns []stsapi.PolicyDescriptorType, tags []stsapi.Tag) (*int32, error) {
	if text != nil && *text != "" {
		if _, err := policy.Parse(policy.Identity, *text); err != nil {
			if syntax, ok := errors.AsType[*policy.SyntaxError](err); ok {
				return nil, &stsapi.MalformedPolicyDocumentException{Message: &syntax.Message}
			}
			return nil, err
		}
		s.Policies = []string{*text}
	}
	if len(arns) > maxPolicies {
		return nil, invalid("The number of session policy ARNs exceeds the limit of %d.", maxPolicies) // [GK]
	}
	for _, a := range arns {
		if a.Arn == nil || !p.hasPolicy(*a.Arn) {
			return nil, invalid("The session policy ARN %s does not exist.", value(a.Arn)) // [GK]
		}
		s.PolicyARNs = append(s.PolicyARNs, *a.Arn)
	}
	if err := addTags(s, tags); err != nil {
		return nil, err
	}
	if len(s.Policies)+len(s.PolicyARNs)+len(s.Tags) == 0 {
		return nil, nil
	}
	percent := packed(s)
	if percent > 100 {
		what := "session tags and policies consume"
		if len(s.Policies)+len(s.PolicyARNs) == 0 {
			what = "session tags consumes"
		}
		return nil, &stsapi.PackedPolicyTooLargeException{Message: new("Packed size of " + what + " " + itoa(percent) + "% of allotted space.")}
	}
	return &percent, nil
}

func (p *Provider) hasPolicy(name string) bool {
	if _, ok := managed.Find(name); ok {
		return true
	}
	return records.Policies.Has(p.store.Snapshot(), name)
}

// addTags adds the tags of a request to those that the session has inherited,
// which it cannot change.
func addTags(s *caller.Session, tags []stsapi.Tag) error {
	seen := map[string]bool{}
	for _, t := range tags {
		folded := strings.ToLower(*t.Key)
		switch {
		case seen[folded]:
			return invalid("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		case strings.HasPrefix(folded, "aws:"):
			return invalid("Tag keys that begin with aws: are reserved.")
		case slices.ContainsFunc(s.TransitiveTags, func(key string) bool { return strings.EqualFold(key, *t.Key) }):
			return invalid("One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session.")
		}
		seen[folded] = true
		if s.Tags == nil {
			s.Tags = map[string]string{}
		}
		s.Tags[*t.Key] = *t.Value
	}
	return nil
}

// inherit gives a session the tags that the caller's session passes on, and its
// source identity.
func inherit(s *caller.Session, from *caller.Session) {
	if from == nil {
		return
	}
	s.Chained = from.RoleARN != ""
	s.SourceIdentity = from.SourceIdentity
	for _, key := range from.TransitiveTags {
		if s.Tags == nil {
			s.Tags = map[string]string{}
		}
		s.Tags[key] = from.Tags[key]
		s.TransitiveTags = append(s.TransitiveTags, key)
	}
}

// passOn marks tags of the request to be passed on.
func passOn(s *caller.Session, keys []string, tags []stsapi.Tag) error {
	for _, key := range keys {
		at := slices.IndexFunc(tags, func(t stsapi.Tag) bool { return strings.EqualFold(*t.Key, key) })
		if at < 0 {
			return invalid("The specified transitive tag key must be included in the requested tags.")
		}
		s.TransitiveTags = append(s.TransitiveTags, *tags[at].Key)
	}
	return nil
}

// packed is how much of the room in a token policies and tags take, in percent,
// and at least one.
func packed(s *caller.Session) int32 {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		return 1 // the level is one that exists
	}
	for _, text := range slices.Concat(s.Policies, s.PolicyARNs) {
		w.Write([]byte(text)) //nolint:errcheck,gosec // a buffer
	}
	for key, value := range s.Tags {
		w.Write([]byte(key + "\x00" + value + "\x00")) //nolint:errcheck,gosec // a buffer
	}
	w.Close()                                    //nolint:errcheck,gosec // a buffer
	return max(1, int32(b.Len()*100/packedMost)) //nolint:gosec // a request has a megabyte at most
}

func roleTag(tags []model.Tag) map[string][]string {
	keys := map[string][]string{}
	for _, t := range tags {
		keys["aws:resourcetag/"+strings.ToLower(t.Key)] = []string{t.Value}
		keys["iam:resourcetag/"+strings.ToLower(t.Key)] = []string{t.Value}
	}
	return keys
}
