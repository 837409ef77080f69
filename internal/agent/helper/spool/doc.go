// Package spool is the on-disk queue between a container's logger process and the agent.
//
// What it keeps true: a record that was appended is read back exactly once and in order by a reader that
// resumes from its checkpoint, whichever of the two processes is killed at whatever instant; a torn last
// record is always told from a whole one; every record has an index that never changes.
//
// One process appends (the capture mode of berth-helper, holding Lock), one process reads, checkpoints and
// deletes (the agent). They share nothing but the directory, so neither needs the other to be alive.
//
// The directory of one container holds:
//
//	<20 digits>.seg   segments; the digits are the index of the first record
//	checkpoint        what the reader has had acknowledged (written by tmp and rename)
//	lock              flock'ed exclusively by the logger for its whole life
//	error             why a logger could not spool (text), when it could not
//
// A segment is a header and records, all integers little endian:
//
//	header  "BLS1" | index u64 of the first record | total u64 | crc32c u32 of the 20 bytes before
//	record  length u32 of the body | crc32c u32 of the body | body
//	body    kind u8 | stream u8 | time i64 (Unix ns) | payload (at most 16 KiB)
//
// total is the number of record bytes written to the spool before this segment; the difference between the
// writer's total and the checkpoint's is the unread backlog. The index of a record is the segment's plus its
// place. A segment is created with its header and its first records in a temporary file that is then renamed,
// so a segment that can be seen holds at least one whole record, and the writer never touches a segment
// again once the next one can be seen. That is what lets the reader end a segment: it sees the next one, reads
// the old one to its end once more, and goes on.
//
// A writer that finds segments of a killed predecessor starts a new one after the last whole record and
// leaves the torn tail where it is.
//
// The checkpoint is
//
//	"BLC1" | stdout index u64, skip u32 | stderr index u64, skip u32 | read u64 | cut u64 | crc32c u32
//
// Nothing here calls fsync: the spool must survive the death of processes, not of the host, whose containers
// die with it. The package avoids fmt and net, because it is linked into the small helper binary.
package spool
