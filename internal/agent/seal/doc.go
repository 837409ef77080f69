// Package seal keeps what a node must have after a restart, and nobody may
// read on its disk, in sealed files: credentials of task roles, documents that
// hold keys.
//
// It keeps true that a sealed file opens on this node only, under the name
// that it was written by: the key is in a file beside the node's own
// certificate, mode 0600, and the name is authenticated with the content. So a
// copy of a node's directory without that file is worth nothing, and a sealed
// file put in another's place does not open.
//
// It writes the key's file once. Nothing wakes it but its callers.
package seal
