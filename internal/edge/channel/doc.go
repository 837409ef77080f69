// Package channel answers data channels: the WebSockets over which somebody
// who called ExecuteCommand or StartSession works in a task.
//
// It keeps these things true:
//
//   - A data channel carries what the session's record says, and only to who
//     has its token, which opens it once. Who may have a session was decided
//     when the record was made.
//   - A session's record follows what becomes of it: Connected, Disconnected
//     while the plugin is to come back (with ResumeSession), Terminated with
//     the reason. One whose control plane died is Terminated by the next.
//   - A session ends with its client, its program, its task, TerminateSession,
//     its idle time or its longest time, and its client is told which. Ending
//     waits for nobody for more than moments.
//   - Memory is bounded, for a client that does not read too: it holds up the
//     program. What is to be logged and cannot be holds it up as well; it is
//     not shown unlogged.
//   - Neither input nor output is in the server's own log.
//
// It writes Status, ConnectedAt, EndedAt, Details and Serial of sessions, and
// deletes those that ended a month ago. It is woken by connections, by changes
// of sessions and tasks, and by the clock.
//
// Sources: behaviour/exec-and-more.md §1, §2; the plugin's own code.
package channel
