package model

import (
	"fmt"
	"time"
)

// Types of a parameter.
const (
	ParameterString       = "String"
	ParameterStringList   = "StringList"
	ParameterSecureString = "SecureString"
)

// Parameter is a parameter of SSM Parameter Store without its values
// (behaviour/secrets-logs.md §3). The provider writes it; control/expiry
// removes it when its Expiration policy says so.
type Parameter struct {
	Name string `json:"name"`
	ARN  string `json:"arn"`
	// Version is the newest; versions begin with 1, the oldest of more than
	// 100 goes.
	Version   int64     `json:"version"`
	CreatedAt time.Time `json:"createdAt"`
	Tags      []Tag     `json:"tags,omitempty"`
	// ExpiresAt is when the newest version's Expiration policy removes the
	// parameter.
	ExpiresAt *time.Time `json:"expiresAt,omitempty"`
}

// Key identifies the parameter in the store.
func (p *Parameter) Key() string { return p.Name }

// ParameterVersion is one value of a parameter. A SecureString's is sealed by
// data/keys with PARAMETER_ARN in the encryption context; others' are clear.
type ParameterVersion struct {
	ParameterName  string    `json:"parameterName"`
	Version        int64     `json:"version"`
	Type           string    `json:"type"`
	Value          string    `json:"value,omitempty"`
	Sealed         []byte    `json:"sealed,omitempty"`
	KMSKeyID       string    `json:"kmsKeyId,omitempty"` // as the user named it
	Description    string    `json:"description,omitempty"`
	AllowedPattern string    `json:"allowedPattern,omitempty"`
	DataType       string    `json:"dataType"`
	Tier           string    `json:"tier"`
	Policies       string    `json:"policies,omitempty"` // JSON, as the user sent it
	Labels         []string  `json:"labels,omitempty"`
	ModifiedAt     time.Time `json:"lastModifiedDate"`
	ModifiedBy     string    `json:"lastModifiedUser"`
}

// Key identifies the version in the store, next to its siblings in numeric
// order.
func (v *ParameterVersion) Key() string { return v.ParameterName + "|" + versionKey(v.Version) }

// versionKey sorts as the number does.
func versionKey(n int64) string { return fmt.Sprintf("%019d", n) }
