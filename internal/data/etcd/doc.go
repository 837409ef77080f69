// Package etcd runs the embedded etcd member that keeps Berth's state when no external cluster is given. It is the only
// package that imports etcd's server.
//
// What it keeps true:
//
//   - A write that was acknowledged survives SIGKILL and power loss: every commit is fsynced, unless a test turns that off.
//   - A data directory has one owner. A second member on it fails at once, and says why.
//   - Nobody reaches the data over a network: the member listens on no address. Berth itself calls it in process, operators
//     use a unix socket in the data directory, which only its owner can open.
//   - etcd's own way of giving up, which is to end the process, becomes an error that Run returns.
//   - History is compacted: without that, etcd grows until its quota stops all writes.
//
// It writes below its data directory and nowhere else. It starts nothing on its own account and is woken by calls.
package etcd
