// Package gateway is the door for every AWS client: one HTTP handler that
// serves all services of Berth at one address.
//
// A request passes, in this order: probes · reading of the signature · the body,
// limited · routing to an operation · verification · rate limit · decoding ·
// authorization · the model's constraints · the provider · the auditor · encoding.
// What it keeps true:
//
//   - No provider sees a request that was not signed by a known key, and nothing
//     but /healthz, /readyz and, for this machine, /metrics answers without a
//     signature. The one exception is sts:AssumeRoleWithWebIdentity, whose token
//     stands for a signature.
//   - A provider sees a decoded input that satisfies the model's constraints, and
//     finds the verified sender in the context and a guard that tells what else
//     he may do (package wire/caller).
//   - Every answer is an envelope of the protocol the client speaks and carries
//     x-amzn-RequestId, errors too. The text of an error that is not a
//     smithy.APIError never leaves the process: the client gets InternalFailure
//     and the request id, the log gets the whole chain, once.
//   - The answer to a request that may have changed something leaves after the
//     auditor has its record.
//   - No request can take more memory than its service's body limit or more time
//     than RequestTimeout; all bodies together take no more than MaxBodies.
//   - Call, the inner door, does all of this from authorization on, for the
//     control plane when it acts in somebody's name.
//
// It writes no record. Clients wake it; it has no loop of its own.
//
// Which service is meant is found as behaviour/api-conventions.md §1 says:
// X-Amz-Target, then Action and Version, then the service in the credential
// scope. See route.go.
package gateway
