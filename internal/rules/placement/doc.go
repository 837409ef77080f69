// Package placement decides which instances run new tasks.
//
// It keeps true that no instance is ever given more than it has free, and that
// every instance that was not chosen for want of something is named together
// with the reason, in ECS's codes, so that RunTask's failures, a service's
// events and the log say the same.
//
// It is pure: what is free comes in, the choice goes out, and the caller makes
// it true in a transaction that fails when somebody else placed there first.
// Behaviour: the Amazon ECS developer guide, "How Amazon ECS places tasks" and
// the API reference of RunTask's failures.
package placement
