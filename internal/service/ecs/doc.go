// Package ecs answers the ECS API: clusters, task definitions, tasks, services
// with their deployments and revisions, tags, account settings and container
// instances.
//
// What it keeps true:
//
//   - a call's effects are one transaction: what was answered is stored, and a
//     call that failed left nothing behind;
//   - it writes desire only: a cluster, a definition, a task with its place and
//     its network interface, that a task shall stop, a service and the newest
//     deployment that brings it to a revision. What becomes of tasks and of
//     deployments is written by others, and every count is derived from tasks;
//   - tasks are made by data/launch alone;
//   - wire types stop here. Records are converted explicitly, and every error a
//     client sees is made in this package or by rules/taskspec.
//
// It writes clusters, taskdefinitions, families, runtasktokens and
// accountsettings; services but for status INACTIVE, progress and events;
// service revisions; of deployments the new one, that its predecessor is
// ACTIVE, and what StopServiceDeployment requests; of tasks desiredStatus,
// stopCode, stoppedReason, protectedUntil and tags; of instances status and
// tags. Nothing wakes it but requests.
//
// Behaviour: the Amazon ECS API reference and developer guide; where the API
// says nothing, what real answers quoted in public show.
package ecs
