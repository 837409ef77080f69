// Package up runs a whole Berth on one machine: it supervises a server and an
// agent as processes of their own, so that the death of one is not the other's
// (promise 2 of docs/ARCHITECTURE.md), starts again what dies, and says what
// happens in words.
package up
