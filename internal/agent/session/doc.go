// Package session is the node's end of the node protocol.
//
// It keeps true that the node has one identity for life (an instance id and a
// key, made when it joins and kept under its directory), that everything the
// task engine reports reaches the control plane at least once in its newest
// form, and that the loss of the control plane disturbs nothing: the session
// tries again for ever, with a growing pause of at most a second. Only streams
// into tasks end with it, because whoever was at their other end is gone.
package session
