package model

import "time"

// A node's state documents: besides its tasks, what a node must make true.
// The control plane derives each from records and sends it whenever it
// changes; a node keeps the newest of each on disk, so that it can go on
// without a control plane. Each is complete in itself.

// Kinds of documents that a node gets.
const (
	DocumentVPC           = "vpc"           // NodeVPC by VPC id
	DocumentInterface     = "interface"     // NodeInterface by ENI id
	DocumentSecurityGroup = "securitygroup" // NodeSecurityGroup by group id
	DocumentLoadBalancer  = "loadbalancer"  // NodeLoadBalancer by load balancer id
	DocumentZone          = "zone"          // NodeZone by namespace id, or by whose name it is
	DocumentSecrets       = "secrets"       // NodeSecrets by task id
	DocumentVolume        = "volume"        // NodeVolume by volume id
)

// Kinds of what a node reports besides its tasks.
const (
	ObservedLoadBalancer = "loadbalancer" // LoadBalancerObserved by load balancer id
	ObservedVolume       = "volume"       // VolumeObserved by volume id
)

// NodeVPC is a VPC of which the node has interfaces.
type NodeVPC struct {
	ID         string `json:"id"`
	CIDR       string `json:"cidr"`
	DNSSupport bool   `json:"dnsSupport"`
}

// NodeInterface is what a node must enforce on one of its interfaces. How to
// make the interface comes with the task, or with the load balancer.
type NodeInterface struct {
	ID         string   `json:"id"`
	VPCID      string   `json:"vpcId"`
	SubnetID   string   `json:"subnetId"`
	SubnetCIDR string   `json:"subnetCidr"`
	Address    string   `json:"address"`
	GroupIDs   []string `json:"groupIds"`
	// PublicAddress leads from the host to the interface; empty: none.
	PublicAddress string `json:"publicAddress,omitempty"`
	// Internet is true when the subnet's route table leads to an internet
	// gateway and the interface has a public address, or to a NAT gateway.
	Internet bool `json:"internet"`
	// Egress lists the destinations that the route table leads out of the VPC,
	// such as 0.0.0.0/0; empty without a route.
	Egress []string `json:"egress,omitempty"`
}

// NodeSecurityGroup is a security group that an interface of the node is in,
// or that a rule of such a group refers to.
type NodeSecurityGroup struct {
	ID    string `json:"id"`
	VPCID string `json:"vpcId"`
	// Ingress and Egress are empty for a group that is only referred to.
	Ingress []SecurityGroupRule `json:"ingress,omitempty"`
	Egress  []SecurityGroupRule `json:"egress,omitempty"`
	// Members are the private addresses of all interfaces in the group, sorted;
	// only sent for groups that a rule refers to.
	Members []string `json:"members,omitempty"`
}

// NodeLoadBalancer is a load balancer that the node serves.
type NodeLoadBalancer struct {
	LoadBalancer LoadBalancer `json:"loadBalancer"` // without tags
	// Interfaces to make and to listen on, one a zone.
	Interfaces   []AssignedNetwork     `json:"interfaces"`
	Listeners    []Listener            `json:"listeners"`
	Rules        []ListenerRule        `json:"rules,omitempty"` // of all listeners
	TargetGroups []NodeTargetGroup     `json:"targetGroups,omitempty"`
	Certificates map[string]NodeTLSKey `json:"certificates,omitempty"` // by ARN
}

// NodeTargetGroup is a target group with its targets, draining ones included.
type NodeTargetGroup struct {
	TargetGroup
	Targets []NodeTarget `json:"targets,omitempty"`
}

// NodeTarget is one target as the node needs it.
type NodeTarget struct {
	Key          string    `json:"key"`
	Address      string    `json:"address"`
	Port         int32     `json:"port"`
	RegisteredAt time.Time `json:"registeredAt"`
	Draining     bool      `json:"draining,omitempty"`
}

// NodeTLSKey is a certificate with its chain and key, all PEM.
type NodeTLSKey struct {
	Certificate string `json:"certificate"`
	Chain       string `json:"chain,omitempty"`
	PrivateKey  string `json:"privateKey"`
}

// NodeZone is a DNS zone that a node answers for.
type NodeZone struct {
	Name string `json:"name"` // without a final dot
	// VPCIDs are those whose interfaces resolve it; they prefer it to one of
	// the same name that every VPC resolves.
	VPCIDs []string `json:"vpcIds,omitempty"`
	// EveryVPC is true of one that all interfaces of the node resolve.
	EveryVPC bool `json:"everyVpc,omitempty"`
	// Public is true of one that is served on the host's resolver address.
	Public bool         `json:"public,omitempty"`
	Names  []NodeRecord `json:"names,omitempty"`
	SOATTL uint32       `json:"soaTtl,omitempty"` // seconds; also how long it is remembered that a name does not exist
	Serial uint32       `json:"serial"`
	// Forward is true when names that are not listed are asked upstream.
	Forward bool `json:"forward,omitempty"`
}

// NodeRecord is one name's records of one type.
type NodeRecord struct {
	Name string `json:"name"` // relative to the zone, empty for its apex
	Type string `json:"type"` // A AAAA SRV CNAME
	TTL  uint32 `json:"ttl"`  // seconds
	// Values are addresses, names, or "priority weight port target" for SRV.
	// Without any the name does not exist, and is not asked upstream either.
	Values []string `json:"values,omitempty"`
	// Policy chooses what is answered: MULTIVALUE gives up to eight in random
	// order, WEIGHTED one at random, empty all.
	Policy string `json:"policy,omitempty"`
}

// LoadBalancerObserved is all that a node knows of a load balancer it serves.
type LoadBalancerObserved struct {
	State   string           `json:"state"` // active, failed, or deleted once a document that is gone is served no more
	Reason  string           `json:"reason,omitempty"`
	Targets []TargetObserved `json:"targets,omitempty"`
}

// TargetObserved is a target's health as its load balancer sees it.
type TargetObserved struct {
	Key         string    `json:"key"`
	Registered  time.Time `json:"registered"` // NodeTarget.RegisteredAt, to tell a target from an earlier one of the same key
	State       string    `json:"state"`      // initial, healthy or unhealthy; draining when no new request goes there
	Reason      string    `json:"reason,omitempty"`
	Description string    `json:"description,omitempty"`
}

// NodeSecrets tells a node that the secrets of a task that has them as files
// are other than before: it fetches them again.
type NodeSecrets struct {
	// Versions has, by the name of a secret or parameter, the version that
	// counts now.
	Versions map[string]string `json:"versions"`
}

// NodeVolume is an EBS volume that the node shall delete. Volumes of tasks come
// with the tasks, and what no document names is kept.
type NodeVolume struct {
	ID string `json:"id"`
}

// VolumeObserved says that nothing of a volume is left on its node.
type VolumeObserved struct {
	Deleted bool `json:"deleted"`
}
