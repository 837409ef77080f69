// Package initproc is the init mode of berth-helper: process 1 of a container whose task definition says
// initProcessEnabled, as docker-init (tini) is with Docker.
//
// What it keeps true: the child gets every signal that process 1 gets, zombies that the child leaves are reaped, and
// the container's exit code is the child's, or 128 + n when signal n ended it. It ends with the child, and so, as
// process 1, ends everything else in the namespace.
//
// As with tini the child leads its own process group, which becomes the foreground group of the terminal when there is
// one, and signals go to the child alone. SIGCHLD is init's own; SIGTTIN, SIGTTOU and the signals of faults are not
// forwarded; nor is SIGURG, which the Go runtime sends to itself and which no child of a container waits for.
//
// The command is looked up in PATH. As in a shell, 127 says that it was not found and 126 that it cannot be executed.
package initproc
