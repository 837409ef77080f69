// Package memkv is [kv.KV] in memory: for tests, simulations and synctest bubbles.
//
// It keeps every revision until it is compacted, by hand or by the number of revisions to retain, so that watches from old
// revisions, historical reads and ErrCompacted behave as they do on etcd; package kvtest proves that they do. It starts no
// goroutine: watches run on their callers', leases on timers, so a bubble of testing/synctest sees it as idle when it is.
package memkv
