package model

import (
	"strings"
	"time"
)

// Principals and what they may do (behaviour/iam-credentials-metadata.md §6,
// §10). The IAM provider writes all of it; the authority reads it on every
// call. Policy documents are kept as the text that the user sent, because that
// is what Terraform compares; they have passed policy.Parse.

// User is an IAM user.
type User struct {
	ID          string         `json:"userId"` // AIDA…
	Name        string         `json:"userName"`
	Path        string         `json:"path"`
	CreatedAt   time.Time      `json:"createdAt"`
	Tags        []Tag          `json:"tags,omitempty"`
	Groups      []string       `json:"groups,omitempty"` // names
	Inline      []InlinePolicy `json:"inlinePolicies,omitempty"`
	Attached    []string       `json:"attachedPolicies,omitempty"` // ARNs of managed policies
	BoundaryARN string         `json:"permissionsBoundary,omitempty"`
}

// Key identifies the user in the store: names are unique without case.
func (u *User) Key() string { return FoldName(u.Name) }

// Group is a set of users that have policies in common.
type Group struct {
	ID        string         `json:"groupId"` // AGPA…
	Name      string         `json:"groupName"`
	Path      string         `json:"path"`
	CreatedAt time.Time      `json:"createdAt"`
	Inline    []InlinePolicy `json:"inlinePolicies,omitempty"`
	Attached  []string       `json:"attachedPolicies,omitempty"`
}

// Key identifies the group in the store.
func (g *Group) Key() string { return FoldName(g.Name) }

// Role is an identity that others take on for a while.
type Role struct {
	ID          string    `json:"roleId"` // AROA…
	Name        string    `json:"roleName"`
	Path        string    `json:"path"`
	Description string    `json:"description,omitempty"`
	CreatedAt   time.Time `json:"createdAt"`
	// Trust is the document that says who may assume the role.
	Trust string `json:"assumeRolePolicyDocument"`
	// TrustedARNs are the users and roles of this account that Trust names. It
	// follows them: a renamed one gets its new ARN in Trust, a deleted one its
	// unique id, so that another of its name is not trusted for it.
	TrustedARNs        []string       `json:"trustedArns,omitempty"`
	MaxSessionDuration int32          `json:"maxSessionDuration"` // seconds, 3,600 to 43,200
	Tags               []Tag          `json:"tags,omitempty"`
	Inline             []InlinePolicy `json:"inlinePolicies,omitempty"`
	Attached           []string       `json:"attachedPolicies,omitempty"`
	BoundaryARN        string         `json:"permissionsBoundary,omitempty"`
}

// Key identifies the role in the store.
func (r *Role) Key() string { return FoldName(r.Name) }

// InlinePolicy belongs to one user, group or role.
type InlinePolicy struct {
	Name     string `json:"policyName"`
	Document string `json:"policyDocument"`
}

// Policy is a managed policy of the account. AWS's own are not records:
// rules/policy/managed has them.
type Policy struct {
	ID          string          `json:"policyId"` // ANPA…
	ARN         string          `json:"arn"`
	Name        string          `json:"policyName"`
	Path        string          `json:"path"`
	Description string          `json:"description,omitempty"`
	CreatedAt   time.Time       `json:"createdAt"`
	UpdatedAt   time.Time       `json:"updatedAt"`
	Tags        []Tag           `json:"tags,omitempty"`
	Versions    []PolicyVersion `json:"versions"` // oldest first, at most five
	DefaultID   string          `json:"defaultVersionId"`
	LastVersion int             `json:"lastVersion"` // numbers are never used twice
}

// Key identifies the policy in the store.
func (p *Policy) Key() string { return p.ARN }

// Default is the version that counts.
func (p *Policy) Default() *PolicyVersion {
	for i := range p.Versions {
		if p.Versions[i].ID == p.DefaultID {
			return &p.Versions[i]
		}
	}
	return nil
}

// PolicyVersion is one text of a managed policy. It never changes.
type PolicyVersion struct {
	ID        string    `json:"versionId"` // v1, v2, …
	Document  string    `json:"document"`
	CreatedAt time.Time `json:"createdAt"`
}

// InstanceProfile hands a role to a host.
type InstanceProfile struct {
	ID        string    `json:"instanceProfileId"` // AIPA…
	Name      string    `json:"instanceProfileName"`
	Path      string    `json:"path"`
	CreatedAt time.Time `json:"createdAt"`
	Role      string    `json:"roleName,omitempty"`
	Tags      []Tag     `json:"tags,omitempty"`
}

// Key identifies the instance profile in the store.
func (p *InstanceProfile) Key() string { return FoldName(p.Name) }

// OIDCProvider is an issuer of web identity tokens that roles may trust.
type OIDCProvider struct {
	ARN         string    `json:"arn"`
	URL         string    `json:"url"` // without https://
	ClientIDs   []string  `json:"clientIds,omitempty"`
	Thumbprints []string  `json:"thumbprints,omitempty"`
	CreatedAt   time.Time `json:"createdAt"`
	Tags        []Tag     `json:"tags,omitempty"`
}

// Key identifies the provider in the store.
func (p *OIDCProvider) Key() string { return p.ARN }

// AccessKey lets a user, or the account's root, sign requests. The secret is
// sealed by the keyring with the key's id as context.
type AccessKey struct {
	ID     string `json:"accessKeyId"`
	Sealed []byte `json:"sealedSecret"`
	// Clear is the secret as an older Berth stored it; the next start seals it.
	Clear        string    `json:"secretAccessKey,omitempty"`
	PrincipalARN string    `json:"principalArn"`       // of the root user; empty for a user's
	UserName     string    `json:"userName,omitempty"` // empty for the root user's
	Inactive     bool      `json:"inactive,omitempty"`
	CreatedAt    time.Time `json:"createdAt"`
}

// Key identifies the access key in the store.
func (k *AccessKey) Key() string { return k.ID }

// AccountAlias is the account's one name for the sign-in page.
type AccountAlias struct {
	Name string `json:"accountAlias"`
}

// Key identifies the alias in the store: there is at most one.
func (*AccountAlias) Key() string { return "account" }

// FoldName is the form in which IAM compares names: without case.
func FoldName(name string) string { return strings.ToLower(name) }
