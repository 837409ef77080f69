package access

import (
	"strings"

	"berth.dev/berth/internal/base/arn"
)

// iam follows the Service Authorization Reference of AWS IAM. Who names no user
// means himself, in the operations that allow it.
var iam = join(
	rows(row{}, "ListUsers", "ListGroups", "ListRoles", "ListPolicies", "ListInstanceProfiles", "ListOpenIDConnectProviders",
		"ListVirtualMFADevices", "CreateAccountAlias", "DeleteAccountAlias", "ListAccountAliases", "GetAccountSummary",
		"GetAccountAuthorizationDetails", "SimulateCustomPolicy", "GetContextKeysForCustomPolicy"),

	rows(row{on: []target{inUser}}, "DeleteUser", "ListUserTags", "GetUserPolicy", "ListUserPolicies", "ListAttachedUserPolicies",
		"ListGroupsForUser", "GetLoginProfile", "DeleteLoginProfile", "ListSigningCertificates", "ListServiceSpecificCredentials",
		"PutUserPolicy", "DeleteUserPolicy", "DeleteUserPermissionsBoundary"),
	rows(row{on: []target{myself}}, "GetUser", "CreateAccessKey", "UpdateAccessKey", "DeleteAccessKey", "ListAccessKeys", "ListMFADevices", "ListSSHPublicKeys"),
	rows(row{on: []target{inUser}, keys: []key{attached}}, "AttachUserPolicy", "DetachUserPolicy"),
	table{
		"CreateUser": {
			on: []target{{path: "UserName", arn: newIn("user")}}, tags: "Tags", keys: []key{bounded},
			also: []need{{action: "iam:TagUser", on: []target{{path: "UserName", arn: newIn("user")}}, when: "Tags.Key"}},
		},
		"UpdateUser":                 {on: []target{inUser, {path: "NewUserName", arn: renamed("user", User)}}},
		"TagUser":                    {on: []target{inUser}, tags: "Tags"},
		"UntagUser":                  {on: []target{inUser}, tagKeys: "TagKeys"},
		"PutUserPermissionsBoundary": {on: []target{inUser}, keys: []key{bounded}},
	},

	rows(row{on: []target{inGroupOfUsers}}, "GetGroup", "DeleteGroup", "AddUserToGroup", "RemoveUserFromGroup", "PutGroupPolicy",
		"GetGroupPolicy", "DeleteGroupPolicy", "ListGroupPolicies", "ListAttachedGroupPolicies"),
	rows(row{on: []target{inGroupOfUsers}, keys: []key{attached}}, "AttachGroupPolicy", "DetachGroupPolicy"),
	table{
		"CreateGroup": {on: []target{{path: "GroupName", arn: newIn("group")}}},
		"UpdateGroup": {on: []target{inGroupOfUsers, {path: "NewGroupName", arn: renamed("group", Group)}}},
	},

	rows(row{on: []target{inRole}}, "GetRole", "UpdateRole", "UpdateRoleDescription", "UpdateAssumeRolePolicy", "DeleteRole", "ListRoleTags",
		"PutRolePolicy", "GetRolePolicy", "DeleteRolePolicy", "ListRolePolicies", "ListAttachedRolePolicies",
		"ListInstanceProfilesForRole", "DeleteServiceLinkedRole", "DeleteRolePermissionsBoundary"),
	rows(row{on: []target{inRole}, keys: []key{attached}}, "AttachRolePolicy", "DetachRolePolicy"),
	table{
		"CreateRole": {
			on: []target{{path: "RoleName", arn: newIn("role")}}, tags: "Tags", keys: []key{bounded},
			also: []need{{action: "iam:TagRole", on: []target{{path: "RoleName", arn: newIn("role")}}, when: "Tags.Key"}},
		},
		"TagRole":                    {on: []target{inRole}, tags: "Tags"},
		"UntagRole":                  {on: []target{inRole}, tagKeys: "TagKeys"},
		"PutRolePermissionsBoundary": {on: []target{inRole}, keys: []key{bounded}},
		"CreateServiceLinkedRole": {
			on:   []target{{path: "AWSServiceName", arn: serviceLinked}},
			keys: []key{{name: "iam:awsservicename", path: "AWSServiceName"}},
		},
		"GetServiceLinkedRoleDeletionStatus": {on: []target{{path: "DeletionTaskId", arn: deletedRole}}},
	},

	rows(row{on: []target{inProfile}}, "GetInstanceProfile", "DeleteInstanceProfile", "RemoveRoleFromInstanceProfile", "ListInstanceProfileTags"),
	table{
		"CreateInstanceProfile": {
			on: []target{{path: "InstanceProfileName", arn: newIn("instance-profile")}}, tags: "Tags",
			also: []need{{action: "iam:TagInstanceProfile", on: []target{{path: "InstanceProfileName", arn: newIn("instance-profile")}}, when: "Tags.Key"}},
		},
		"AddRoleToInstanceProfile": {
			on:   []target{inProfile},
			also: []need{pass("ec2", target{path: "RoleName", arn: role})},
		},
		"TagInstanceProfile":   {on: []target{inProfile}, tags: "Tags"},
		"UntagInstanceProfile": {on: []target{inProfile}, tagKeys: "TagKeys"},
	},

	rows(row{on: []target{inPolicy}}, "GetPolicy", "DeletePolicy", "ListEntitiesForPolicy", "CreatePolicyVersion", "GetPolicyVersion",
		"DeletePolicyVersion", "ListPolicyVersions", "SetDefaultPolicyVersion", "ListPolicyTags"),
	table{
		"CreatePolicy": {
			on: []target{{path: "PolicyName", arn: newIn("policy")}}, tags: "Tags",
			also: []need{{action: "iam:TagPolicy", on: []target{{path: "PolicyName", arn: newIn("policy")}}, when: "Tags.Key"}},
		},
		"TagPolicy":   {on: []target{inPolicy}, tags: "Tags"},
		"UntagPolicy": {on: []target{inPolicy}, tagKeys: "TagKeys"},
	},

	rows(row{on: []target{inOIDC}}, "GetOpenIDConnectProvider", "DeleteOpenIDConnectProvider", "AddClientIDToOpenIDConnectProvider",
		"RemoveClientIDFromOpenIDConnectProvider", "UpdateOpenIDConnectProviderThumbprint", "ListOpenIDConnectProviderTags"),
	table{
		"CreateOpenIDConnectProvider": {
			on: []target{{path: "Url", arn: oidcProvider}}, tags: "Tags",
			also: []need{{action: "iam:TagOpenIDConnectProvider", on: []target{{path: "Url", arn: oidcProvider}}, when: "Tags.Key"}},
		},
		"TagOpenIDConnectProvider":   {on: []target{inOIDC}, tags: "Tags"},
		"UntagOpenIDConnectProvider": {on: []target{inOIDC}, tagKeys: "TagKeys"},
	},

	rows(row{on: []target{{path: "PolicySourceArn", arn: literal}}}, "SimulatePrincipalPolicy", "GetContextKeysForPrincipalPolicy"),
)

var (
	inUser         = target{path: "UserName", arn: named("user", User)}
	inGroupOfUsers = target{path: "GroupName", arn: named("group", Group)}
	inRole         = target{path: "RoleName", arn: role}
	inProfile      = target{path: "InstanceProfileName", arn: named("instance-profile", InstanceProfile)}
	inPolicy       = target{path: "PolicyArn", arn: literal}
	inOIDC         = target{path: "OpenIDConnectProviderArn", arn: literal}

	bounded  = key{name: keyBoundary, path: "PermissionsBoundary"}
	attached = key{name: "iam:policyarn", path: "PolicyArn"}

	// myself is the user that is named, or the caller.
	myself = target{path: "UserName", absent: self, arn: func(v *view, name string) []string {
		if name == self {
			return []string{v.Caller}
		}
		return named("user", User)(v, name)
	}}
)

// self is no user's name.
const self = "<caller>"

// named finds the ARN of what has a name, which includes its path.
func named(kind string, of Kind) naming {
	return func(v *view, name string) []string {
		if found, ok := v.look.Resolve(of, name); ok {
			return []string{found}
		}
		if arn.Is(name) {
			return []string{name}
		}
		return []string{v.Scope.Global("iam", kind+"/"+name)}
	}
}

// role is a role by name or ARN. Task definitions may use either.
func role(v *view, name string) []string { return named("role", Role)(v, name) }

// newIn is what will be made, under the path that the request gives.
func newIn(kind string) naming {
	return func(v *view, name string) []string {
		path := v.value("Path")
		if path == "" {
			path = "/"
		}
		return []string{v.Scope.Global("iam", kind+path+name)}
	}
}

// renamed is what a user or group will be called: a caller who may change one
// name may not thereby take on any other.
func renamed(kind string, of Kind) naming {
	return func(v *view, name string) []string {
		path := v.value("NewPath")
		if path == "" {
			path = "/"
			if old, ok := v.look.Resolve(of, v.value("UserName|GroupName")); ok {
				_, resource, _ := strings.Cut(old, ":"+kind)
				path = resource[:strings.LastIndex(resource, "/")+1]
			}
		}
		return []string{v.Scope.Global("iam", kind+path+name)}
	}
}

// serviceLinked is the role that a service gets: its name is the service's
// choice.
func serviceLinked(v *view, service string) []string {
	return []string{v.Scope.Global("iam", "role/aws-service-role/"+service+"/*")}
}

// deletedRole is the role of "task/aws-service-role/<service>/<role>/<id>".
func deletedRole(v *view, id string) []string {
	parts := strings.Split(id, "/")
	if len(parts) < 4 {
		return []string{v.Scope.Global("iam", "role/aws-service-role/*")}
	}
	return []string{v.Scope.Global("iam", "role/"+strings.Join(parts[1:4], "/"))}
}

func oidcProvider(v *view, url string) []string {
	return []string{v.Scope.Global("iam", "oidc-provider/"+strings.TrimPrefix(url, "https://"))}
}
