package ssm

import (
	"encoding/json"
	"fmt"
	"time"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ssmapi"
)

const maxPolicies = 10

// policy is one policy of a parameter.
type policy struct {
	Type       string            `json:"Type"`
	Version    string            `json:"Version"`
	Attributes map[string]string `json:"Attributes"`

	text json.RawMessage // as the user sent it
}

// parsePolicies reads a list of policies. An empty list, and one of an empty
// object, takes all policies away.
func parsePolicies(text string) ([]policy, error) {
	var raw []json.RawMessage
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		return nil, &ssmapi.InvalidPolicyAttributeException{Message: new("The policies are not a JSON list of policies.")}
	}
	if len(raw) > maxPolicies {
		return nil, &ssmapi.PoliciesLimitExceededException{Message: new(fmt.Sprintf("You specified more than the maximum number of allowed policies for the parameter. The maximum is %d.", maxPolicies))}
	}
	var all []policy
	for _, one := range raw {
		p := policy{text: one}
		if err := json.Unmarshal(one, &p); err != nil {
			return nil, &ssmapi.InvalidPolicyAttributeException{Message: new("A policy is not an object with Type, Version and Attributes.")}
		}
		if p.Type == "" && p.Version == "" && p.Attributes == nil {
			continue
		}
		all = append(all, p)
	}
	return all, nil
}

// check says why the policies cannot be had, and when the parameter expires.
// Notifications are refused: without EventBridge nobody would get them.
func check(policies []policy, now time.Time) (expires *time.Time, err error) {
	for _, p := range policies {
		switch p.Type {
		case "Expiration":
		case "ExpirationNotification", "NoChangeNotification":
			return nil, &ssmapi.InvalidPolicyTypeException{Message: new("The policy type " + p.Type + " isn't supported: this server has no EventBridge to notify by. Expiration is supported.")}
		default:
			return nil, &ssmapi.InvalidPolicyTypeException{Message: new("The policy type isn't supported. Parameter Store supports the following policy types: Expiration, ExpirationNotification, and NoChangeNotification.")}
		}
		if expires != nil {
			return nil, &ssmapi.IncompatiblePolicyException{Message: new("There is a conflict in the policies specified for this parameter. You can't, for example, specify two Expiration policies for a parameter.")}
		}
		if p.Version != "1.0" {
			return nil, &ssmapi.InvalidPolicyAttributeException{Message: new("The version of an Expiration policy must be 1.0.")}
		}
		at, err := time.Parse(time.RFC3339, p.Attributes["Timestamp"])
		if err != nil || len(p.Attributes) != 1 {
			return nil, &ssmapi.InvalidPolicyAttributeException{Message: new("An Expiration policy must have one attribute, Timestamp, in the format 2018-12-02T21:34:33.000Z.")}
		}
		if !at.After(now) {
			return nil, &ssmapi.InvalidPolicyAttributeException{Message: new("The Timestamp of an Expiration policy must be in the future.")}
		}
		expires = new(at.UTC())
	}
	return expires, nil
}

// inlinePolicies are a version's policies as clients see them.
func inlinePolicies(v *model.ParameterVersion) []ssmapi.ParameterInlinePolicy {
	out := []ssmapi.ParameterInlinePolicy{}
	policies, err := parsePolicies(v.Policies)
	if v.Policies == "" || err != nil {
		return out
	}
	for _, p := range policies {
		out = append(out, ssmapi.ParameterInlinePolicy{PolicyText: new(string(p.text)), PolicyType: &p.Type, PolicyStatus: new("Pending")})
	}
	return out
}
