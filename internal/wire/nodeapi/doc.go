// Package nodeapi is the contract between the control plane and its nodes:
// the gRPC service of node.proto, the join token, and the rule that a peer is
// who its certificate says.
//
// It keeps true that both ends speak mutual TLS over any transport, a unix
// socket included, and that a node's identity is the common name of a
// certificate that the control plane's own authority signed.
package nodeapi
