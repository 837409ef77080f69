package kms

import (
	"context"
	"strings"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/kmsapi"
)

// macAlgorithm is the algorithm of a key for message authentication.
func macAlgorithm(key *model.KMSKey) kmsapi.MacAlgorithmSpec {
	return kmsapi.MacAlgorithmSpec(strings.Replace(key.Spec, "HMAC_", "HMAC_SHA_", 1))
}

// authenticating finds the key of an operation on message authentication codes.
func (p *Provider) authenticating(name *string, named kmsapi.MacAlgorithmSpec, operation string) (*model.KMSKey, error) {
	key, err := p.find(p.store.Snapshot(), name)
	if err != nil {
		return nil, err
	}
	if err := p.keys.Usable(key, model.KMSGenerateVerifyMAC, operation); err != nil {
		return nil, worded(err)
	}
	if named != macAlgorithm(key) {
		return nil, &kmsapi.InvalidKeyUsageException{Message: new("Algorithm " + string(named) + " is incompatible with key spec " + key.Spec + ".")}
	}
	return key, nil
}

// GenerateMac implements kmsapi.Service.
func (p *Provider) GenerateMac(_ context.Context, in *kmsapi.GenerateMacInput) (*kmsapi.GenerateMacOutput, error) {
	key, err := p.authenticating(in.KeyId, in.MacAlgorithm, "GenerateMac")
	if err != nil {
		return nil, err
	}
	if err := rehearsed(in.DryRun); err != nil {
		return nil, err
	}
	tag, err := p.keys.MAC(key, in.Message)
	if err != nil {
		return nil, err
	}
	return &kmsapi.GenerateMacOutput{Mac: tag, MacAlgorithm: in.MacAlgorithm, KeyId: &key.ARN}, nil
}

// VerifyMac implements kmsapi.Service.
func (p *Provider) VerifyMac(_ context.Context, in *kmsapi.VerifyMacInput) (*kmsapi.VerifyMacOutput, error) {
	key, err := p.authenticating(in.KeyId, in.MacAlgorithm, "VerifyMac")
	if err != nil {
		return nil, err
	}
	valid, err := p.keys.VerifyMAC(key, in.Message, in.Mac)
	if err != nil {
		return nil, err
	}
	if !valid {
		return nil, &kmsapi.KMSInvalidMacException{Message: new("")}
	}
	if err := rehearsed(in.DryRun); err != nil {
		return nil, err
	}
	return &kmsapi.VerifyMacOutput{KeyId: &key.ARN, MacValid: new(true), MacAlgorithm: in.MacAlgorithm}, nil
}
