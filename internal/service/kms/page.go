package kms

import (
	"encoding/base64"
	"iter"
	"strings"

	"berth.dev/berth/internal/wire/api/kmsapi"
)

// paged is a part of a list and the marker of the next one, nil for none.
type paged[T any] struct {
	items []T
	next  *string
}

// truncated tells whether there is more; it is always answered.
func (p paged[T]) truncated() *bool { return new(p.next != nil) }

// pageOf returns the part of a list that a call asked for: what comes after the
// marker, at most limit items, or unasked so many. key orders the list; the one
// in a marker need not exist any more when it comes back.
func pageOf[T any](list string, all iter.Seq[T], key func(T) string, marker *string, limit *int32, unasked int) (paged[T], error) {
	after := ""
	if marker != nil {
		data, err := base64.RawURLEncoding.DecodeString(*marker)
		owner, last, found := strings.Cut(string(data), "\x00")
		if err != nil || !found || owner != list {
			return paged[T]{}, &kmsapi.InvalidMarkerException{Message: new("Could not deserialize marker '" + *marker + "'")}
		}
		after = last
	}
	most := unasked
	if limit != nil { // its bounds are in the model
		most = int(*limit)
	}
	var p paged[T]
	for item := range all {
		if after != "" && key(item) <= after {
			continue
		}
		if len(p.items) == most {
			last := list + "\x00" + key(p.items[most-1])
			p.next = new(base64.RawURLEncoding.EncodeToString([]byte(last)))
			break
		}
		p.items = append(p.items, item)
	}
	return p, nil
}
