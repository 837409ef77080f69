package model

import (
	"slices"
	"time"
)

// Who reaches an express service: anybody, or its VPC alone.
const (
	ExpressPublic  = "PUBLIC"
	ExpressPrivate = "PRIVATE"
)

// What Service.Resources says of what ECS makes for a service. Empty: ECS makes
// nothing for it, or has taken everything away again.
const (
	// ResourcesProvisioning: nothing of the service starts yet.
	ResourcesProvisioning = "PROVISIONING"
	// ResourcesReady: the service's tasks may start; what there is must be taken
	// away before the service is INACTIVE.
	ResourcesReady = "READY"
)

// Statuses of a resource that ECS manages.
const (
	ManagedProvisioning   = "PROVISIONING"
	ManagedActive         = "ACTIVE"
	ManagedDeprovisioning = "DEPROVISIONING"
	ManagedDeleted        = "DELETED"
	ManagedFailed         = "FAILED"
)

// ExpressService is what CreateExpressGatewayService asks for besides the
// Service itself, whose id it has. It is there as long as that.
//
// The provider writes the first part. GatewayID and Resources are
// control/express's.
type ExpressService struct {
	ServiceID             string `json:"serviceId"`
	ServiceARN            string `json:"serviceArn"`
	InfrastructureRoleARN string `json:"infrastructureRoleArn"`
	// Endpoint is the host name that the service answers at. Its label, which
	// is random, also makes the names of what belongs to the service alone.
	Endpoint string `json:"endpoint"`
	Access   string `json:"accessType"` // PUBLIC or PRIVATE
	VPCID    string `json:"vpcId"`
	// SubnetIDs are where its load balancer must be.
	SubnetIDs []string  `json:"subnetIds"`
	LogGroup  string    `json:"logGroup"`
	UpdatedAt time.Time `json:"updatedAt"`
	// Settings are what revisions have that no task definition tells, the newest
	// last; old ones are forgotten.
	Settings []ExpressSettings `json:"settings"`

	// GatewayID is the gateway that leads to the service; empty: none yet, or
	// none any more.
	GatewayID string           `json:"gatewayId,omitempty"`
	Resources ExpressResources `json:"resources,omitzero"`
}

// Key identifies the express service in the store.
func (e *ExpressService) Key() string { return e.ServiceID }

// ExpressSettings belong to one service revision.
type ExpressSettings struct {
	RevisionID      string `json:"revisionId"`
	HealthCheckPath string `json:"healthCheckPath"`
}

// settingsKept is more than a service has revisions that still run.
const settingsKept = 20

// Settle notes the settings of a new revision.
func (e *ExpressService) Settle(s ExpressSettings) {
	e.Settings = append(slices.Clone(e.Settings), s)
	if n := len(e.Settings); n > settingsKept {
		e.Settings = e.Settings[n-settingsKept:]
	}
}

// SettingsOf are a revision's settings: one that was made by other means than
// an express operation has those of the newest that was.
func (e *ExpressService) SettingsOf(revisionID string) ExpressSettings {
	for _, s := range e.Settings {
		if s.RevisionID == revisionID {
			return s
		}
	}
	if n := len(e.Settings); n > 0 {
		return e.Settings[n-1]
	}
	return ExpressSettings{HealthCheckPath: "/"}
}

// ExpressResources are what control/express last saw of what it makes.
type ExpressResources struct {
	LogGroup             ManagedResource `json:"logGroup,omitzero"`
	LoadBalancerGroup    ManagedResource `json:"loadBalancerSecurityGroup,omitzero"`
	LoadBalancer         ManagedResource `json:"loadBalancer,omitzero"`
	ServiceSecurityGroup ManagedResource `json:"serviceSecurityGroup,omitzero"`
	Certificate          ManagedResource `json:"certificate,omitzero"`
	TargetGroup          ManagedResource `json:"targetGroup,omitzero"`
	Listener             ManagedResource `json:"listener,omitzero"`
	Rule                 ManagedResource `json:"rule,omitzero"`
}

// ManagedResource is one resource that ECS manages for a service.
type ManagedResource struct {
	ARN    string `json:"arn,omitempty"`
	Status string `json:"status"`
	Reason string `json:"statusReason,omitempty"`
	// UpdatedAt is when any of the others changed.
	UpdatedAt time.Time `json:"updatedAt"`
}

// ExpressGateway is a load balancer that express services of one VPC and
// access share, with its security group. control/express makes the record
// before it makes either, so that their names are known from then on.
type ExpressGateway struct {
	ID     string `json:"id"` // 8 hex digits
	VPCID  string `json:"vpcId"`
	Access string `json:"accessType"`
	// SubnetIDs are the load balancer's, Zones their availability zones.
	SubnetIDs []string  `json:"subnetIds"`
	Zones     []string  `json:"zones"`
	CreatedAt time.Time `json:"createdAt"`
	// Leaving: its last service goes, and it with it; no other may come.
	Leaving bool `json:"leaving,omitempty"`
}

// Key identifies the gateway in the store.
func (g *ExpressGateway) Key() string { return g.ID }

// Name is that of the gateway's load balancer, and of its security group.
func (g *ExpressGateway) Name() string { return "ecs-express-gateway-alb-" + g.ID }

// label is the random part of the endpoint.
func (e *ExpressService) label() string {
	const prefix, digits = len("ab-"), 16
	if len(e.Endpoint) < prefix+digits {
		return e.Endpoint
	}
	return e.Endpoint[prefix : prefix+digits]
}

// TargetGroupName is the name of the service's target group.
func (e *ExpressService) TargetGroupName() string { return "ecs-gateway-tg-" + e.label() }

// SecurityGroupName is the name of the group of the service's tasks.
func (e *ExpressService) SecurityGroupName() string { return "ecs-express-gateway-svc-" + e.label() }
