package iam

import (
	"errors"
	"net/url"
	"strings"

	"berth.dev/berth/internal/rules/policy"
)

// check parses a document before it is stored.
func check(kind policy.Kind, text string) error {
	_, err := policy.Parse(kind, text)
	if syntax, ok := errors.AsType[*policy.SyntaxError](err); ok {
		return malformed(syntax.Message)
	}
	return err
}

// encoded is a document as answers have it: URL-encoded by RFC 3986, in which a
// space is %20.
func encoded(text string) *string {
	return new(strings.ReplaceAll(url.QueryEscape(text), "+", "%20"))
}
