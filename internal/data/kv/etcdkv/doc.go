// Package etcdkv is [kv.KV] on an etcd client, whether that reaches an embedded member by direct calls or a cluster by gRPC.
//
// It adds nothing to etcd: each call is one etcd request, and what etcd guarantees is what the contract asks for. It
// translates etcd's errors into the contract's, so that no other package need know etcd's.
package etcdkv
