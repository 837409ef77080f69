// Package instance is what one Berth on one host is: a data directory, a short
// id that names everything it makes on the host, and a run directory for
// sockets, whose paths must stay short.
//
// It keeps true that two instances with different data directories never meet
// in a name, and that the id of a data directory never changes.
package instance
