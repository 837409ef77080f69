// Package wiretest is what tests need that use AWS's client against our own
// server.
package wiretest
