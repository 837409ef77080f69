package iam

import (
	"encoding/base64"
	"strings"
)

// defaultItems is how many items a list has when the call does not say.
const defaultItems = 100

// asked is what a call says about the part of a list that it wants.
type asked struct {
	call     string // the operation: a marker is good for it alone
	marker   *string
	maxItems *int32
}

// page is a part of a list and how to go on.
type page[T any] struct {
	items     []T
	truncated *bool
	marker    *string
}

// pageOf cuts the part of sorted that a call asked for. key orders sorted; what
// it says must fit a marker of 320 characters, and need not exist any more when
// the marker comes back.
func pageOf[T any](a asked, sorted []T, key func(T) string) (page[T], error) {
	if a.marker != nil {
		data, err := base64.URLEncoding.DecodeString(*a.marker)
		call, last, found := strings.Cut(string(data), "\x00")
		if err != nil || !found || call != a.call {
			return page[T]{}, invalid("Invalid Marker.")
		}
		for len(sorted) > 0 && key(sorted[0]) <= last {
			sorted = sorted[1:]
		}
	}
	limit := defaultItems
	if a.maxItems != nil { // its bounds are in the model
		limit = int(*a.maxItems)
	}
	if len(sorted) <= limit {
		return page[T]{items: sorted, truncated: new(false)}, nil
	}
	next := base64.URLEncoding.EncodeToString([]byte(a.call + "\x00" + key(sorted[limit-1])))
	return page[T]{items: sorted[:limit], truncated: new(true), marker: &next}, nil
}

// under reports whether path is below the prefix that a call asked for.
func under(path string, prefix *string) bool {
	return prefix == nil || strings.HasPrefix(path, *prefix)
}

// each converts a list; the result is never nil, so that an empty list is
// written as such.
func each[T, U any](items []T, convert func(T) U) []U {
	out := make([]U, len(items))
	for i, item := range items {
		out[i] = convert(item)
	}
	return out
}
