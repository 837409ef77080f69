package express

import (
	"slices"
	"time"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/launch"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/smithy"
)

// Tags of what ECS makes. AWS's policy for infrastructure roles allows changes
// of what has the first alone; the second finds a certificate.
const (
	tagManaged    = "AmazonECSManaged"
	tagManagedKey = "amazonecsmanaged"
	managedValue  = "true"
	tagEndpoint   = "AmazonECSExpressEndpoint"
)

// servicesPerGateway is how many services share a load balancer [DG].
const servicesPerGateway = 25

// step is one thing to be done: a call of the AWS API, or a transaction.
type step struct {
	// about is the resource whose status tells of an obstacle.
	about string

	api       *smithy.Service
	operation string
	in        smithy.Shape
	// make makes what in cannot be before the step is done.
	make func(Issuer, time.Time) (smithy.Shape, error)
	// itself: ECS calls for itself, if the role may do may on a resource; an
	// empty one asks for nothing.
	itself  bool
	may, on string
	// done is an error that says that it was done before.
	done string
	// then is written when the call has succeeded.
	then func(*store.Tx) error

	write func(*store.Tx) error
}

// Names of resources, as step.about has them.
const (
	logGroup         = "log group"
	balancerGroup    = "load balancer's security group"
	balancer         = "load balancer"
	serviceGroup     = "service's security group"
	certificate      = "certificate"
	targetGroup      = "target group"
	listener         = "listener"
	rule             = "rule"
	gatewayResources = "gateway"
)

// view is what there is of one express service at a moment; nil is not there.
type view struct {
	r     store.Reader
	scope arn.Scope
	now   time.Time

	express *model.ExpressService
	service *model.Service
	gateway *model.ExpressGateway

	balancerGroup *model.SecurityGroup
	balancer      *model.LoadBalancer
	serviceGroup  *model.SecurityGroup
	certificate   *model.Certificate
	targetGroup   *model.TargetGroup
	listener      *model.Listener
	rule          *model.ListenerRule
}

// look finds all that belongs to an express service.
func look(r store.Reader, id string, scope arn.Scope, now time.Time) (*view, bool) {
	e, found := records.ExpressServices.Get(r, id)
	if !found {
		return nil, false
	}
	v := &view{r: r, scope: scope, now: now, express: e}
	v.service, _ = records.Services.Get(r, id)
	v.gateway, _ = records.ExpressGateways.Get(r, e.GatewayID)
	v.serviceGroup = groupNamed(r, e.VPCID, e.SecurityGroupName())
	v.certificate = certificateOf(r, e.Endpoint)
	for g := range records.TargetGroups.By(r, records.TargetGroupsByName, e.TargetGroupName()) {
		v.targetGroup = g
	}
	if v.gateway == nil {
		return v, true
	}
	v.balancerGroup = groupNamed(r, e.VPCID, v.gateway.Name())
	for lb := range records.LoadBalancers.By(r, records.LoadBalancersByName, v.gateway.Name()) {
		v.balancer = lb
	}
	if v.balancer == nil {
		return v, true
	}
	for l := range records.Listeners.By(r, records.ListenersByLoadBalancer, v.balancer.ID) {
		if l.Port == httpsPort {
			v.listener = l
		}
	}
	if v.listener != nil {
		for rule := range records.ListenerRules.By(r, records.RulesByListener, v.listener.ID) {
			if leadsFrom(rule, e.Endpoint) {
				v.rule = rule
			}
		}
	}
	return v, true
}

func groupNamed(r store.Reader, vpcID, name string) *model.SecurityGroup {
	for g := range records.SecurityGroups.By(r, records.SecurityGroupsByVPC, vpcID) {
		if g.Name == name {
			return g
		}
	}
	return nil
}

func certificateOf(r store.Reader, endpoint string) *model.Certificate {
	for c := range records.Certificates.All(r) {
		if slices.Contains(c.Tags, model.Tag{Key: tagEndpoint, Value: endpoint}) {
			return c
		}
	}
	return nil
}

// leadsFrom reports whether a rule is for requests to host.
func leadsFrom(r *model.ListenerRule, host string) bool {
	return slices.ContainsFunc(r.Conditions, func(c model.RuleCondition) bool {
		return c.Field == "host-header" && slices.Contains(c.Values, host)
	})
}

// next is what is to be done for the service now; nil for nothing.
func (v *view) next() *step {
	switch {
	case v.service == nil:
		return v.forget()
	case v.service.Status == model.ServiceActive:
		return first(
			v.wantLogGroup, v.wantGateway, v.wantBalancerGroup, v.wantBalancer, v.wantServiceGroup, v.wantPorts, v.wantCertificate,
			v.wantTargetGroup, v.wantListener, v.wantListenerCertificate, v.wantRule, v.ready,
		)
	case v.service.Resources != "" && !v.hasTasks():
		return first(
			v.dropRule, v.dropListenerCertificate, v.dropBalancer, v.dropTargetGroup, v.dropPorts, v.dropServiceGroup,
			v.dropCertificate, v.dropBalancerGroup, v.gone,
		)
	}
	return nil
}

func first(wants ...func() *step) *step {
	for _, want := range wants {
		if s := want(); s != nil {
			return s
		}
	}
	return nil
}

// hasTasks reports whether tasks of the service have not ended yet.
func (v *view) hasTasks() bool {
	for t := range records.Tasks.By(v.r, records.LiveTasksByGroup, records.InCluster(v.service.ClusterName, launch.Group(v.service.Name))) {
		if t.ServiceID == v.service.ID {
			return true
		}
	}
	return false
}

// alone reports whether no other service is behind the gateway.
func (v *view) alone() bool {
	for e := range records.ExpressServices.By(v.r, records.ExpressServicesByGateway, v.gateway.ID) {
		if e.ServiceID != v.express.ServiceID {
			return false
		}
	}
	return true
}

// revisions are what the service's deployments run that are not over, the
// newest first.
func (v *view) revisions(r store.Reader) []*model.ServiceRevision {
	var all []*model.ServiceRevision
	for d := range records.Deployments.Prefix(r, v.express.ServiceID+"/") {
		if revision, found := records.ServiceRevisions.Get(r, d.RevisionID); found && d.Status != model.DeploymentInactive {
			all = append(all, revision)
		}
	}
	slices.Reverse(all)
	return all
}

// target is the container and port of a revision that requests go to.
func target(r store.Reader, revision *model.ServiceRevision) (container string, port int32, ok bool) {
	if len(revision.Spec.LoadBalancers) > 0 {
		lb := revision.Spec.LoadBalancers[0]
		return lb.ContainerName, lb.ContainerPort, true
	}
	def, found := records.DefinitionByARN(r, revision.Spec.TaskDefinitionARN)
	if !found {
		return "", 0, false
	}
	for i := range def.ContainerDefinitions {
		if c := &def.ContainerDefinitions[i]; len(c.PortMappings) > 0 && c.PortMappings[0].ContainerPort != nil {
			return c.Name, *c.PortMappings[0].ContainerPort, true
		}
	}
	return "", 0, false
}

// ports are those of all revisions that run, each once.
func (v *view) ports() []int32 {
	var ports []int32
	for _, revision := range v.revisions(v.r) {
		if _, port, ok := target(v.r, revision); ok && !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	return ports
}

// healthPath is that of the newest deployment.
func (v *view) healthPath() string {
	id := ""
	if all := v.revisions(v.r); len(all) > 0 {
		id = all[0].ID
	}
	return v.express.SettingsOf(id).HealthCheckPath
}

// zonesOf are the availability zones of subnets.
func zonesOf(r store.Reader, subnets []string) []string {
	var zones []string
	for _, id := range subnets {
		if s, found := records.Subnets.Get(r, id); found && !slices.Contains(zones, s.AvailabilityZone) {
			zones = append(zones, s.AvailabilityZone)
		}
	}
	slices.Sort(zones)
	return zones
}
