// Package records declares the tables that Berth's records are kept in.
//
// Providers, control loops and the dispatcher meet in the store and nowhere
// else, so the declarations they share live here and not in one of their
// packages. The package keeps true that a table's name and key never change:
// both are part of every stored key. It writes nothing and is woken by nothing.
package records
