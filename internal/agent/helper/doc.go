// Package helper carries the berth-helper binary inside the agent and installs it where containerd can start it.
//
// What it keeps true: the file that Install names is whole, executable and never changes, so a helper that runs (a
// container's process 1, a logger) is not disturbed when a newer agent installs its own beside it. Nothing wakes it.
//
// The binary is not in the repository. It is built before the agent, with
//
//	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o internal/agent/helper/bin/berth-helper ./cmd/berth-helper
//
// and embedded from the directory bin, which is committed with nothing in it, so that the agent compiles without.
// The helper's own logic is in the packages beside this one: capture, initproc and spool.
package helper
