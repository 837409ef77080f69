package sts

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"slices"
	"strings"
)

// publicKey is a key of an issuer and the algorithms that it is good for.
type publicKey struct {
	id         string
	algorithms []string
	key        any // *rsa.PublicKey or *ecdsa.PublicKey
}

// find returns the key of an id for an algorithm. A token that names none is
// from an issuer with one key.
func find(keys []publicKey, id, algorithm string) (any, bool) {
	var found []publicKey
	for _, k := range keys {
		if (id == "" || k.id == id) && slices.Contains(k.algorithms, algorithm) {
			found = append(found, k)
		}
	}
	if len(found) == 0 || id == "" && len(found) > 1 {
		return nil, false
	}
	return found[0].key, true
}

// maxKeys is how many keys of an issuer are looked at.
const maxKeys = 100

// parseKeys reads the keys of a set that can sign ID tokens, and leaves out the
// rest: an issuer may have others for other ends.
func parseKeys(set []json.RawMessage) []publicKey {
	var keys []publicKey
	for _, raw := range set[:min(len(set), maxKeys)] {
		if k, err := parseKey(raw); err == nil {
			keys = append(keys, k)
		}
	}
	return keys
}

var errKey = errors.New("not a key for signatures")

// parseKey reads a JSON Web Key (RFC 7517, 7518).
func parseKey(raw []byte) (publicKey, error) {
	var k struct {
		Type      string `json:"kty"`
		ID        string `json:"kid"`
		Use       string `json:"use"`
		Algorithm string `json:"alg"`
		N         string `json:"n"`
		E         string `json:"e"`
		Curve     string `json:"crv"`
		X         string `json:"x"`
		Y         string `json:"y"`
	}
	if err := json.Unmarshal(raw, &k); err != nil {
		return publicKey{}, err
	}
	if k.Use != "" && k.Use != "sig" {
		return publicKey{}, errKey
	}
	out := publicKey{id: k.ID}
	var err error
	switch k.Type {
	case "RSA":
		out.algorithms = []string{"RS256", "RS384", "RS512"}
		out.key, err = rsaKey(k.N, k.E)
	case "EC":
		out.key, out.algorithms, err = curveKey(k.Curve, k.X, k.Y)
	default:
		err = errKey
	}
	if err != nil {
		return publicKey{}, err
	}
	if k.Algorithm != "" {
		if !slices.Contains(out.algorithms, k.Algorithm) {
			return publicKey{}, errKey
		}
		out.algorithms = []string{k.Algorithm}
	}
	return out, nil
}

// Shorter RSA keys are no proof, longer ones take too long.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

func rsaKey(n, e string) (*rsa.PublicKey, error) {
	modulus, err := number(n)
	if err != nil {
		return nil, err
	}
	exponent, err := number(e)
	if err != nil {
		return nil, err
	}
	if modulus.BitLen() < minRSABits || modulus.BitLen() > maxRSABits || !exponent.IsInt64() || exponent.Int64() < 3 || exponent.Int64() > 1<<31-1 {
		return nil, errKey
	}
	return &rsa.PublicKey{N: modulus, E: int(exponent.Int64())}, nil
}

func curveKey(curve, x, y string) (*ecdsa.PublicKey, []string, error) {
	var on elliptic.Curve
	var algorithm string
	switch curve {
	case "P-256":
		on, algorithm = elliptic.P256(), "ES256"
	case "P-384":
		on, algorithm = elliptic.P384(), "ES384"
	case "P-521":
		on, algorithm = elliptic.P521(), "ES512"
	default:
		return nil, nil, errKey
	}
	size := (on.Params().BitSize + 7) / 8
	point := []byte{4} // uncompressed
	for _, text := range []string{x, y} {
		v, err := number(text)
		if err != nil || v.BitLen() > size*8 {
			return nil, nil, errKey
		}
		point = append(point, v.FillBytes(make([]byte, size))...)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(on, point)
	return key, []string{algorithm}, err
}

func number(text string) (*big.Int, error) {
	data, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil || len(data) == 0 || len(data) > maxRSABits/8+1 {
		return nil, errKey
	}
	return new(big.Int).SetBytes(data), nil
}
