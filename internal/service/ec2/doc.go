// Package ec2 answers the part of the EC2 API that an ECS user's network
// needs: VPCs, subnets, security groups, network interfaces and availability
// zones, to be read. Bootstrap makes the default VPC that an AWS account has.
//
// It keeps true that every filter is applied or refused, never ignored, and
// that there is one default VPC with a default subnet in each zone and a
// default security group.
//
// It writes vpcs, subnets and securitygroups, once; network interfaces are
// written by whoever accepts tasks. Nothing wakes it but requests. Behaviour:
// the Amazon EC2 API reference and user guide, "Default VPCs".
package ec2
