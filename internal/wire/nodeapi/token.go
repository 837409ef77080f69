package nodeapi

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// ServerName is the name in the control plane's certificate. Nodes verify it
// instead of an address, because they reach the control plane by many.
const ServerName = "berth-server"

// JoinToken lets a node ask for a certificate. It names the authority by the
// hash of its certificate, so that a node never trusts an impostor.
type JoinToken struct {
	CAHash [sha256.Size]byte
	Secret string
}

const tokenPrefix = "berth1"

// String returns the token's text form: berth1.<hash>.<secret>.
func (t JoinToken) String() string {
	return tokenPrefix + "." + hex.EncodeToString(t.CAHash[:]) + "." + t.Secret
}

// ParseJoinToken reads the text form of a token.
func ParseJoinToken(s string) (JoinToken, error) {
	parts := strings.Split(strings.TrimSpace(s), ".")
	if len(parts) != 3 || parts[0] != tokenPrefix || parts[2] == "" {
		return JoinToken{}, errors.New("the join token has not the form berth1.<hash>.<secret>")
	}
	hash, err := hex.DecodeString(parts[1])
	if err != nil || len(hash) != sha256.Size {
		return JoinToken{}, errors.New("the join token's certificate hash is damaged")
	}
	return JoinToken{CAHash: [sha256.Size]byte(hash), Secret: parts[2]}, nil
}

// JoinTLS returns the client's side of the TLS connection that joins: it
// accepts exactly the server whose chain ends in the authority of the token.
func (t JoinToken) JoinTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: ServerName,
		// The authority is not known yet; VerifyConnection checks it by hash.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			for _, ca := range state.PeerCertificates {
				if sha256.Sum256(ca.Raw) != t.CAHash {
					continue
				}
				roots := x509.NewCertPool()
				roots.AddCert(ca)
				_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: ServerName})
				if err != nil {
					return fmt.Errorf("verifying the control plane's certificate: %w", err)
				}
				return nil
			}
			return errors.New("the control plane is not the one that the join token names")
		},
	}
}
