// Package nodeca is the certificate authority of the control plane's nodes.
//
// It keeps true that a node is who its certificate says: the authority's key
// never leaves its directory (0700, files 0600), a certificate is only given
// for the secret of a join token or to a node that shows its present one, and
// the common name of a node's certificate is its instance id, which no second
// node gets by a token.
//
// It writes records.JoinTokens, of which only a hash of the secret is stored.
// Tokens are good for joining and nothing else, expire, and let a number of
// nodes in. The node of the server's own machine has a token of its own, which
// stays in the authority's directory and is taken from no other machine.
package nodeca
