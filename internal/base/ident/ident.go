package ident

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"math/big"
)

// Hex returns n random lower-case hexadecimal digits.
func Hex(n int) string {
	b := make([]byte, (n+1)/2)
	rand.Read(b) //nolint:errcheck // crypto/rand.Read never fails since Go 1.24
	return hex.EncodeToString(b)[:n]
}

// Task returns a task or container-instance id: 32 hex digits.
func Task() string { return Hex(32) }

// EC2 returns an EC2 resource id: the prefix, a dash and 17 hex digits.
func EC2(prefix string) string { return prefix + "-" + Hex(17) }

// UUID returns a random (version 4) UUID.
func UUID() string {
	var b [16]byte
	rand.Read(b[:]) //nolint:errcheck // see Hex
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}

const (
	upperDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	secretChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
)

// AccessKeyID returns an access key id of a long-lived key: AKIA and 16 more
// characters of the base-32 alphabet.
func AccessKeyID() string { return "AKIA" + pick(upperDigits, 16) }

// SecretAccessKey returns a 40-character secret.
func SecretAccessKey() string { return pick(secretChars, 40) }

// Token returns n characters that are safe in URLs, files and shell words.
func Token(n int) string { return pick("abcdefghijklmnopqrstuvwxyz234567", n) }

// Deployment returns the id of a deployment: ecs-svc/ and 19 digits.
func Deployment() string { return "ecs-svc/" + digits(19) }

// ServiceRevision returns the id of a service revision: 19 digits.
func ServiceRevision() string { return digits(19) }

// ServiceDeployment returns the id of a service deployment: 21 characters that
// are safe in URLs.
func ServiceDeployment() string {
	return pick("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-", 21)
}

// digits returns a random number of n digits, of which AWS's never begin with 0.
func digits(n int) string {
	least := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n-1)), nil)
	k, err := rand.Int(rand.Reader, new(big.Int).Mul(least, big.NewInt(9)))
	if err != nil {
		panic(err) // crypto/rand's reader never fails since Go 1.24
	}
	return k.Add(k, least).String()
}

// pick draws from alphabets whose length is a power of two, so that every
// character is equally likely without rejection.
func pick(alphabet string, n int) string {
	b := make([]byte, n)
	rand.Read(b) //nolint:errcheck // see Hex
	for i := range b {
		b[i] = alphabet[int(b[i])%len(alphabet)]
	}
	return string(b)
}
