// Package policy reads IAM policy documents and decides with them
// (behaviour/iam-credentials-metadata.md §6, §7).
package policy
