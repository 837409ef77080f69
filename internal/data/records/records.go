package records

import (
	"slices"
	"strings"

	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// Clusters and task definitions.
var (
	Clusters = store.NewTable("clusters", (*model.Cluster).Key)

	// TaskDefinitions has the revisions of a family next to each other, in
	// numeric order: Prefix(family + "/") yields them.
	TaskDefinitions = store.NewTable("taskdefinitions", (*model.TaskDefinition).Key,
		TaskDefinitionsByFamily, TaskDefinitionsByStatus)
	// TaskDefinitionsByFamily finds the revisions of a family.
	TaskDefinitionsByFamily = store.NewIndex("family", func(d *model.TaskDefinition) []string { return []string{d.Family} })
	// TaskDefinitionsByStatus finds the revisions that have a status, such as
	// those that wait to be deleted.
	TaskDefinitionsByStatus = store.NewIndex("status", func(d *model.TaskDefinition) []string { return []string{d.Status} })

	// Families outlive their revisions, because a number is never used twice.
	Families = store.NewTable("families", (*model.Family).Key)
)

// Tasks and what remembers their making.
var (
	Tasks = store.NewTable("tasks", (*model.Task).Key,
		TasksByCluster, TasksByFamily, TasksByStartedBy, TasksByStatus, TasksByDefinition,
		TasksByInstance, LiveTasksByInstance, TasksByENI, TasksByService, OpenTasksByService, WantedTasksByService, LiveTasksByGroup, LiveTasksByHostPort).
		WithTallies(TasksOnInstance, TasksOfGroup)
	// TasksByCluster finds the tasks of a cluster, by its name, stopped ones
	// included.
	TasksByCluster = store.NewGuardedIndex("cluster", func(t *model.Task) []string { return []string{t.ClusterName} })
	// TasksByFamily finds tasks by InCluster(cluster, family).
	TasksByFamily = store.NewIndex("family", func(t *model.Task) []string { return []string{InCluster(t.ClusterName, t.Family)} })
	// TasksByStartedBy finds tasks by InCluster(cluster, startedBy).
	TasksByStartedBy = store.NewIndex("startedby", func(t *model.Task) []string {
		if t.StartedBy == "" {
			return nil
		}
		return []string{InCluster(t.ClusterName, t.StartedBy)}
	})
	// TasksByStatus finds tasks by their last status, of all clusters.
	TasksByStatus = store.NewIndex("status", func(t *model.Task) []string { return []string{t.Observed.Status} })
	// TasksByDefinition finds the tasks that have not stopped by the ARN of
	// their task definition.
	TasksByDefinition = store.NewIndex("definition", func(t *model.Task) []string {
		if t.Stopped() {
			return nil
		}
		return []string{t.TaskDefinitionARN}
	})
	// TasksByInstance finds every task that was placed on an instance, by its
	// id, stopped ones included.
	TasksByInstance = store.NewIndex("instance", func(t *model.Task) []string { return []string{t.InstanceID} })
	// LiveTasksByInstance finds the tasks that hold resources of an instance:
	// those that have not stopped.
	LiveTasksByInstance = store.NewIndex("liveinstance", func(t *model.Task) []string {
		if t.Stopped() {
			return nil
		}
		return []string{t.InstanceID}
	})
	// TasksByENI finds the task of a network interface.
	TasksByENI = store.NewIndex("eni", func(t *model.Task) []string {
		if t.ENIID == "" {
			return nil
		}
		return []string{t.ENIID}
	})

	// TasksByService finds the tasks of a service by its id, stopped ones
	// included.
	TasksByService = store.NewGuardedIndex("service", func(t *model.Task) []string {
		if t.ServiceID == "" {
			return nil
		}
		return []string{t.ServiceID}
	})
	// OpenTasksByService finds the tasks of a service that have not stopped, or
	// whose end the deployment loop has not taken notice of yet.
	OpenTasksByService = store.NewIndex("openservice", func(t *model.Task) []string {
		if t.ServiceID == "" || t.Settled {
			return nil
		}
		return []string{t.ServiceID}
	})
	// WantedTasksByService finds the tasks of a service that shall run, by its
	// id. Whoever decides how many of them may stop guards it: none may have
	// been stopped or have ended meanwhile.
	WantedTasksByService = store.NewGuardedIndex("wantedservice", func(t *model.Task) []string {
		if t.ServiceID == "" || t.DesiredStatus != model.TaskRunning || t.Stopped() {
			return nil
		}
		return []string{t.ServiceID}
	})
	// LiveTasksByGroup finds the tasks that have not stopped by
	// InCluster(cluster, group).
	LiveTasksByGroup = store.NewIndex("livegroup", func(t *model.Task) []string {
		if t.Stopped() {
			return nil
		}
		return []string{InCluster(t.ClusterName, t.Group)}
	})

	// LiveTasksByHostPort finds the task that holds a fixed port of an
	// instance, by HostPort(instance, port).
	LiveTasksByHostPort = store.NewIndex("hostport", func(t *model.Task) []string {
		if t.Stopped() {
			return nil
		}
		var ports []string
		for _, port := range t.HostPorts {
			ports = append(ports, HostPort(t.InstanceID, port))
		}
		return ports
	})

	// TasksOnInstance sums, by instance, what tasks that have not stopped hold
	// of it: CPU units, MiB of memory, and, Fargate's not counted, how many
	// are running and how many are yet to.
	TasksOnInstance = store.NewTally("oninstance", func(t *model.Task) (string, store.Amounts, bool) {
		sum := store.Amounts{t.ReservedCPU, t.ReservedMemory}
		if t.LaunchType != model.LaunchFargate {
			switch rank := model.TaskStatusRank(t.Observed.Status); {
			case rank == model.TaskStatusRank(model.TaskRunning):
				sum[2] = 1
			case rank < model.TaskStatusRank(model.TaskRunning):
				sum[3] = 1
			}
		}
		return t.InstanceID, sum, !t.Stopped()
	})
	// TasksOfGroup counts the tasks of a group that shall run, by
	// GroupPlace(cluster, group, instance, zone).
	TasksOfGroup = store.NewTally("ofgroup", func(t *model.Task) (string, store.Amounts, bool) {
		return GroupPlace(t.ClusterName, t.Group, t.InstanceID, t.AvailabilityZone), store.Amounts{1},
			t.DesiredStatus == model.TaskRunning && !t.Stopped()
	})

	RunTaskTokens = store.NewTable("runtasktokens", (*model.RunTaskToken).Key)
)

// InCluster is the value under which an index finds name within a cluster.
func InCluster(cluster, name string) string { return cluster + "|" + name }

// HostPort is the value under which LiveTasksByHostPort has a port such as
// "80/tcp" of an instance.
func HostPort(instance, port string) string { return instance + "|" + port }

// GroupPlace is the value under which TasksOfGroup counts. A group may have
// any character in its name but NUL, which therefore separates.
func GroupPlace(cluster, group, instance, zone string) string {
	return GroupPlaces(cluster, group) + instance + "\x00" + zone
}

// GroupPlaces begins every GroupPlace of a group.
func GroupPlaces(cluster, group string) string { return InCluster(cluster, group) + "\x00" }

// PlaceOf takes a GroupPlace apart.
func PlaceOf(value string) (instance, zone string) {
	rest, zone := cutLast(value)
	_, instance = cutLast(rest)
	return instance, zone
}

func cutLast(s string) (before, after string) {
	i := strings.LastIndexByte(s, 0)
	if i < 0 {
		return "", s
	}
	return s[:i], s[i+1:]
}

// Nodes.
var (
	Instances = store.NewTable("instances", (*model.Instance).Key, InstancesByCluster)
	// InstancesByCluster finds the container instances of a cluster by its
	// name. A node without a cluster is in none.
	InstancesByCluster = store.NewGuardedIndex("cluster", func(i *model.Instance) []string {
		if i.ClusterName == "" {
			return nil
		}
		return []string{i.ClusterName}
	})
)

// Services.
var (
	Services = store.NewTable("services", (*model.Service).Key, ServicesByName, ServicesByCluster, ServicesByTargetGroup)
	// ServicesByName finds the services of a name, of which at most one is not
	// INACTIVE, by InCluster(cluster, name).
	ServicesByName = store.NewGuardedIndex("name", func(s *model.Service) []string { return []string{InCluster(s.ClusterName, s.Name)} })
	// ServicesByCluster finds the services of a cluster that are not INACTIVE.
	ServicesByCluster = store.NewGuardedIndex("cluster", func(s *model.Service) []string {
		if s.Status == model.ServiceInactive {
			return nil
		}
		return []string{s.ClusterName}
	})
	// ServicesByTargetGroup finds the services that are not INACTIVE by the
	// ARNs of their target groups.
	ServicesByTargetGroup = store.NewIndex("targetgroup", func(s *model.Service) []string {
		if s.Status == model.ServiceInactive {
			return nil
		}
		var arns []string
		for _, lb := range s.Revision.LoadBalancers {
			arns = append(arns, lb.TargetGroupARN)
		}
		return arns
	})

	// Deployments has those of a service next to each other, oldest first.
	Deployments = store.NewTable("deployments", (*model.Deployment).Key, DeploymentsByID, DeploymentsByServiceDeployment)
	// DeploymentsByID finds a deployment by its ecs-svc/… id.
	DeploymentsByID = store.NewIndex("id", func(d *model.Deployment) []string { return []string{d.ID} })
	// DeploymentsByServiceDeployment finds it by its service deployment's id;
	// a rollback has the id of the deployment that it rolls back.
	DeploymentsByServiceDeployment = store.NewIndex("servicedeployment", func(d *model.Deployment) []string { return []string{d.ServiceDeploymentID} })

	ServiceRevisions = store.NewTable("servicerevisions", (*model.ServiceRevision).Key, ServiceRevisionsByService)
	// ServiceRevisionsByService finds the revisions of a service by its id.
	ServiceRevisionsByService = store.NewIndex("service", func(r *model.ServiceRevision) []string { return []string{r.ServiceID} })

	// ServiceEvents has those of a service next to each other, oldest first.
	ServiceEvents = store.NewTable("serviceevents", (*model.ServiceEvent).Key)
)

// Load balancers.
var (
	LoadBalancers = store.NewTable("loadbalancers", (*model.LoadBalancer).Key, LoadBalancersByName, LoadBalancersByInstance)
	// LoadBalancersByName finds a load balancer by its name.
	LoadBalancersByName = store.NewGuardedIndex("name", func(l *model.LoadBalancer) []string { return []string{l.Name} })
	// LoadBalancersByInstance finds those that a node serves.
	LoadBalancersByInstance = store.NewIndex("instance", func(l *model.LoadBalancer) []string { return []string{l.InstanceID} })

	TargetGroups = store.NewTable("targetgroups", (*model.TargetGroup).Key, TargetGroupsByName)
	// TargetGroupsByName finds a target group by its name.
	TargetGroupsByName = store.NewGuardedIndex("name", func(g *model.TargetGroup) []string { return []string{g.Name} })

	// Targets has those of a group next to each other.
	Targets = store.NewTable("targets", (*model.Target).Key, TargetsByTask)
	// TargetsByTask finds a task's targets by its id.
	TargetsByTask = store.NewIndex("task", func(t *model.Target) []string {
		if t.TaskID == "" {
			return nil
		}
		return []string{t.TaskID}
	})

	Listeners = store.NewTable("listeners", (*model.Listener).Key, ListenersByLoadBalancer, ListenersByTargetGroup)
	// ListenersByLoadBalancer finds the listeners of a load balancer by its id.
	ListenersByLoadBalancer = store.NewGuardedIndex("loadbalancer", func(l *model.Listener) []string { return []string{l.LoadBalancerID} })
	// ListenersByTargetGroup finds the listeners whose default action forwards
	// to a target group, by its ARN.
	ListenersByTargetGroup = store.NewGuardedIndex("targetgroup", func(l *model.Listener) []string { return targetsOf(l.DefaultActions) })

	ListenerRules = store.NewTable("listenerrules", (*model.ListenerRule).Key, RulesByListener, RulesByTargetGroup)
	// RulesByListener finds the rules of a listener by its id.
	RulesByListener = store.NewGuardedIndex("listener", func(r *model.ListenerRule) []string { return []string{r.ListenerID} })
	// RulesByTargetGroup finds the rules that forward to a target group, by
	// its ARN.
	RulesByTargetGroup = store.NewGuardedIndex("targetgroup", func(r *model.ListenerRule) []string { return targetsOf(r.Actions) })

	Certificates = store.NewTable("certificates", (*model.Certificate).Key)
)

func targetsOf(actions []model.BalancerAction) []string {
	var arns []string
	for _, a := range actions {
		for _, g := range a.TargetGroups {
			arns = append(arns, g.TargetGroupARN)
		}
	}
	return arns
}

// Service discovery.
var (
	Namespaces        = store.NewTable("namespaces", (*model.Namespace).Key)
	DiscoveryServices = store.NewTable("discoveryservices", (*model.DiscoveryService).Key, DiscoveryServicesByNamespace)
	// DiscoveryServicesByNamespace finds the services of a namespace by its id.
	DiscoveryServicesByNamespace = store.NewGuardedIndex("namespace", func(s *model.DiscoveryService) []string { return []string{s.NamespaceID} })

	// DiscoveryInstances has those of a service next to each other.
	DiscoveryInstances = store.NewTable("discoveryinstances", (*model.DiscoveryInstance).Key, DiscoveryInstancesByTask)
	// DiscoveryInstancesByTask finds a task's instances by its id.
	DiscoveryInstancesByTask = store.NewIndex("task", func(i *model.DiscoveryInstance) []string {
		if i.TaskID == "" {
			return nil
		}
		return []string{i.TaskID}
	})

	DiscoveryOperations = store.NewTable("discoveryoperations", (*model.DiscoveryOperation).Key)
)

// Networks.
var (
	VPCs    = store.NewTable("vpcs", (*model.VPC).Key)
	Subnets = store.NewTable("subnets", (*model.Subnet).Key, SubnetsByVPC)
	// SubnetsByVPC finds the subnets of a VPC by its id.
	SubnetsByVPC = store.NewGuardedIndex("vpc", func(s *model.Subnet) []string { return []string{s.VPCID} })

	SecurityGroups = store.NewTable("securitygroups", (*model.SecurityGroup).Key, SecurityGroupsByVPC, SecurityGroupsByReference)
	// SecurityGroupsByVPC finds the groups of a VPC by its id.
	SecurityGroupsByVPC = store.NewGuardedIndex("vpc", func(g *model.SecurityGroup) []string { return []string{g.VPCID} })

	// SecurityGroupsByReference finds the groups with a rule that refers to a
	// group, by the id of that; a group may refer to itself.
	SecurityGroupsByReference = store.NewGuardedIndex("reference", func(g *model.SecurityGroup) []string {
		var ids []string
		for _, rules := range [][]model.SecurityGroupRule{g.Ingress, g.Egress} {
			for _, r := range rules {
				if r.GroupID != "" && !slices.Contains(ids, r.GroupID) {
					ids = append(ids, r.GroupID)
				}
			}
		}
		return ids
	})

	NetworkInterfaces = store.NewTable("networkinterfaces", (*model.NetworkInterface).Key,
		NetworkInterfacesBySubnet, NetworkInterfacesByGroup, NetworkInterfacesByInstance, NetworkInterfacesByVPC, NetworkInterfacesByClientToken,
		NetworkInterfacesByGroupOnInstance, NetworkInterfacesByVPCOnInstance).
		WithTallies(NetworkInterfacesByNode)
	// NetworkInterfacesByNode counts the interfaces that a node has in a VPC,
	// by VPCNode: with the prefix VPCNode(vpc, "") it yields a VPC's nodes.
	NetworkInterfacesByNode = store.NewTally("node", func(n *model.NetworkInterface) (string, store.Amounts, bool) {
		return VPCNode(n.VPCID, n.InstanceID), store.Amounts{1}, n.InstanceID != ""
	})
	// NetworkInterfacesBySubnet finds the interfaces in a subnet by its id.
	NetworkInterfacesBySubnet = store.NewIndex("subnet", func(n *model.NetworkInterface) []string { return []string{n.SubnetID} })

	// NetworkInterfacesByGroup finds the interfaces in a security group by its id.
	NetworkInterfacesByGroup = store.NewGuardedIndex("group", func(n *model.NetworkInterface) []string { return n.GroupIDs })
	// NetworkInterfacesByInstance finds the interfaces that a node has.
	NetworkInterfacesByInstance = store.NewIndex("instance", func(n *model.NetworkInterface) []string {
		if n.InstanceID == "" {
			return nil
		}
		return []string{n.InstanceID}
	})
	// NetworkInterfacesByVPC finds the interfaces in a VPC by its id.
	NetworkInterfacesByVPC = store.NewIndex("vpc", func(n *model.NetworkInterface) []string { return []string{n.VPCID} })

	// NetworkInterfacesByGroupOnInstance finds the interfaces of a group on a
	// node by OnInstance(group id, instance id). Its values with the prefix
	// OnInstance(group id, "") are the nodes that have any.
	NetworkInterfacesByGroupOnInstance = store.NewIndex("groupinstance", func(n *model.NetworkInterface) []string {
		if n.InstanceID == "" {
			return nil
		}
		values := make([]string, 0, len(n.GroupIDs))
		for _, id := range n.GroupIDs {
			values = append(values, OnInstance(id, n.InstanceID))
		}
		return values
	})
	// NetworkInterfacesByVPCOnInstance finds the interfaces in a VPC on a node
	// by OnInstance(VPC id, instance id).
	NetworkInterfacesByVPCOnInstance = store.NewIndex("vpcinstance", func(n *model.NetworkInterface) []string {
		if n.InstanceID == "" {
			return nil
		}
		return []string{OnInstance(n.VPCID, n.InstanceID)}
	})
	// NetworkInterfacesByClientToken finds the interface that a call of
	// CreateNetworkInterface made.
	NetworkInterfacesByClientToken = store.NewGuardedIndex("clienttoken", func(n *model.NetworkInterface) []string {
		if n.ClientToken == "" {
			return nil
		}
		return []string{n.ClientToken}
	})

	RouteTables = store.NewTable("routetables", (*model.RouteTable).Key, RouteTablesByVPC)
	// RouteTablesByVPC finds the route tables of a VPC by its id.
	RouteTablesByVPC = store.NewGuardedIndex("vpc", func(r *model.RouteTable) []string { return []string{r.VPCID} })

	InternetGateways = store.NewTable("internetgateways", (*model.InternetGateway).Key, InternetGatewaysByVPC)
	// InternetGatewaysByVPC finds the gateway that is attached to a VPC.
	InternetGatewaysByVPC = store.NewGuardedIndex("vpc", func(g *model.InternetGateway) []string {
		if g.VPCID == "" {
			return nil
		}
		return []string{g.VPCID}
	})

	NATGateways = store.NewTable("natgateways", (*model.NATGateway).Key, NATGatewaysByVPC)
	// NATGatewaysByVPC finds the gateways of a VPC by its id.
	NATGatewaysByVPC = store.NewIndex("vpc", func(g *model.NATGateway) []string { return []string{g.VPCID} })

	PublicAddresses = store.NewTable("publicaddresses", (*model.PublicAddress).Key)

	// AddressClaims are what makes an address unique: the key is the address.
	AddressClaims = store.NewTable("addressclaims", (*model.AddressClaim).Key)
)

// VPCNode is the value under which a tally finds a node in a VPC.
func VPCNode(vpcID, instanceID string) string { return vpcID + "|" + instanceID }

// Accounts.
var (
	AccountSettings = store.NewTable("accountsettings", (*model.AccountSetting).Key)
)

// OnInstance is the value under which an index finds what belongs to id on a
// node.
func OnInstance(id, instanceID string) string { return id + "|" + instanceID }

// All returns every table, to open a store with.
func All() []store.AnyTable {
	return []store.AnyTable{
		Clusters, TaskDefinitions, Families, Tasks, RunTaskTokens, Instances,
		Services, Deployments, ServiceRevisions, ServiceEvents,
		LoadBalancers, TargetGroups, Targets, Listeners, ListenerRules, Certificates,
		Namespaces, DiscoveryServices, DiscoveryInstances, DiscoveryOperations,
		VPCs, Subnets, SecurityGroups, NetworkInterfaces, AddressClaims,
		RouteTables, InternetGateways, NATGateways, PublicAddresses,
		Users, Groups, Roles, Policies, InstanceProfiles, OIDCProviders, AccessKeys, AccountAliases, JoinTokens, AccountSettings,
		KMSKeys, KMSAliases, Secrets, SecretVersions, Parameters, ParameterVersions,
		Repositories, Images, ImageTags, PullThroughCacheRules, RegistrySettings, LifecyclePreviews, RemoteSessions,
		ExpressServices, ExpressGateways,
		EBSVolumes,
	}
}
