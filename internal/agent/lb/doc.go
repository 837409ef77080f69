// Package lb serves a node's load balancers: real sockets at their addresses, health checks from their interfaces.
//
// The engines are existing ones, which this package programs (DESIGN.md, decision 8). What an engine is told is compiled by
// rules/routing; this package makes it true and reports what it sees. It writes no record: model.LoadBalancerObserved goes
// to Config.Report whenever it changes.
//
// # HAProxy
//
// Each application load balancer is one HAProxy process, in the host's network namespace, that belongs to nobody: it goes
// on when the agent ends or is killed, and the next agent finds it by its command line and programs it through its socket.
// It listens on the load balancer's addresses inside the namespaces of its interfaces and, for an internet-facing one, on its
// public address on the host; it connects to targets from the first interface, so that this is what targets' security groups
// see. (One interface for all targets, whatever their zone: AWS uses that of each zone.)
//
//   - Targets are put into server slots that the configuration has in advance: a target that comes, goes or drains is a
//     few words on the process's socket. Slots double by a reload when they do not do.
//   - Another configuration is a reload: a new process takes over the sockets and the servers' states, the old one serves
//     its connections to their end, however long that takes (a WebSocket may live for days).
//   - Health checks are HAProxy's own, so that a target that dies while no agent runs gets no requests. A new target begins as
//     down and is raised by the agent after the first check that it passes, for AWS takes one success; while no agent runs,
//     HAProxy raises it after as many as a target needs that was unhealthy. The agent checks new targets itself, soon and
//     often, so that a deployment goes on as soon as a task can serve.
//   - Access log records wait in the process's memory while no agent takes them, the newest 4 MiB of them.
//
// # The kernel
//
// TCP and UDP listeners of a network load balancer are nftables rules in the VPC's namespace: the table berth-nlb, whose
// place among the others agent/network describes. There both directions of a connection pass, whichever interface the target
// has. Rules and connections outlive the agent; health checks of these targets are the agent's, so while none runs, targets
// stay as they were. TLS listeners, and TCP listeners whose targets want the proxy protocol, are HAProxy's.
//
// # What survives
//
// Each load balancer has a directory with its configuration and state.json, and one for its certificates with their keys, on
// a tmpfs: after a restart of the host they are written again from the document, which is sealed on disk. In
// state.json is which target has which slot and how it was. It is written before HAProxy is told. A new agent compares it
// with the process and continues; after a crash of the process it starts one and puts the same targets in. After a restart of the host the interfaces are made
// again, and a process that holds namespaces which are no more is replaced.
//
// # What wakes it
//
// A new document, a datagram of HAProxy about a health check, the result of a check of its own, and a look every two
// seconds, because datagrams can be lost. HAProxy is looked at four times a second while a target is new.
package lb
