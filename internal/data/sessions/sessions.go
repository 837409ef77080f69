package sessions

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/keyring"
	"berth.dev/berth/internal/wire/caller"
)

// Credentials are temporary.
type Credentials struct {
	AccessKeyID     string // ASIA…
	SecretAccessKey string
	SessionToken    string
	Expires         time.Time
}

// String keeps what signs requests out of logs and test output.
func (c Credentials) String() string { return "temporary credentials " + c.AccessKeyID }

// Sessions issues credentials whose whole meaning is in their token, sealed by
// the keyring: a control plane that restarts knows them all, and none needs
// storing.
type Sessions struct{ ring *keyring.Keyring }

// New returns the issuer.
func New(ring *keyring.Keyring) *Sessions { return &Sessions{ring} }

// content is what a token says. Members may be added; tokens of an older Berth
// are read for as long as the longest session, 36 hours.
type content struct {
	Secret    string          `json:"s"`
	AccountID string          `json:"a"`
	ARN       string          `json:"p"`
	UserID    string          `json:"i"`
	UserName  string          `json:"u,omitempty"`
	Session   *caller.Session `json:"x"`
}

// The forms of a token's plaintext, its first byte.
const (
	formJSON     = 1
	formDeflated = 2
)

// Issue makes credentials for who, whose Session is set and says until when.
// Of who, the principal and the session are kept, not what belongs to one
// request.
func (s *Sessions) Issue(who caller.Identity) (Credentials, error) {
	if who.Session == nil {
		return Credentials{}, errors.New("issuing credentials: the identity has no session")
	}
	key := "ASIA" + strings.TrimPrefix(ident.AccessKeyID(), "AKIA")
	secret := ident.SecretAccessKey()
	plain, err := encode(content{
		Secret: secret, AccountID: who.AccountID, ARN: who.ARN, UserID: who.UserID, UserName: who.UserName, Session: who.Session,
	})
	if err != nil {
		return Credentials{}, fmt.Errorf("issuing credentials: %w", err)
	}
	sealed, err := s.ring.Seal(plain, purpose(key))
	if err != nil {
		return Credentials{}, fmt.Errorf("issuing credentials: %w", err)
	}
	return Credentials{
		AccessKeyID: key, SecretAccessKey: secret, SessionToken: base64.StdEncoding.EncodeToString(sealed), Expires: who.Session.Expires,
	}, nil
}

// Open reads a token that came with an access key id. The error of a token
// that is not ours, or not that key's, is fault.NotFound. Whether it has
// expired is for the caller to check (Session.Expires).
func (s *Sessions) Open(accessKeyID, token string) (secret string, who caller.Identity, err error) {
	unknown := fault.New(fault.NotFound, "the session token of access key %s", accessKeyID)
	// The decoder skips line breaks and, unless strict, ignores spare bits: two
	// texts would be one token.
	if strings.ContainsAny(token, "\r\n") {
		return "", caller.Identity{}, unknown
	}
	sealed, err := base64.StdEncoding.Strict().DecodeString(token)
	if err != nil {
		return "", caller.Identity{}, unknown
	}
	plain, err := s.ring.Open(sealed, purpose(accessKeyID))
	if err != nil {
		return "", caller.Identity{}, unknown
	}
	c, err := decode(plain)
	if err != nil {
		// It is ours, so this is no forgery: a newer Berth made it.
		return "", caller.Identity{}, fault.Wrap(fault.NotFound, err, unknown.Error())
	}
	return c.Secret, caller.Identity{
		AccountID: c.AccountID, ARN: c.ARN, UserID: c.UserID, UserName: c.UserName, Session: c.Session, AccessKeyID: accessKeyID,
	}, nil
}

// purpose binds a sealed token to its access key.
func purpose(accessKeyID string) string { return "session token " + accessKeyID }

func encode(c content) ([]byte, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	return pack(text)
}

// pack is a token's plaintext: its form and its text.
func pack(text []byte) ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte(formDeflated)
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	// Reading back happens on every call with the token and inflating costs
	// more than it: a short session is better left alone.
	if saved := len(text) - b.Len(); saved < worthwhile {
		return append([]byte{formJSON}, text...), nil
	}
	return b.Bytes(), nil
}

// worthwhile is how many bytes deflating must save.
const worthwhile = 512

func decode(plain []byte) (content, error) {
	var c content
	text, err := unpack(plain)
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return c, err
	}
	if c.Session == nil {
		return c, errors.New("the token has no session")
	}
	return c, nil
}

func unpack(plain []byte) ([]byte, error) {
	if len(plain) == 0 {
		return nil, errors.New("the token is empty")
	}
	switch plain[0] {
	case formJSON:
		return plain[1:], nil
	case formDeflated:
		return io.ReadAll(flate.NewReader(bytes.NewReader(plain[1:])))
	}
	return nil, fmt.Errorf("the token has form %d", plain[0])
}
