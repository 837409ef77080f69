package model

import "time"

// Types of Cloud Map namespace.
const (
	NamespaceHTTP       = "HTTP"
	NamespaceDNSPrivate = "DNS_PRIVATE"
	NamespaceDNSPublic  = "DNS_PUBLIC"
)

// Namespace is a Cloud Map namespace: a zone of names.
type Namespace struct {
	ID   string `json:"id"` // ns-<16>
	ARN  string `json:"arn"`
	Name string `json:"name"`
	// HTTPName is what DiscoverInstances calls it: unique, Name if that is free.
	HTTPName         string    `json:"httpName"`
	Type             string    `json:"type"`
	Description      string    `json:"description,omitempty"`
	VPCID            string    `json:"vpcId,omitempty"` // of a private one
	HostedZoneID     string    `json:"hostedZoneId,omitempty"`
	SOATTL           int64     `json:"soaTtl,omitempty"` // seconds
	CreatorRequestID string    `json:"creatorRequestId,omitempty"`
	CreatedAt        time.Time `json:"createdAt"`
	Tags             []Tag     `json:"tags,omitempty"`
}

// Key identifies the namespace in the store.
func (n *Namespace) Key() string { return n.ID }

// Routing policies: which of a service's instances a DNS answer has.
const (
	RoutingMultivalue = "MULTIVALUE" // up to eight that are healthy
	RoutingWeighted   = "WEIGHTED"   // one of them, all alike
)

// Types of DNS records.
const (
	RecordA     = "A"
	RecordAAAA  = "AAAA"
	RecordSRV   = "SRV"
	RecordCNAME = "CNAME"
)

// Attributes of instances that have an effect on DNS.
const (
	AttributeIPv4       = "AWS_INSTANCE_IPV4"
	AttributeIPv6       = "AWS_INSTANCE_IPV6"
	AttributePort       = "AWS_INSTANCE_PORT"
	AttributeCNAME      = "AWS_INSTANCE_CNAME"
	AttributeAlias      = "AWS_ALIAS_DNS_NAME"
	AttributeInitHealth = "AWS_INIT_HEALTH_STATUS"
)

// DiscoveryService is a Cloud Map service: a name in a namespace under which
// instances are found.
type DiscoveryService struct {
	ID               string            `json:"id"` // srv-<16>
	ARN              string            `json:"arn"`
	Name             string            `json:"name"`
	NamespaceID      string            `json:"namespaceId"`
	Description      string            `json:"description,omitempty"`
	RoutingPolicy    string            `json:"routingPolicy,omitempty"` // MULTIVALUE or WEIGHTED
	Records          []DNSRecord       `json:"dnsRecords,omitempty"`    // none: API only
	HealthCheck      *DiscoveryCheck   `json:"healthCheckConfig,omitempty"`
	CustomHealth     bool              `json:"healthCheckCustomConfig,omitempty"`
	FailureThreshold int32             `json:"failureThreshold,omitempty"`
	Type             string            `json:"type,omitempty"` // HTTP, DNS_HTTP or DNS
	Attributes       map[string]string `json:"attributes,omitempty"`
	CreatorRequestID string            `json:"creatorRequestId,omitempty"`
	CreatedAt        time.Time         `json:"createdAt"`
	// Revision grows with every change of the service's instances.
	Revision int64 `json:"instancesRevision,omitempty"`
	Tags     []Tag `json:"tags,omitempty"`
}

// Key identifies the service in the store.
func (s *DiscoveryService) Key() string { return s.ID }

// DNSRecord is a kind of record that a service's instances get.
type DNSRecord struct {
	Type string `json:"type"` // one of Record…
	TTL  int64  `json:"ttl"`  // seconds
}

// DiscoveryCheck is a Route 53 health check of a public service's instances.
type DiscoveryCheck struct {
	Type             string `json:"type"`
	ResourcePath     string `json:"resourcePath,omitempty"`
	FailureThreshold int32  `json:"failureThreshold,omitempty"`
}

// DiscoveryInstance is something that a service's name leads to.
type DiscoveryInstance struct {
	ServiceID        string            `json:"serviceId"`
	InstanceID       string            `json:"instanceId"`
	Attributes       map[string]string `json:"attributes,omitempty"`
	CreatorRequestID string            `json:"creatorRequestId,omitempty"`
	// Healthy is the custom health status; true without one.
	Healthy bool `json:"healthy"`
	// TaskID is the task of a service that ECS registered.
	TaskID       string    `json:"taskId,omitempty"`
	RegisteredAt time.Time `json:"registeredAt"`
}

// Key identifies the instance in the store.
func (i *DiscoveryInstance) Key() string { return i.ServiceID + "/" + i.InstanceID }

// DiscoveryOperation is the outcome of an asynchronous Cloud Map call. Ours
// are done when they are answered.
type DiscoveryOperation struct {
	ID         string            `json:"id"`
	Type       string            `json:"type"`
	Status     string            `json:"status"`
	Error      string            `json:"error,omitempty"`
	ErrorCode  string            `json:"errorCode,omitempty"`
	Targets    map[string]string `json:"targets,omitempty"`
	CreatedAt  time.Time         `json:"createdAt"`
	FinishedAt time.Time         `json:"finishedAt"`
}

// Key identifies the operation in the store.
func (o *DiscoveryOperation) Key() string { return o.ID }
