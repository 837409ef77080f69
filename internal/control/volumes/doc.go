// Package volumes keeps the records of tasks' EBS volumes.
//
// It keeps true that
//
//   - the volume of a task that has stopped is forgotten, because the node has
//     deleted it with the task, or is available when it was to be kept;
//   - the volume of a task whose node is out of reach stays in use until the
//     node has confirmed the end of the task: it may still write to it;
//   - a volume that a user deletes is deleted by its node (Source has the
//     documents that tell it so) and forgotten when the node says that nothing
//     is left (Observed), or when the node itself is gone.
//
// It writes State of EBS volumes and deletes their records. It is woken by
// changes of tasks, volumes and instances, and by what nodes observe.
//
// Behaviour: behaviour/exec-and-more.md §3, and the Amazon ECS developer guide,
// "Use Amazon EBS volumes with Amazon ECS".
package volumes
