// Package iam answers the IAM API: users, groups, roles, managed and inline
// policies, instance profiles, access keys, permissions boundaries, issuers of
// web identities, and the policy simulator.
//
// It keeps true that names are unique without case; that a policy has passed
// policy.Parse before it is stored, and is stored as it was sent; that nothing
// is deleted while something refers to it, and no quota is exceeded, also when
// two calls are made at once; that the trust of a role follows the users and
// roles that it names through renames, and trusts nobody else once they are
// deleted; that the secret of an access key is stored sealed and shown once.
//
// It writes all records of internal/model/identity.go except JoinToken; the
// root user's first access key is made by the server. Decisions about requests
// are edge/authority's. Nothing wakes it but requests.
//
// Behaviour: behaviour/iam-credentials-metadata.md §6 and §10, the IAM API
// reference 2010-05-08; texts of errors as clients have reported them. Where AWS
// documents a rule but not its text, the text here is a guess;
// testdata/errors.golden says for each which it is.
package iam
