package ecs

import (
	"cmp"
	"slices"
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/launch"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/taskspec"
)

// checkService checks a service against all that it refers to. It may fill in
// what was left open, and guards what it read.
func (p *Provider) checkService(tx *store.Tx, cluster *model.Cluster, s *model.Service, def *model.TaskDefinition) error {
	if err := checkShape(s); err != nil {
		return err
	}
	kind := launch.LaunchType(s.Revision)
	daemon := s.SchedulingStrategy == model.SchedulingDaemon
	if daemon && kind == model.LaunchFargate {
		return parameterError("The daemon scheduling strategy is not supported for the Fargate launch type.")
	}
	if err := checkPlacement(kind, s.PlacementConstraints, s.PlacementStrategy); err != nil {
		return err
	}
	if err := p.checkRole(s, def); err != nil {
		return err
	}
	records.TaskDefinitions.Guard(tx, def.Key())
	if err := p.launcher.Check(tx, launch.Request{
		Cluster: cluster, Definition: def, LaunchType: kind, Network: s.Revision.Network, Volumes: s.Revision.Volumes, Service: s,
		Constraints: s.PlacementConstraints, Strategy: s.PlacementStrategy, Count: 1,
	}); err != nil {
		return specError(err)
	}
	for _, lb := range s.Revision.LoadBalancers {
		if err := checkLoadBalancer(tx, s, lb, def); err != nil {
			return err
		}
	}
	for _, r := range s.Revision.Registries {
		if err := p.checkRegistry(tx, r, def); err != nil {
			return err
		}
	}
	return nil
}

// checkRole: a role of the user's own is for the load balancer of tasks
// without an interface; everything else is done by ECS's own role.
func (p *Provider) checkRole(s *model.Service, def *model.TaskDefinition) error {
	if s.RoleARN == "" {
		return nil
	}
	switch {
	case def.NetworkMode == taskspec.NetworkAwsvpc || len(s.Revision.Registries) > 0 || len(s.Revision.LoadBalancers) > 1:
		return parameterError("You cannot specify an IAM role for services that require a service linked role.")
	case len(s.Revision.LoadBalancers) == 0:
		return parameterError("An IAM role is only valid for services configured to use load balancers.")
	}
	return nil
}

func checkLoadBalancer(tx *store.Tx, s *model.Service, lb model.ServiceLoadBalancer, def *model.TaskDefinition) error {
	group, found := records.TargetGroups.Get(tx, targetGroupID(lb.TargetGroupARN))
	if !found || group.ARN != lb.TargetGroupARN {
		return parameterError("The specified target group does not exist: %s", lb.TargetGroupARN)
	}
	records.TargetGroups.Guard(tx, group.Key())
	container, mapping := portOf(def, lb.ContainerName, lb.ContainerPort)
	awsvpc := def.NetworkMode == taskspec.NetworkAwsvpc
	switch {
	case !records.Listeners.HasBy(tx, records.ListenersByTargetGroup, group.ARN) && !records.ListenerRules.HasBy(tx, records.RulesByTargetGroup, group.ARN):
		return parameterError("The target group with targetGroupArn %s does not have an associated load balancer.", group.ARN)
	case container == nil:
		return parameterError("The container %s does not exist in the task definition.", lb.ContainerName)
	case mapping == nil:
		return parameterError("The container %s did not have a container port %d defined.", lb.ContainerName, lb.ContainerPort)
	case awsvpc != (group.TargetType == "ip"):
		return parameterError("The provided target group %s has target type %s, which is incompatible with the %s network mode specified in the task definition.",
			group.ARN, group.TargetType, cmp.Or(def.NetworkMode, taskspec.NetworkBridge))
	case !awsvpc && value(mapping.HostPort) == 0 && group.HealthCheck.Port != "traffic-port":
		return parameterError("The task definition is configured to use a dynamic host port, but the target group with targetGroupArn %s has a health check port specified.", group.ARN)
	case awsvpc && otherVPC(tx, s.Revision.Network, group.VPCID):
		return parameterError("The target group %s is in another VPC than the subnets of the service.", group.ARN)
	}
	return nil
}

// targetGroupID is the end of a target group's ARN, which is its key.
func targetGroupID(ref string) string {
	parsed, err := arn.Parse(ref)
	if err != nil || parsed.Service != "elasticloadbalancing" {
		return ""
	}
	return parsed.Resource
}

// portOf finds a container of a definition and its mapping of a port.
func portOf(def *model.TaskDefinition, name string, port int32) (*model.ContainerDefinition, *model.PortMapping) {
	for i := range def.ContainerDefinitions {
		c := &def.ContainerDefinitions[i]
		if c.Name != name {
			continue
		}
		for j := range c.PortMappings {
			if value(c.PortMappings[j].ContainerPort) == port {
				return c, &c.PortMappings[j]
			}
		}
		return c, nil
	}
	return nil, nil
}

func otherVPC(r store.Reader, n *model.NetworkConfiguration, vpc string) bool {
	if n == nil || len(n.Subnets) == 0 {
		return false
	}
	s, found := records.Subnets.Get(r, n.Subnets[0])
	return found && s.VPCID != vpc
}

// checkRegistry: in mode awsvpc a name leads to a task's address, and an SRV
// record to its port too; otherwise only the port of the host, which SRV tells,
// leads to the task.
func (p *Provider) checkRegistry(tx *store.Tx, reg model.ServiceRegistry, def *model.TaskDefinition) error {
	s, found := records.DiscoveryServices.Get(tx, discoveryServiceID(reg.RegistryARN))
	if !found || s.ARN != reg.RegistryARN {
		return parameterError("The specified service registry does not exist: %s", reg.RegistryARN)
	}
	records.DiscoveryServices.Guard(tx, s.Key())
	srv := slices.ContainsFunc(s.Records, func(r model.DNSRecord) bool { return r.Type == "SRV" })
	awsvpc := def.NetworkMode == taskspec.NetworkAwsvpc
	if reg.ContainerName != "" {
		switch container, mapping := portOf(def, reg.ContainerName, reg.ContainerPort); {
		case container == nil:
			return parameterError("The container %s does not exist in the task definition.", reg.ContainerName)
		case mapping == nil:
			return parameterError("The container %s did not have a container port %d defined.", reg.ContainerName, reg.ContainerPort)
		}
	}
	switch {
	case slices.ContainsFunc(s.Records, func(r model.DNSRecord) bool { return r.Type == "AAAA" || r.Type == "CNAME" }):
		return parameterError("The service registry %s has records other than A and SRV.", s.ARN)
	case !awsvpc && (!srv || len(s.Records) > 1):
		return parameterError("When networkMode is not 'awsvpc', the service registry must have SRV records only.")
	case !awsvpc && reg.ContainerPort == 0:
		return parameterError("When specifying 'host' or 'bridge' for networkMode, values for 'containerName' and 'containerPort' must be specified from the task definition.")
	case !awsvpc && reg.Port != 0:
		return parameterError("A value for 'port' is only valid in serviceRegistries when networkMode 'awsvpc' is specified.")
	case awsvpc && srv && reg.Port == 0 && reg.ContainerPort == 0:
		return parameterError("When the service registry uses SRV records, either 'port' or 'containerName' and 'containerPort' must be specified in serviceRegistries.")
	}
	return nil
}

// discoveryServiceID is the end of a Cloud Map service's ARN, which is its key.
func discoveryServiceID(ref string) string {
	parsed, err := arn.Parse(ref)
	if err != nil || parsed.Service != "servicediscovery" {
		return ""
	}
	return ref[strings.LastIndexByte(ref, '/')+1:]
}

func spreadsOverZones(s model.PlacementStrategy) bool {
	return s.Type == "spread" && strings.EqualFold(s.Field, "attribute:ecs.availability-zone")
}

func namesZone(c model.PlacementConstraint) bool {
	return strings.Contains(c.Expression, "ecs.availability-zone")
}
