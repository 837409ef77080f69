package ecs

import (
	"context"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/taskspec"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

const (
	// mainContainer is the name of an express service's container [DG].
	mainContainer  = "Main"
	expressPort    = 80
	maxDerivedName = 250
	// AWS asks for so many zones and free addresses in each subnet [DG].
	expressZones     = 2
	expressAddresses = 8
	// reservedAddresses are those of every subnet that AWS keeps.
	reservedAddresses = 5
)

// expressTask is what an express operation says of tasks; what is nil is not
// said.
type expressTask struct {
	executionRole, taskRole, cpu, memory *string
	container                            *ecsapi.ExpressGatewayContainer
}

// expressWanted is what CreateExpressGatewayService asks for, checked as far as
// that needs no state.
type expressWanted struct {
	cluster, name      string
	derived            bool // the name is made of the image's
	infrastructureRole string
	healthPath         string
	subnets, groups    []string
	task               expressTask
	count              int
	tags               []model.Tag
}

func (p *Provider) expressIn(in *ecsapi.CreateExpressGatewayServiceInput) (*expressWanted, error) {
	cluster, err := p.clusterName(in.Cluster)
	if err != nil {
		return nil, err
	}
	w := &expressWanted{
		cluster: cluster, name: value(in.ServiceName), infrastructureRole: value(in.InfrastructureRoleArn), healthPath: "/", count: 1,
		task: expressTask{
			executionRole: in.ExecutionRoleArn, taskRole: in.TaskRoleArn, cpu: in.Cpu, memory: in.Memory, container: in.PrimaryContainer,
		},
		tags: each(in.Tags, tagIn),
	}
	switch {
	case in.PrimaryContainer == nil || value(in.PrimaryContainer.Image) == "":
		return nil, parameterError("primaryContainer.image can not be blank.")
	case w.name == "":
		w.name, w.derived = nameOfImage(*in.PrimaryContainer.Image), true
	case !namePattern.MatchString(w.name):
		return nil, parameterError("Invalid service name: '%s'. Up to 255 letters (uppercase and lowercase), numbers, underscores, and hyphens are allowed.", w.name)
	}
	if err := checkRoles(in.ExecutionRoleArn, in.InfrastructureRoleArn, in.TaskRoleArn); err != nil {
		return nil, err
	}
	if in.HealthCheckPath != nil {
		w.healthPath = *in.HealthCheckPath
	}
	if err := checkHealthPath(w.healthPath); err != nil {
		return nil, err
	}
	if n := in.NetworkConfiguration; n != nil {
		w.subnets, w.groups = n.Subnets, n.SecurityGroups
	}
	count, err := scaling(in.ScalingTarget)
	if err != nil {
		return nil, err
	}
	if count != nil {
		w.count = *count
	}
	return w, checkTags(w.tags)
}

// notInName is what an image's name can have and a service's cannot.
var notInName = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// nameOfImage is the last part of an image's name, without tag and digest.
func nameOfImage(image string) string {
	image, _, _ = strings.Cut(image, "@")
	image = image[strings.LastIndexByte(image, '/')+1:]
	image, _, _ = strings.Cut(image, ":")
	name := strings.Trim(notInName.ReplaceAllString(image, "-"), "-")
	if name == "" {
		name = "service"
	}
	return name[:min(len(name), maxDerivedName)]
}

func checkRoles(roles ...*string) error {
	for _, role := range roles {
		if role == nil {
			continue
		}
		if parsed, err := arn.Parse(*role); err != nil || parsed.Service != "iam" || parsed.Type() != "role" {
			return parameterError("Invalid IAM role ARN: '%s'.", *role)
		}
	}
	return nil
}

func checkHealthPath(path string) error {
	if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, " \t\r\n") || len(path) > 1024 {
		return parameterError("healthCheckPath must begin with a '/' and have at most 1024 characters without spaces.")
	}
	return nil
}

// scaling is the number of tasks. Automatic scaling is refused: accepted, it
// would have no effect.
func scaling(t *ecsapi.ExpressGatewayScalingTarget) (*int, error) {
	if t == nil {
		return nil, nil
	}
	minimum := int32(1)
	if t.MinTaskCount != nil {
		minimum = *t.MinTaskCount
	}
	switch {
	case minimum < 1:
		return nil, parameterError("minTaskCount must be at least 1.")
	case t.MaxTaskCount != nil && *t.MaxTaskCount < minimum:
		return nil, parameterError("maxTaskCount must be at least minTaskCount.")
	case t.MaxTaskCount != nil && *t.MaxTaskCount > minimum:
		return nil, parameterError("A maxTaskCount other than minTaskCount is not supported: Berth does not have Application Auto Scaling yet. The service runs minTaskCount tasks.")
	case t.AutoScalingMetric != "" || t.AutoScalingTargetValue != nil:
		return nil, parameterError("autoScalingMetric and autoScalingTargetValue are not supported: Berth does not have Application Auto Scaling yet.")
	}
	return new(int(minimum)), nil
}

// expressDefinition registers the first definition of a service.
func (p *Provider) expressDefinition(ctx context.Context, tx *store.Tx, cluster, name string, task expressTask) (*model.TaskDefinition, error) {
	def := model.TaskDefinition{
		Family: (cluster + "-" + name)[:min(len(cluster)+1+len(name), maxFamily)], NetworkMode: taskspec.NetworkAwsvpc,
		RequiresCompatibilities: []string{model.LaunchFargate}, CPU: "1024", Memory: "2048",
		ContainerDefinitions: []model.ContainerDefinition{{
			Name: mainContainer, Essential: new(true), VersionConsistency: "enabled", StopTimeout: new(int32(30)),
			LinuxParameters: &model.LinuxParameters{InitProcessEnabled: new(true)},
			PortMappings:    []model.PortMapping{{ContainerPort: new(int32(expressPort)), Protocol: "tcp"}},
			LogConfiguration: &model.LogConfiguration{LogDriver: "awslogs", Options: map[string]string{
				"awslogs-group":  "/aws/ecs/" + cluster + "/" + name + "-" + ident.Hex(4),
				"awslogs-region": p.scope.Region, "awslogs-stream-prefix": "ecs", "mode": "non-blocking", "max-buffer-size": "25m",
			}},
		}},
	}
	applyTask(&def, task)
	def, err := p.complete(ctx, def)
	if err != nil {
		return nil, err
	}
	p.number(tx, &def)
	return &def, nil
}

// maxFamily is the longest name of a family.
const maxFamily = 255

// applyTask puts what is said over a definition. Its parts are not changed but
// replaced: the definition may be a copy of a stored one.
func applyTask(def *model.TaskDefinition, task expressTask) {
	if task.executionRole != nil {
		def.ExecutionRoleARN = *task.executionRole
	}
	if task.taskRole != nil {
		def.TaskRoleARN = *task.taskRole
	}
	if task.cpu != nil {
		def.CPU = *task.cpu
	}
	if task.memory != nil {
		def.Memory = *task.memory
	}
	in := task.container
	if in == nil {
		return
	}
	def.ContainerDefinitions = slices.Clone(def.ContainerDefinitions)
	i := slices.IndexFunc(def.ContainerDefinitions, func(c model.ContainerDefinition) bool { return c.Name == mainContainer })
	if i < 0 {
		i = 0
	}
	c := &def.ContainerDefinitions[i]
	c.Image = value(in.Image)
	if in.ContainerPort != nil {
		c.PortMappings = []model.PortMapping{{ContainerPort: in.ContainerPort, Protocol: "tcp"}}
	}
	if in.RepositoryCredentials != nil {
		c.RepositoryCredentials = &model.RepositoryCredentials{CredentialsParameter: value(in.RepositoryCredentials.CredentialsParameter)}
	}
	if in.Command != nil {
		c.Command = in.Command
	}
	if in.Environment != nil {
		c.Environment = each(in.Environment, pairIn)
	}
	if in.Secrets != nil {
		c.Secrets = each(in.Secrets, secretIn)
	}
	if logs := in.AwsLogsConfiguration; logs != nil && c.LogConfiguration != nil {
		config := *c.LogConfiguration
		config.Options = map[string]string{}
		for name, option := range c.LogConfiguration.Options {
			config.Options[name] = option
		}
		config.Options["awslogs-group"], config.Options["awslogs-stream-prefix"] = value(logs.LogGroup), value(logs.LogStreamPrefix)
		c.LogConfiguration = &config
	}
}

// logGroupOf is where the main container's output goes; "" for elsewhere.
func logGroupOf(def *model.TaskDefinition) string {
	c := mainOf(def)
	if c == nil || c.LogConfiguration == nil || c.LogConfiguration.LogDriver != "awslogs" {
		return ""
	}
	return c.LogConfiguration.Options["awslogs-group"]
}

// mainOf is the container that an express service shows: Main, or the first of
// a definition that a user made.
func mainOf(def *model.TaskDefinition) *model.ContainerDefinition {
	if c, found := def.Container(mainContainer); found {
		return c
	}
	if len(def.ContainerDefinitions) == 0 {
		return nil
	}
	return &def.ContainerDefinitions[0]
}

// expressPlace is where a service and its load balancer are.
type expressPlace struct{ vpcID, access string }

// expressNetwork chooses the subnets, or checks those that are given: they tell
// who can reach the service.
func expressNetwork(tx *store.Tx, subnets, groups []string) (*model.NetworkConfiguration, expressPlace, error) {
	if len(subnets) == 0 {
		subnets = defaultSubnets(tx)
		if len(subnets) == 0 {
			return nil, expressPlace{}, parameterError("No default VPC with public subnets was found. Specify subnets in networkConfiguration.")
		}
	}
	n := &model.NetworkConfiguration{Subnets: subnets, SecurityGroups: groups}
	if err := checkNetwork(n); err != nil {
		return nil, expressPlace{}, err
	}
	var place expressPlace
	zones := map[string]bool{}
	public := 0
	for _, id := range subnets {
		s, found := records.Subnets.Get(tx, id)
		if !found {
			return nil, place, subnetMissing(subnets, id)
		}
		records.Subnets.Guard(tx, id)
		switch {
		case place.vpcID != "" && s.VPCID != place.vpcID:
			return nil, place, parameterError("The subnets of an Express service must be in one VPC.")
		case freeAddresses(tx, s) < expressAddresses:
			return nil, place, parameterError("The subnet %s must have at least %d free IP addresses.", id, expressAddresses)
		}
		place.vpcID = s.VPCID
		zones[s.AvailabilityZone] = true
		if reachesInternet(tx, s) {
			public++
		}
	}
	switch {
	case len(zones) < expressZones:
		return nil, place, parameterError("The subnets of an Express service must be in at least %d Availability Zones.", expressZones)
	case public != 0 && public != len(subnets):
		return nil, place, parameterError("The subnets of an Express service must be all public or all private.")
	}
	place.access = model.ExpressPrivate
	if public > 0 {
		place.access, n.PublicIP = model.ExpressPublic, true
	}
	return n, place, nil
}

// subnetMissing is the error of every ECS operation on a subnet that does not
// exist [OBS].
func subnetMissing(subnets []string, id string) error {
	return parameterError("Error retrieving subnet information for [%s]: The subnet ID '%s' does not exist (ErrorCode: InvalidSubnetID.NotFound)", strings.Join(subnets, ", "), id)
}

// defaultSubnets are public ones of the default VPC with room, one in each
// zone.
func defaultSubnets(r store.Reader) []string {
	var ids []string
	for vpc := range records.VPCs.All(r) {
		if !vpc.IsDefault {
			continue
		}
		zones := map[string]bool{}
		for s := range records.Subnets.By(r, records.SubnetsByVPC, vpc.ID) {
			if !zones[s.AvailabilityZone] && reachesInternet(r, s) && freeAddresses(r, s) >= expressAddresses {
				zones[s.AvailabilityZone] = true
				ids = append(ids, s.ID)
			}
		}
	}
	slices.Sort(ids)
	return ids[:min(len(ids), maxSubnets)]
}

// reachesInternet reports whether the subnet's route table leads to an internet
// gateway of its VPC.
func reachesInternet(r store.Reader, s *model.Subnet) bool {
	var main, own *model.RouteTable
	for t := range records.RouteTables.By(r, records.RouteTablesByVPC, s.VPCID) {
		if t.Main() {
			main = t
		}
		if slices.ContainsFunc(t.Associations, func(a model.RouteTableAssociation) bool { return a.SubnetID == s.ID }) {
			own = t
		}
	}
	if own == nil {
		own = main
	}
	return own != nil && slices.ContainsFunc(own.Routes, func(route model.Route) bool {
		g, found := records.InternetGateways.Get(r, route.GatewayID)
		return found && g.VPCID == s.VPCID
	})
}

// freeAddresses is how many interfaces a subnet still has room for.
func freeAddresses(r store.Reader, s *model.Subnet) int {
	cidr, err := netip.ParsePrefix(s.CIDR)
	if err != nil {
		return 0
	}
	free := 1<<(32-cidr.Bits()) - reservedAddresses
	for range records.AddressClaims.Prefix(r, s.ID+"/") {
		free--
	}
	return free
}

// expressUpdate is what UpdateExpressGatewayService says.
type expressUpdate struct {
	task            expressTask
	healthPath      string
	subnets, groups []string // nil: not said
	count           *int
}

func expressChange(in *ecsapi.UpdateExpressGatewayServiceInput) (*expressUpdate, error) {
	u := &expressUpdate{
		task:       expressTask{executionRole: in.ExecutionRoleArn, taskRole: in.TaskRoleArn, cpu: in.Cpu, memory: in.Memory, container: in.PrimaryContainer},
		healthPath: value(in.HealthCheckPath),
	}
	if in.PrimaryContainer != nil && value(in.PrimaryContainer.Image) == "" {
		return nil, parameterError("primaryContainer.image can not be blank.")
	}
	if err := checkRoles(in.ExecutionRoleArn, in.TaskRoleArn); err != nil {
		return nil, err
	}
	if in.HealthCheckPath != nil {
		if err := checkHealthPath(u.healthPath); err != nil {
			return nil, err
		}
	}
	if n := in.NetworkConfiguration; n != nil {
		u.subnets, u.groups = n.Subnets, n.SecurityGroups
	}
	var err error
	u.count, err = scaling(in.ScalingTarget)
	return u, err
}

// changedDefinition registers what the change makes of the service's task
// definition, and reports whether that is another.
func (p *Provider) changedDefinition(ctx context.Context, tx *store.Tx, s *model.Service, u *expressUpdate) (def *model.TaskDefinition, changed bool, err error) {
	old, _, err := p.definition(tx, s.Revision.TaskDefinitionARN)
	if err != nil {
		return nil, false, err
	}
	if old == nil {
		return nil, false, clientError("TaskDefinition not found.")
	}
	next := *old
	applyTask(&next, u.task)
	if equalJSON(next, *old) {
		return old, false, nil
	}
	next.DeregisteredAt, next.DeleteRequestedAt = nil, nil
	if next, err = p.complete(ctx, next); err != nil {
		return nil, false, err
	}
	p.number(tx, &next)
	return &next, true, nil
}

// changeNetwork applies other subnets and security groups, and reports whether
// the tasks' network is another. The group that ECS made stays in it; the load
// balancer stays where it is, so that tasks must be in its zones.
func changeNetwork(tx *store.Tx, s *model.Service, e *model.ExpressService, u *expressUpdate) (bool, error) {
	if u.subnets == nil && u.groups == nil {
		return false, nil
	}
	n := *s.Revision.Network
	subnets, groups := n.Subnets, userGroups(e, n.SecurityGroups)
	if len(u.subnets) > 0 {
		subnets = u.subnets
	}
	if u.groups != nil {
		groups = u.groups
	}
	next, place, err := expressNetwork(tx, subnets, groups)
	if err != nil {
		return false, err
	}
	if place.vpcID != e.VPCID || place.access != e.Access {
		return false, parameterError("The subnets of an Express service cannot be changed to ones of another VPC, or from public to private.")
	}
	if zone := zoneOutside(tx, e.SubnetIDs, subnets); zone != "" {
		return false, parameterError("The load balancer of the Express service is not in the Availability Zone %s.", zone)
	}
	for _, id := range n.SecurityGroups {
		if !slices.Contains(userGroups(e, n.SecurityGroups), id) {
			next.SecurityGroups = append(slices.Clone(next.SecurityGroups), id)
		}
	}
	s.Revision.Network = next
	return !equalJSON(next, &n), nil
}

// changePort has requests go to the port that the definition opens now, and
// reports whether that is another.
func changePort(s *model.Service, def *model.TaskDefinition) bool {
	c := mainOf(def)
	if len(s.Revision.LoadBalancers) == 0 || c == nil || len(c.PortMappings) == 0 {
		return false // control/express reads it when it has made the target group
	}
	lb := s.Revision.LoadBalancers[0]
	port := value(c.PortMappings[0].ContainerPort)
	if lb.ContainerPort == port && lb.ContainerName == c.Name {
		return false
	}
	lb.ContainerName, lb.ContainerPort = c.Name, port
	s.Revision.LoadBalancers = []model.ServiceLoadBalancer{lb}
	return true
}

// refuseManaged is about what UpdateService cannot change of an express
// service, because ECS manages it (uncertain: AWS documents it of the
// deployment strategy and the load balancer).
func refuseManaged(r store.Reader, s *model.Service, in *ecsapi.UpdateServiceInput) error {
	switch {
	case !records.ExpressServices.Has(r, s.ID):
		return nil
	case s.Resources != model.ResourcesReady:
		return parameterError("The service cannot be updated while the resources of the Express service are provisioned.")
	case in.LoadBalancers != nil:
		return parameterError("loadBalancers cannot be updated: ECS manages the load balancer of an Express service.")
	case in.NetworkConfiguration != nil:
		return parameterError("networkConfiguration cannot be updated: use UpdateExpressGatewayService for an Express service.")
	case in.CapacityProviderStrategy != nil:
		return parameterError("capacityProviderStrategy cannot be updated: an Express service runs on FARGATE.")
	}
	return nil
}

// zoneOutside is a zone of subnets in which none of the others is; "" for none.
func zoneOutside(r store.Reader, within, subnets []string) string {
	zones := map[string]bool{}
	for _, id := range within {
		if s, found := records.Subnets.Get(r, id); found {
			zones[s.AvailabilityZone] = true
		}
	}
	for _, id := range subnets {
		if s, found := records.Subnets.Get(r, id); found && !zones[s.AvailabilityZone] {
			return s.AvailabilityZone
		}
	}
	return ""
}

// userGroups are a network's security groups without the one that ECS made.
func userGroups(e *model.ExpressService, groups []string) []string {
	own := e.Resources.ServiceSecurityGroup.ARN
	return slices.DeleteFunc(slices.Clone(groups), func(id string) bool { return own != "" && strings.HasSuffix(own, "/"+id) })
}
