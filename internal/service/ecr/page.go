package ecr

import (
	"encoding/base64"
	"strings"
)

// pageSize is what a call lists when it does not say how much.
const pageSize = 100

// pageOf returns the part of sorted that a call asked for: what comes after
// the token, with the token of the next page when there is more. key orders
// sorted; the one in a token need not exist any more when it comes back. What
// the call is about is part of the token, so that it is of no other use.
func pageOf[T any](call string, sorted []T, key func(T) string, token *string, size *int32) ([]T, *string, error) {
	if value(token) != "" {
		last, err := openToken(call, *token)
		if err != nil {
			return nil, nil, err
		}
		for len(sorted) > 0 && key(sorted[0]) <= last {
			sorted = sorted[1:]
		}
	}
	limit := pageSize
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

func openToken(call, token string) (string, error) {
	data, err := base64.URLEncoding.DecodeString(token)
	last, found := strings.CutPrefix(string(data), call+"\x00")
	if err != nil || !found {
		return "", invalid("nextToken", "Invalid pagination token")
	}
	return last, nil
}

// unpaged refuses paging where things are named.
func unpaged(names string, named bool, token *string, size *int32) error {
	if named && (token != nil || size != nil) {
		return invalid("maxResults", "maxResults and nextToken cannot be specified together with %s", names)
	}
	return nil
}
