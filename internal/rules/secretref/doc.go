// Package secretref reads what a task definition names a secret by: the
// valueFrom of secrets and secretOptions, and the credentialsParameter of
// repositoryCredentials (behaviour/secrets-logs.md §1).
//
// A reference is an ARN of Secrets Manager, with or without its random ending,
// and with or without a JSON key, a staging label and a version id; an ARN of a
// parameter; or anything else, which is the name of a parameter of the same
// region. The parameter /aws/reference/secretsmanager/<name> is the secret.
package secretref
