package ssm

import (
	"encoding/base64"
	"strings"

	"berth.dev/berth/internal/wire/api/ssmapi"
)

// newToken is a token that says after which key a call goes on. The key need
// not be there any more when it comes back.
func newToken(call, last string) *string {
	return new(base64.URLEncoding.EncodeToString([]byte(call + "\x00" + last)))
}

func openToken(call string, token *string) (string, error) {
	if value(token) == "" {
		return "", nil
	}
	data, err := base64.URLEncoding.DecodeString(*token)
	owner, last, found := strings.Cut(string(data), "\x00")
	if err != nil || !found || owner != call {
		return "", &ssmapi.InvalidNextToken{Message: new("The specified token isn't valid.")}
	}
	return last, nil
}
