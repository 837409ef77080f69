// Package managed has AWS's managed policies: those that users of ECS attach,
// and those that their Terraform modules name. They exist in every account
// under arn:aws:iam::aws:policy/, and nobody can change them.
//
// Each document grants what AWS documents for the policy in its managed policy
// reference; the descriptions are our own. Many of their actions are of
// services that Berth does not have: a policy is evaluated all the same, and a
// call to such a service gets an error of its own.
//
// The documents are embedded files, one each, named as the policy. Nothing is
// parsed here: who evaluates them parses them once and keeps the result.
package managed
