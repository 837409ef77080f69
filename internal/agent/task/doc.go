// Package task runs the tasks that the control plane assigned to this node.
//
// It keeps true that every assigned task moves from PROVISIONING to RUNNING
// and on to STOPPED as behaviour/task-lifecycle.md and
// behaviour/task-definitions.md §5 describe, whatever dies on the way: the
// agent's exit never touches a task, and the next agent adopts what runs
// before it makes anything.
//
// The decision is a pure function: Next looks at the assignment, the desired
// status and what is known of the task (State), and names the steps that may
// be taken now. The Engine takes them, one goroutine a step, and folds what
// happened into State with Apply. Every step is idempotent, so a step whose
// outcome was lost is simply taken again. State goes to the journal before
// anything is reported or taken away; see DESIGN.md for why.
//
// The network mode of the task definition decides what a container finds: the
// task's interface (awsvpc), an address and host ports of its own (bridge), the
// host's network (host), or a loopback (none). mode.go has them. A host port that
// is taken fails the container that asked for it; a dynamic one is chosen when
// the container is made and reported as a network binding.
//
// What wakes a task: an assignment, the outcome of a step, a container's exit,
// a health check, and the time that Next asked to be woken at.
package task
