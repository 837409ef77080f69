package kms

import (
	"context"
	"fmt"
	"slices"

	"berth.dev/berth/internal/data/keys"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/kmsapi"
)

const (
	// defaultPeriod is how many days pass between rotations unasked.
	defaultPeriod = 365
	// maxOnDemand is how often a key can be rotated on demand.
	maxOnDemand = 25
)

// rotating accepts keys that rotate and are in use.
func rotating(key *model.KMSKey) error {
	if key.Spec != keys.SymmetricDefault {
		return unsupported("%s key spec is %s which is not valid for this operation.", key.ARN, key.Spec)
	}
	return enabled(key)
}

// EnableKeyRotation implements kmsapi.Service. A period that changes begins
// now; the same one goes on.
func (p *Provider) EnableKeyRotation(ctx context.Context, in *kmsapi.EnableKeyRotationInput) (*kmsapi.EnableKeyRotationOutput, error) {
	_, err := p.change(ctx, in.KeyId, "EnableKeyRotation", rotating, func(tx *store.Tx, key *model.KMSKey) error {
		days := int32(defaultPeriod)
		if in.RotationPeriodInDays != nil { // its bounds are in the model
			days = *in.RotationPeriodInDays
		}
		if !key.RotationEnabled || key.RotationDays != days {
			key.NextRotation = new(tx.Now().AddDate(0, 0, int(days)))
		}
		key.RotationEnabled, key.RotationDays = true, days
		return nil
	})
	return &kmsapi.EnableKeyRotationOutput{}, err
}

// DisableKeyRotation implements kmsapi.Service.
func (p *Provider) DisableKeyRotation(ctx context.Context, in *kmsapi.DisableKeyRotationInput) (*kmsapi.DisableKeyRotationOutput, error) {
	_, err := p.change(ctx, in.KeyId, "DisableKeyRotation", rotating, func(_ *store.Tx, key *model.KMSKey) error {
		key.RotationEnabled, key.RotationDays, key.NextRotation = false, 0, nil
		return nil
	})
	return &kmsapi.DisableKeyRotationOutput{}, err
}

// GetKeyRotationStatus implements kmsapi.Service. A key that waits for deletion
// does not rotate; when the deletion is cancelled, the status is what it was.
func (p *Provider) GetKeyRotationStatus(_ context.Context, in *kmsapi.GetKeyRotationStatusInput) (*kmsapi.GetKeyRotationStatusOutput, error) {
	key, err := p.byID(p.store.Snapshot(), in.KeyId)
	if err != nil {
		return nil, err
	}
	out := &kmsapi.GetKeyRotationStatusOutput{KeyId: &key.ARN, KeyRotationEnabled: new(key.RotationEnabled && key.State != model.KMSKeyPendingDeletion)}
	if *out.KeyRotationEnabled {
		out.RotationPeriodInDays, out.NextRotationDate = &key.RotationDays, key.NextRotation
	}
	return out, nil
}

// ListKeyRotations implements kmsapi.Service.
func (p *Provider) ListKeyRotations(_ context.Context, in *kmsapi.ListKeyRotationsInput) (*kmsapi.ListKeyRotationsOutput, error) {
	key, err := p.byID(p.store.Snapshot(), in.KeyId)
	if err != nil {
		return nil, err
	}
	if key.Spec != keys.SymmetricDefault {
		return nil, unsupported("%s key spec is %s which is not valid for this operation.", key.ARN, key.Spec)
	}
	// Everything but the first was made by a rotation.
	from := 1
	if in.IncludeKeyMaterial == kmsapi.IncludeKeyMaterialAllKeyMaterial {
		from = 0
	}
	var listed []rotation
	for i := from; i < len(key.Materials); i++ {
		listed = append(listed, rotation{i, &key.Materials[i]})
	}
	page, err := pageOf("rotations", slices.Values(listed), rotation.order, in.Marker, in.Limit, 100)
	if err != nil {
		return nil, err
	}
	out := &kmsapi.ListKeyRotationsOutput{Rotations: []kmsapi.RotationsListEntry{}, NextMarker: page.next, Truncated: page.truncated()}
	for _, r := range page.items {
		entry := kmsapi.RotationsListEntry{KeyId: &key.ID, KeyMaterialId: &r.material.ID, KeyMaterialState: kmsapi.KeyMaterialStateNonCurrent}
		if r.index == len(key.Materials)-1 {
			entry.KeyMaterialState = kmsapi.KeyMaterialStateCurrent
		}
		if r.index > 0 {
			entry.RotationDate, entry.RotationType = &r.material.CreatedAt, kmsapi.RotationTypeAutomatic
		}
		if r.material.OnDemand {
			entry.RotationType = kmsapi.RotationTypeOnDemand
		}
		out.Rotations = append(out.Rotations, entry)
	}
	return out, nil
}

// rotation is a generation of a key and its place.
type rotation struct {
	index    int
	material *model.KMSMaterial
}

// order sorts as the generations were made.
func (r rotation) order() string { return fmt.Sprintf("%06d", r.index) }

// RotateKeyOnDemand implements kmsapi.Service. The new material is in use when
// the call is answered; the schedule goes on as it was.
func (p *Provider) RotateKeyOnDemand(ctx context.Context, in *kmsapi.RotateKeyOnDemandInput) (*kmsapi.RotateKeyOnDemandOutput, error) {
	key, err := p.change(ctx, in.KeyId, "RotateKeyOnDemand", rotating, func(tx *store.Tx, key *model.KMSKey) error {
		asked := 0
		for _, m := range key.Materials {
			if m.OnDemand {
				asked++
			}
		}
		if asked >= maxOnDemand {
			return &kmsapi.LimitExceededException{Message: new("The number of on-demand rotations of " + key.ARN + " has reached the limit.")}
		}
		material, err := p.keys.NewMaterial(key.ID, key.Spec, tx.Now(), true)
		if err != nil {
			return err
		}
		key.Materials = append(key.Materials, material)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &kmsapi.RotateKeyOnDemandOutput{KeyId: &key.ARN}, nil
}
