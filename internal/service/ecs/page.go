package ecs

import (
	"encoding/base64"
	"strings"
)

// pageOf returns the part of sorted that a call asked for: what comes after
// the token, at most limit, with the token of the next page when there is
// more. key names a position and must be unique; it need not exist any more
// when the token comes back. What the token belongs to is part of it, so that
// a token of another call is refused.
func pageOf[T any](call string, sorted []T, key func(T) string, token *string, limit int, after func(key, last string) bool) ([]T, *string, error) {
	if token != nil && *token != "" {
		last, err := openToken(call, *token)
		if err != nil {
			return nil, nil, err
		}
		for len(sorted) > 0 && !after(key(sorted[0]), last) {
			sorted = sorted[1:]
		}
	}
	if len(sorted) <= limit {
		return sorted, nil, nil
	}
	page := sorted[:limit]
	return page, new(sealToken(call, key(page[limit-1]))), nil
}

// ascending is the order of keys as strings.
func ascending(key, last string) bool { return key > last }

func sealToken(call, last string) string {
	return base64.URLEncoding.EncodeToString([]byte(call + "\x00" + last))
}

func openToken(call, token string) (string, error) {
	data, err := base64.URLEncoding.DecodeString(token)
	if err != nil {
		return "", parameterError("Invalid token: '%s'", token)
	}
	owner, last, found := strings.Cut(string(data), "\x00")
	if !found || owner != call {
		return "", parameterError("Invalid token: '%s'", token)
	}
	return last, nil
}

// pageSize checks maxResults, which the API's model leaves open.
func pageSize(given *int32, fallback, most int32) (int, error) {
	if given == nil {
		return int(fallback), nil
	}
	if *given < 1 || *given > most {
		return 0, parameterError("Invalid value for maxResults: %d. It must be between 1 and %d.", *given, most)
	}
	return int(*given), nil
}
