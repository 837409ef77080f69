// Package kms answers the API of AWS Key Management Service: symmetric keys
// and keys for message authentication, their aliases, policies and grants.
//
// It keeps true that
//
//   - a key's material is never answered, and is in the store only sealed;
//   - a ciphertext opens under the key that made it, with the same encryption
//     context, whichever generation of the key that was (data/keys);
//   - a key that is disabled or waits for deletion is of no use, and its
//     aliases and ciphertexts are as they were when it is enabled again;
//   - a key's policy parses, names principals that exist, and lets whoever sets
//     it change it again, unless he asks to be locked out;
//   - a grant has its effect when it is made, so that grant tokens, which on
//     AWS bridge the time until it has, may be given and change nothing;
//   - what it accepts has an effect: asymmetric keys, imported material, custom
//     key stores, keys of several regions and enclaves are refused.
//
// It writes keys and aliases. The keys of services (alias/aws/…) are made by
// data/keys; this package shows them and changes nothing of them. Nothing wakes
// it but calls: control/expiry rotates keys and removes them when their time
// has come.
//
// Who may do what is decided before a call comes here, but for what the caller
// does not name: the key behind a ciphertext, and the grant behind a token.
//
// Sources of behaviour: the KMS API reference, the developer guide ("Key states
// of AWS KMS keys", "Rotate AWS KMS keys", "Grants in AWS KMS"), and answers of
// AWS that LocalStack's snapshot tests and issues of Terraform's provider have
// recorded. testdata/errors.golden marks where each text is from.
package kms
