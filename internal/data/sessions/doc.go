// Package sessions issues temporary credentials and reads them back.
//
// What it keeps true: a session token means exactly what it meant when it was
// issued, to the one access key that it was issued with, and to nobody who has
// not the keyring can it be read or changed. Nothing is stored and nothing has
// to be cleaned up; a control plane that starts again knows every session.
//
// A token is the base64 of a sealed value: one byte for the form, and the JSON
// of secret, principal and caller.Session, deflated when that makes it shorter
// (session policies do, most task credentials do not). The access key id is
// the purpose under which the keyring sealed it, so another key's token does
// not open at all.
//
// The password that opens the image registry is made in the same way. It is no
// session of its own but stands for the credentials that asked for it: it names
// their access key, and is worth nothing any more when they are not.
//
// Revoking is as on AWS: by a policy with aws:TokenIssueTime, or by deleting
// the role, whose id in the session then matches no role.
// (behaviour/iam-credentials-metadata.md §3, §9)
package sessions
