// Package credentials keeps the credentials of this node's task roles: what
// the endpoint at 169.254.170.2 hands to the SDKs inside tasks.
//
// It keeps true that a task whose role could be assumed has credentials that
// are valid for as long as the control plane lets it: they are renewed an hour
// after they were issued, or at half of their life when that is shorter, long
// before SDKs ask again (5 to 15 minutes before the end). While the control
// plane is away what there is goes on being served until it expires; expired
// credentials never are.
//
// They survive the agent, because a task must not lose its identity when agent
// and control plane start again in the wrong order: one file a task, sealed
// with the node's key (package seal). They go with the task.
//
// A task is added by Obtain, which tells a role that cannot be assumed from a
// control plane that is away, and by Keep after the agent was started again.
// Nothing else wakes it but time. Source of behaviour:
// behaviour/iam-credentials-metadata.md §3.
package credentials
