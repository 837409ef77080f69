// Package capture is the log mode of berth-helper: it moves a container's output from the pipes of containerd's
// binary logger into a spool.
//
// What it keeps true: what the container wrote is on disk within the time of one read, in order for each stream,
// whether an agent runs or not. It wakes when a stream has bytes, and, only while the spool is full, every 50 ms
// to look at the agent's checkpoint.
//
// containerd's contract (docs of its runtime v2, "logging"): stdout is descriptor 3, stderr 4, and 5 a pipe to be
// closed when ready; the query of the binary:// URI arrives as key value pairs in no particular order; the
// environment has CONTAINER_ID and CONTAINER_NAMESPACE. The shim (containerd 1.6 to 2.4) keeps the write ends of the
// pipes until the task is deleted, so the streams end at task.Delete and not when the container's process exits. It
// then sends SIGTERM and waits 12 seconds before SIGKILL. So SIGTERM does not end us, the end of the streams does;
// SIGTERM only lifts the limit of a full spool, because what is left is no more than two pipes hold.
//
// When the logger itself is killed with SIGKILL: containerd neither restarts it nor notices. The shim closes the read
// ends once the container has started, so the container's next write fails with EPIPE and, unless it handles that,
// SIGPIPE ends it. What the spool holds is delivered; lost are the bytes in the pipes and, for each stream, less than
// 16 KiB of a line whose end had not been read. No End record is written; a reader sees the lock free instead.
//
// When the spool cannot be opened, the reason goes to the file "error" in the directory, and the output is read and
// discarded: the "binary" scheme cannot report a failure (the shim takes a closed pipe as ready), and a container
// must not be killed by SIGPIPE because of its logs.
//
// Lines are split as Docker splits them: a line longer than 16 KiB becomes Partial pieces of exactly 16 KiB and a last
// Line, an unterminated last line is a line. Blocking mode stops reading while the unread backlog exceeds the limit, so
// that the container's writes block. Non-blocking mode drops lines instead (never half a line: the rest of a line goes
// with its first dropped piece) and says how many in a Dropped record; as in Docker's ring buffer an empty backlog takes
// a line of any size.
package capture
