// Package authority decides what a verified caller may do: the gateway asks it
// for every request, providers ask it for what the operation alone does not
// tell.
//
// What it keeps true: a request passes only if each permission that rules/access
// says it needs is given by the policies of its caller and of the resource, as
// rules/policy evaluates them (behaviour/iam-credentials-metadata.md §6). All of
// it is read from one snapshot of the store, taken when the question is asked,
// so a change of a policy counts from the moment it was acknowledged. A document
// that cannot be read denies: nobody gets what could not be decided.
//
//   - A user has its own policies and its groups'; a role session its role's. Both
//     are limited by a permissions boundary and by the session's policies. Root has
//     none and needs none, but a resource's policy can deny it something.
//   - A secret's policy and a key's come from the resource. For a key and for a
//     role that is to be assumed their word is needed: a key's policy that names
//     the account leaves it to the caller's policies, and a grant is an allow.
//   - A role session is good for as long as the role is there that it was made of:
//     the credential store refuses it later, and so does this package.
//
// It writes no record and has no loop. Parsed documents and the policies of
// principals are kept in bounded caches, keyed by what they were made of: a
// cached principal counts only while each of its records is the very one that
// the snapshot has.
package authority
