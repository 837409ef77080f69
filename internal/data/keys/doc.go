// Package keys encrypts and decrypts under KMS keys for the services that keep
// secrets, and for KMS itself.
package keys
