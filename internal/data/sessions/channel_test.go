package sessions_test

import (
	"errors"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/base/fault"
)

func TestOpenChannel(t *testing.T) {
	file := filepath.Join(t.TempDir(), "master")
	first, later, theirs := open(t, file), open(t, file), open(t, filepath.Join(t.TempDir(), "master"))
	rapid.Check(t, func(t *rapid.T) {
		serial := rapid.IntRange(0, 1<<30).Draw(t, "serial")
		id := rapid.StringMatching(`[a-z0-9-]{1,40}`).Draw(t, "id")
		token, err := first.IssueChannel(id, serial)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := later.OpenChannel(id, token); err != nil || got != serial {
			t.Fatalf("opened as %d, %v; want %d", got, err, serial)
		}
		at := rapid.IntRange(0, len(token)-1).Draw(t, "at")
		changed := []byte(token)
		changed[at] ^= 1
		for what, err := range map[string]error{
			"another session's": second(first.OpenChannel(id+"x", token)),
			"another Berth's":   second(theirs.OpenChannel(id, token)),
			"changed":           second(first.OpenChannel(id, string(changed))),
			"cut off":           second(first.OpenChannel(id, token[:at])),
			"none":              second(first.OpenChannel(id, "")),
		} {
			if !errors.Is(err, fault.NotFound) {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
	// The two kinds of tokens are not each other's.
	token, err := first.IssueChannel("x", 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := first.Open("x", token); !errors.Is(err, fault.NotFound) {
		t.Errorf("a channel's token as a session token: %v", err)
	}
}

func second(_ int, err error) error { return err }
