package elbv2

import (
	"encoding/base64"
	"strings"
)

// pageLimit is the most that one call returns, and what it returns unasked.
const pageLimit = 400

// pageOf returns the part of sorted that a call asked for: what comes after
// the marker, at most size, with the marker of the next page when there is
// more. key orders sorted and need not exist any more when the marker comes
// back.
func pageOf[T any](call string, sorted []T, key func(T) string, marker *string, size *int32) ([]T, *string, error) {
	if marker != nil && *marker != "" {
		last, err := openMarker(call, *marker)
		if err != nil {
			return nil, nil, err
		}
		for len(sorted) > 0 && key(sorted[0]) <= last {
			sorted = sorted[1:]
		}
	}
	limit := pageLimit
	if size != nil { // its bounds are in the model
		limit = int(*size)
	}
	if len(sorted) <= limit {
		return sorted, nil, nil
	}
	page := sorted[:limit]
	next := base64.URLEncoding.EncodeToString([]byte(call + "\x00" + key(page[limit-1])))
	return page, &next, nil
}

func openMarker(call, marker string) (string, error) {
	data, err := base64.URLEncoding.DecodeString(marker)
	owner, last, found := strings.Cut(string(data), "\x00")
	if err != nil || !found || owner != call {
		return "", invalid("Invalid marker '%s'", marker)
	}
	return last, nil
}
