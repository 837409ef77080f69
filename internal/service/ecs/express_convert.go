package ecs

import (
	"slices"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

// expressOut shows an express service. Its configurations are those that have
// tasks or are to have them, the newest first.
func (p *Provider) expressOut(r store.Reader, s *model.Service, e *model.ExpressService, withTags bool) *ecsapi.ECSExpressGatewayService {
	out := &ecsapi.ECSExpressGatewayService{
		Cluster: &s.ClusterName, ServiceName: &s.Name, ServiceArn: &s.ARN, InfrastructureRoleArn: &e.InfrastructureRoleARN,
		Status: expressStatus(s, e), ActiveConfigurations: []ecsapi.ExpressGatewayServiceConfiguration{},
		CreatedAt: new(s.CreatedAt), UpdatedAt: new(e.UpdatedAt),
	}
	if withTags {
		out.Tags = every(s.Tags, tagOut)
	}
	var shown []string
	for _, d := range slices.Backward(deploymentsOf(r, s.ID)) {
		if d.Status == model.DeploymentInactive || s.Status == model.ServiceInactive {
			continue
		}
		if d.Status == model.DeploymentPrimary && d.RolloutState == model.RolloutInProgress {
			out.CurrentDeployment = new(p.scope.ServiceDeployment(s.ClusterName, s.Name, d.ServiceDeploymentID))
		}
		revision, found := records.ServiceRevisions.Get(r, d.RevisionID)
		if !found || slices.Contains(shown, revision.ID) {
			continue
		}
		shown = append(shown, revision.ID)
		out.ActiveConfigurations = append(out.ActiveConfigurations, p.expressConfiguration(r, s, e, revision))
	}
	return out
}

// expressStatus is the service's, with what is in its way.
func expressStatus(s *model.Service, e *model.ExpressService) *ecsapi.ExpressGatewayServiceStatus {
	out := &ecsapi.ExpressGatewayServiceStatus{StatusCode: ecsapi.ExpressGatewayServiceStatusCode(s.Status)}
	for _, resource := range managedOf(e) {
		if resource.Reason != "" {
			out.StatusReason = &resource.Reason
			break
		}
	}
	return out
}

// managedOf are an express service's resources in the order in which they are
// made.
func managedOf(e *model.ExpressService) []model.ManagedResource {
	m := e.Resources
	return []model.ManagedResource{
		m.LogGroup, m.LoadBalancerGroup, m.LoadBalancer, m.ServiceSecurityGroup, m.Certificate, m.TargetGroup, m.Listener, m.Rule,
	}
}

// expressConfiguration is a revision as the express operations speak of it:
// derived from its task definition and network.
func (p *Provider) expressConfiguration(r store.Reader, s *model.Service, e *model.ExpressService, revision *model.ServiceRevision) ecsapi.ExpressGatewayServiceConfiguration {
	settings := e.SettingsOf(revision.ID)
	count := int32(s.DesiredCount)
	out := ecsapi.ExpressGatewayServiceConfiguration{
		ServiceRevisionArn: &revision.ARN, HealthCheckPath: &settings.HealthCheckPath, CreatedAt: new(revision.CreatedAt),
		ScalingTarget: &ecsapi.ExpressGatewayScalingTarget{MinTaskCount: &count, MaxTaskCount: new(count)},
		IngressPaths:  []ecsapi.IngressPathSummary{{AccessType: ecsapi.AccessType(e.Access), Endpoint: new(endpointOf(e))}},
	}
	if n := revision.Spec.Network; n != nil {
		out.NetworkConfiguration = &ecsapi.ExpressGatewayServiceNetworkConfiguration{
			Subnets: slices.Clone(n.Subnets), SecurityGroups: append([]string{}, userGroups(e, n.SecurityGroups)...),
		}
	}
	def, _, err := p.definition(r, revision.Spec.TaskDefinitionARN)
	if err != nil || def == nil {
		return out // it was deleted; the rest is still true
	}
	out.ExecutionRoleArn, out.TaskRoleArn = optional(def.ExecutionRoleARN), optional(def.TaskRoleARN)
	out.Cpu, out.Memory = optional(def.CPU), optional(def.Memory)
	if c := mainOf(def); c != nil {
		out.PrimaryContainer = expressContainer(c)
	}
	return out
}

func endpointOf(e *model.ExpressService) string { return "https://" + e.Endpoint }

func expressContainer(c *model.ContainerDefinition) *ecsapi.ExpressGatewayContainer {
	out := &ecsapi.ExpressGatewayContainer{
		Image: &c.Image, Command: c.Command, Environment: each(c.Environment, pairOut), Secrets: each(c.Secrets, secretOut),
		RepositoryCredentials: the(c.RepositoryCredentials, func(r model.RepositoryCredentials) ecsapi.ExpressGatewayRepositoryCredentials {
			return ecsapi.ExpressGatewayRepositoryCredentials{CredentialsParameter: &r.CredentialsParameter}
		}),
	}
	if len(c.PortMappings) > 0 {
		out.ContainerPort = c.PortMappings[0].ContainerPort
	}
	if l := c.LogConfiguration; l != nil && l.LogDriver == "awslogs" {
		out.AwsLogsConfiguration = &ecsapi.ExpressGatewayServiceAwsLogsConfiguration{
			LogGroup: new(l.Options["awslogs-group"]), LogStreamPrefix: new(l.Options["awslogs-stream-prefix"]),
		}
	}
	return out
}

// managedResources are what ECS manages for the service of a revision; nil for
// a user's own.
func (p *Provider) managedResources(r store.Reader, v *model.ServiceRevision) *ecsapi.ECSManagedResources {
	e, found := records.ExpressServices.Get(r, v.ServiceID)
	if !found {
		return nil
	}
	m := e.Resources
	path := ecsapi.ManagedIngressPath{AccessType: ecsapi.AccessType(e.Access), Endpoint: new(endpointOf(e))}
	if l := m.LoadBalancer; l.Status != "" {
		scheme := "internet-facing"
		if e.Access == model.ExpressPrivate {
			scheme = "internal"
		}
		path.LoadBalancer = &ecsapi.ManagedLoadBalancer{
			Arn: optional(l.ARN), Status: ecsapi.ManagedResourceStatus(l.Status), StatusReason: optional(l.Reason), UpdatedAt: new(l.UpdatedAt), Scheme: &scheme,
		}
		if gateway, found := records.ExpressGateways.Get(r, e.GatewayID); found {
			path.LoadBalancer.SubnetIds = gateway.SubnetIDs
		}
	}
	path.LoadBalancerSecurityGroups = managedGroup(m.LoadBalancerGroup)
	if c := m.Certificate; c.Status != "" {
		path.Certificate = &ecsapi.ManagedCertificate{
			Arn: optional(c.ARN), Status: ecsapi.ManagedResourceStatus(c.Status), StatusReason: optional(c.Reason), UpdatedAt: new(c.UpdatedAt), DomainName: &e.Endpoint,
		}
	}
	if l := m.Listener; l.Status != "" {
		path.Listener = &ecsapi.ManagedListener{Arn: optional(l.ARN), Status: ecsapi.ManagedResourceStatus(l.Status), StatusReason: optional(l.Reason), UpdatedAt: new(l.UpdatedAt)}
	}
	if l := m.Rule; l.Status != "" {
		path.Rule = &ecsapi.ManagedListenerRule{Arn: optional(l.ARN), Status: ecsapi.ManagedResourceStatus(l.Status), StatusReason: optional(l.Reason), UpdatedAt: new(l.UpdatedAt)}
	}
	if g := m.TargetGroup; g.Status != "" {
		port := p.portOfRevision(r, v)
		path.TargetGroups = []ecsapi.ManagedTargetGroup{{
			Arn: optional(g.ARN), Status: ecsapi.ManagedResourceStatus(g.Status), StatusReason: optional(g.Reason), UpdatedAt: new(g.UpdatedAt),
			HealthCheckPath: new(e.SettingsOf(v.ID).HealthCheckPath), HealthCheckPort: &port, Port: new(port),
		}}
	}
	out := &ecsapi.ECSManagedResources{IngressPaths: []ecsapi.ManagedIngressPath{path}, ServiceSecurityGroups: managedGroup(m.ServiceSecurityGroup)}
	if l := m.LogGroup; l.Status != "" {
		out.LogGroups = []ecsapi.ManagedLogGroup{{
			Arn: optional(l.ARN), Status: ecsapi.ManagedResourceStatus(l.Status), StatusReason: optional(l.Reason), UpdatedAt: new(l.UpdatedAt), LogGroupName: &e.LogGroup,
		}}
	}
	return out
}

func managedGroup(g model.ManagedResource) []ecsapi.ManagedSecurityGroup {
	if g.Status == "" {
		return nil
	}
	return []ecsapi.ManagedSecurityGroup{{
		Arn: optional(g.ARN), Status: ecsapi.ManagedResourceStatus(g.Status), StatusReason: optional(g.Reason), UpdatedAt: new(g.UpdatedAt),
	}}
}

// portOfRevision is the port that requests go to.
func (p *Provider) portOfRevision(r store.Reader, v *model.ServiceRevision) int32 {
	if len(v.Spec.LoadBalancers) > 0 {
		return v.Spec.LoadBalancers[0].ContainerPort
	}
	if def, _, err := p.definition(r, v.Spec.TaskDefinitionARN); err == nil && def != nil {
		if c := mainOf(def); c != nil && len(c.PortMappings) > 0 {
			return value(c.PortMappings[0].ContainerPort)
		}
	}
	return expressPort
}
