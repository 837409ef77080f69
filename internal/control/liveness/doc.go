// Package liveness ends the tasks of nodes that stay away.
//
// It keeps true that a task does not stay RUNNING for ever on a node that
// nobody hears from: when an instance has been disconnected for longer than a
// limit, its tasks are STOPPED with a reason that says so. It writes a lost
// task's desired and observed status, and is woken by instances that change
// and by the limit running out. Time in which the control plane itself was
// away does not count, neither for those whom it disconnected when it ended nor
// for those whom the dispatcher disconnects when it begins.
package liveness
