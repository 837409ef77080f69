// Package firewall decides what security groups let through: it compiles the groups of a network interface into an ordered
// set of rules that a packet filter can follow, and says of any packet what those rules do with it.
//
// It is pure, and it keeps these things true of every Ruleset:
//
//   - the first packet of a connection passes in a direction if and only if some rule of some of the interface's groups
//     allows it in that direction; everything later of the connection, answers and errors included, passes because of
//     that, also after the rule is gone (security groups are stateful; behaviour/networking-lb-discovery.md §1);
//   - a rule that is not understood allows nothing, and is named in Invalid;
//   - a rule for another group stands for the addresses of that group's members. Those are kept apart from the rules, in
//     Members, so that a change of members changes no rule;
//   - equal groups compile to equal rulesets, in whatever order their rules are.
//
// An interface with no group at all is Open. On AWS only a network load balancer's can be: one that was made without
// groups is not filtered (Elastic Load Balancing user guide, "Security groups for your Network Load Balancer"). Every other
// interface is in at least one, the VPC's default group when nothing else was said.
//
// Addresses are IPv4, as everything in this VPC.
package firewall
