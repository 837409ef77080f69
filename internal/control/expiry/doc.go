// Package expiry does what is to happen when a date comes.
//
// It keeps true that
//
//   - a KMS key whose deletion window is over is gone, with its aliases, and
//     what it encrypted with it;
//   - a KMS key that rotates has new material when its next rotation is due,
//     and a date for the one after; one that was disabled then rotates when it
//     is enabled again;
//   - a secret whose recovery window is over is gone, with its versions, and
//     its name is free;
//   - a parameter is gone, with its versions, when its Expiration policy says
//     so;
//   - join tokens that have expired are forgotten, a day later: until then a
//     node that comes late is told why it may not join.
//
// It deletes records of these kinds, and of KMS keys it writes Materials and
// NextRotation. It is woken by changes of them and by the next date that one of
// them has; a control plane that was down does at its start what it missed.
//
// Behaviour: the developer guides of KMS ("Deleting AWS KMS keys", "Rotate AWS
// KMS keys") and Secrets Manager ("Delete an AWS Secrets Manager secret"), and
// the Systems Manager guide, "Assigning parameter policies".
package expiry
