// Package network makes VPCs true on one host: each task has a network interface (ENI) with the address, hardware
// address and subnet that the control plane chose, in a network namespace of its own.
//
// # Shape
//
// On each host a VPC is a network namespace that routes between its interfaces, and nothing but routes:
//
//	task namespace              VPC namespace                         host
//	berth-<instance>-<eni>      berth-<instance>-<vpc>
//	eth0 172.31.16.5/20 ─────── eni<hash>   172.31.16.5/32 → eni…
//	 default via .16.1          lo          172.31.0.1, 172.31.16.1
//	lo 169.254.170.2            uplink ────────────────────────────── berth<hash> 172.31.0.3
//	   169.254.169.253           default via 172.31.0.3                172.31.0.0/16 via 172.31.0.1
//
// Tasks talk to each other inside the VPC namespace, so that no rule of the host (Docker's FORWARD policy, bridged frames
// sent through iptables, a user's firewall) ever sees that traffic, and two VPCs cannot see each other. Only what
// enters or leaves the VPC crosses the uplink. There every packet is routed: the host reaches a task by its own address,
// and what leaves is masqueraded.
//
// The gateway is the subnet's .1, as on AWS and as task metadata reports it (SubnetGatewayIpv4Address), not a link-local
// one: software that reads its own routing table finds what it would find on Fargate. The subnet has no on-link
// route, so neighbours are also reached through the gateway and ARP for them never happens; the two permanent neighbour
// entries of each interface leave nothing to resolve. The host's end of the uplink has the fourth address of the VPC
// (.3, which AWS keeps "for future use" in the first subnet and therefore no interface can have): it is the source
// address that a task sees when a process of the host connects to it.
//
// # Who writes rules where
//
// Every table of nftables has one writer, so that each can be replaced as a whole:
//
//	host            berth-<instance>            this package: forwarding and NAT of VPCs
//	                berth-<instance>-public     this package: public addresses lead to interfaces (SetPublic)
//	                berth-<instance>-ports      this package: host ports lead to containers in network mode bridge (Connect)
//	                berth-<instance>-guard      agent/firewall: security groups of sockets on public addresses
//	VPC namespace   berth-router                this package: which interface may leave the VPC for where (SetExits)
//	                berth-guard                 agent/firewall: security groups of addresses that are not sockets, but
//	                                            translated here: those of network load balancers; before any translation
//	                berth-nlb-<hash>            agent/lb: translates those addresses to targets (hook prerouting, dstnat)
//	ENI namespace   berth-guard                 agent/firewall: security groups of the interface
//
// A network load balancer cannot be translated in its own ENI's namespace: a target would answer the client by way of the
// VPC namespace and not by the one that knows the translation. The VPC namespace sees both directions of everything
// (VPCNetNSPath), and there the client's address can be kept.
//
// Purge removes every table of the host whose name is berth-<instance> or begins with berth-<instance>-. The others go with
// their namespaces.
//
// # Leaving the VPC, and public addresses
//
// The VPC namespace is the VPC's router, so it is where a subnet without a route to a gateway has no internet: only pairs of
// interface address and destination that SetExits was given leave by the uplink. What is not among them is dropped, as on
// AWS, where such packets vanish too. Answers to whoever may come in leave always, and so do packets to the host's own
// address in the VPC. An interface starts without any exit.
//
// A public address (SetPublic) leads to an interface's private address by translation on the host: for the host's own
// processes, and for packets that reach the host for that address from elsewhere. It may be an address of the loopback
// range, which every Linux host has without configuration and only the host itself can reach, or one that the operator
// configured on the host. The task sees the client's true address, except that a process of the host that
// connects from a loopback address is seen as the host's address in the VPC (.3): no answer could come back to 127.0.0.1.
// Tasks do not reach public addresses of other tasks: inside the VPC they use private ones.
//
// # Network modes bridge and host
//
// A container of a task in network mode bridge has a namespace and an address of its own on a network that all such
// containers of an instance on a host share (Connect). It has the range of Docker's default bridge, or the next of Docker's
// when the host has something there, and it is made like a VPC: containers reach each other and the world, and the host's
// ports that are published reach them, from everywhere and by localhost too. Which port leads where is written in the kernel
// only, in the comments of the rules that do it. A host port is taken when it leads to another container, or when a
// socket of the host listens on it at 127.0.0.1 or at an address outside the loopback range.
//
// A container in network mode host joins the host's namespace, by the name that NameHost gives it.
//
// # What it keeps true
//
//   - Attach leaves a complete interface or an error, and can be repeated; Detach likewise. Both start from what the
//     kernel has, never from memory: the kernel is the only state (names of namespaces, and an alias on each link that
//     carries the interface's description), so that a new agent process finds everything with List.
//   - A task can send with its own address only (strict reverse path filter on its port) and cannot reach 169.254.0.0/16
//     beyond its own namespace: the cloud metadata service of the host, in particular.
//   - VPCs are isolated from each other, also across Berth instances of one host. Connections from outside the host to a
//     task's address are refused: nothing routes into a VPC on AWS either.
//   - While Run runs, the host's part (forwarding, uplink, route, NAT, the way through iptables) is restored whenever
//     another program removes it. Run is woken by the kernel's notices about nftables, links and routes, and by a timer for
//     what has no notice (iptables-legacy).
//
// Beside Docker: Docker sets the iptables policy of FORWARD to DROP, and an accept in another nftables table does not
// override a drop. So wherever iptables may drop, the uplinks are accepted there: in FORWARD and, where it exists, in
// DOCKER-USER. A host where iptables drops nothing is left without such rules until it does.
//
// net.ipv4.ip_forward is switched on when it is off, said in the log, and left on by Purge: another program may rely on
// it by then. A Docker engine that starts later finds it on and then leaves the policy of FORWARD alone.
//
// Sources of behaviour: behaviour/networking-lb-discovery.md §1; the measurements behind the shape are in STACK.md.
package network
