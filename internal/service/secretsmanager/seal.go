package secretsmanager

import (
	"context"
	"crypto/subtle"
	"errors"

	"berth.dev/berth/internal/data/keys"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// maxBytes is how long a value can be.
const maxBytes = 65536

// secretValue is a value in clear. It never leaves the call that it came or
// goes with.
type secretValue struct {
	data   []byte
	binary bool
}

// valueOf reads the two members of which one can be given; nil: neither is.
func valueOf(text *string, binary []byte) (*secretValue, error) {
	switch {
	case text != nil && binary != nil:
		return nil, invalidParameter("You can't specify both a binary secret value and a string secret value in the same secret.")
	case text != nil && len(*text) > maxBytes: // the model counts characters
		return nil, invalidParameter("The secret value is too long. The maximum is %d bytes.", maxBytes)
	case text != nil:
		return &secretValue{data: []byte(*text)}, nil
	case binary != nil:
		return &secretValue{data: binary, binary: true}, nil
	}
	return nil, nil
}

func (v *secretValue) equal(other *secretValue) bool {
	return v.binary == other.binary && subtle.ConstantTimeCompare(v.data, other.data) == 1
}

// members are the two of an answer.
func (v *secretValue) members() (text *string, binary []byte) {
	if v.binary {
		return nil, v.data
	}
	return new(string(v.data)), nil
}

// keyName is the key that seals a secret's values.
func keyName(s *model.Secret) string {
	if s.KMSKeyID == "" {
		return keys.SecretsManager
	}
	return s.KMSKeyID
}

// bound is what a sealed value is bound to, so that it opens nowhere else.
func bound(arn, versionID string) map[string]string {
	return map[string]string{"SecretARN": arn, "SecretVersionId": versionID}
}

// seal makes a version of a value. It is not to be called in a transaction: it
// may need one of its own.
func (p *Provider) seal(ctx context.Context, s *model.Secret, id string, v *secretValue) (*model.SecretVersion, error) {
	sealed, keyID, err := p.keys.Seal(ctx, "secretsmanager", keyName(s), v.data, bound(s.ARN, id))
	if err != nil {
		return nil, sealing(err)
	}
	return &model.SecretVersion{SecretName: s.Name, ID: id, Sealed: sealed, Binary: v.binary, KMSKeyID: keyID}, nil
}

func (p *Provider) open(ctx context.Context, s *model.Secret, v *model.SecretVersion) (*secretValue, error) {
	data, err := p.keys.Open(ctx, "secretsmanager", v.Sealed, bound(s.ARN, v.ID))
	if err != nil {
		return nil, opening(err)
	}
	return &secretValue{data: data, binary: v.Binary}, nil
}

// reseal seals the versions that AWS seals again when a secret gets another
// key: those that are current, were before, or are pending.
func (p *Provider) reseal(ctx context.Context, r store.Reader, old, changed *model.Secret) ([]resealed, error) {
	var out []resealed
	for id, labels := range old.Stages.ByVersion() {
		if !model.StagesInUse(labels) {
			continue
		}
		v, found := version(r, old, id)
		if !found {
			continue
		}
		clear, err := p.open(ctx, old, v)
		if err != nil {
			return nil, err
		}
		next, err := p.seal(ctx, changed, id, clear)
		if err != nil {
			return nil, err
		}
		next.CreatedAt, next.AccessedOn = v.CreatedAt, v.AccessedOn
		out = append(out, resealed{was: v, is: next})
	}
	return out, nil
}

// resealed is a version under its old key and under its new one.
type resealed struct{ was, is *model.SecretVersion }

// errStale says that what was sealed does not fit what is stored any more: the
// call begins again.
var errStale = errors.New("the secret has changed meanwhile")

// again calls try until what it saw is still true when it writes.
func again(ctx context.Context, try func() error) error {
	for {
		err := try()
		if !errors.Is(err, errStale) || ctx.Err() != nil {
			return err
		}
	}
}
