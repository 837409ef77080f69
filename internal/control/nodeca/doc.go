// Package nodeca is the certificate authority of the control plane's nodes.
//
// It keeps true that a node is who its certificate says: the authority's key
// never leaves its directory (0700, files 0600), a certificate is only given
// for the join token's secret, and the common name of a node's certificate is
// its instance id. It writes nothing to the store.
package nodeca
