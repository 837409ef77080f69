// Package store keeps Berth's state: typed tables in memory that mirror a [kv.KV], read through snapshots and changed through
// optimistic transactions.
//
// What it keeps true:
//
//   - A [Snapshot] is everything as it was at one revision. It never changes, taking one is free, and a transaction that
//     wrote several records is seen whole or not at all.
//   - [Store.Update] commits only if every record it wrote or guarded is still what its callback saw. It returns when the
//     mirror has applied the commit: whoever wrote reads his own write, in any snapshot taken afterwards.
//   - A record is immutable once stored. Readers share pointers; [Table.Edit] changes a clone. Builds with -race, and
//     stores opened with Options.CheckMutation, keep a checksum of each record and panic when one was changed in place.
//   - A [Watcher] misses no key that changed in its tables and never holds up the mirror: changes collapse per key until
//     they are taken.
//
// It writes the keys below its prefix: prefix + table + "/" + key for records, and prefix + "!" + … for the small markers
// behind [Table.GuardPrefix] and [Table.GuardIndex]. It is woken by the kv's watch alone. Why it is built this way, and what
// the isolation promises exactly, is in DESIGN.md beside this file.
package store
