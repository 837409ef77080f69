package sessions_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/data/keyring"
	"berth.dev/berth/internal/data/sessions"
	"berth.dev/berth/internal/wire/caller"
)

func open(t *testing.T, file string) *sessions.Sessions {
	t.Helper()
	ring, err := keyring.Open(t.Context(), keyring.Config{File: file})
	if err != nil {
		t.Fatal(err)
	}
	return sessions.New(ring)
}

// identities draws principals with sessions, some too long to be left alone.
func identities() *rapid.Generator[caller.Identity] {
	return rapid.Custom(func(t *rapid.T) caller.Identity {
		at := time.Unix(rapid.Int64Range(1, 4e9).Draw(t, "issued"), 0).UTC()
		name := rapid.StringMatching(`[\w+=,.@-]{2,64}`).Draw(t, "name")
		s := &caller.Session{
			RoleARN: "arn:aws:iam::123456789012:role/app", RoleID: "AROAEXAMPLE", Name: name,
			IssuedAt: at, Expires: at.Add(time.Duration(rapid.IntRange(900, 43200).Draw(t, "seconds")) * time.Second),
			SourceIdentity: rapid.String().Draw(t, "source identity"),
			Chained:        rapid.Bool().Draw(t, "chained"),
		}
		if rapid.Bool().Draw(t, "limited") {
			s.Policies = []string{`{"Version":"2012-10-17","Statement":[` + strings.Repeat(`{"Effect":"Allow","Action":"s3:*","Resource":"*"},`, rapid.IntRange(0, 40).Draw(t, "statements")) + `{}]}`}
			s.Tags = rapid.MapOfN(rapid.String(), rapid.String(), 1, 5).Draw(t, "tags")
		}
		return caller.Identity{
			AccountID: "123456789012", ARN: "arn:aws:sts::123456789012:assumed-role/app/" + name, UserID: "AROAEXAMPLE:" + name, Session: s,
		}
	})
}

func TestOpen_GivesBackWhatWasIssued(t *testing.T) {
	file := filepath.Join(t.TempDir(), "master")
	first, later := open(t, file), open(t, file)
	rapid.Check(t, func(t *rapid.T) {
		who := identities().Draw(t, "who")
		sent := who
		sent.SourceIP, sent.RequestID, sent.AccessKeyID = "192.0.2.1", "request", "AKIAOLD" // of one request: not kept
		c, err := first.Issue(sent)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(c.AccessKeyID, "ASIA") || len(c.AccessKeyID) != 20 || len(c.SecretAccessKey) != 40 || !c.Expires.Equal(who.Session.Expires) {
			t.Fatalf("issued %s until %s", c, c.Expires)
		}
		secret, got, err := later.Open(c.AccessKeyID, c.SessionToken)
		if err != nil {
			t.Fatal(err)
		}
		who.AccessKeyID = c.AccessKeyID
		if secret != c.SecretAccessKey || !reflect.DeepEqual(got, who) {
			t.Fatalf("opened %+v %+v, want %+v %+v", got, *got.Session, who, *who.Session)
		}
	})
}

func TestOpen_RefusesWhatIsNotOurs(t *testing.T) {
	ours, theirs := open(t, filepath.Join(t.TempDir(), "master")), open(t, filepath.Join(t.TempDir(), "master"))
	refused := func(t *rapid.T, what, key, token string) {
		if secret, who, err := ours.Open(key, token); !errors.Is(err, fault.NotFound) || secret != "" || who.ARN != "" {
			t.Fatalf("%s: opened as %q, %v", what, who.ARN, err)
		} else if len(token) > 40 && strings.Contains(err.Error(), token) {
			t.Fatalf("%s: the error has the token: %v", what, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, err := ours.Issue(identities().Draw(t, "a"))
		if err != nil {
			t.Fatal(err)
		}
		b, err := ours.Issue(identities().Draw(t, "b"))
		if err != nil {
			t.Fatal(err)
		}
		c, err := theirs.Issue(identities().Draw(t, "c"))
		if err != nil {
			t.Fatal(err)
		}
		refused(t, "another key's token", a.AccessKeyID, b.SessionToken)
		refused(t, "another Berth's", c.AccessKeyID, c.SessionToken)
		refused(t, "none", a.AccessKeyID, "")
		token := a.SessionToken
		at := rapid.IntRange(0, len(token)-1).Draw(t, "at")
		other := rapid.SampledFrom([]byte("ABab01+/=\n\r ")).Filter(func(c byte) bool { return c != token[at] }).Draw(t, "other")
		refused(t, "one character changed", a.AccessKeyID, token[:at]+string(other)+token[at+1:])
		refused(t, "cut off", a.AccessKeyID, token[:at])
		refused(t, "one character more", a.AccessKeyID, token[:at]+string(other)+token[at:])
		refused(t, "twice", a.AccessKeyID, token+token)
	})
}

// A header has room for 8 KiB with most clients; a token with everything that
// AWS allows in it stays far below.
func TestIssue_IsCompact(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "master"))
	at := time.Unix(1_700_000_000, 0)
	who := caller.Identity{
		AccountID: "123456789012", ARN: "arn:aws:sts::123456789012:assumed-role/app/session", UserID: "AROAEXAMPLE:session",
		Session: &caller.Session{RoleARN: "arn:aws:iam::123456789012:role/app", RoleID: "AROAEXAMPLE", Name: "session", IssuedAt: at, Expires: at.Add(time.Hour)},
	}
	plain, err := s.Issue(who)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(plain.SessionToken); n > 700 {
		t.Errorf("a plain session's token has %d characters", n)
	}
	var statements []string
	for i := range 20 {
		statements = append(statements, fmt.Sprintf(`{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":"arn:aws:s3:::bucket/%d/*"}`, i))
	}
	who.Session.Policies = []string{`{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`}
	limited, err := s.Issue(who)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(limited.SessionToken); n > 1200 {
		t.Errorf("a token with a policy of %d characters has %d", len(who.Session.Policies[0]), n)
	}
}

func TestIssue_WantsASession(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "master"))
	if _, err := s.Issue(caller.Identity{AccountID: "123456789012"}); err == nil {
		t.Error("credentials without an end were issued")
	}
}

func TestCredentials_ShowNoSecret(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "master"))
	c, err := s.Issue(caller.Identity{Session: &caller.Session{Expires: time.Unix(1, 0)}})
	if err != nil {
		t.Fatal(err)
	}
	if said := fmt.Sprintf("%v %+v %s", c, &c, c); strings.Contains(said, c.SecretAccessKey) || strings.Contains(said, c.SessionToken) {
		t.Error("printing shows the secret")
	}
}
