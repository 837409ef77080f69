// Package balancing gives load balancers to nodes and brings what happens to
// them back.
//
// It keeps true:
//
//   - A load balancer is served by one connected, ACTIVE node, the one with the
//     fewest, and stays there until that node is lost: gone, INACTIVE, or
//     disconnected for longer than tasks would survive (control/liveness). Its
//     interfaces name the same node.
//   - The node knows all of it and nothing else: [Source] derives the
//     document, which changes when and only when what the node must do does.
//   - State and the health of targets are what the serving node observed last,
//     of the registration that it observed.
//   - A target that was deregistered goes when its group's deregistration delay
//     is over, or at once when no listener leads to the group.
//   - Interfaces, private and public addresses of a deleted load balancer, or of
//     a subnet that it left, stay claimed while a node may still serve them. The
//     node's report that it has let go frees them at once. A node that does not
//     say so is given releaseAfter, if it is connected: it has had its documents
//     for so long. A node that is lost is not waited for: what it served moves
//     elsewhere under the same condition.
//   - Listeners, rules and targets whose load balancer, listener or group is
//     gone go too, so that a provider which ended halfway leaves nothing.
//
// It writes LoadBalancer.InstanceID, State and StateReason, the InstanceID of
// load balancers' interfaces, Target.Health, and deletes the records named
// above. It is woken by changes of load balancers with all that belongs to them
// and of nodes, by nodes' reports, and by deadlines.
//
// Behaviour: the Application Load Balancer guide, "Deregistration delay" and
// "Target health status"; where a load balancer runs is Berth's own matter.
package balancing
