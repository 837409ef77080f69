// Package logdriver is the agent's side of the awslogs log driver: it turns the spools that containers' loggers write
// into CloudWatch Logs events and delivers them to the control plane.
//
// What it keeps true: every line that is in a spool reaches its log stream exactly once and in order, whatever is
// killed when: the agent, the control plane or the connection between them. What cannot be delivered stays on disk.
//
// What wakes it: fsnotify on the spools' directories (one inotify instance for all of them), and timers for a batch that
// gathers (100 ms), a multi-line event that ages (5 s), and a delivery that is tried again (0.1 s doubling to 2 s).
// What it writes: in a spool's directory meta.json (once, by Prepare), checkpoint (after each acknowledgement) and remove
// (by Remove); it deletes segments that are acknowledged, and the directory at the end. The format of the spool is in
// package helper/spool, and what the logger does in helper/capture.
//
// # Exactly once
//
// Delivery alone is at least once: a batch may have been stored and its acknowledgement lost. So each event carries a
// sequence number, and the receiver stores only events whose number is above the highest it has stored for the source
// (a spool's random name). For that to be exact, an agent started again must make the same events with the same numbers
// out of what it has not had acknowledged, while it may cut batches elsewhere. So events are a function of the spool:
//
//   - Seq is the index of the record that completed the event's last line, times 4, plus 0 for a piece cut from an overlong
//     line, 1 for the end of a line, 2 and 3 for lines of stdout and stderr that an End or Begin record ended.
//   - Where a multi-line event ends depends on the lines alone, except when its age ends it. That decision is written to
//     the checkpoint (Cut) before the event is delivered, and repeated after a restart.
//   - A checkpoint is taken between records only, and says for each of the two streams where its first unacknowledged line
//     begins, so that unfinished lines and events are read again from their beginning.
//   - A logger that was killed without an End record ends its lines as the Begin of its successor would.
//
// # As Docker does it
//
// Behaviour is that of Docker's driver as far as it shows: one event per line without its newline, empty lines skipped,
// pieces of 16 KiB joined, events cut at 262,144 - 26 bytes of UTF-8 between characters, invalid bytes replaced one by one
// by U+FFFD, multi-line events with every line ended by a newline, flushed by the next match, by size, after 5 s or at the
// end. Different: batches leave after 0.1 s instead of 5 s, and lines survive a control plane that is away.
package logdriver
