package cloudtrail

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"berth.dev/berth/internal/data/logstore"
	"berth.dev/berth/internal/wire/api/cloudtrailapi"
)

// hashOf is of everything in a request that its later pages must repeat.
func hashOf(in *cloudtrailapi.LookupEventsInput) string {
	h := sha256.New()
	for _, a := range in.LookupAttributes {
		fmt.Fprintf(h, "%s=%q,", a.AttributeKey, *a.AttributeValue)
	}
	if in.StartTime != nil {
		fmt.Fprintf(h, "from %d,", in.StartTime.Unix())
	}
	if in.EndTime != nil {
		fmt.Fprintf(h, "to %d,", in.EndTime.Unix())
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// token says where the next page begins.
func (q *query) token() *string {
	return new(base64.URLEncoding.EncodeToString([]byte(q.hash + " " + q.day + " " + q.last.ID())))
}

// resume goes on where a token says.
func (q *query) resume(token *string) error {
	if token == nil || *token == "" {
		return nil
	}
	invalid := &cloudtrailapi.InvalidNextTokenException{Message: new("The NextToken is invalid, or the request has other parameters than the one that it came with.")}
	text, err := base64.URLEncoding.DecodeString(*token)
	if err != nil {
		return invalid
	}
	parts := strings.Split(string(text), " ")
	if len(parts) != 3 || parts[0] != q.hash || len(parts[1]) != len(dayLayout) {
		return invalid
	}
	last, err := logstore.ParseID(parts[2])
	if err != nil {
		return invalid
	}
	q.day, q.last = parts[1], &last
	return nil
}
