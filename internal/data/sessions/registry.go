package sessions

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/wire/caller"
)

const (
	// registryAge is how long a registry password is good.
	registryAge = 12 * time.Hour
	// maxPassword is what clients keep in their configuration and send in a
	// header without trouble.
	maxPassword = 4096

	registryPurpose = "registry password"
)

// ErrPasswordSize tells that an identity does not fit into a password: its
// session has long policies or many tags.
var ErrPasswordSize = errors.New("the session's policies and tags are too large for a registry password")

// ticket is what a registry password says.
type ticket struct {
	AccountID   string          `json:"a"`
	ARN         string          `json:"p"`
	UserID      string          `json:"i"`
	UserName    string          `json:"u,omitempty"`
	AccessKeyID string          `json:"k"`
	Session     *caller.Session `json:"x,omitempty"`
	Expires     time.Time       `json:"e"`
}

// IssueRegistry makes the password with which who opens the image registry for
// 12 hours, though not longer than who's own session. Of who, the principal,
// the session and the access key are kept. The error is ErrPasswordSize for a
// session that does not fit.
func (s *Sessions) IssueRegistry(who caller.Identity, now time.Time) (password string, expires time.Time, err error) {
	expires = now.Add(registryAge)
	if who.Session != nil && who.Session.Expires.Before(expires) {
		expires = who.Session.Expires
	}
	text, err := json.Marshal(ticket{
		AccountID: who.AccountID, ARN: who.ARN, UserID: who.UserID, UserName: who.UserName,
		AccessKeyID: who.AccessKeyID, Session: who.Session, Expires: expires,
	})
	if err != nil {
		return "", time.Time{}, fmt.Errorf("issuing a registry password: %w", err)
	}
	plain, err := pack(text)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("issuing a registry password: %w", err)
	}
	sealed, err := s.ring.Seal(plain, registryPurpose)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("issuing a registry password: %w", err)
	}
	// The alphabet without + and /, which some clients put into addresses.
	password = base64.URLEncoding.EncodeToString(sealed)
	if len(password) >= maxPassword {
		return "", time.Time{}, ErrPasswordSize
	}
	return password, expires, nil
}

// OpenRegistry reads a registry password. The error of one that is not ours is
// fault.NotFound, and fault.Denied of one that has expired.
//
// The identity is as it was when the password was made. Whether its access key
// may still be used, and whether its user or role is still there, is for the
// caller to see: with AccessKeyID, which is that of the credentials that the
// password stands for, and Session.
func (s *Sessions) OpenRegistry(password string, now time.Time) (caller.Identity, error) {
	unknown := fault.New(fault.NotFound, "the registry password")
	sealed, err := base64.URLEncoding.Strict().DecodeString(password)
	if err != nil {
		return caller.Identity{}, unknown
	}
	plain, err := s.ring.Open(sealed, registryPurpose)
	if err != nil {
		return caller.Identity{}, unknown
	}
	var t ticket
	text, err := unpack(plain)
	if err == nil {
		err = json.Unmarshal(text, &t)
	}
	if err != nil {
		// It is ours, so this is no forgery: a newer Berth made it.
		return caller.Identity{}, fault.Wrap(fault.NotFound, err, unknown.Error())
	}
	if !now.Before(t.Expires) {
		return caller.Identity{}, fault.New(fault.Denied, "Your authorization token has expired. Reauthenticate and try again.")
	}
	return caller.Identity{
		AccountID: t.AccountID, ARN: t.ARN, UserID: t.UserID, UserName: t.UserName, AccessKeyID: t.AccessKeyID, Session: t.Session,
	}, nil
}
