// Package peer finds out which of this node's containers a connection on the
// host's own network comes from.
//
// Tasks in network mode host share the host's namespace, so a socket there
// says nothing about who connects. The kernel does: it knows the socket at the
// other end, a process that has it open, and the control group that process is
// in, which is the container's and which it cannot leave. A process that is in
// no container of a task in that mode is nobody.
//
// It writes nothing, and nothing wakes it but its callers.
package peer
