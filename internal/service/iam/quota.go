package iam

// AWS's default quotas. They are enforced: what works here works there.
const (
	maxUsers            = 5000
	maxGroups           = 300
	maxRoles            = 1000
	maxPolicies         = 1500
	maxInstanceProfiles = 1000
	maxOIDCProviders    = 100

	maxGroupsPerUser   = 10
	maxKeysPerUser     = 2
	maxAttached        = 10 // managed policies of a user, group or role
	maxVersions        = 5  // of a managed policy
	maxRolesPerProfile = 1
	maxTags            = 50
	maxClientIDs       = 100 // of an OpenID Connect provider
	maxThumbprints     = 5

	// Sizes of policies in characters, white space not counted.
	maxPolicySize      = 6144
	maxTrustSize       = 2048
	maxUserInlineSize  = 2048 // all inline policies together
	maxGroupInlineSize = 5120
	maxRoleInlineSize  = 10240
)
