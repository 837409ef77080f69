// Package kv is the narrow contract between Berth and the store of its state: a revisioned map from keys to small values.
//
// It keeps four things true, whoever implements it:
//
//   - There is one sequence of revisions. Every transaction that changes something takes the next one; a reader can name a
//     revision and sees exactly what was true then, until that revision is compacted.
//   - A transaction is atomic: its comparisons and its operations see one revision, and all that it changes carries the
//     revision it made.
//   - A watch delivers every change since the revision it was asked to start from, in order, without gap or repetition, and
//     never splits one revision. If the start is compacted it says so ([ErrCompacted]) instead of skipping.
//   - A key attached to a lease is deleted when the lease expires or is revoked; all keys of one lease in one revision.
//
// The contract is what data/store needs and no more, so that it fits etcd (package etcdkv, embedded or external) and a plain
// in-memory map (package memkv). Package kvtest holds the two equal: it runs tables and the same random histories against both.
//
// The limits are etcd's defaults and belong to the contract, so that code which was only ever tested with memkv does not
// meet them for the first time in production: [MaxOps] operations and [MaxBytes] bytes a transaction.
package kv
