package nodeca

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"slices"
	"time"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

const (
	tokenID     = 10 // characters of a secret that name its record
	tokenSecret = 32 // those that prove it
	// MaxTokenTTL and MaxTokenUses bound what one token lets in.
	MaxTokenTTL  = 30 * 24 * time.Hour
	MaxTokenUses = 1000
	// tokenKept is how long a token is known after its end, so that one can see
	// who joined with it.
	tokenKept = 30 * 24 * time.Hour
)

// MintToken makes a token with which so many nodes may join, from anywhere,
// until ttl is over. It is good for nothing else, and only a hash of it is
// stored. A ttl or a number out of bounds is fault.Invalid.
func (a *Authority) MintToken(ctx context.Context, s *store.Store, ttl time.Duration, uses int) (nodeapi.JoinToken, error) {
	if ttl <= 0 || ttl > MaxTokenTTL {
		return nodeapi.JoinToken{}, fault.New(fault.Invalid, "a join token is valid for at most %s", MaxTokenTTL)
	}
	if uses < 1 || uses > MaxTokenUses {
		return nodeapi.JoinToken{}, fault.New(fault.Invalid, "with a join token 1 to %d nodes can join", MaxTokenUses)
	}
	secret := ident.Token(tokenID + tokenSecret)
	hash := sha256.Sum256([]byte(secret))
	_, err := s.Update(ctx, func(tx *store.Tx) error {
		sweep(tx)
		records.JoinTokens.Put(tx, &model.JoinToken{
			ID: secret[:tokenID], SecretHash: hash[:], CreatedAt: tx.Now(), ExpiresAt: tx.Now().Add(ttl), Uses: uses,
		})
		return nil
	})
	return a.token(secret), err
}

// sweep forgets a few tokens that ended long ago.
func sweep(tx *store.Tx) {
	var old []string
	for t := range records.JoinTokens.All(tx) {
		if tx.Now().Sub(t.ExpiresAt) > tokenKept && len(old) < 10 {
			old = append(old, t.ID)
		}
	}
	for _, id := range old {
		records.JoinTokens.Delete(tx, id)
	}
}

// Attempt is a node's attempt to join.
type Attempt struct {
	Secret  string
	Request []byte // PKCS #10, DER
	// Remote is true when it came over the network.
	Remote bool
}

func errSecret() error {
	return fault.New(fault.Denied, "the join token is not one of this control plane, has expired or has been used up")
}

// Admit gives a certificate for an attempt with a token that MintToken made, or
// with the local one. Which of the reasons a token is refused for is not told:
// all are fault.Denied. A name that some node has is refused too, lest a token
// lets its bearer take the place of a node that is there.
func (a *Authority) Admit(ctx context.Context, s *store.Store, at Attempt, now time.Time) ([]byte, error) {
	if a.isLocal(at.Secret) && !at.Remote {
		return a.SignNode(at.Secret, at.Request, now)
	}
	request, err := readRequest(at.Request)
	if err != nil {
		return nil, err
	}
	name := request.Subject.CommonName
	_, err = s.Update(ctx, func(tx *store.Tx) error { return redeem(tx, at.Secret, name) })
	if err != nil {
		return nil, err
	}
	return a.signNode(request, now)
}

// redeem takes one use of a token. The use is gone if the answer is lost: the
// node asks again with a new name, and a token that is short of uses is made
// anew.
func redeem(tx *store.Tx, secret, name string) error {
	if len(secret) != tokenID+tokenSecret {
		return errSecret()
	}
	t, ok := records.JoinTokens.Get(tx, secret[:tokenID])
	hash := sha256.Sum256([]byte(secret))
	if !ok || subtle.ConstantTimeCompare(hash[:], t.SecretHash) != 1 || !tx.Now().Before(t.ExpiresAt) || t.Uses < 1 {
		return errSecret()
	}
	if records.Instances.Has(tx, name) || taken(tx, name) {
		return fault.New(fault.Denied, "a node of the name %s has joined already", name)
	}
	return records.JoinTokens.Edit(tx, t.ID, func(t *model.JoinToken) error {
		t.Uses--
		t.UsedBy = append(slices.Clone(t.UsedBy), name)
		return nil
	})
}

func taken(tx *store.Tx, name string) bool {
	for t := range records.JoinTokens.All(tx) {
		if slices.Contains(t.UsedBy, name) {
			return true
		}
	}
	return false
}
