// Package rollout decides how the tasks of a service are started, replaced
// and stopped.
//
// [Plan] is a function of one service's records at one time. What it keeps
// true, of its own actions, at any instant:
//
//   - no healthy task is stopped if fewer than minimumHealthyPercent of the
//     desired count would be left;
//   - no task is started if more than maximumPercent of it would run or be
//     about to run;
//   - a task that is protected is not stopped to scale in, to deploy, to drain
//     an instance or to balance zones.
//
// Without further faults a service comes to its desired count of tasks of its
// newest revision, or the deployment ends as FAILED. Each decision has one
// reason, in AWS's words, which becomes the service event and stoppedReason.
//
// The package writes nothing and reads no clock: control/deployment applies
// what it says. Behaviour: behaviour/services-deployments.md; why it is built
// this way, and where it leaves AWS's path, is in DESIGN.md beside this file.
package rollout
