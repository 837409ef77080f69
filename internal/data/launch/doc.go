// Package launch makes tasks. It is the only place that does: RunTask calls it
// for a user, the deployment loop for a service, and both get the same checks,
// the same placement and the same records.
//
// What it keeps true, within the caller's transaction:
//
//   - a task, its place, its network interface with its address claims and the
//     ports that it holds are written together or not at all;
//   - an instance is never given more than it has, nor a port twice: what is
//     free is a sum that the store keeps up ([records.TasksOnInstance]), and
//     every placement writes the instance, so that of two transactions that
//     saw the same sum one is refused and decides again;
//   - an address is a key of its own, so that none is given twice;
//   - what decides is guarded: a cluster, definition, subnet or security group
//     that goes before the commit takes the tasks with it.
//
// It writes tasks, network interfaces, address claims and public addresses,
// and of instances the count of placements. It has no loop and no state.
//
// Behaviour: the Amazon ECS API reference of RunTask and the developer guide,
// "How Amazon ECS places tasks on container instances".
package launch
