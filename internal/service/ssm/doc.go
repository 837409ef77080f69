// Package ssm answers the Parameter Store and Session Manager parts of the AWS
// Systems Manager API.
//
// It keeps true that a parameter's versions are numbered from 1 without gaps
// up to the newest, of which the last hundred are there; that a label is on one
// version of a parameter at most; that a SecureString's value is stored only
// sealed by data/keys, with the parameter's ARN as context; and that what a
// parameter's policies ask for will happen, or is refused; and that a session
// is only started on a container that can run commands, by a document that is
// known, and has an id that begins with who started it.
//
// It writes parameters and their versions, ExpiresAt among their fields, which
// control/expiry acts upon, and sessions, which edge/channel carries. It reads
// secrets, for names that refer to Secrets Manager, tasks and nodes. Nothing
// wakes it but requests.
//
// Behaviour: behaviour/secrets-logs.md §3; the API reference and user guide of
// Systems Manager 2014-11-06, "Working with parameter versions", "… labels",
// "… policies", "… tiers", "Referencing AWS Secrets Manager secrets".
// testdata/errors.golden has the texts of all refusals, with their sources.
package ssm
