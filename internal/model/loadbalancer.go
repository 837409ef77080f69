package model

import (
	"slices"
	"time"
)

// Types of load balancer.
const (
	LoadBalancerApplication = "application"
	LoadBalancerNetwork     = "network"
)

// States of a load balancer.
const (
	LoadBalancerProvisioning = "provisioning"
	LoadBalancerActive       = "active"
	LoadBalancerFailed       = "failed"
	// LoadBalancerDeleted is only observed: the node has taken down a load
	// balancer that it has no document of any more, and its addresses are free.
	LoadBalancerDeleted = "deleted"
)

// LoadBalancer takes connections and passes them to targets. The provider
// writes the spec with its interfaces and addresses, the balancing loop
// chooses the node, and State follows what that node reports.
type LoadBalancer struct {
	ID              string            `json:"id"` // app/<name>/<16 hex digits>, the end of the ARN
	ARN             string            `json:"loadBalancerArn"`
	Name            string            `json:"loadBalancerName"`
	Type            string            `json:"type"`
	Scheme          string            `json:"scheme"` // internet-facing or internal
	DNSName         string            `json:"dnsName"`
	VPCID           string            `json:"vpcId"`
	IPAddressType   string            `json:"ipAddressType"`
	SecurityGroups  []string          `json:"securityGroups,omitempty"`
	Zones           []BalancerZone    `json:"zones"`
	Attributes      map[string]string `json:"attributes,omitempty"` // those that were set; the rest has AWS's defaults
	CreatedAt       time.Time         `json:"createdAt"`
	Tags            []Tag             `json:"tags,omitempty"`
	EnforcePrivLink string            `json:"enforcePrivateLink,omitempty"`

	// PublicAddress is what clients outside the VPC connect to; empty for an
	// internal one.
	PublicAddress string `json:"publicAddress,omitempty"`

	// InstanceID is the node that serves it.
	InstanceID string `json:"instanceId,omitempty"`

	State       string `json:"state"`
	StateReason string `json:"stateReason,omitempty"`
}

// Key identifies the load balancer in the store.
func (l *LoadBalancer) Key() string { return l.ID }

// Serves reports whether targets in a zone get requests of the load balancer:
// those in a zone that it is not in do not. A target whose zone is not known,
// or that is in none of the VPC's ("all"), always does.
func (l *LoadBalancer) Serves(zone string) bool {
	return zone == "" || zone == "all" || slices.ContainsFunc(l.Zones, func(z BalancerZone) bool { return z.AvailabilityZone == zone })
}

// BalancerZone is a load balancer's interface in one subnet.
type BalancerZone struct {
	SubnetID         string `json:"subnetId"`
	AvailabilityZone string `json:"availabilityZone"`
	ENIID            string `json:"eniId"`
	Address          string `json:"address"` // private IPv4
	// Chosen: the user asked for this address, so it is described to him.
	Chosen bool `json:"chosen,omitempty"`
}

// TargetGroup is a set of targets with one way to check their health.
type TargetGroup struct {
	ID              string            `json:"id"` // targetgroup/<name>/<16 hex digits>, the end of the ARN
	ARN             string            `json:"targetGroupArn"`
	Name            string            `json:"targetGroupName"`
	Protocol        string            `json:"protocol"` // HTTP HTTPS TCP UDP TCP_UDP TLS
	ProtocolVersion string            `json:"protocolVersion,omitempty"`
	Port            int32             `json:"port"`
	VPCID           string            `json:"vpcId"`
	TargetType      string            `json:"targetType"` // ip or instance
	IPAddressType   string            `json:"ipAddressType"`
	HealthCheck     TargetHealthCheck `json:"healthCheck"`
	Attributes      map[string]string `json:"attributes,omitempty"`
	CreatedAt       time.Time         `json:"createdAt"`
	Tags            []Tag             `json:"tags,omitempty"`
}

// Key identifies the target group in the store.
func (g *TargetGroup) Key() string { return g.ID }

// TargetHealthCheck says how targets are checked; times are in seconds.
type TargetHealthCheck struct {
	Enabled            bool   `json:"enabled"`
	Protocol           string `json:"protocol"`
	Port               string `json:"port"` // a number or traffic-port
	Path               string `json:"path,omitempty"`
	IntervalSeconds    int32  `json:"intervalSeconds"`
	TimeoutSeconds     int32  `json:"timeoutSeconds"`
	HealthyThreshold   int32  `json:"healthyThreshold"`
	UnhealthyThreshold int32  `json:"unhealthyThreshold"`
	HTTPCodes          string `json:"httpCodes,omitempty"` // such as 200,202 or 200-299
	GRPCCodes          string `json:"grpcCodes,omitempty"`
}

// States of a target's health.
const (
	TargetInitial   = "initial"
	TargetHealthy   = "healthy"
	TargetUnhealthy = "unhealthy"
	TargetUnused    = "unused"
	TargetDraining  = "draining"
)

// Target is one address of a target group. Whoever registers it writes the
// first part (the ELBv2 provider, or the targets loop for tasks of services),
// the node that serves the load balancer observes its health, and the
// balancing loop deletes it when its deregistration delay is over.
type Target struct {
	TargetGroupID    string    `json:"targetGroupId"`
	TargetID         string    `json:"targetId"` // an IPv4 address, or a container instance's EC2 id
	Port             int32     `json:"port"`
	AvailabilityZone string    `json:"availabilityZone,omitempty"`
	Address          string    `json:"address"` // where packets go: TargetID, or the instance's address
	RegisteredAt     time.Time `json:"registeredAt"`
	// TaskID is the task of a service whose target this is.
	TaskID string `json:"taskId,omitempty"`
	// DeregisteredAt is when the target was told to leave.
	DeregisteredAt *time.Time `json:"deregisteredAt,omitempty"`
	// DrainingAt is when the load balancer's node said that new requests go
	// elsewhere: the deregistration delay begins.
	DrainingAt *time.Time `json:"drainingAt,omitempty"`

	Health TargetHealth `json:"health"`
}

// Key identifies the target in the store.
func (t *Target) Key() string { return TargetKey(t.TargetGroupID, t.TargetID, t.Port) }

// TargetHealth is what the load balancer sees of a target.
type TargetHealth struct {
	State       string     `json:"state,omitempty"` // initial, healthy or unhealthy; empty: nobody has looked yet
	Reason      string     `json:"reason,omitempty"`
	Description string     `json:"description,omitempty"`
	ChangedAt   *time.Time `json:"changedAt,omitempty"`
}

// Listener is a port of a load balancer.
type Listener struct {
	ID             string            `json:"id"` // listener/app/<name>/<16>/<16>
	ARN            string            `json:"listenerArn"`
	LoadBalancerID string            `json:"loadBalancerId"`
	Port           int32             `json:"port"`
	Protocol       string            `json:"protocol"`
	SSLPolicy      string            `json:"sslPolicy,omitempty"`
	ALPNPolicy     []string          `json:"alpnPolicy,omitempty"`
	Certificates   []string          `json:"certificates,omitempty"` // ARNs, the default one first
	DefaultActions []BalancerAction  `json:"defaultActions"`
	Attributes     map[string]string `json:"attributes,omitempty"`
	CreatedAt      time.Time         `json:"createdAt"`
	Tags           []Tag             `json:"tags,omitempty"`
}

// Key identifies the listener in the store.
func (l *Listener) Key() string { return l.ID }

// ListenerRule chooses actions by properties of a request.
type ListenerRule struct {
	ID         string           `json:"id"` // listener-rule/app/<name>/<16>/<16>/<16>
	ARN        string           `json:"ruleArn"`
	ListenerID string           `json:"listenerId"`
	Priority   int              `json:"priority"` // 1 to 50000
	Conditions []RuleCondition  `json:"conditions,omitempty"`
	Actions    []BalancerAction `json:"actions"`
	CreatedAt  time.Time        `json:"createdAt"`
	Tags       []Tag            `json:"tags,omitempty"`
}

// Key identifies the rule in the store.
func (r *ListenerRule) Key() string { return r.ID }

// RuleCondition is true of a request when one of its values matches.
type RuleCondition struct {
	Field      string     `json:"field"`            // host-header path-pattern http-header http-request-method query-string source-ip
	Values     []string   `json:"values,omitempty"` // wildcards * and ?
	Regex      []string   `json:"regexValues,omitempty"`
	HeaderName string     `json:"headerName,omitempty"`
	Query      []QueryArg `json:"query,omitempty"`
}

// QueryArg matches one query parameter; an empty key matches any.
type QueryArg struct {
	Key   string `json:"key,omitempty"`
	Value string `json:"value"`
}

// BalancerAction is what happens to a request or connection.
type BalancerAction struct {
	Type          string               `json:"type"` // forward redirect fixed-response
	Order         int32                `json:"order,omitempty"`
	TargetGroups  []WeightedTarget     `json:"targetGroups,omitempty"`
	StickySeconds int32                `json:"stickySeconds,omitempty"` // of the choice between target groups; 0: not sticky
	Redirect      *RedirectAction      `json:"redirect,omitempty"`
	FixedResponse *FixedResponseAction `json:"fixedResponse,omitempty"`
}

// WeightedTarget is a target group's share.
type WeightedTarget struct {
	TargetGroupARN string `json:"targetGroupArn"`
	Weight         int32  `json:"weight"`
}

// RedirectAction answers with another URL; its members may have #{host} etc.
type RedirectAction struct {
	Protocol   string `json:"protocol,omitempty"`
	Host       string `json:"host,omitempty"`
	Port       string `json:"port,omitempty"`
	Path       string `json:"path,omitempty"`
	Query      string `json:"query,omitempty"`
	StatusCode string `json:"statusCode"` // HTTP_301 or HTTP_302
}

// FixedResponseAction answers itself.
type FixedResponseAction struct {
	StatusCode  string `json:"statusCode"`
	ContentType string `json:"contentType,omitempty"`
	Body        string `json:"body,omitempty"`
}

// Certificate is an imported TLS certificate. Its private key, PEM as it was
// given, is sealed by the keyring for this certificate.
type Certificate struct {
	ARN       string `json:"certificateArn"`
	ID        string `json:"id"` // UUID, the end of the ARN
	Body      string `json:"certificate"`
	Chain     string `json:"certificateChain,omitempty"`
	SealedKey []byte `json:"sealedPrivateKey,omitempty"`
	// Clear is the private key as an older Berth stored it; the next start
	// seals it.
	Clear      string    `json:"privateKey,omitempty"`
	ImportedAt time.Time `json:"importedAt"`
	CreatedAt  time.Time `json:"createdAt"`
	Tags       []Tag     `json:"tags,omitempty"`
}

// Key identifies the certificate in the store.
func (c *Certificate) Key() string { return c.ARN }
