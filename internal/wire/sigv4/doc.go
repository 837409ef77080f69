// Package sigv4 verifies AWS Signature Version 4 on requests that arrive, in
// the header form (Authorization) and in the presigned form (X-Amz-Signature in
// the query).
//
// What it keeps true: Verify succeeds only when the holder of the secret signed
// this method, path, query, these signed headers, this body and this scope, not
// longer ago than the form allows. It reads the clock from its argument, keeps
// no state and remembers no signature: a request can be sent again within its
// five minutes, as on AWS.
//
// The canonical request is not written a second time here: the request is built
// anew from exactly the headers that SignedHeaders names, signed by the signer
// of the AWS SDK, and the two signatures are compared in constant time.
//
// The body is always hashed by the caller and the hash of the real body is what
// is compared, so UNSIGNED-PAYLOAD (an S3 form) never verifies.
//
// Sources: behaviour/api-conventions.md §1 and §6, and
// behaviour/iam-credentials-metadata.md §7, which say how the codes differ
// between the JSON, the query and the EC2 services; see the table in errors.go.
package sigv4
