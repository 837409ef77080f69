// Package audit keeps a record of every call of the API, in the shape of
// CloudTrail's, in a log group that is read like any other and by CloudTrail's
// LookupEvents.
//
// It keeps true that
//
//   - what changed something is on disk before its answer leaves: Record waits
//     for the commit that it shares with whoever else waits;
//   - what only read is on disk within a second; when the disk is slower than
//     the readers, they wait, and when a record is lost all the same, the log
//     says so and the next summary counts it;
//   - no record holds a secret: members that the model calls sensitive, and
//     those that CloudTrail leaves out though their model does not, are replaced
//     by a word, and blobs are left out;
//   - a record has at most 64 KiB, and strangers get few of them: what cannot
//     authenticate is recorded up to a rate, and counted beyond it.
//
// It writes the log group (with deletion protection), a stream for each day in
// UTC by the time of the call, and removes streams that are past the retention.
// The gateway's calls wake it.
//
// Behaviour: the CloudTrail user guide, "CloudTrail record contents" (version
// 1.11) and "CloudTrail userIdentity element". Otherwise than there: strings
// longer than 8 KiB are cut, and times among parameters are ISO 8601.
package audit
