// Package acm answers the part of the AWS Certificate Manager API that HTTPS
// and TLS listeners need: certificates that users import, with their keys.
//
// It keeps true that a stored certificate is one that was valid when it came,
// with the key that fits it and a chain that leads from it; that its ARN stays
// when it is imported again; and that it is not deleted while a listener uses
// it; and that private keys are in the store only sealed by the keyring. There is no authority here that could issue or renew certificates, so
// RequestCertificate is not among the operations.
//
// It writes certificates. Nothing wakes it but requests; listeners' nodes get
// a certificate with the document of their load balancer (control/balancing).
//
// Behaviour: the ACM API reference 2015-12-08 and user guide, "Prerequisites
// for importing certificates" and "Reimport a certificate". Texts of errors are
// AWS's where clients have reported them; testdata/errors.golden has all.
package acm
