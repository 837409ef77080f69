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
//
// A node speaks for its own tasks and load balancers only. Who it is, its
// certificate says, in every call; a task that it names must have been placed on
// it, and what it asks for in a task's name is decided by an Execution with the
// task's own roles. A node that was deregistered can end what it has, and gets
// no secret, no credentials and no connection to the API any more. What a node
// sends is bounded, and of what it does not read nothing is kept but that it
// changed.
//
// A stream into a task (OpenStream) is a call of the node that has it: the node
// is told an id that nobody can guess, and calls Attach with it, once. Frames
// are passed on as they come, and each side waits for the other.
package dispatch
