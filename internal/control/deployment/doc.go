// Package deployment brings services to their desired state.
//
// What it keeps true: a service has as many tasks of its newest revision as it
// wants, replaced within the bounds of its deployment configuration; a
// deployment that fails is given up or rolled back; a service that is being
// deleted ends. What to do is [rollout.Plan]'s decision alone; this package
// shows it one service's records, and applies what it says in transactions
// that decide on the state they commit to.
//
// It writes deployments (all but what the provider makes and requests), the
// services' Progress, Status at their end and Revision at a rollback, the digests
// of revisions' images, service events, and of tasks of services the desired status, Settled, and StartedBy
// of those that a rollback adopts. It makes tasks through data/launch.
//
// It is woken by services, deployments, tasks, targets and instances that
// change, and by the deadlines that decisions name; never by a tick. A service
// for whose tasks no place was found is also woken by whatever may have made
// room. One service is decided by one worker at a time, several services at
// once.
//
// It runs under leadership: the context of Run is the leader's, and fenced.
package deployment
