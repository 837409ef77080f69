package records

import (
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/secretref"
)

// FindSecret finds a secret by what the API names it by: its name, its ARN, or
// its ARN without the random ending. Secrets that wait for deletion are found
// too.
func FindSecret(r store.Reader, id string) (*model.Secret, bool) {
	for _, name := range secretref.Candidates(id) {
		if s, found := Secrets.Get(r, name); found && secretref.Names(id, s) {
			return s, true
		}
	}
	return nil, false
}

// SecretVersionsOf is the prefix of the keys of a secret's versions. Names of
// secrets have no bar.
func SecretVersionsOf(name string) string { return name + "|" }
