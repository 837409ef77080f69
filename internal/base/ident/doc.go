// Package ident makes the identifiers that AWS users see: task ids, UUIDs,
// EC2-style ids and access keys. All randomness comes from crypto/rand, so two
// identifiers never collide in practice and none can be guessed.
package ident
