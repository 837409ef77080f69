// Package sts answers the STS API: so far only who the caller is.
//
// It keeps no state and writes nothing. Behaviour: the AWS Security Token
// Service API reference.
package sts
