// Package tunnel lets tasks reach the AWS API: it listens at an address inside
// a task's network namespace and carries each connection to the control plane,
// over the node's own connection to it.
//
// It keeps these things true:
//
//   - Who calls is known by the namespace that the socket is in: the control
//     plane is told the task's id and believes the node, not the caller. A task
//     reaches nothing else of the node or the control plane by this way.
//   - Bytes are passed as they are, in both directions and with back-pressure:
//     a side that does not read holds up the other, and no more than a few
//     buffers are kept. A direction that ends is ended on the other side.
//   - A task has a bounded number of connections at once; the rest waits in the
//     socket's queue. While the control plane is away connections are reset,
//     which SDKs try again, and nothing of the task ends with them.
//
// The port is of those that ECS documents as its agent's on every container
// instance (51678 to 51680), because a program that listens at 0.0.0.0 cannot
// have a port that is taken at any address of its namespace, and none that ran
// on ECS has one of these.
//
// It writes nothing, and nothing wakes it but connections.
package tunnel
