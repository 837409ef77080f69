// Package runtime is the contract between the task engine and whatever runs containers on this host.
//
// It keeps true: every verb can be repeated. An agent that died between doing a thing and writing down that it was
// done calls the verb again and finds it done, so the engine adopts before it creates and nothing runs twice. What a
// runtime made is found again by List, from any later process, and belongs to exactly one Berth instance.
//
// The contract is narrow on purpose: it knows containers and the cgroup that holds a task's containers, and nothing
// of tasks' dependencies, health, networks or logs. Network namespaces are given to it as paths; logs go to a program
// that the runtime starts beside the container and that outlives the agent.
//
// Two implementations exist, containerd (the real one) and fake (for simulations); runtimetest is the suite that holds
// them equal. Containers are given what Docker gives them by default (capabilities, seccomp profile, masked paths,
// devices), because that is what ECS gives them.
//
// Behaviour: behaviour/task-definitions.md §4 and §5 (container definition fields), behaviour/task-lifecycle.md §4
// (the words of pull errors).
package runtime
