package access

// sts follows the Service Authorization Reference of AWS STS. Who may assume a
// role is decided by the role's trust policy, which edge/authority brings in.
var sts = join(
	// These cannot be denied (behaviour/iam-credentials-metadata.md §9).
	rows(row{free: true}, "GetCallerIdentity", "GetSessionToken"),
	// Whoever has a token of the issuer may ask: the provider verifies it and
	// evaluates the role's trust policy for its subject.
	rows(row{free: true}, "AssumeRoleWithWebIdentity"),
	rows(row{}, "GetAccessKeyInfo"),
	table{
		"AssumeRole": {
			on: []target{assumed}, tags: "Tags",
			keys: []key{
				{name: "sts:externalid", path: "ExternalId"},
				{name: "sts:rolesessionname", path: "RoleSessionName"},
				{name: "sts:sourceidentity", path: "SourceIdentity"},
				{name: "sts:transitivetagkeys", path: "TransitiveTagKeys"},
				{name: "sts:durationseconds", path: "DurationSeconds"},
			},
			also: []need{
				{action: "sts:TagSession", on: []target{assumed}, when: "Tags.Key"},
				{action: "sts:SetSourceIdentity", on: []target{assumed}, when: "SourceIdentity"},
			},
		},
		"GetFederationToken": {on: []target{{path: "Name", arn: func(v *view, name string) []string {
			return []string{v.Scope.Global("sts", "federated-user/"+name)}
		}}}, tags: "Tags"},
	},
)

var assumed = target{path: "RoleArn", arn: literal}
