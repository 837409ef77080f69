// Package sts answers the STS API: who the caller is, and temporary
// credentials for roles, users and the holders of an issuer's tokens.
//
// It writes no record: credentials are package data/sessions', whose tokens
// hold all there is to know. Nothing wakes it.
//
// Whether a caller may assume a role is decided before a request comes here:
// edge/authority takes the trust policy for the role's resource policy. Two
// cases are decided here, with the same rules. The root user is allowed
// everything there, but a role that does not trust the account is not for it
// either (AWS lets root assume no role at all). And AssumeRoleWithWebIdentity
// is a call without a signature: the token is verified against its issuer,
// which must be an OIDC provider of the account, and the trust policy is
// evaluated for what the token says.
//
// Keys of issuers are fetched over TLS that ends in one of the roots or in a
// certificate whose thumbprint the provider has, in bounded time and size, and
// kept for a while. An unknown key makes us ask again, but not more often than
// once in a while, since anybody can send such a token.
//
// Behaviour: the AWS Security Token Service API reference;
// iam-credentials-metadata.md §9. There are no MFA devices: calls that name one
// are refused.
package sts
