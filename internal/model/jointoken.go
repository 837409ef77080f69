package model

import "time"

// JoinToken lets nodes ask for a certificate until it expires. Only the hash
// of its secret is kept.
type JoinToken struct {
	ID         string    `json:"id"`
	SecretHash []byte    `json:"secretHash"` // SHA-256
	CreatedAt  time.Time `json:"createdAt"`
	ExpiresAt  time.Time `json:"expiresAt"`
	// Uses is how many nodes may still join with it; Local tokens, which the
	// server makes for the node of its own machine, have no limit.
	Uses  int  `json:"uses"`
	Local bool `json:"local,omitempty"`
	// UsedBy are the instances that joined with it.
	UsedBy []string `json:"usedBy,omitempty"`
}

// Key identifies the token in the store.
func (t *JoinToken) Key() string { return t.ID }
