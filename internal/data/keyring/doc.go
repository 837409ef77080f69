// Package keyring seals what must not be in clear outside the process, under
// the operator's master key.
package keyring
