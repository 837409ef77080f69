package access

import "berth.dev/berth/internal/base/arn"

// secretsmanager follows the Service Authorization Reference of AWS Secrets
// Manager.
var secretsmanager = join(
	rows(row{}, "ListSecrets", "GetRandomPassword",
		// The secrets of a batch are checked one by one with GetSecretValue, by
		// the provider: a refusal is an error of that secret.
		"BatchGetSecretValue"),
	table{
		"CreateSecret": {
			on: []target{{path: "Name", arn: secret}}, tags: "Tags",
			keys: []key{
				{name: "secretsmanager:name", path: "Name"},
				{name: "secretsmanager:description", path: "Description"},
				{name: "secretsmanager:kmskeyid", path: "KmsKeyId"},
				{name: "secretsmanager:kmskeyarn", path: "KmsKeyId", as: one(kmsKey)},
				{name: "secretsmanager:addreplicaregions", path: "AddReplicaRegions.Region"},
				{name: "secretsmanager:forceoverwritereplicasecret", path: "ForceOverwriteReplicaSecret"},
			},
			also: []need{{action: "secretsmanager:TagResource", on: []target{{path: "Name", arn: secret}}, when: "Tags.Key"}},
		},
		"GetSecretValue": onSecret(key{name: "secretsmanager:versionid", path: "VersionId"},
			key{name: "secretsmanager:versionstage", path: "VersionStage", absent: "AWSCURRENT"}),
		"UpdateSecret": onSecret(key{name: "secretsmanager:description", path: "Description"},
			key{name: "secretsmanager:kmskeyid", path: "KmsKeyId"},
			key{name: "secretsmanager:kmskeyarn", path: "KmsKeyId", as: one(kmsKey)}),
		"DeleteSecret": onSecret(key{name: "secretsmanager:recoverywindowindays", path: "RecoveryWindowInDays"},
			key{name: "secretsmanager:forcedeletewithoutrecovery", path: "ForceDeleteWithoutRecovery"}),
		"UpdateSecretVersionStage": onSecret(key{name: "secretsmanager:versionstage", path: "VersionStage"}),
		"RotateSecret": onSecret(key{name: "secretsmanager:rotationlambdaarn", path: "RotationLambdaARN"},
			key{name: "secretsmanager:modifyrotationrules", of: func(v *view) []string {
				if len(shapes(v.Input, "RotationRules")) == 0 {
					return []string{"false"}
				}
				return []string{"true"}
			}}),
		"PutResourcePolicy": onSecret(key{name: "secretsmanager:blockpublicpolicy", path: "BlockPublicPolicy"}),
		"TagResource":       {on: []target{inSecret}, keys: secretKeys, tags: "Tags"},
		"UntagResource":     {on: []target{inSecret}, keys: secretKeys, tagKeys: "TagKeys"},
	},
	rows(onSecret(), "DescribeSecret", "RestoreSecret", "PutSecretValue", "ListSecretVersionIds", "CancelRotateSecret",
		"GetResourcePolicy", "DeleteResourcePolicy", "ValidateResourcePolicy"),
)

var (
	inSecret   = target{path: "SecretId", arn: secret}
	secretKeys = []key{{name: "secretsmanager:secretid", path: "SecretId", as: one(secret)}}
)

func onSecret(more ...key) row {
	return row{on: []target{inSecret}, keys: append(append([]key(nil), secretKeys...), more...)}
}

// secret resolves a name, an ARN, or an ARN without its random end. The end of
// a secret that does not exist is six characters, as policies have it.
func secret(v *view, name string) []string {
	if found, ok := v.look.Resolve(Secret, name); ok {
		return []string{found}
	}
	if arn.Is(name) {
		return []string{name}
	}
	return []string{v.Scope.Regional("secretsmanager", "secret:"+name+"-??????")}
}
