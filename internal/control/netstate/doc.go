// Package netstate tells each node about the networks that its interfaces are
// in: the VPCs, what each interface may reach outside its VPC, and the security
// groups with the addresses of those that rules refer to.
//
// It keeps true that these documents are functions of records alone, and that
// Affected never forgets a document that a change has changed; a property
// checks that against deriving everything anew. It names few: what a change is
// about is found by indexes, so that a task's start costs the same with a
// hundred thousand interfaces as with ten. The one exception is in the nature
// of the thing: when a group that rules refer to gets or loses a member, every
// node with an interface that such a rule is for has to hear of it.
//
// It writes nothing and runs nothing: the dispatcher, which is woken by the
// store, asks. Behaviour: the Amazon VPC user guide, "Enable internet access for
// a VPC using an internet gateway" (a route is not enough, an interface without
// a public address has no internet), "NAT gateways" and "Security group rules".
package netstate
