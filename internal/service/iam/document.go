package iam

import (
	"errors"
	"net/url"
	"strings"

	"berth.dev/berth/internal/rules/policy"
)

// parse checks a document before it is stored.
func parse(kind policy.Kind, text string) (*policy.Document, error) {
	doc, err := policy.Parse(kind, text)
	if err == nil {
		return doc, nil
	}
	if syntax, ok := errors.AsType[*policy.SyntaxError](err); ok {
		return nil, malformed(syntax.Message)
	}
	return nil, err
}

// encoded is a document as answers have it: URL-encoded by RFC 3986, in which a
// space is %20.
func encoded(text string) *string {
	return new(strings.ReplaceAll(url.QueryEscape(text), "+", "%20"))
}
