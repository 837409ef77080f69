// Package firewall makes security groups true on packets. What they allow is decided by rules/firewall; this package writes
// it into the kernel, from the documents that the control plane sends (interface, securitygroup, loadbalancer).
//
// # What it keeps true
//
//   - An interface is filtered in its own network namespace, by the nftables table berth-guard there: connections that exist go
//     on, the interface's own loopback is free, and of the rest the first packet passes that its groups allow. Nothing
//     comes in and nothing goes out of an interface of which nothing is known yet.
//   - No process meets an unfiltered interface: whoever attaches one calls Ensure, and starts processes when it returns.
//   - A change of a group's members changes elements of sets and nothing else. A change of rules replaces all rules of an
//     interface in one step. Neither ends a connection: the kernel's record of connections is never touched, and
//     connections whose rule is gone go on, as those that AWS tracks do.
//   - An internet-facing application load balancer also has sockets on its public address, in the host's namespace. They are
//     filtered by its groups as well, in the host's table berth-<instance>-guard. A client is then a process of this host,
//     mostly at 127.0.0.1, or whoever reaches the host at that address: rules for 0.0.0.0/0 allow them, those for groups cannot.
//   - A network load balancer's address is no socket but is translated in the VPC's namespace, so it is filtered there too,
//     before the translation (table berth-guard; agent/network/doc.go has the table of tables). It allows what comes in by
//     its groups; what it passes on to targets is not filtered again by its egress rules. Where the client's address is
//     preserved, targets' groups must allow the client, as a reference to the load balancer's group cannot.
//   - Interfaces leave their VPC for what their route table leads to and nothing else, and public addresses lead to their
//     interfaces: it hands both to agent/network.
//
// What is denied vanishes, as on AWS, except that a process that sends a datagram which its own egress rules deny gets EPERM.
//
// # How
//
// Run looks at everything when a document changes and writes what differs from what it wrote last; of an interface that it has
// not written yet, as after a restart of the agent, it compares the kernel's rules, which carry their meaning as comments. So a
// new agent that finds everything right writes nothing. Documents that go away change nothing: the interface's namespace
// goes soon, or was never there.
//
// The rules are in the namespace of the task itself (DESIGN.md, decision 7). A task that has CAP_NET_ADMIN there, which only
// definitions for EC2 can ask for, can take its own filter away, though not others', nor the VPC's router's.
//
// The host's own processes, health checks of the operator for example, reach tasks from the host's address in the VPC (.3):
// it is an ordinary source, allowed by ranges that contain it.
//
// Sources of behaviour: behaviour/networking-lb-discovery.md §1, and the Amazon VPC user guide, "Security group rules" and
// "Security group connection tracking".
package firewall
