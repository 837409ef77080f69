package access

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"berth.dev/berth/internal/base/arn"
)

// ecs follows the Service Authorization Reference of Amazon ECS. Where it gives
// an action no resource type, the action is checked on "*" and ecs:cluster
// limits it.
var ecs = join(
	table{
		"CreateCluster": {
			on: []target{{path: "clusterName", arn: cluster, absent: "default"}}, tags: "tags",
			keys: []key{{name: "ecs:capacity-provider", path: "capacityProviders", as: capacityProvider}},
			also: []need{tagged("ecs", "CreateCluster", "tags", target{path: "clusterName", arn: cluster, absent: "default"})},
		},
		"DescribeClusters": {on: []target{{path: "clusters", arn: cluster, absent: "default"}}},
		"PutClusterCapacityProviders": {
			on:   []target{inCluster},
			keys: []key{{name: "ecs:capacity-provider", path: "capacityProviders", as: capacityProvider}},
		},
		"ListContainerInstances": {on: []target{inCluster}},

		"RegisterTaskDefinition": {
			on: []target{{path: "family", arn: newRevision}}, tags: "tags",
			keys: []key{
				{name: "ecs:compute-compatibility", path: "requiresCompatibilities"},
				{name: "ecs:privileged", of: func(v *view) []string {
					// One privileged container makes the definition so.
					return []string{strconv.FormatBool(slices.Contains(v.values("containerDefinitions.privileged"), "true"))}
				}},
				{name: "ecs:task-cpu", path: "cpu", as: cpuUnits},
				{name: "ecs:task-memory", path: "memory", as: mebibytes},
			},
			also: []need{
				tagged("ecs", "RegisterTaskDefinition", "tags", target{path: "family", arn: newRevision}),
				pass("ecs-tasks", target{path: "taskRoleArn", arn: role}, target{path: "executionRoleArn", arn: role}),
			},
		},
		"DeleteTaskDefinitions": {on: []target{{path: "taskDefinitions", arn: revision}}},

		"RunTask": {
			on: []target{theDefinition}, tags: "tags", keys: runKeys,
			also: []need{
				tagged("ecs", "RunTask", "tags", target{path: "cluster", arn: newTask, absent: "default"}),
				pass("ecs-tasks", overriddenRoles...),
				pass("ecs-tasks", definedRoles),
				pass("ecs", volumeRoles),
			},
		},
		"StartTask": {
			on: []target{theDefinition}, tags: "tags",
			keys: append([]key{{name: "ecs:container-instances", path: "containerInstances", as: one(containerInstance)}}, runKeys...),
			also: []need{
				tagged("ecs", "StartTask", "tags", target{path: "cluster", arn: newTask, absent: "default"}),
				pass("ecs-tasks", overriddenRoles...),
				pass("ecs-tasks", definedRoles),
				pass("ecs", volumeRoles),
			},
		},
		"StopTask":             {on: []target{{path: "task", arn: task}}, keys: []key{ofCluster}},
		"DescribeTasks":        {on: []target{{path: "tasks", arn: task}}, keys: []key{ofCluster}},
		"GetTaskProtection":    {on: []target{{path: "tasks", arn: task}}, keys: []key{ofCluster}},
		"UpdateTaskProtection": {on: []target{{path: "tasks", arn: task}}, keys: []key{ofCluster}},
		"ExecuteCommand": {
			on: []target{{path: "task", arn: task}, inCluster}, keys: []key{ofCluster, {name: "ecs:container-name", path: "container"}},
		},
		"ListTasks": {on: []target{{path: "containerInstance", arn: containerInstance}}, keys: []key{ofCluster}},

		"CreateService": {
			on: []target{{path: "serviceName", arn: service}}, tags: "tags", keys: serviceKeys,
			also: []need{
				tagged("ecs", "CreateService", "tags", target{path: "serviceName", arn: service}),
				pass("ecs", target{path: "role", arn: role}), pass("ecs", infrastructureRoles...), pass("ecs-tasks", definedRoles),
			},
		},
		"UpdateService": {
			on: []target{{path: "service", arn: service}}, keys: serviceKeys,
			also: []need{pass("ecs", infrastructureRoles...), pass("ecs-tasks", definedRoles)},
		},
		"DeleteService":              {on: []target{{path: "service", arn: service}}, keys: []key{ofCluster}},
		"DescribeServices":           {on: []target{{path: "services", arn: service}}, keys: []key{ofCluster}},
		"ListServiceDeployments":     {on: []target{{path: "service", arn: service}}, keys: []key{ofCluster}},
		"ListServicesByNamespace":    {keys: []key{{name: "ecs:namespace", path: "namespace"}}},
		"DescribeServiceDeployments": {on: []target{{path: "serviceDeploymentArns", arn: literal}}, keys: deployedKeys("serviceDeploymentArns")},
		"DescribeServiceRevisions":   {on: []target{{path: "serviceRevisionArns", arn: literal}}, keys: deployedKeys("serviceRevisionArns")},
		"StopServiceDeployment":      {on: []target{{path: "serviceDeploymentArn", arn: literal}}, keys: deployedKeys("serviceDeploymentArn")},

		"CreateExpressGatewayService": {
			on: []target{newExpress}, tags: "tags", keys: []key{ofCluster},
			also: []need{
				tagged("ecs", "CreateExpressGatewayService", "tags", newExpress),
				pass("ecs-tasks", expressRoles...), pass("ecs", target{path: "infrastructureRoleArn", arn: role}),
			},
		},
		"UpdateExpressGatewayService": {
			on: []target{theExpress}, keys: []key{ofExpressCluster}, also: []need{pass("ecs-tasks", expressRoles...)},
		},
		"DescribeExpressGatewayService": {on: []target{theExpress}, keys: []key{ofExpressCluster}},
		"DeleteExpressGatewayService":   {on: []target{theExpress}, keys: []key{ofExpressCluster}},

		"DescribeContainerInstances":    {on: []target{{path: "containerInstances", arn: containerInstance}}, keys: []key{ofCluster}},
		"UpdateContainerInstancesState": {on: []target{{path: "containerInstances", arn: containerInstance}}, keys: []key{ofCluster}},

		"DescribeCapacityProviders": {on: []target{{path: "capacityProviders", arn: provider}}},

		"TagResource":         {on: []target{{path: "resourceArn", arn: anyECS}}, tags: "tags"},
		"UntagResource":       {on: []target{{path: "resourceArn", arn: anyECS}}, tagKeys: "tagKeys"},
		"ListTagsForResource": {on: []target{{path: "resourceArn", arn: anyECS}}},
	},
	rows(row{on: []target{inCluster}}, "UpdateCluster", "UpdateClusterSettings", "DeleteCluster", "DeregisterContainerInstance"),
	rows(row{keys: []key{ofCluster}}, "ListServices"),
	rows(row{keys: []key{{name: "ecs:account-setting", path: "name"}}},
		"ListAccountSettings", "PutAccountSetting", "PutAccountSettingDefault", "DeleteAccountSetting"),
	rows(row{}, "ListClusters", "DescribeTaskDefinition", "DeregisterTaskDefinition", "ListTaskDefinitions", "ListTaskDefinitionFamilies"),
)

// What many rows have.
var (
	inCluster     = target{path: "cluster", arn: cluster, absent: "default"}
	ofCluster     = key{name: "ecs:cluster", path: "cluster", as: one(cluster), absent: "default"}
	theDefinition = target{path: "taskDefinition", arn: revision}

	// definedRoles are those of the task definition itself: who runs it hands
	// them over.
	definedRoles    = target{path: "taskDefinition", arn: rolesOfDefinition}
	overriddenRoles = []target{{path: "overrides.taskRoleArn", arn: role}, {path: "overrides.executionRoleArn", arn: role}}
	volumeRoles     = target{path: "volumeConfigurations.managedEBSVolume.roleArn", arn: role}
	// infrastructureRoles are what ECS itself is to act in, for a service.
	infrastructureRoles = []target{
		volumeRoles,
		{path: "loadBalancers.advancedConfiguration.roleArn", arn: role},
		{path: "deploymentConfiguration.lifecycleHooks.roleArn", arn: role},
		{path: "serviceConnectConfiguration.services.tls.roleArn", arn: role},
		{path: "vpcLatticeConfigurations.roleArn", arn: role},
	}

	// An express service that is to be made may have no name yet.
	newExpress       = target{path: "serviceName", arn: service, absent: "*"}
	theExpress       = target{path: "serviceArn", arn: service}
	ofExpressCluster = deployedKeys("serviceArn")[0]
	expressRoles     = []target{{path: "executionRoleArn", arn: role}, {path: "taskRoleArn", arn: role}}

	// launchKeys are of requests that make tasks.
	launchKeys = []key{
		ofCluster,
		{name: "ecs:capacity-provider", path: "capacityProviderStrategy.capacityProvider", as: capacityProvider},
		{name: "ecs:enable-ebs-volumes", of: func(v *view) []string {
			return []string{strconv.FormatBool(len(shapes(v.Input, "volumeConfigurations.managedEBSVolume")) > 0)}
		}},
		{name: "ecs:enable-execute-command", path: "enableExecuteCommand", absent: "false"},
		{name: "ecs:enable-ecs-managed-tags", path: "enableECSManagedTags", absent: "false"},
		{name: "ecs:propagate-tags", path: "propagateTags", absent: "NONE"},
		{name: "ecs:subnet", path: "networkConfiguration.awsvpcConfiguration.subnets"},
		{name: "ecs:auto-assign-public-ip", path: "networkConfiguration.awsvpcConfiguration.assignPublicIp", as: enabled},
		{name: "ecs:compute-compatibility", of: func(v *view) []string { return v.ofDefinition().compatibilities }},
		{name: "ecs:privileged", of: func(v *view) []string { return v.ofDefinition().privileged }},
	}
	runKeys = append([]key{
		{name: "ecs:task-cpu", of: func(v *view) []string { return v.size("overrides.cpu", cpuUnits, v.ofDefinition().cpu) }},
		{name: "ecs:task-memory", of: func(v *view) []string { return v.size("overrides.memory", mebibytes, v.ofDefinition().memory) }},
	}, launchKeys...)
	serviceKeys = append([]key{
		{name: "ecs:task-definition", path: "taskDefinition", as: one(revision)},
		{name: "ecs:task-cpu", of: func(v *view) []string { return v.size("", cpuUnits, v.ofDefinition().cpu) }},
		{name: "ecs:task-memory", of: func(v *view) []string { return v.size("", mebibytes, v.ofDefinition().memory) }},
		{name: "ecs:enable-service-connect", path: "serviceConnectConfiguration.enabled", absent: "false"},
		{name: "ecs:namespace", path: "serviceConnectConfiguration.namespace"},
		{name: "ecs:enable-vpc-lattice", of: func(v *view) []string {
			return []string{strconv.FormatBool(len(shapes(v.Input, "vpcLatticeConfigurations")) > 0)}
		}},
	}, launchKeys...)
)

// deployedKeys are of a service's deployments and revisions, whose ARNs name
// cluster and service.
func deployedKeys(path string) []key {
	part := func(kind string, n int) func(*view, string) string {
		return func(v *view, value string) string {
			parts := strings.Split(value, "/")
			if len(parts) < 1+n {
				return ""
			}
			return v.Scope.Regional("ecs", kind+"/"+strings.Join(parts[1:1+n], "/"))
		}
	}
	return []key{{name: "ecs:cluster", path: path, as: part("cluster", 1)}, {name: "ecs:service", path: path, as: part("service", 2)}}
}

// pass is the permission to hand roles over to a service of AWS.
func pass(to string, roles ...target) need {
	return need{action: "iam:PassRole", on: roles, keys: []key{always("iam:passedtoservice", to+".amazonaws.com")}}
}

// tagged is the permission to make a resource with tags.
func tagged(service, operation, tags string, on ...target) need { //nolint:unparam // its form is that of its siblings
	return need{action: service + ":TagResource", on: on, keys: []key{always(service+":createaction", operation)}, when: tagNames(tags)}
}

// tagNames is the path of the names of tags.
func tagNames(tags string) string { return tags + ".key|" + tags + ".Key|" + tags + ".TagKey" }

// one uses a naming for a key's value.
func one(n naming) func(*view, string) string {
	return func(v *view, value string) string { return n(v, value)[0] }
}

func cluster(v *view, name string) []string {
	if path, ok := v.ecsPath("cluster", name); ok {
		name = path[len(path)-1]
	} else if arn.Is(name) {
		return []string{name}
	}
	return []string{v.Scope.Cluster(name)}
}

// ecsPath is the path in an ARN of this account. ARNs are made anew of it: what
// the provider would take for a resource must be checked as that resource,
// however it was written.
func (v *view) ecsPath(kind, name string) ([]string, bool) {
	if !arn.Is(name) {
		return nil, false
	}
	a, err := arn.Parse(name)
	if err != nil || a.Service != "ecs" || a.Type() != kind || a.Region != v.Scope.Region || a.AccountID != v.Scope.AccountID {
		return nil, false
	}
	path := a.Path()
	return path, len(path) > 0
}

// member names something in a cluster, by its id or ARN. ARNs of the old format
// have no cluster.
func member(kind string) naming {
	return func(v *view, name string) []string {
		in := v.clusterName()
		if path, ok := v.ecsPath(kind, name); ok {
			name = path[len(path)-1]
			if len(path) > 1 {
				in = path[0]
			}
		} else if arn.Is(name) {
			return []string{name}
		}
		return []string{v.Scope.Regional("ecs", kind+"/"+in+"/"+name)}
	}
}

// anyECS is a resource of any kind by its ARN.
func anyECS(v *view, name string) []string {
	a, err := arn.Parse(name)
	if err != nil {
		return []string{name}
	}
	switch kind := a.Type(); kind {
	case "cluster":
		return cluster(v, name)
	case "task-definition":
		return revision(v, name)
	case "task", "service", "container-instance":
		return member(kind)(v, name)
	}
	return literal(v, name)
}

// clusterName is the name of the cluster that the request is about.
func (v *view) clusterName() string {
	name := v.value("cluster")
	if name == "" {
		return "default"
	}
	return name[strings.LastIndex(name, "/")+1:]
}

var (
	task              = member("task")
	service           = member("service")
	containerInstance = member("container-instance")
)

// newTask stands for a task that has no id yet.
func newTask(v *view, _ string) []string { return []string{v.Scope.Task(v.clusterName(), "*")} }

func provider(v *view, name string) []string { return []string{capacityProvider(v, name)} }

func capacityProvider(v *view, name string) string {
	if arn.Is(name) {
		return name
	}
	return v.Scope.CapacityProvider(name)
}

// newRevision stands for the revision that will be made.
func newRevision(v *view, family string) []string {
	return []string{v.Scope.Regional("ecs", "task-definition/"+family+":*")}
}

// revision resolves a task definition before it is checked, as AWS does since
// March 2024: a family means its latest active revision.
func revision(v *view, name string) []string {
	if d, ok := v.look.TaskDefinition(name); ok {
		return []string{d.ARN}
	}
	switch {
	case arn.Is(name):
		return []string{name}
	case strings.Contains(name, ":"):
		return []string{v.Scope.Regional("ecs", "task-definition/"+name)}
	}
	return newRevision(v, name)
}

func rolesOfDefinition(v *view, name string) []string {
	d, ok := v.look.TaskDefinition(name)
	if !ok {
		return nil
	}
	var roles []string
	for _, r := range []string{d.TaskRoleARN, d.ExecutionRoleARN} {
		if r != "" {
			roles = append(roles, role(v, r)...)
		}
	}
	return roles
}

// defined is what condition keys tell of a task definition that is used.
type defined struct {
	cpu, memory                 string
	compatibilities, privileged []string
}

func (v *view) ofDefinition() defined {
	name := v.value("taskDefinition")
	if name == "" {
		return defined{}
	}
	d, ok := v.look.TaskDefinition(name)
	if !ok {
		return defined{}
	}
	privileged := false
	for i := range d.ContainerDefinitions {
		privileged = privileged || d.ContainerDefinitions[i].Privileged != nil && *d.ContainerDefinitions[i].Privileged
	}
	return defined{
		cpu: d.CPU, memory: d.Memory,
		compatibilities: d.RequiresCompatibilities, privileged: []string{strconv.FormatBool(privileged)},
	}
}

// size is a number of cpu units or MiB: the override's, or the definition's.
func (v *view) size(path string, as func(*view, string) string, otherwise string) []string {
	said := v.value(path)
	if said == "" {
		said = otherwise
	}
	if said = as(v, said); said == "" {
		return nil
	}
	return []string{said}
}

// cpuUnits reads "256", ".25 vCPU".
func cpuUnits(_ *view, s string) string { return amount(s, "vcpu", 1024) }

// mebibytes reads "512", "1 GB".
func mebibytes(_ *view, s string) string { return amount(s, "gb", 1024) }

func amount(s, unit string, factor float64) string {
	number, scaled := strings.CutSuffix(strings.ToLower(strings.TrimSpace(s)), unit)
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil {
		return ""
	}
	if scaled {
		n *= factor
	}
	return fmt.Sprintf("%.0f", n)
}

func enabled(_ *view, s string) string { return strconv.FormatBool(s == "ENABLED") }
