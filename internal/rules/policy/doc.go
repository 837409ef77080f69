// Package policy reads IAM policy documents and decides with them: may this
// principal do this action on this resource, and if not, what says so? It keeps
// AWS's rules of evaluation (behaviour/iam-credentials-metadata.md §6, §7) as
// functions of values: it has no clock, no cache and no store. What a request
// is made of — the account's policies, the tags of the resource, the time — is
// handed in by the authority, by IAM's simulator and by STS.
//
// A Document is compiled when it is parsed and never changes, so that many
// requests can be decided with it at the same time: actions are indexed by
// their service, wildcards and variables are cut into tokens, dates, numbers
// and address ranges are read. Deciding allocates nothing for a statement whose
// action does not match.
//
// Sources: the IAM user guide's reference of the policy language and its pages
// on evaluation logic and access-denied messages; error texts as AWS's own
// clients and other implementations have observed them. What no source settles
// is marked [GK] beside the code.
package policy
