// Package placement decides which instances run new tasks.
//
// It keeps true that no instance is ever given more than it has free, nor a
// port twice, nor a task that a constraint forbids, and that every instance
// that was not chosen is named together with the reason, in ECS's codes, so
// that RunTask's failures, a service's events and the log say the same.
// Constraints bind; strategies only order what is left.
//
// It is pure: what is free comes in, the choice goes out, and the caller makes
// it true in a transaction that fails when somebody else placed there first.
// Behaviour: the Amazon ECS developer guide, "How Amazon ECS places tasks on
// container instances", "Cluster query language", and the API reference of
// RunTask's failures.
package placement
