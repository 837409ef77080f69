package ec2

import (
	"encoding/base64"
	"regexp"
	"slices"
	"strings"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ec2api"
)

const (
	minResults = 5
	maxResults = 1000
)

// kind is one sort of resource: what it is called in errors, and how to look
// at it.
type kind[R any] struct {
	form
	call  string // of page tokens
	param string // the member that lists ids
	id    func(*R) string
	tags  func(*R) []model.Tag
	// filters give the values that a filter of that name compares.
	filters map[string]func(*R) []string
}

// query is what every Describe call can ask for.
type query struct {
	ids        []string
	filters    []ec2api.Filter
	maxResults *int32
	nextToken  *string
}

// find returns the page of all, which is ordered by id, that the query asks
// for.
func (k *kind[R]) find(all []*R, q query) ([]*R, *string, error) {
	if err := k.checkIDs(all, q); err != nil {
		return nil, nil, err
	}
	matches, err := k.filter(q.filters)
	if err != nil {
		return nil, nil, err
	}
	last := ""
	if q.nextToken != nil && *q.nextToken != "" {
		data, err := base64.URLEncoding.DecodeString(*q.nextToken)
		owner, key, found := strings.Cut(string(data), "\x00")
		if err != nil || !found || owner != k.call {
			return nil, nil, failure("InvalidNextToken", "The token '%s' is invalid", *q.nextToken)
		}
		last = key
	}
	limit := maxResults
	if q.maxResults != nil {
		limit = int(*q.maxResults)
	}
	var page []*R
	for _, r := range all {
		if k.id(r) <= last || len(q.ids) > 0 && !slices.Contains(q.ids, k.id(r)) || !matches(r) {
			continue
		}
		if len(page) == limit {
			token := base64.URLEncoding.EncodeToString([]byte(k.call + "\x00" + k.id(page[limit-1])))
			return page, &token, nil
		}
		page = append(page, r)
	}
	return page, nil, nil
}

func (k *kind[R]) checkIDs(all []*R, q query) error {
	if q.maxResults != nil {
		if n := *q.maxResults; n < minResults || n > maxResults {
			return failure("InvalidParameterValue", "Value ( %d ) for parameter maxResults is invalid. Expecting a value between %d and %d.", n, minResults, maxResults)
		}
		if len(q.ids) > 0 {
			return failure("InvalidParameterCombination", "The parameter %s cannot be used with the parameter maxResults", k.param)
		}
	}
	var unknown []string
	for _, id := range q.ids {
		if err := k.check(id); err != nil {
			return err
		}
		if !slices.ContainsFunc(all, func(r *R) bool { return k.id(r) == id }) {
			unknown = append(unknown, id)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	return k.missing(unknown...)
}

// filter compiles the filters: each must match one of its values.
func (k *kind[R]) filter(filters []ec2api.Filter) (func(*R) bool, error) {
	var checks []func(*R) bool
	for _, f := range filters {
		if f.Name == nil {
			return nil, failure("InvalidParameterValue", "The filter 'null' is invalid")
		}
		values, err := k.values(*f.Name)
		if err != nil {
			return nil, err
		}
		patterns := make([]*regexp.Regexp, 0, len(f.Values))
		for _, v := range f.Values {
			patterns = append(patterns, wildcard(v))
		}
		checks = append(checks, func(r *R) bool {
			return slices.ContainsFunc(values(r), func(v string) bool {
				return slices.ContainsFunc(patterns, func(p *regexp.Regexp) bool { return p.MatchString(v) })
			})
		})
	}
	return func(r *R) bool {
		return !slices.ContainsFunc(checks, func(check func(*R) bool) bool { return !check(r) })
	}, nil
}

func (k *kind[R]) values(name string) (func(*R) []string, error) {
	if values, known := k.filters[name]; known {
		return values, nil
	}
	if k.tags != nil {
		if name == "tag-key" {
			return func(r *R) []string {
				return tagValues(k.tags(r), func(t model.Tag) (string, bool) { return t.Key, true })
			}, nil
		}
		if key, found := strings.CutPrefix(name, "tag:"); found {
			return func(r *R) []string {
				return tagValues(k.tags(r), func(t model.Tag) (string, bool) { return t.Value, t.Key == key })
			}, nil
		}
	}
	return nil, failure("InvalidParameterValue", "The filter '%s' is invalid", name)
}

func tagValues(tags []model.Tag, pick func(model.Tag) (string, bool)) []string {
	var values []string
	for _, t := range tags {
		if v, ok := pick(t); ok {
			values = append(values, v)
		}
	}
	return values
}

// wildcard compiles a filter's value: * is any run of characters, ? at most
// one, and a backslash takes their meaning away.
func wildcard(value string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	escaped := false
	for _, r := range value {
		switch {
		case escaped:
			b.WriteString(regexp.QuoteMeta(string(r)))
			escaped = false
		case r == '\\':
			escaped = true
		case r == '*':
			b.WriteString(".*")
		case r == '?':
			b.WriteString(".?")
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	b.WriteString(`\z`)
	return regexp.MustCompile(b.String())
}

func one(v string) []string { return []string{v} }

func yes(b bool) []string {
	if b {
		return one("true")
	}
	return one("false")
}

func tagsOut(tags []model.Tag) []ec2api.Tag {
	out := make([]ec2api.Tag, 0, len(tags))
	for _, t := range tags {
		out = append(out, ec2api.Tag{Key: &t.Key, Value: &t.Value})
	}
	return out
}
