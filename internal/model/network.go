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
	Tags      []Tag  `json:"tags,omitempty"`
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

// SecurityGroupRule allows a protocol ("-1" is every one) from or to a range
// or another group.
type SecurityGroupRule struct {
	Protocol    string `json:"ipProtocol"`
	FromPort    *int32 `json:"fromPort,omitempty"`
	ToPort      *int32 `json:"toPort,omitempty"`
	CIDR        string `json:"cidrIp,omitempty"`
	GroupID     string `json:"groupId,omitempty"`
	Description string `json:"description,omitempty"`
}

// NetworkInterface is an elastic network interface of a task. It lives from
// the transaction that accepts the task to the one that sees it stopped.
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
	TaskARN          string    `json:"taskArn"`
	CreatedAt        time.Time `json:"createdAt"`
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
