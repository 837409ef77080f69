// Package keys encrypts and decrypts under KMS keys for the services that keep
// secrets, and for KMS itself.
//
// It keeps true that
//
//   - what it sealed opens only under the KMS key that sealed it, with the same
//     encryption context, and unchanged: every byte of the blob and the context
//     are authenticated;
//   - a key's material is in the store only sealed by the keyring, for that key
//     and that generation of it: a material copied into another record opens
//     nothing;
//   - a service that seals or opens with a customer's key for somebody's
//     request does so only if that somebody may use the key ([caller.Check],
//     with kms:ViaService and the encryption context, as AWS's services pass
//     them on). Control loops act for Berth itself and are not asked;
//   - a key that is disabled or waits for deletion encrypts and decrypts
//     nothing.
//
// A blob is an envelope: the plaintext under a data key that is used once, the
// data key under the KMS key's newest material. blob.go has its form, which
// names key and material, so that what an older generation sealed opens after
// any number of rotations.
//
// It makes the keys behind aliases alias/aws/…, with their aliases, at their
// first use; they need no permission beyond the service's, as on AWS where
// their policy allows all of the account through the service. It writes no
// other record. Nothing wakes it but its callers.
//
// Behaviour: the KMS API reference and developer guide ("Key states of AWS KMS
// keys", "Viewing a key policy"), the guides of Secrets Manager and Parameter
// Store on permissions of KMS keys. Texts of errors are those that AWS answers.
package keys
