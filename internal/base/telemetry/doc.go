// Package telemetry holds the names under which Berth reports about itself:
// the attribute keys of log lines and the prefix of metrics. A key is spelled
// once, here, so that a search for it finds every line.
//
// Levels: error means that an operator must act, warn that something is
// degraded but heals itself, info a change that a user would ask about, debug
// the rest.
package telemetry
