// Package elbv2 answers the Elastic Load Balancing v2 API: application and
// network load balancers, target groups of addresses and instances, listeners,
// rules, and the health of targets.
//
// It keeps true that a load balancer has, from the transaction that makes it,
// an interface with a claimed address in each of its subnets and, when it faces
// the internet, a claimed public address; that names of load balancers and
// target groups, ports of a load balancer's listeners and priorities of a
// listener's rules are unique; that a target group serves one load balancer,
// and is not deleted while it does. What the data plane cannot do is refused.
//
// It writes the specification of load balancers, target groups, listeners and
// rules, registers and deregisters targets, and makes and regroups load
// balancers' interfaces, address claims and public addresses. The node of a
// load balancer, its state, targets' health and the end of what a deleted load
// balancer or a deregistered target leaves behind are control/balancing's.
// Nothing wakes it but requests.
//
// Behaviour: the Elastic Load Balancing API reference 2015-12-01 and user
// guides; texts of errors as clients have reported them. Where AWS documents a
// rule but not its text, the text here is a guess; testdata/errors.golden has
// all of them.
package elbv2
