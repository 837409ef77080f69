package servicediscovery

import (
	"encoding/base64"
	"strings"
)

// pageLimit is the most that one call lists, and what it lists unasked.
const pageLimit = 100

// pageOf returns the part of sorted that a call asked for: what comes after
// the token, with the token of the next page when there is more. key orders
// sorted; the one in a token need not exist any more when it comes back.
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

func openToken(call, token string) (string, error) {
	data, err := base64.URLEncoding.DecodeString(token)
	owner, last, found := strings.Cut(string(data), "\x00")
	if err != nil || !found || owner != call {
		return "", invalid("Invalid NextToken: %s", token)
	}
	return last, nil
}
