package access

import (
	"slices"
	"strings"

	"berth.dev/berth/internal/base/arn"
)

// kms follows the Service Authorization Reference of AWS KMS. A key is checked
// by its own ARN whatever it was called; kms:RequestAlias says how. Decrypt and
// ReEncrypt find the key in the ciphertext when the request names none: then the
// provider asks.
var kms = join(
	rows(row{}, "ListKeys", "ListAliases", "GenerateRandom", "ListRetirableGrants"),
	rows(row{on: []target{inKey}, keys: keyKeys}, "DescribeKey", "EnableKey", "DisableKey", "GetKeyPolicy", "ListKeyPolicies",
		"GetKeyRotationStatus", "ListKeyRotations", "DisableKeyRotation", "RotateKeyOnDemand", "UpdateKeyDescription",
		"CancelKeyDeletion", "ListGrants", "RevokeGrant", "ListResourceTags", "GetKeyLastUsage"),
	rows(row{on: []target{inKey}, keys: cipherKeys(algorithm)}, "Encrypt"),
	rows(row{on: []target{inKey}, keys: cipherKeys()}, "GenerateDataKey", "GenerateDataKeyWithoutPlaintext"),
	rows(row{on: []target{inKey}, keys: append([]key{{name: "kms:macalgorithm", path: "MacAlgorithm"}}, keyKeys...)}, "GenerateMac", "VerifyMac"),
	table{
		"Decrypt": {on: []target{inKey}, left: true, keys: cipherKeys(algorithm)},
		"ReEncrypt": {free: true, also: []need{
			{
				action: "kms:ReEncryptFrom", on: []target{{path: "SourceKeyId", arn: kmsKey}},
				keys: []key{{name: "kms:encryptioncontextkeys", of: contextKeys("SourceEncryptionContext")}, {name: "kms:encryptioncontext:", path: "SourceEncryptionContext", spread: true}},
			},
			{
				action: "kms:ReEncryptTo", on: []target{{path: "DestinationKeyId", arn: kmsKey}},
				keys: []key{{name: "kms:encryptioncontextkeys", of: contextKeys("DestinationEncryptionContext")}, {name: "kms:encryptioncontext:", path: "DestinationEncryptionContext", spread: true}},
			},
		}},
		"CreateKey": {
			tags: "Tags",
			keys: []key{
				{name: "kms:keyspec", path: "KeySpec|CustomerMasterKeySpec", absent: "SYMMETRIC_DEFAULT"},
				{name: "kms:keyusage", path: "KeyUsage", absent: "ENCRYPT_DECRYPT"},
				{name: "kms:keyorigin", path: "Origin", absent: "AWS_KMS"},
				{name: "kms:multiregion", path: "MultiRegion", absent: "false"},
				bypass,
			},
			also: []need{{action: "kms:TagResource", on: []target{constant(everything)}, when: "Tags.TagKey"}},
		},
		"PutKeyPolicy":        {on: []target{inKey}, keys: append([]key{bypass}, keyKeys...)},
		"EnableKeyRotation":   {on: []target{inKey}, keys: append([]key{{name: "kms:rotationperiodindays", path: "RotationPeriodInDays"}}, keyKeys...)},
		"ScheduleKeyDeletion": {on: []target{inKey}, keys: append([]key{{name: "kms:schedulekeydeletionpendingwindowindays", path: "PendingWindowInDays"}}, keyKeys...)},
		"CreateAlias":         {on: []target{{path: "AliasName", arn: alias}, {path: "TargetKeyId", arn: kmsKey}}},
		"UpdateAlias":         {on: []target{{path: "AliasName", arn: alias}, {path: "AliasName", arn: behindAlias}, {path: "TargetKeyId", arn: kmsKey}}},
		"DeleteAlias":         {on: []target{{path: "AliasName", arn: alias}, {path: "AliasName", arn: behindAlias}}},
		"CreateGrant": {on: []target{inKey}, keys: append([]key{
			{name: "kms:granteeprincipal", path: "GranteePrincipal"},
			{name: "kms:retiringprincipal", path: "RetiringPrincipal"},
			{name: "kms:grantoperations", path: "Operations"},
			always("kms:grantisforawsresource", "false"),
		}, keyKeys...)},
		// Who may retire a grant is written in the grant.
		"RetireGrant":   {on: []target{inKey}, left: true},
		"TagResource":   {on: []target{inKey}, keys: keyKeys, tags: "Tags"},
		"UntagResource": {on: []target{inKey}, keys: keyKeys, tagKeys: "TagKeys"},
	},
)

var (
	inKey   = target{path: "KeyId", arn: kmsKey}
	keyKeys = []key{{name: "kms:requestalias", path: "KeyId", as: func(_ *view, name string) string {
		if at := strings.Index(name, ":alias/"); at >= 0 {
			name = name[at+1:]
		}
		if strings.HasPrefix(name, "alias/") {
			return name
		}
		return ""
	}}}
	bypass = key{name: "kms:bypasspolicylockoutsafetycheck", path: "BypassPolicyLockoutSafetyCheck", absent: "false"}
)

var algorithm = key{name: "kms:encryptionalgorithm", path: "EncryptionAlgorithm", absent: "SYMMETRIC_DEFAULT"}

// cipherKeys are of requests that use a key under an encryption context.
func cipherKeys(more ...key) []key {
	return slices.Concat([]key{
		{name: "kms:encryptioncontextkeys", of: contextKeys("EncryptionContext")},
		{name: "kms:encryptioncontext:", path: "EncryptionContext", spread: true},
	}, more, keyKeys)
}

// contextKeys are the names in an encryption context.
func contextKeys(path string) func(*view) []string {
	return func(v *view) []string {
		var names []string
		for name := range pairs(v.Input, path) {
			names = append(names, name)
		}
		slices.Sort(names)
		return names
	}
}

func kmsKey(v *view, name string) []string {
	if found, ok := v.look.Resolve(KMSKey, name); ok {
		return []string{found}
	}
	switch {
	case arn.Is(name):
		return []string{name}
	case strings.HasPrefix(name, "alias/"):
		return []string{v.Scope.Regional("kms", name)}
	}
	return []string{v.Scope.Regional("kms", "key/"+name)}
}

func alias(v *view, name string) []string {
	if arn.Is(name) {
		return []string{name}
	}
	return []string{v.Scope.Regional("kms", name)}
}

// behindAlias is the key that an alias names now.
func behindAlias(v *view, name string) []string {
	if found, ok := v.look.Resolve(KMSAlias, name); ok {
		return []string{found}
	}
	return nil
}

func everything(*view, string) []string { return []string{"*"} }
