// Package exec is a node's part of the ways into its tasks: it runs what the
// control plane asks for with OpenStream (model.StreamRequest) and carries
// frames between that and the stream.
//
//   - exec: a program in a container, as root whatever the container's user is
//     (AWS's behaviour), with the container's environment, its secrets among it,
//     its working directory and capabilities.
//   - dial: a TCP connection from the container's network namespace, to names
//     as the container resolves them.
//   - debug: a program of another image in a container of its own, which shares
//     the network, process and IPC namespaces of the one that is looked into
//     and the task's limits. The file system of that one is /proc/1/root there.
//   - read and write: a tar archive out of a container's file system, volumes
//     included, or into it. The image needs no tar: the node does it.
//
// What it keeps true: everything that a stream started ends with the stream,
// however that ends, and is gone when Open returns; what an agent left that was
// killed is removed by the next one (Purge here, and the runtime for programs).
// Nothing is buffered but a few frames: a reader that is slow stops the program.
// A program's output arrives whole before its exit does. What a program has
// left behind when it ends has a second to finish, and is killed then; with AWS
// a daemon survives its session.
//
// The file system of a container is entered by its root directory alone: paths
// are resolved by the kernel as if that were / (openat2 with RESOLVE_IN_ROOT),
// each file is then worked on by its descriptor, and nothing that is not a
// plain file or directory is ever opened. So links lead where they lead inside,
// whatever a program there does to them meanwhile. A file that is written
// becomes visible when it is whole. Device nodes and extended attributes are
// not copied.
//
// It writes no records. What wakes it: the control plane.
//
// Behaviour: behaviour/exec-and-more.md §1.
package exec
