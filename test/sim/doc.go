// Package sim runs whole clusters in one bubble of fake time: the real store,
// ECS provider, deployment loop, dispatcher, sessions and task engines, over an
// in-memory kv, fake containers and fake networks. A seed decides what users
// ask of tasks and services, what containers do and what dies when. All the
// time
//
//   - the deployment loop never leaves a service with fewer healthy tasks than
//     its lower bound, nor starts more than its upper one allows.
//
// Afterwards everything is healed and the invariants are checked:
//
//   - every service that can work has come to its desired count of healthy
//     tasks of its newest revision, what cannot was ended by its circuit
//     breaker, and what is then given a revision that works comes to work;
//   - what RunTask acknowledged exists, and the same client token gave the same tasks;
//   - no container was ever started twice, on whatever node;
//   - no address was ever on two interfaces at once;
//   - no task's status went back, and a stopped task stayed stopped;
//   - at the end nothing is left: no container, interface, journal entry or claim.
//
// Every fourth seed has secrets and roles besides (type vault): tasks with
// credentials that are soon to be renewed, and secrets that tasks rotate, with
// the mistakes that such programs make, by a loop that is killed between any
// two of its transactions. Then
//
//   - a secret has one AWSCURRENT, another AWSPREVIOUS, and at most one task that
//     rotates it, at every revision of the store;
//   - each rotation that was asked for or became due has made one version;
//   - a running task has valid credentials, of its own session, if the control
//     plane could be reached when they were to be renewed;
//   - no node is told a secret of another node's task, and files have the newest
//     value.
//
// Go's scheduler is not deterministic, so a seed is a script and not a proof:
// a failure prints the seed and the events that led to it.
//
//	go test ./test/sim -seeds 2000          # what CI runs
//	go test ./test/sim -seed 42 -v          # one, with its events
package sim
