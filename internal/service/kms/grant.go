package kms

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"iter"
	"maps"
	"regexp"
	"slices"
	"strings"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/kmsapi"
	"berth.dev/berth/internal/wire/caller"
)

// maxGrants is how many grants a key can have. AWS has 50,000; here they are
// part of the key's record, which is read and written as a whole.
const maxGrants = 1000

// Bounds of what a constraint of a grant can have: pairs, and characters of all
// their names and values.
const (
	maxPairs   = 8
	maxContext = 384
)

// checkConstraint refuses a constraint that is too large.
func checkConstraint(name string, pairs map[string]string) error {
	size := 0
	for k, v := range pairs {
		size += len(k) + len(v)
	}
	if len(pairs) > maxPairs || size > maxContext {
		return invalid("%s can have at most %d pairs and %d characters", name, maxPairs, maxContext)
	}
	return nil
}

// grantOperations are the operations that a grant on a key can allow.
func grantOperations(key *model.KMSKey) []kmsapi.GrantOperation {
	common := []kmsapi.GrantOperation{kmsapi.GrantOperationCreateGrant, kmsapi.GrantOperationRetireGrant, kmsapi.GrantOperationDescribeKey}
	if key.Usage == model.KMSGenerateVerifyMAC {
		return append(common, kmsapi.GrantOperationGenerateMac, kmsapi.GrantOperationVerifyMac)
	}
	return append(common, kmsapi.GrantOperationEncrypt, kmsapi.GrantOperationDecrypt, kmsapi.GrantOperationGenerateDataKey,
		kmsapi.GrantOperationGenerateDataKeyWithoutPlaintext, kmsapi.GrantOperationReEncryptFrom, kmsapi.GrantOperationReEncryptTo)
}

// newGrant is the grant that a request asks for.
func (p *Provider) newGrant(r store.Reader, key *model.KMSKey, in *kmsapi.CreateGrantInput) (model.KMSGrant, error) {
	for _, name := range []*string{in.GranteePrincipal, in.RetiringPrincipal} {
		if name != nil && (!strings.HasPrefix(*name, "arn:") || !p.principal(r, *name)) {
			return model.KMSGrant{}, &kmsapi.InvalidArnException{Message: new("ARN does not refer to a valid principal: " + *name)}
		}
	}
	g := model.KMSGrant{Name: value(in.Name), Grantee: *in.GranteePrincipal, Retiring: value(in.RetiringPrincipal), Issuer: p.scope.Root()}
	for _, op := range in.Operations {
		if !slices.Contains(grantOperations(key), op) {
			return model.KMSGrant{}, invalid("Operation %s is not valid for a grant on %s, whose key usage is %s", op, key.ARN, key.Usage)
		}
		if !slices.Contains(g.Operations, string(op)) {
			g.Operations = append(g.Operations, string(op))
		}
	}
	if len(g.Operations) == 0 {
		return model.KMSGrant{}, invalid("1 validation error detected: Value '[]' at 'operations' failed to satisfy constraint: Member must have length greater than or equal to 1")
	}
	if c := in.Constraints; c != nil {
		if key.Usage != model.KMSEncryptDecrypt && len(c.EncryptionContextEquals)+len(c.EncryptionContextSubset) > 0 {
			return model.KMSGrant{}, invalid("Grant constraints on the encryption context are valid for symmetric encryption keys only")
		}
		if err := cmp.Or(checkConstraint("EncryptionContextEquals", c.EncryptionContextEquals), checkConstraint("EncryptionContextSubset", c.EncryptionContextSubset)); err != nil {
			return model.KMSGrant{}, err
		}
		g.ContextEquals, g.ContextSubset = c.EncryptionContextEquals, c.EncryptionContextSubset
	}
	return g, nil
}

// sameGrant reports whether two grants allow the same under one name.
func sameGrant(a, b *model.KMSGrant) bool {
	return a.Name == b.Name && a.Grantee == b.Grantee && a.Retiring == b.Retiring && slices.Equal(a.Operations, b.Operations) &&
		maps.Equal(a.ContextEquals, b.ContextEquals) && maps.Equal(a.ContextSubset, b.ContextSubset)
}

// CreateGrant implements kmsapi.Service. A grant has its effect at once. One
// with a name is made once, however often the same is asked for.
func (p *Provider) CreateGrant(ctx context.Context, in *kmsapi.CreateGrantInput) (*kmsapi.CreateGrantOutput, error) {
	var out *kmsapi.CreateGrantOutput
	_, err := p.change(ctx, in.KeyId, "CreateGrant", enabled, func(tx *store.Tx, key *model.KMSKey) error {
		grant, err := p.newGrant(tx, key, in)
		if err != nil {
			return err
		}
		if grant.Name != "" {
			if i := slices.IndexFunc(key.Grants, func(g model.KMSGrant) bool { return sameGrant(&g, &grant) }); i >= 0 {
				out = &kmsapi.CreateGrantOutput{GrantId: &key.Grants[i].ID, GrantToken: &key.Grants[i].Token}
				return rehearsed(in.DryRun)
			}
		}
		if len(key.Grants) >= maxGrants {
			return &kmsapi.LimitExceededException{Message: new(fmt.Sprintf("The number of grants on %s has reached the limit of %d.", key.ARN, maxGrants))}
		}
		grant.ID, grant.CreatedAt = ident.Hex(64), tx.Now()
		grant.Token = base64.RawURLEncoding.EncodeToString([]byte(key.ID + "/" + grant.ID + "/" + ident.Hex(32)))
		key.Grants = append(key.Grants, grant)
		out = &kmsapi.CreateGrantOutput{GrantId: &grant.ID, GrantToken: &grant.Token}
		return rehearsed(in.DryRun)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// listedGrant is a grant with the key that it is on.
type listedGrant struct {
	*model.KMSGrant
	key *model.KMSKey
}

// order is when a grant was made; ids make it unique.
func (g listedGrant) order() string { return fmt.Sprintf("%020d %s", g.CreatedAt.UnixNano(), g.ID) }

func (g listedGrant) entry() kmsapi.GrantListEntry {
	e := kmsapi.GrantListEntry{
		KeyId: &g.key.ARN, GrantId: &g.ID, CreationDate: &g.CreatedAt, GranteePrincipal: &g.Grantee, IssuingAccount: &g.Issuer, Name: &g.Name,
	}
	if g.Retiring != "" {
		e.RetiringPrincipal = &g.Retiring
	}
	for _, op := range g.Operations {
		e.Operations = append(e.Operations, kmsapi.GrantOperation(op))
	}
	if len(g.ContextEquals)+len(g.ContextSubset) > 0 {
		e.Constraints = &kmsapi.GrantConstraints{EncryptionContextEquals: g.ContextEquals, EncryptionContextSubset: g.ContextSubset}
	}
	return e
}

// grantsOf are the grants on keys that match, oldest first.
func grantsOf(all iter.Seq[*model.KMSKey], match func(*model.KMSGrant) bool) iter.Seq[listedGrant] {
	var out []listedGrant
	for key := range all {
		for i := range key.Grants {
			if match(&key.Grants[i]) {
				out = append(out, listedGrant{&key.Grants[i], key})
			}
		}
	}
	slices.SortFunc(out, func(a, b listedGrant) int { return cmp.Compare(a.order(), b.order()) })
	return slices.Values(out)
}

// ListGrants implements kmsapi.Service.
func (p *Provider) ListGrants(_ context.Context, in *kmsapi.ListGrantsInput) (*kmsapi.ListGrantsOutput, error) {
	key, err := p.byID(p.store.Snapshot(), in.KeyId)
	if err != nil {
		return nil, err
	}
	page, err := pageOf("grants", grantsOf(slices.Values([]*model.KMSKey{key}), func(g *model.KMSGrant) bool {
		return (in.GrantId == nil || g.ID == *in.GrantId) && (in.GranteePrincipal == nil || g.Grantee == *in.GranteePrincipal)
	}), listedGrant.order, in.Marker, in.Limit, 50)
	if err != nil {
		return nil, err
	}
	out := &kmsapi.ListGrantsOutput{Grants: []kmsapi.GrantListEntry{}, NextMarker: page.next, Truncated: page.truncated()}
	for _, g := range page.items {
		out.Grants = append(out.Grants, g.entry())
	}
	return out, nil
}

// ListRetirableGrants implements kmsapi.Service.
func (p *Provider) ListRetirableGrants(_ context.Context, in *kmsapi.ListRetirableGrantsInput) (*kmsapi.ListRetirableGrantsOutput, error) {
	snap := p.store.Snapshot()
	if !strings.HasPrefix(*in.RetiringPrincipal, "arn:") {
		return nil, &kmsapi.InvalidArnException{Message: new("ARN does not refer to a valid principal: " + *in.RetiringPrincipal)}
	}
	page, err := pageOf("retirable grants", grantsOf(records.KMSKeys.All(snap), func(g *model.KMSGrant) bool {
		return g.Retiring == *in.RetiringPrincipal
	}), listedGrant.order, in.Marker, in.Limit, 50)
	if err != nil {
		return nil, err
	}
	out := &kmsapi.ListRetirableGrantsOutput{Grants: []kmsapi.GrantListEntry{}, NextMarker: page.next, Truncated: page.truncated()}
	for _, g := range page.items {
		out.Grants = append(out.Grants, g.entry())
	}
	return out, nil
}

// grantID is the form of a grant's id.
var grantID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// dropGrant takes a grant from a key that may be in any state.
func dropGrant(key *model.KMSKey, id string) error {
	if !grantID.MatchString(id) {
		return &kmsapi.InvalidGrantIdException{Message: new("The grant ID " + id + " is not valid.")}
	}
	i := slices.IndexFunc(key.Grants, func(g model.KMSGrant) bool { return g.ID == id })
	if i < 0 {
		return missing("Grant %s does not exist on %s", id, key.ARN)
	}
	key.Grants = slices.Delete(key.Grants, i, i+1)
	return nil
}

// RevokeGrant implements kmsapi.Service.
func (p *Provider) RevokeGrant(ctx context.Context, in *kmsapi.RevokeGrantInput) (*kmsapi.RevokeGrantOutput, error) {
	_, err := p.change(ctx, in.KeyId, "RevokeGrant", whatever, func(_ *store.Tx, key *model.KMSKey) error {
		if err := dropGrant(key, *in.GrantId); err != nil {
			return err
		}
		return rehearsed(in.DryRun)
	})
	return &kmsapi.RevokeGrantOutput{}, err
}

// RetireGrant implements kmsapi.Service. A grant is named by its token, or by
// key and id. Its retiring principal may retire it, its grantee when the grant
// says so, and whoever a policy allows to.
func (p *Provider) RetireGrant(ctx context.Context, in *kmsapi.RetireGrantInput) (*kmsapi.RetireGrantOutput, error) {
	keyID, id := value(in.KeyId), value(in.GrantId)
	if in.GrantToken != nil {
		if keyID != "" || id != "" {
			return nil, invalid("Specify either a grant token, or a key ID and a grant ID.")
		}
		data, err := base64.RawURLEncoding.DecodeString(*in.GrantToken)
		parts := strings.Split(string(data), "/")
		if err != nil || len(parts) != 3 {
			return nil, &kmsapi.InvalidGrantTokenException{Message: new("The grant token is not valid.")}
		}
		keyID, id = parts[0], parts[1]
	}
	if keyID == "" || id == "" {
		return nil, invalid("Specify either a grant token, or a key ID and a grant ID.")
	}
	_, err := p.change(ctx, &keyID, "RetireGrant", whatever, func(_ *store.Tx, key *model.KMSKey) error {
		i := slices.IndexFunc(key.Grants, func(g model.KMSGrant) bool { return g.ID == id })
		if i >= 0 {
			if in.GrantToken != nil && key.Grants[i].Token != *in.GrantToken {
				return &kmsapi.InvalidGrantTokenException{Message: new("The grant token is not valid.")}
			}
			if err := mayRetire(ctx, key, &key.Grants[i]); err != nil {
				return err
			}
		}
		if err := dropGrant(key, id); err != nil {
			return err
		}
		return rehearsed(in.DryRun)
	})
	return &kmsapi.RetireGrantOutput{}, err
}

// mayRetire asks whether the caller may retire a grant.
func mayRetire(ctx context.Context, key *model.KMSKey, g *model.KMSGrant) error {
	who, ok := caller.From(ctx)
	if ok && (is(who, g.Retiring) || is(who, g.Grantee) && slices.Contains(g.Operations, string(kmsapi.GrantOperationRetireGrant))) {
		return nil
	}
	return caller.Check(ctx, "kms:RetireGrant", key.ARN, nil)
}

// is reports whether the caller is a principal: itself, or in its role.
func is(who caller.Identity, principal string) bool {
	return principal != "" && (who.ARN == principal || who.Session != nil && who.Session.RoleARN == principal)
}
