package records

import (
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
		TasksByInstance, LiveTasksByInstance, TasksByENI)
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

	RunTaskTokens = store.NewTable("runtasktokens", (*model.RunTaskToken).Key)
)

// InCluster is the value under which an index finds name within a cluster.
func InCluster(cluster, name string) string { return cluster + "|" + name }

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

// Networks.
var (
	VPCs    = store.NewTable("vpcs", (*model.VPC).Key)
	Subnets = store.NewTable("subnets", (*model.Subnet).Key, SubnetsByVPC)
	// SubnetsByVPC finds the subnets of a VPC by its id.
	SubnetsByVPC = store.NewIndex("vpc", func(s *model.Subnet) []string { return []string{s.VPCID} })

	SecurityGroups = store.NewTable("securitygroups", (*model.SecurityGroup).Key, SecurityGroupsByVPC)
	// SecurityGroupsByVPC finds the groups of a VPC by its id.
	SecurityGroupsByVPC = store.NewIndex("vpc", func(g *model.SecurityGroup) []string { return []string{g.VPCID} })

	NetworkInterfaces = store.NewTable("networkinterfaces", (*model.NetworkInterface).Key, NetworkInterfacesBySubnet)
	// NetworkInterfacesBySubnet finds the interfaces in a subnet by its id.
	NetworkInterfacesBySubnet = store.NewIndex("subnet", func(n *model.NetworkInterface) []string { return []string{n.SubnetID} })

	// AddressClaims are what makes an address unique: the key is the address.
	AddressClaims = store.NewTable("addressclaims", (*model.AddressClaim).Key)
)

// Accounts.
var (
	AccessKeys      = store.NewTable("accesskeys", (*model.AccessKey).Key)
	AccountSettings = store.NewTable("accountsettings", (*model.AccountSetting).Key)
)

// All returns every table, to open a store with.
func All() []store.AnyTable {
	return []store.AnyTable{
		Clusters, TaskDefinitions, Families, Tasks, RunTaskTokens, Instances,
		VPCs, Subnets, SecurityGroups, NetworkInterfaces, AddressClaims,
		AccessKeys, AccountSettings,
	}
}
