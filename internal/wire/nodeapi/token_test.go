package nodeapi_test

import (
	"strings"
	"testing"

	"berth.dev/berth/internal/wire/nodeapi"
)

func TestParseJoinToken(t *testing.T) {
	token := nodeapi.JoinToken{CAHash: [32]byte{1, 2, 3}, Secret: "hidden"}
	text := token.String()
	if want := "berth1.010203" + strings.Repeat("00", 29) + ".hidden"; text != want {
		t.Errorf("written as %s, want %s", text, want)
	}
	for _, good := range []string{text, text + "\n", "  " + text} {
		if got, err := nodeapi.ParseJoinToken(good); err != nil || got != token {
			t.Errorf("%q is read as %v, %v", good, got, err)
		}
	}
	for _, bad := range []string{
		"", "berth1", "berth1..", "berth2" + text[6:], text + ".more",
		"berth1." + strings.Repeat("00", 31) + ".hidden", "berth1." + strings.Repeat("zz", 32) + ".hidden", strings.TrimSuffix(text, "hidden"),
	} {
		if got, err := nodeapi.ParseJoinToken(bad); err == nil {
			t.Errorf("%q is read as %v", bad, got)
		} else if strings.Contains(err.Error(), "hidden") {
			t.Errorf("%q: the error shows the secret: %v", bad, err)
		}
	}
}
