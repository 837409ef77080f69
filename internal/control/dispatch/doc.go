// Package dispatch is the control plane's end of the node protocol.
//
// It keeps true that every connected node knows exactly the tasks that were
// placed on it, and that the store knows what each node has reported. It
// writes an instance's registration and connection, a task's Observed, and it
// frees the network interface of a task that has stopped. It is woken by the
// store (a task changed) and by nodes (a report came).
//
// A session is the whole relation to a node: there is nothing to resume. When
// one begins, the node gets its complete set of tasks and sends everything it
// knows; the newest session of an instance is the only one that may write.
package dispatch
