// Package model holds the records that Berth keeps and the lattices of their
// statuses. It is pure: no clock, no I/O, no goroutines.
//
// Every record separates desire from observation, and each field has one
// writer (decision 3 in docs/ARCHITECTURE.md): providers write what users
// asked for, control loops write progress, a node's reports write what was
// observed. Statuses only move forward.
//
// Records are stored as JSON under the member names that AWS uses, so a dump
// of the store reads like the API. They are not wire types: a member that the
// API renames or drops does not change what was stored.
package model
