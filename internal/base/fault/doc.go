// Package fault classifies errors below the doors of Berth.
//
// A fault says what kind of thing went wrong (not found, conflict, …) without
// knowing any AWS error. Providers in service/* turn a class into the AWS error
// that the operation documents; the gateway answers InternalFailure for any
// error that nobody translated.
package fault
