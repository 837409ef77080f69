// Package node composes the agent: the session with the control plane, the
// task engine and its journal, containers, networks, log delivery, and the
// endpoints inside tasks' namespaces. It holds no logic of its own but the
// adapters between these packages, which do not know each other.
//
// The end of Run touches no task.
package node
