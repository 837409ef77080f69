package ecs

import (
	"slices"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

const (
	maxTargetGroups    = 5
	maxRegistries      = 1
	maxTasksPerService = 5000

	zonesEnabled, zonesDisabled = "ENABLED", "DISABLED"
)

// refuseService is about parameters of CreateService and UpdateService that
// need what Berth does not have yet.
func refuseService(controller *ecsapi.DeploymentController, connect *ecsapi.ServiceConnectConfiguration, lattice int) error {
	switch {
	case controller != nil && controller.Type != "" && controller.Type != model.ControllerECS:
		return parameterError("Deployment controller %s is not supported: Berth has the controller ECS only.", controller.Type)
	case connect != nil && value(connect.Enabled):
		return parameterError("serviceConnectConfiguration is not supported: Berth does not have Service Connect yet. Use service discovery.")
	case lattice > 0:
		return parameterError("vpcLatticeConfigurations is not supported: Berth does not have VPC Lattice.")
	}
	return nil
}

// applyDeploymentConfiguration puts what is given over config, and checks it.
func applyDeploymentConfiguration(config *model.DeploymentConfiguration, in *ecsapi.DeploymentConfiguration) error {
	if in == nil {
		return nil
	}
	switch {
	case in.Strategy != "" && in.Strategy != "ROLLING":
		return parameterError("Deployment strategy %s is not supported: Berth has ROLLING only so far.", in.Strategy)
	case len(in.LifecycleHooks) > 0:
		return parameterError("lifecycleHooks is not supported: Berth does not have deployment strategies with hooks yet.")
	case in.LinearConfiguration != nil || in.CanaryConfiguration != nil:
		return parameterError("linearConfiguration and canaryConfiguration are only valid for their deployment strategies.")
	case value(in.BakeTimeInMinutes) != 0:
		return parameterError("bakeTimeInMinutes is not supported: Berth does not have alarms to watch meanwhile.")
	case in.Alarms != nil && value(in.Alarms.Enable):
		return parameterError("Deployment alarms are not supported: Berth does not have CloudWatch alarms yet.")
	}
	if v := in.MinimumHealthyPercent; v != nil {
		config.MinimumHealthyPercent = int(*v)
	}
	if v := in.MaximumPercent; v != nil {
		config.MaximumPercent = int(*v)
	}
	if b := in.DeploymentCircuitBreaker; b != nil {
		config.CircuitBreaker = &model.CircuitBreaker{Enable: value(b.Enable), Rollback: value(b.Rollback)}
	}
	if a := in.Alarms; a != nil {
		config.Alarms = &model.DeploymentAlarms{AlarmNames: a.AlarmNames, Enable: value(a.Enable), Rollback: value(a.Rollback)}
	}
	return nil
}

// checkShape checks what of a service needs no state but itself.
func checkShape(s *model.Service) error {
	c := s.DeploymentConfiguration
	daemon := s.SchedulingStrategy == model.SchedulingDaemon
	switch {
	case s.DesiredCount < 0:
		return parameterError("desiredCount must not be negative.")
	case s.DesiredCount > maxTasksPerService:
		return parameterError("desiredCount must be at most %d.", maxTasksPerService)
	case c.MinimumHealthyPercent < 0 || c.MinimumHealthyPercent > 100:
		return parameterError("minimumHealthyPercent must be between 0 and 100.")
	case daemon && c.MaximumPercent != 100:
		return parameterError("maximumPercent must be 100 for the DAEMON scheduling strategy.")
	case c.MaximumPercent < 100:
		return parameterError("maximumPercent must be at least 100.")
	case daemon && len(s.PlacementStrategy) > 0:
		return parameterError("The daemon scheduling strategy does not support placement strategies. Remove the placement strategies and try again.")
	case s.HealthCheckGraceSeconds != nil && *s.HealthCheckGraceSeconds < 0:
		return parameterError("healthCheckGracePeriodSeconds must not be negative.")
	case value(s.HealthCheckGraceSeconds) > 0 && len(s.Revision.LoadBalancers) == 0:
		return parameterError("Health check grace period is only valid for services configured to use load balancers")
	case s.PropagateTags != "" && !slices.Contains([]string{"TASK_DEFINITION", "SERVICE", "NONE"}, s.PropagateTags):
		return parameterError("Invalid value for propagateTags: '%s'. Valid values: TASK_DEFINITION, SERVICE, NONE.", s.PropagateTags)
	}
	return checkRebalancing(s)
}

// checkRebalancing: tasks can be moved between zones if there may be one more
// than desired meanwhile and nothing else says where they go.
func checkRebalancing(s *model.Service) error {
	if s.ZoneRebalancing != "" && s.ZoneRebalancing != zonesEnabled && s.ZoneRebalancing != zonesDisabled {
		return parameterError("Invalid value for availabilityZoneRebalancing: '%s'. Valid values: ENABLED, DISABLED.", s.ZoneRebalancing)
	}
	if s.ZoneRebalancing != zonesEnabled {
		return nil
	}
	switch obstacle := rebalancingObstacle(s); obstacle {
	case "":
		return nil
	default:
		return parameterError("availabilityZoneRebalancing cannot be ENABLED for a service with %s.", obstacle)
	}
}

func rebalancingObstacle(s *model.Service) string {
	switch {
	case s.SchedulingStrategy == model.SchedulingDaemon:
		return "the DAEMON scheduling strategy"
	case s.DeploymentConfiguration.MaximumPercent <= 100:
		return "a maximumPercent of 100"
	case len(s.PlacementStrategy) > 0 && !spreadsOverZones(s.PlacementStrategy[0]):
		return "a placement strategy that does not begin with spread over attribute:ecs.availability-zone"
	case slices.ContainsFunc(s.PlacementConstraints, namesZone):
		return "a placement constraint on attribute:ecs.availability-zone"
	}
	return ""
}

// loadBalancersIn reads and checks as much as needs no state.
func loadBalancersIn(in []ecsapi.LoadBalancer) ([]model.ServiceLoadBalancer, error) {
	if len(in) > maxTargetGroups {
		return nil, parameterError("loadBalancers can have at most %d items.", maxTargetGroups)
	}
	var out []model.ServiceLoadBalancer
	for _, l := range in {
		lb := model.ServiceLoadBalancer{TargetGroupARN: value(l.TargetGroupArn), ContainerName: value(l.ContainerName), ContainerPort: value(l.ContainerPort)}
		switch {
		case l.AdvancedConfiguration != nil:
			return nil, parameterError("advancedConfiguration is not supported: Berth has the deployment strategy ROLLING only so far.")
		case value(l.LoadBalancerName) != "":
			return nil, parameterError("loadBalancerName is not supported: Berth does not have Classic Load Balancers. Use targetGroupArn.")
		case lb.TargetGroupARN == "":
			return nil, parameterError("targetGroupArn cannot be blank in loadBalancers.")
		case lb.ContainerName == "":
			return nil, parameterError("Container name cannot be blank in loadBalancers.")
		case lb.ContainerPort == 0:
			return nil, parameterError("Container port cannot be blank in loadBalancers.")
		case slices.Contains(out, lb):
			return nil, parameterError("Duplicate targetGroupArn found: %s", lb.TargetGroupARN)
		}
		out = append(out, lb)
	}
	return out, nil
}

func registriesIn(in []ecsapi.ServiceRegistry) ([]model.ServiceRegistry, error) {
	if len(in) > maxRegistries {
		return nil, parameterError("serviceRegistries can have at most %d item.", maxRegistries)
	}
	var out []model.ServiceRegistry
	for _, r := range in {
		reg := model.ServiceRegistry{RegistryARN: value(r.RegistryArn), Port: value(r.Port), ContainerName: value(r.ContainerName), ContainerPort: value(r.ContainerPort)}
		switch {
		case !arn.Is(reg.RegistryARN):
			return nil, parameterError("Invalid registryArn: '%s'.", reg.RegistryARN)
		case (reg.ContainerName == "") != (reg.ContainerPort == 0):
			return nil, parameterError("containerName and containerPort must be specified together in serviceRegistries.")
		case reg.Port != 0 && reg.ContainerPort != 0:
			return nil, parameterError("port and containerPort cannot both be specified in serviceRegistries.")
		}
		out = append(out, reg)
	}
	return out, nil
}
