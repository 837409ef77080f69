// Package containerd runs containers with containerd and an OCI runtime (crun or runc).
//
// It keeps true: everything that a Berth instance makes is in one containerd namespace, one cgroup (/berth/INSTANCE)
// and one state directory, so that it is found again by any later process and can be removed to the last bit; and the
// containers of a task share one shim, which is labelled with the task's ID. A container is described by the Spec it
// was made from, which is stored with it.
//
// What is where:
//
//   - containerd holds images, snapshots, containers, and asks its shims for the state of processes;
//   - the cgroup file system holds limits, counters and the fact that the OOM killer struck (read at exit, before the
//     cgroup goes), by our own reading, so that it does not depend on containerd's version;
//   - the state directory holds one small file per container that has been started, to tell a container that was never
//     started from one whose run nobody saw end (the host restarted, its shim was killed), and one per task with a CPU
//     quota, which is lifted while a container is made (quota.go).
//
// The engine is the containerd at the address given, or at its usual address when it answers there, or a private one
// that is started with its own root, state and socket. A private one outlives the agent: it is a session of its own,
// and the next agent finds it by its socket. Run watches it and starts it again when it has died; shims and containers
// do not notice. It is ended by StopPrivate only.
//
// Snapshots carry containerd's root label against garbage collection from the moment they are prepared, because
// containerd collects what no container refers to yet. The sweep in New removes what an agent left that died between
// preparing a snapshot and making the container.
package containerd
