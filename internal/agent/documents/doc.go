// Package documents keeps what a node must make true besides its tasks: the
// rules of its interfaces, the load balancers it serves, the zones it answers
// for (model.Document… names the kinds).
//
// It keeps true that every consumer of a kind has the newest whole set of it,
// handed over one set at a time, and that the newest set is on disk, sealed, so that
// an agent that starts while the control plane is away goes on with what was
// true last. Nothing is handed over before something is known, from the
// control plane or from the disk: an empty set means that there is nothing to
// make true, and a consumer may then take away what is there.
//
// It is woken by the session (Apply). A consumer that fails is called again
// with the newest set, at first soon and then more seldom.
package documents
