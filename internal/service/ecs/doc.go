// Package ecs answers the ECS API: clusters, task definitions, tasks, tags,
// account settings and the read side of container instances.
//
// What it keeps true:
//
//   - a call's effects are one transaction: what was answered is stored, and a
//     call that failed left nothing behind;
//   - it writes desire only: a cluster, a definition, a task with its place and
//     its network interface, and that a task shall stop. What becomes of a task
//     is written by others;
//   - two calls never give one address twice or an instance more than it has:
//     an address is a key of its own, and every placement writes the instance;
//   - wire types stop here. Records are converted explicitly, and every error a
//     client sees is made in this package or by rules/taskspec.
//
// It writes clusters, taskdefinitions, families, runtasktokens and
// accountsettings; of tasks everything when they are accepted, later only
// desiredStatus, stopCode, stoppedReason and tags; network interfaces and
// address claims when it accepts their task, and the placement count of
// instances. Nothing wakes it but requests.
//
// Behaviour: the Amazon ECS API reference and developer guide; where the API
// says nothing, what real answers quoted in public show.
package ecs
