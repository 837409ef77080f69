// Package sim runs whole clusters in one bubble of fake time: the real store,
// ECS provider, dispatcher, sessions and task engines, over an in-memory kv,
// fake containers and fake networks. A seed decides what users ask, what
// containers do and what dies when. Afterwards everything is healed and the
// invariants are checked:
//
//   - what RunTask acknowledged exists, and the same client token gave the same tasks;
//   - no container was ever started twice, on whatever node;
//   - no address was ever on two interfaces at once;
//   - no task's status went back, and a stopped task stayed stopped;
//   - at the end nothing is left: no container, interface, journal entry or claim.
//
// Go's scheduler is not deterministic, so a seed is a script and not a proof:
// a failure prints the seed and the events that led to it.
//
//	go test ./test/sim -seeds 1000          # what CI runs
//	go test ./test/sim -seed 42 -v          # one, with its events
package sim
