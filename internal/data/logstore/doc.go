// Package logstore is the durable memory of CloudWatch Logs: log groups, log
// streams, their settings, and the events themselves, in an embedded Pebble
// database. Logs never go into etcd (docs: DESIGN.md, decision 2).
//
// What it keeps true:
//
//   - A call that changes something returns nil only after the change is on
//     disk (fsync). Calls that arrive while a sync runs share the next one.
//   - Each change is one atomic batch. After a crash, a failed write or a full
//     disk a change is there completely or not at all.
//   - Every event has a [Position] that no other event ever had, and events are
//     ordered by it: timestamp, then ingestion, then sequence. A position stays
//     a valid place to continue from whatever is appended or deleted later.
//   - An [Store.Append] with a source and a sequence number at or below the highest
//     one stored for that source on that stream is acknowledged without being
//     stored again, and of the events of a [Store.Deliver] only those above
//     that number are stored. The mark is written in the batch of the events; a
//     source uses one of the two, because they number different things.
//   - An event older than its group's retention is never returned, from the
//     moment the clock or the policy says so; [Store.Run] removes it from disk
//     later. StoredBytes counts it until then, as AWS's figure lags too.
//
// It writes every field of its records; nobody else opens the directory. It is
// woken by calls and, for physical deletion, by a timer in [Store.Run].
//
// The keys are described in DESIGN.md. Behaviour: behaviour/secrets-logs.md §5.
package logstore
