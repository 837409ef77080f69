package iam

import (
	"crypto/sha256"
	"encoding/base32"
	"slices"
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/policy/managed"
)

// awsAccount stands for the account in the ARNs of AWS's own policies.
const awsAccount = "aws"

// serviceLinkedPolicyPath is the path of policies that only services attach, to
// their own roles.
const serviceLinkedPolicyPath = "/aws-service-role/"

// isAWS reports whether a policy is one of AWS's own.
func isAWS(name string) bool {
	a, err := arn.Parse(name)
	return err == nil && a.AccountID == awsAccount
}

// attachable reports whether users may attach a policy.
func attachable(p *model.Policy) bool {
	return !isAWS(p.ARN) || !strings.HasPrefix(p.Path, serviceLinkedPolicyPath)
}

// awsPolicy is one of AWS's own in the form of the account's.
func awsPolicy(name string) (*model.Policy, bool) {
	found, ok := managed.Find(name)
	if !ok {
		return nil, false
	}
	return ofAWS(found), true
}

func awsPolicies() []*model.Policy {
	var all []*model.Policy
	for _, each := range managed.All() {
		all = append(all, ofAWS(each))
	}
	return slices.Clip(all)
}

// ofAWS has one version, the one that counts. Its unique id is made of the ARN:
// it is not AWS's, but it is always the same.
func ofAWS(p managed.Policy) *model.Policy {
	sum := sha256.Sum256([]byte(p.ARN))
	return &model.Policy{
		ID:  prefixPolicy + base32.StdEncoding.EncodeToString(sum[:])[:17],
		ARN: p.ARN, Name: p.Name, Path: p.Path, Description: p.Description, CreatedAt: p.CreatedAt, UpdatedAt: p.UpdatedAt,
		DefaultID: p.DefaultVersionID,
		Versions:  []model.PolicyVersion{{ID: p.DefaultVersionID, Document: p.Document, CreatedAt: p.UpdatedAt}},
	}
}
