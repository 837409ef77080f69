package model

import (
	"strings"
	"time"
)

// VPC is a private network with one IPv4 range.
type VPC struct {
	ID        string `json:"vpcId"`
	CIDR      string `json:"cidrBlock"`
	IsDefault bool   `json:"isDefault,omitempty"`
	// The attributes of ModifyVpcAttribute; NoDNSSupport is inverted because
	// AWS's default is on.
	NoDNSSupport    bool   `json:"noDnsSupport,omitempty"`
	DNSHostnames    bool   `json:"enableDnsHostnames,omitempty"`
	AddressMetrics  bool   `json:"enableNetworkAddressUsageMetrics,omitempty"`
	InstanceTenancy string `json:"instanceTenancy,omitempty"`
	// AssociationID names the association of CIDR with the VPC.
	AssociationID string `json:"cidrAssociationId,omitempty"`
	Tags          []Tag  `json:"tags,omitempty"`
}

// Key identifies the VPC in the store.
func (v *VPC) Key() string { return v.ID }

// Subnet is a part of a VPC's range in one availability zone.
type Subnet struct {
	ID               string `json:"subnetId"`
	VPCID            string `json:"vpcId"`
	CIDR             string `json:"cidrBlock"`
	AvailabilityZone string `json:"availabilityZone"`
	DefaultForAZ     bool   `json:"defaultForAz,omitempty"`
	MapPublicIP      bool   `json:"mapPublicIpOnLaunch,omitempty"`
	// ACLAssociationID names the subnet's association with the VPC's network ACL.
	ACLAssociationID string `json:"networkAclAssociationId,omitempty"`
	Tags             []Tag  `json:"tags,omitempty"`
}

// Key identifies the subnet in the store.
func (s *Subnet) Key() string { return s.ID }

// SecurityGroup is a set of rules for the packets of network interfaces.
type SecurityGroup struct {
	ID          string              `json:"groupId"`
	Name        string              `json:"groupName"`
	Description string              `json:"description"`
	VPCID       string              `json:"vpcId"`
	Ingress     []SecurityGroupRule `json:"ingress,omitempty"`
	Egress      []SecurityGroupRule `json:"egress,omitempty"`
	Tags        []Tag               `json:"tags,omitempty"`
}

// Key identifies the group in the store.
func (g *SecurityGroup) Key() string { return g.ID }

// SecurityGroupRule allows a protocol ("-1" is every one) from or to exactly
// one of a range, an IPv6 range and another group. No interface has an IPv6
// address, so a rule with an IPv6 range matches nothing and no node gets it.
type SecurityGroupRule struct {
	ID          string `json:"securityGroupRuleId,omitempty"` // sgr-…
	Protocol    string `json:"ipProtocol"`
	FromPort    *int32 `json:"fromPort,omitempty"`
	ToPort      *int32 `json:"toPort,omitempty"`
	CIDR        string `json:"cidrIp,omitempty"`
	CIDRIPv6    string `json:"cidrIpv6,omitempty"`
	GroupID     string `json:"groupId,omitempty"`
	Description string `json:"description,omitempty"`
	Tags        []Tag  `json:"tags,omitempty"`
}

// What a network interface belongs to.
const (
	InterfaceOfTask         = ""             // a task's; the zero value, because it was the only kind once
	InterfaceOfLoadBalancer = "loadbalancer" // OwnerID is the load balancer's id
	InterfaceOfNATGateway   = "nat"          // OwnerID is the NAT gateway's id
	InterfaceOfUser         = "user"         // CreateNetworkInterface
)

// NetworkInterface is an elastic network interface. A task's lives from the
// transaction that accepts the task to the one that sees it stopped.
type NetworkInterface struct {
	ID               string    `json:"networkInterfaceId"`
	AttachmentID     string    `json:"attachmentId"` // UUID shown in the task's attachments
	EC2AttachmentID  string    `json:"ec2AttachmentId"`
	VPCID            string    `json:"vpcId"`
	SubnetID         string    `json:"subnetId"`
	AvailabilityZone string    `json:"availabilityZone"`
	Address          string    `json:"privateIpAddress"`
	MAC              string    `json:"macAddress"`
	GroupIDs         []string  `json:"groupIds,omitempty"`
	TaskARN          string    `json:"taskArn,omitempty"`
	CreatedAt        time.Time `json:"createdAt"`

	Owner   string `json:"owner,omitempty"`
	OwnerID string `json:"ownerId,omitempty"`
	// InstanceID is the node that has the interface; empty for one that no
	// node has.
	InstanceID string `json:"instanceId,omitempty"`
	// PublicAddress leads to the interface from outside its VPC; empty: none.
	PublicAddress string `json:"publicIp,omitempty"`
	Description   string `json:"description,omitempty"`
	// NoSourceDestCheck is inverted because AWS's default is on.
	NoSourceDestCheck bool `json:"noSourceDestCheck,omitempty"`
	// ClientToken is that of the call that made a user's interface.
	ClientToken string `json:"clientToken,omitempty"`
	Tags        []Tag  `json:"tags,omitempty"`
}

// Key identifies the interface in the store.
func (n *NetworkInterface) Key() string { return n.ID }

// PrivateDNSName is the name of the interface's address inside its VPC.
func (n *NetworkInterface) PrivateDNSName(region string) string {
	domain := region + ".compute.internal"
	if region == "us-east-1" {
		domain = "ec2.internal"
	}
	return "ip-" + strings.ReplaceAll(n.Address, ".", "-") + "." + domain
}

// AddressClaim holds an address for one interface. Its key is the address, so
// the store itself refuses to give an address twice.
type AddressClaim struct {
	SubnetID string `json:"subnetId"`
	Address  string `json:"address"`
	ENIID    string `json:"eniId"`
}

// Key identifies the claim in the store.
func (a *AddressClaim) Key() string { return AddressClaimKey(a.SubnetID, a.Address) }

// AddressClaimKey is the store key of the claim on an address of a subnet.
func AddressClaimKey(subnetID, address string) string { return subnetID + "/" + address }

// PublicAddress is an address outside every VPC that leads to an interface.
// Its key is the address, so that none is given twice.
type PublicAddress struct {
	Address string `json:"address"`
	// AllocationID is set for an Elastic IP, which a user owns.
	AllocationID  string `json:"allocationId,omitempty"`
	AssociationID string `json:"associationId,omitempty"`
	// ENIID, or LoadBalancerID, is what it leads to; both empty for an Elastic
	// IP that is not associated.
	ENIID          string    `json:"eniId,omitempty"`
	LoadBalancerID string    `json:"loadBalancerId,omitempty"`
	CreatedAt      time.Time `json:"createdAt"`
	Tags           []Tag     `json:"tags,omitempty"`
}

// Key identifies the address in the store.
func (a *PublicAddress) Key() string { return a.Address }

// RouteTable says where packets of its subnets go. A VPC has one main table,
// for the subnets that have none of their own.
type RouteTable struct {
	ID           string                  `json:"routeTableId"`
	VPCID        string                  `json:"vpcId"`
	Routes       []Route                 `json:"routes,omitempty"` // besides the local one
	Associations []RouteTableAssociation `json:"associations,omitempty"`
	ClientToken  string                  `json:"clientToken,omitempty"` // of the call that made it
	Tags         []Tag                   `json:"tags,omitempty"`
}

// Key identifies the table in the store.
func (r *RouteTable) Key() string { return r.ID }

// Main reports whether the table is its VPC's main one.
func (r *RouteTable) Main() bool {
	for _, a := range r.Associations {
		if a.Main {
			return true
		}
	}
	return false
}

// Route leads a range to exactly one of its targets.
type Route struct {
	DestinationCIDR string `json:"destinationCidrBlock"`
	GatewayID       string `json:"gatewayId,omitempty"`    // igw-…
	NATGatewayID    string `json:"natGatewayId,omitempty"` // nat-…
	ENIID           string `json:"networkInterfaceId,omitempty"`
}

// RouteTableAssociation gives a subnet its table.
type RouteTableAssociation struct {
	ID       string `json:"routeTableAssociationId"`
	SubnetID string `json:"subnetId,omitempty"` // empty for the main association
	Main     bool   `json:"main,omitempty"`
}

// InternetGateway connects a VPC with the internet.
type InternetGateway struct {
	ID    string `json:"internetGatewayId"`
	VPCID string `json:"vpcId,omitempty"` // empty: detached
	Tags  []Tag  `json:"tags,omitempty"`
}

// Key identifies the gateway in the store.
func (g *InternetGateway) Key() string { return g.ID }

// States of a NAT gateway.
const (
	NATAvailable = "available"
	NATFailed    = "failed"
	NATDeleted   = "deleted"
)

// NATGateway lets subnets without public addresses reach the internet.
type NATGateway struct {
	ID           string `json:"natGatewayId"`
	VPCID        string `json:"vpcId"`
	SubnetID     string `json:"subnetId"`
	Connectivity string `json:"connectivityType"` // public or private
	AllocationID string `json:"allocationId,omitempty"`
	ENIID        string `json:"eniId"`
	Address      string `json:"privateIp"`
	Public       string `json:"publicIp,omitempty"`
	State        string `json:"state"`
	// FailureCode and FailureMessage say why State is failed.
	FailureCode    string     `json:"failureCode,omitempty"`
	FailureMessage string     `json:"failureMessage,omitempty"`
	ClientToken    string     `json:"clientToken,omitempty"`
	CreatedAt      time.Time  `json:"createdAt"`
	DeletedAt      *time.Time `json:"deletedAt,omitempty"`
	Tags           []Tag      `json:"tags,omitempty"`
}

// Key identifies the gateway in the store.
func (g *NATGateway) Key() string { return g.ID }
