// Package ipam decides which address ranges and addresses a VPC, a subnet and a network interface get.
//
// It is pure: what is taken comes in as an argument, the choice goes out, and the caller makes it true in its own
// transaction. It keeps these things true of every choice:
//
//   - a range overlaps nothing that is in use;
//   - the subnets of a VPC lie inside it and do not overlap;
//   - a public address is one of the operator's pool and is in use by nobody;
//   - an interface never gets one of the five addresses that AWS keeps in each subnet: the network address, the router
//     (.1), the resolver (.2), one for future use (.3) and the last one.
//
// Behaviour: the Amazon VPC user guide, "Subnet CIDR blocks" and "Default VPCs".
package ipam
