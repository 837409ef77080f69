package sessions_test

import (
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/sessions"
	"berth.dev/berth/internal/wire/caller"
)

func TestOpenRegistry(t *testing.T) {
	file := filepath.Join(t.TempDir(), "master")
	first, later, theirs := open(t, file), open(t, file), open(t, filepath.Join(t.TempDir(), "master"))
	rapid.Check(t, func(t *rapid.T) {
		who := identities().Draw(t, "who")
		now := who.Session.IssuedAt
		end := now.Add(12 * time.Hour)
		if rapid.Bool().Draw(t, "long-lived") {
			who = caller.Identity{AccountID: "123456789012", ARN: "arn:aws:iam::123456789012:user/dev", UserID: "AIDADEV", UserName: "dev"}
		} else if who.Session.Expires.Before(end) {
			end = who.Session.Expires
		}
		who.AccessKeyID = ident.AccessKeyID()
		sent := who
		sent.SourceIP, sent.RequestID, sent.Host = "192.0.2.1", "request", "localhost" // of one request: not kept
		password, expires, err := first.IssueRegistry(sent, now)
		if err != nil {
			t.Fatal(err)
		}
		if !expires.Equal(end) || len(password) >= 4096 || strings.ContainsAny(password, ":+/ \n") {
			t.Fatalf("%d characters until %s, want %s", len(password), expires, end)
		}
		got, err := later.OpenRegistry(password, end.Add(-time.Nanosecond))
		if err != nil || !reflect.DeepEqual(got, who) {
			t.Fatalf("opened as %+v, %v; want %+v", got, err, who)
		}
		refused := func(what string, class *fault.Class, s *sessions.Sessions, password string, at time.Time) {
			got, err := s.OpenRegistry(password, at)
			if !errors.Is(err, class) || got.ARN != "" {
				t.Fatalf("%s: %+v, %v", what, got, err)
			}
			if len(password) > 40 && strings.Contains(err.Error(), password) {
				t.Fatalf("%s: the error has the password", what)
			}
		}
		at := rapid.IntRange(0, len(password)-1).Draw(t, "at")
		other := rapid.SampledFrom([]byte("ABab01-_=\n ")).Filter(func(c byte) bool { return c != password[at] }).Draw(t, "other")
		refused("expired", fault.Denied, later, password, end)
		refused("another Berth's", fault.NotFound, theirs, password, now)
		refused("one character changed", fault.NotFound, first, password[:at]+string(other)+password[at+1:], now)
		refused("cut off", fault.NotFound, first, password[:at], now)
		refused("none", fault.NotFound, first, "", now)
	})
}

// Neither kind of secret is taken for the other.
func TestOpenRegistry_OtherKinds(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "master"))
	now := time.Unix(1_700_000_000, 0)
	c, err := s.Issue(caller.Identity{Session: &caller.Session{Expires: now.Add(time.Hour)}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.OpenRegistry(c.SessionToken, now); !errors.Is(err, fault.NotFound) {
		t.Errorf("a session token: %v", err)
	}
	password, _, err := s.IssueRegistry(caller.Identity{AccessKeyID: c.AccessKeyID, Session: &caller.Session{Expires: now.Add(time.Hour)}}, now)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Open(c.AccessKeyID, password); !errors.Is(err, fault.NotFound) {
		t.Errorf("a registry password as a session token: %v", err)
	}
}

func TestIssueRegistry_Size(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "master"))
	now := time.Unix(1_700_000_000, 0)
	who := caller.Identity{ARN: "arn:aws:sts::123456789012:assumed-role/app/s", Session: &caller.Session{Expires: now.Add(time.Hour), Tags: map[string]string{}}}
	for range 50 {
		who.Session.Tags[ident.Token(128)] = ident.Token(256)
	}
	if password, _, err := s.IssueRegistry(who, now); !errors.Is(err, sessions.ErrPasswordSize) || password != "" {
		t.Errorf("%d characters, %v", len(password), err)
	}
}
