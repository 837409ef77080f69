// Package secrets keeps what the execution role fetched for this node's tasks:
// secrets for their containers, options of log drivers, registry logins.
//
// It keeps these things true:
//
//   - Values are in the memory of the agent and of the containers that asked
//     for them, and on a tmpfs of this package's own, which the kernel is asked
//     to keep out of swap; never on a disk, in a journal, a specification, an
//     argument or a log.
//   - A container sees its own values only, in a directory that its user alone
//     may read (the runtime makes it the owner when the container starts).
//     What is not for containers is in a file that root alone may read.
//   - Everything of a task is there before the first of its containers is
//     made, and goes with the task. A restart of the agent loses nothing; one of
//     the host loses all, and the task with it.
//   - Containers that asked for their secrets as files (taskspec.SecretFilesDir)
//     find the newest values there: each file is replaced by renaming, so a
//     reader finds the old value or the new. The environment of a process that
//     runs is what it was when it started, as on AWS.
//
// The layout, below the directory given to Open:
//
//	<task>/.fetched              logins and log options
//	<task>/<container>/env       NAME=value, NUL after each
//	<task>/<container>/files/    NAME, for a container that wants files
//
// Fetch is called by the task engine; Apply by the documents of kind
// model.DocumentSecrets, which say that values have changed. Source of
// behaviour: behaviour/secrets-logs.md §1; the files are Berth's own.
package secrets
