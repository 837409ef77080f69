package secretsmanager

import (
	"context"
	"crypto/rand"
	"math/big"
	"strings"

	"berth.dev/berth/internal/wire/api/secretsmanagerapi"
)

// The kinds of characters of a random password.
const (
	lower       = "abcdefghijklmnopqrstuvwxyz"
	upper       = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	numbers     = "0123456789"
	punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
	space       = " "
)

const defaultPasswordLength = 32

// GetRandomPassword implements secretsmanagerapi.Service.
func (p *Provider) GetRandomPassword(_ context.Context, in *secretsmanagerapi.GetRandomPasswordInput) (*secretsmanagerapi.GetRandomPasswordOutput, error) {
	length := int64(defaultPasswordLength)
	if in.PasswordLength != nil {
		length = *in.PasswordLength
	}
	kinds, all := charactersOf(in)
	switch {
	case all == "":
		return nil, invalidParameter("The password can't be generated because all characters are excluded.")
	case in.RequireEachIncludedType != nil && !*in.RequireEachIncludedType:
		kinds = nil
	case int64(len(kinds)) > length:
		return nil, invalidParameter("Password length is too short based on the required types.")
	}
	password := make([]byte, 0, length)
	for _, kind := range kinds {
		password = append(password, draw(kind))
	}
	for int64(len(password)) < length {
		password = append(password, draw(all))
	}
	for i := len(password) - 1; i > 0; i-- { // where those of each kind stand is random too
		j := below(i + 1)
		password[i], password[j] = password[j], password[i]
	}
	return &secretsmanagerapi.GetRandomPasswordOutput{RandomPassword: new(string(password))}, nil
}

// charactersOf returns the kinds that a password is made of, without those that
// are excluded wholly, and all their characters.
func charactersOf(in *secretsmanagerapi.GetRandomPasswordInput) (kinds []string, all string) {
	for _, kind := range []struct {
		characters string
		excluded   bool
	}{
		{lower, value(in.ExcludeLowercase)},
		{upper, value(in.ExcludeUppercase)},
		{numbers, value(in.ExcludeNumbers)},
		{punctuation, value(in.ExcludePunctuation)},
		{space, !value(in.IncludeSpace)},
	} {
		left := strings.Map(func(r rune) rune {
			if strings.ContainsRune(value(in.ExcludeCharacters), r) {
				return -1
			}
			return r
		}, kind.characters)
		if !kind.excluded && left != "" {
			kinds, all = append(kinds, left), all+left
		}
	}
	return kinds, all
}

func draw(from string) byte { return from[below(len(from))] }

// below returns a random number less than n, each equally likely.
func below(n int) int {
	// Reading from crypto/rand never fails.
	i, _ := rand.Int(rand.Reader, big.NewInt(int64(n)))
	return int(i.Int64())
}
