// Package keyring seals what must not be in clear outside the process, under
// the operator's master key.
//
// It keeps true that nothing sealed can be read or changed without the master
// key, and that a value sealed for one purpose opens for no other: the purpose
// is authenticated with it. The master key is a Tink keyset of AEAD keys, in a
// file that its owner alone may read or printed by a command of the operator's
// (a vault's client, a KMS's). It is in memory while the process lives and is
// written nowhere else; errors and logs never hold what a file or a command
// said.
//
// A keyset may have several keys: the primary one seals, each that is enabled
// opens. So the master key is changed by [Rotate] and a restart, and what older
// keys sealed stays readable until it is sealed again.
//
// It writes the keyset's file once, when there is none. Nothing wakes it but
// its callers.
package keyring
