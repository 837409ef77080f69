// Package execution does what ECS does in the name of a task's roles: it
// assumes the task role for the task's containers, and with the execution role
// fetches secrets and registry logins, and asks whether an image may be pulled
// and a log stream written.
//
// What it keeps true: nothing is handed to a node for a task that the task's
// own roles do not allow. A role counts only when its trust policy lets
// ecs-tasks.amazonaws.com assume it, now and not when the task was accepted.
// Every refusal is the sentence that AWS's users know; it names the secret, the
// parameter or the image, and never a value.
//
// It writes no record and keeps nothing but decisions about deliveries of logs,
// for a few seconds. Values of secrets pass through and are not kept. Nodes
// wake it, through control/dispatch, which has made sure that the task is the
// node's; it calls the AWS API through interfaces that internal/app adapts to
// the gateway's inner door, so that its calls are authorised and audited as
// anybody's.
//
// A task on EC2 can do without an execution role. What AWS's agent then does
// with the host's instance role is allowed here: a node of Berth has no role,
// and its operator trusts it with its tasks' images and logs.
//
// Behaviour: iam-credentials-metadata.md §1, §3; secrets-logs.md §1, §4;
// task-lifecycle.md §4; the open source agent's asm and ssm packages for what
// is said about contents.
package execution
