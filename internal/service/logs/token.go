package logs

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"berth.dev/berth/internal/data/logstore"
)

// tokenLife is how long the token of a list or a filter call is accepted.
const tokenLife = 24 * time.Hour

func invalidToken() error { return invalid("The specified nextToken is invalid.") }

// token is the place where a list or a filter call stopped. It is opaque to
// clients and valid only for the same question.
type token struct {
	Issued   int64  `json:"t"` // ms
	Question uint64 `json:"q"` // hash of the operation and its parameters
	Place    string `json:"p"`
}

// question hashes what has to stay the same from page to page.
func question(parts ...any) uint64 {
	h := fnv.New64a()
	for _, part := range parts {
		_, _ = fmt.Fprintf(h, "%q,", fmt.Sprint(part)) // a hash does not fail
	}
	return h.Sum64()
}

// issue returns the token of a place.
func (p *Provider) issue(question uint64, place string) *string {
	body, err := json.Marshal(token{Issued: p.nowMillis(), Question: question, Place: place})
	if err != nil {
		panic(err) // numbers and a string are always JSON
	}
	return new(base64.RawURLEncoding.EncodeToString(body))
}

// redeem returns the place of a token; empty when there is no token.
func (p *Provider) redeem(given *string, question uint64) (string, error) {
	if given == nil {
		return "", nil
	}
	body, err := base64.RawURLEncoding.DecodeString(*given)
	var t token
	if err != nil || json.Unmarshal(body, &t) != nil || t.Question != question || t.Place == "" {
		return "", invalidToken()
	}
	if age := p.nowMillis() - t.Issued; age > tokenLife.Milliseconds() {
		return "", invalidToken()
	}
	return t.Place, nil
}

// GetLogEvents has tokens that clients look into: f/<56 digits>/s continues
// after the event with that id, b/<56 digits>/s before it.

func forwardToken(p logstore.Position) *string  { return new("f/" + p.ID() + "/s") }
func backwardToken(p logstore.Position) *string { return new("b/" + p.ID() + "/s") }

// readEventToken reads either kind.
func readEventToken(given string) (p logstore.Position, backward bool, err error) {
	direction, rest, _ := strings.Cut(given, "/")
	id, ends := strings.CutSuffix(rest, "/s")
	if !ends || direction != "f" && direction != "b" {
		return p, false, invalidToken()
	}
	if p, err = logstore.ParseID(id); err != nil {
		return p, false, invalidToken()
	}
	return p, direction == "b", nil
}
