// Package secretsmanager answers the AWS Secrets Manager API.
//
// It keeps true that a value is stored sealed under a KMS key, bound to its
// secret and version; that of a secret that has a value exactly one version is
// AWSCURRENT; that a version never changes its value, so that a call that is
// repeated with its ClientRequestToken does nothing again; and that a secret
// that is to be deleted gives nothing out and comes back whole when it is
// restored.
//
// It writes secrets and their versions, and of a rotation what the user asks
// for; control/rotation writes the rest, and control/expiry removes a secret
// when its recovery window is over. Nothing wakes it but requests. Values are
// never logged and stand in no error text.
//
// Rotation runs an ECS task: RotationLambdaARN takes the ARN of a task
// definition, and what it needs beyond that are tags of the secret, see
// rules/rotation and control/rotation. Secrets are not replicated: there is one
// region.
//
// Who may call what, resource policies included, is decided before a call gets
// here; what a call needs besides itself, such as the use of a KMS key, is
// asked of caller.Check.
//
// Behaviour: the Secrets Manager API reference 2017-10-17 and
// behaviour/secrets-logs.md §2; testdata/errors.golden has the texts of all
// refusals with their sources.
package secretsmanager
