// Package ec2 answers the part of the EC2 API that a network of tasks and load
// balancers needs: VPCs, subnets, security groups with their rules, route
// tables, internet and NAT gateways, network interfaces, Elastic IPs and tags;
// and the EBS volumes that ECS makes for tasks.
// Bootstrap makes the default VPC that an AWS account has.
//
// It keeps true that
//   - every filter is applied or refused, never ignored, and so is every
//     parameter: what Berth cannot do is an UnsupportedOperation;
//   - the subnets of a VPC lie in it and do not overlap, a subnet has one route
//     table, a VPC one main table, at most one internet gateway and one group
//     of a name;
//   - a resource that others need is not deleted. Whoever makes one that needs
//     it guards its record in the same transaction, and who deletes it guards
//     the index by which those that need it are found;
//   - a public address leads to one interface, and the interface names it.
//
// It writes vpcs, subnets, securitygroups, routetables, internetgateways and
// natgateways; network interfaces of users and of NAT gateways, and Elastic IPs.
// Of ebsvolumes it writes tags, and the wish to have one deleted.
// The interfaces and public addresses of tasks and load balancers are written
// by whoever makes those. Nothing wakes it but requests; a NAT gateway that was
// deleted is forgotten by the next that is made.
//
// Behaviour: the Amazon EC2 API reference, the Amazon VPC user guide, and the
// calls that Terraform's AWS provider makes. Error texts were written from
// memory of AWS's; testdata/errors.golden marks the uncertain ones.
package ec2
