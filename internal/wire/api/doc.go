// Package api holds what is true of all generated packages below it: they are
// what tools/apigen makes of the models (when these are at hand), and clients
// built by AWS understand them, in both directions, over every protocol. It has
// tests only.
package api
