package ecs_test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

const (
	groupARN    = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/web/0123456789abcdef"
	loneGroup   = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/lone/0123456789abcdef"
	hostGroup   = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/hosts/0123456789abcdef"
	registryARN = "arn:aws:servicediscovery:us-east-1:123456789012:service/srv-a"
	srvRegistry = "arn:aws:servicediscovery:us-east-1:123456789012:service/srv-srv"
)

// balance puts target groups with and without a load balancer, and Cloud Map
// services with A and with SRV records.
func (w *world) balance() {
	w.update(func(tx *store.Tx) {
		for arn, kind := range map[string]string{groupARN: "ip", loneGroup: "ip", hostGroup: "instance"} {
			id := arn[strings.Index(arn, "targetgroup/"):]
			g := &model.TargetGroup{ID: id, ARN: arn, Name: strings.Split(id, "/")[1], TargetType: kind, VPCID: "vpc-1", Port: 80}
			g.HealthCheck.Port = "traffic-port"
			if arn == hostGroup {
				g.HealthCheck.Port = "8080"
			}
			records.TargetGroups.Put(tx, g)
		}
		records.Listeners.Put(tx, &model.Listener{ID: "listener/app/lb/1/2", ARN: "listener", DefaultActions: []model.BalancerAction{
			{Type: "forward", TargetGroups: []model.WeightedTarget{{TargetGroupARN: groupARN}, {TargetGroupARN: hostGroup}}},
		}})
		records.DiscoveryServices.Put(tx, &model.DiscoveryService{ID: "srv-a", ARN: registryARN, Records: []model.DNSRecord{{Type: "A", TTL: 10}}})
		records.DiscoveryServices.Put(tx, &model.DiscoveryService{ID: "srv-srv", ARN: srvRegistry, Records: []model.DNSRecord{{Type: "SRV", TTL: 10}}})
	})
}

func spaced(values ...any) string { return strings.TrimSuffix(fmt.Sprintln(values...), "\n") }

func serviceInput(name string, edit func(*ecsapi.CreateServiceInput)) *ecsapi.CreateServiceInput {
	in := &ecsapi.CreateServiceInput{
		ServiceName: &name, TaskDefinition: new("web"), DesiredCount: new(int32(2)), LaunchType: "FARGATE",
		NetworkConfiguration: &ecsapi.NetworkConfiguration{AwsvpcConfiguration: &ecsapi.AwsVpcConfiguration{Subnets: []string{subnetA, subnetB}}},
	}
	if edit != nil {
		edit(in)
	}
	return in
}

func (w *world) create(name string, edit func(*ecsapi.CreateServiceInput)) *ecsapi.ServiceShape {
	w.Helper()
	out, err := w.CreateService(w.Context(), serviceInput(name, edit))
	if err != nil {
		w.Fatal(err)
	}
	return out.Service
}

func (w *world) service(name string) ecsapi.ServiceShape {
	w.Helper()
	out, err := w.DescribeServices(w.Context(), &ecsapi.DescribeServicesInput{Services: []string{name}, Include: []ecsapi.ServiceField{"TAGS"}})
	if err != nil || len(out.Services) != 1 {
		w.Fatalf("%s: %+v, %v", name, out, err)
	}
	return out.Services[0]
}

func (w *world) change(name string, edit func(*ecsapi.UpdateServiceInput)) *ecsapi.ServiceShape {
	w.Helper()
	in := &ecsapi.UpdateServiceInput{Service: &name}
	edit(in)
	out, err := w.UpdateService(w.Context(), in)
	if err != nil {
		w.Fatal(err)
	}
	return out.Service
}

// start gives a deployment of a service tasks, as the loop does.
func (w *world) start(name string, deployment string, n int) []string {
	w.Helper()
	var arns []string
	w.update(func(tx *store.Tx) {
		for s := range records.Services.By(tx, records.ServicesByName, "default|"+name) {
			for range n {
				id := fmt.Sprintf("%032x", records.Tasks.Len(tx)+1)
				task := &model.Task{
					ID: id, ARN: scope.Task("default", id), ClusterName: "default", ServiceID: s.ID, ServiceName: name, StartedBy: deployment,
					Group: "service:" + name, DesiredStatus: model.TaskRunning, LaunchType: model.LaunchFargate,
					Observed: model.TaskObserved{Status: model.TaskPending},
				}
				records.Tasks.Put(tx, task)
				arns = append(arns, task.ARN)
			}
		}
	})
	return arns
}

func TestCreateService(t *testing.T) {
	w := newWorld(t)
	w.balance()
	def := w.register("web", nil)
	s := w.create("web", func(in *ecsapi.CreateServiceInput) {
		in.LoadBalancers = []ecsapi.LoadBalancer{{TargetGroupArn: new(groupARN), ContainerName: new("app"), ContainerPort: new(int32(80))}}
		in.ServiceRegistries = []ecsapi.ServiceRegistry{{RegistryArn: new(registryARN)}}
		in.Tags = []ecsapi.Tag{{Key: new("team"), Value: new("a")}}
		in.DeploymentConfiguration = &ecsapi.DeploymentConfiguration{DeploymentCircuitBreaker: &ecsapi.DeploymentCircuitBreaker{Enable: new(true), Rollback: new(true)}}
	})
	d := s.Deployments[0]
	for _, c := range []struct{ what, got, want string }{
		{"ARN", *s.ServiceArn, "arn:aws:ecs:us-east-1:123456789012:service/default/web"},
		{"status", *s.Status, "ACTIVE"},
		{"scheduling", string(s.SchedulingStrategy), "REPLICA"},
		{"definition", *s.TaskDefinition, *def.TaskDefinitionArn},
		{"platform", *s.PlatformVersion + " " + *s.PlatformFamily, "LATEST Linux"},
		{"role", *s.RoleArn, "arn:aws:iam::123456789012:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS"},
		{"created by", *s.CreatedBy, "arn:aws:iam::123456789012:root"},
		{"rebalancing", string(s.AvailabilityZoneRebalancing), "ENABLED"},
		{"propagation", string(s.PropagateTags), "NONE"},
		{"configuration", spaced(*s.DeploymentConfiguration.MinimumHealthyPercent, *s.DeploymentConfiguration.MaximumPercent, s.DeploymentConfiguration.Strategy,
			*s.DeploymentConfiguration.DeploymentCircuitBreaker.Rollback), "100 200 ROLLING true"},
		{"counts", spaced(*s.DesiredCount, *s.RunningCount, *s.PendingCount, *s.HealthCheckGracePeriodSeconds), "2 0 0 0"},
		{"deployment", spaced(*d.Status, *d.DesiredCount, *d.PlatformVersion, d.RolloutState, *d.TaskDefinition == *def.TaskDefinitionArn), "PRIMARY 2 1.4.0 IN_PROGRESS true"},
		{"reason", *d.RolloutStateReason, "ECS deployment " + *d.Id + " in progress."},
		{"public", string(s.NetworkConfiguration.AwsvpcConfiguration.AssignPublicIp), "DISABLED"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %q, want %q", c.what, c.got, c.want)
		}
	}
	if !regexp.MustCompile(`^ecs-svc/[0-9]{19}$`).MatchString(*d.Id) || len(s.Events) != 0 || len(s.Tags) != 1 || s.DeploymentController != nil {
		t.Errorf("id %s, %d events, tags %v, controller %v", *d.Id, len(s.Events), s.Tags, s.DeploymentController)
	}

	// The same again does nothing, something else is refused.
	again := w.create("web", func(in *ecsapi.CreateServiceInput) {
		in.LoadBalancers = []ecsapi.LoadBalancer{{TargetGroupArn: new(groupARN), ContainerName: new("app"), ContainerPort: new(int32(80))}}
		in.ServiceRegistries = []ecsapi.ServiceRegistry{{RegistryArn: new(registryARN)}}
		in.Tags = []ecsapi.Tag{{Key: new("team"), Value: new("a")}}
		in.DeploymentConfiguration = &ecsapi.DeploymentConfiguration{DeploymentCircuitBreaker: &ecsapi.DeploymentCircuitBreaker{Enable: new(true), Rollback: new(true)}}
	})
	if diff := cmp.Diff(s, again); diff != "" {
		t.Errorf("the second answer differs: %s", diff)
	}
	if _, err := w.CreateService(t.Context(), serviceInput("web", nil)); say(err) != "InvalidParameterException: Creation of service was not idempotent." {
		t.Error(say(err))
	}
	if got := w.service(*s.ServiceArn); *got.ServiceName != "web" {
		t.Errorf("by ARN: %+v", got)
	}
}

func TestUpdateService_WhatDeploys(t *testing.T) {
	w := newWorld(t)
	w.balance()
	w.register("web", nil)
	first := w.create("web", nil)
	next := w.register("web", nil)
	for _, tc := range []struct {
		name    string
		edit    func(*ecsapi.UpdateServiceInput)
		deploys bool
	}{
		{"desired count", func(in *ecsapi.UpdateServiceInput) { in.DesiredCount = new(int32(5)) }, false},
		{"configuration", func(in *ecsapi.UpdateServiceInput) {
			in.DeploymentConfiguration = &ecsapi.DeploymentConfiguration{MaximumPercent: new(int32(150))}
		}, false},
		{"rebalancing", func(in *ecsapi.UpdateServiceInput) { in.AvailabilityZoneRebalancing = "DISABLED" }, false},
		{"tags", func(in *ecsapi.UpdateServiceInput) { in.EnableECSManagedTags, in.PropagateTags = new(true), "SERVICE" }, false},
		{"same definition", func(in *ecsapi.UpdateServiceInput) { in.TaskDefinition = new("web:1") }, false},
		{"same load balancers", func(in *ecsapi.UpdateServiceInput) { in.LoadBalancers = []ecsapi.LoadBalancer{} }, false},
		{"same platform", func(in *ecsapi.UpdateServiceInput) { in.PlatformVersion = new("1.4.0") }, false},
		{"definition", func(in *ecsapi.UpdateServiceInput) { in.TaskDefinition = new("web") }, true},
		{"force", func(in *ecsapi.UpdateServiceInput) { in.ForceNewDeployment = new(true) }, true},
		{"network", func(in *ecsapi.UpdateServiceInput) {
			in.NetworkConfiguration = &ecsapi.NetworkConfiguration{AwsvpcConfiguration: &ecsapi.AwsVpcConfiguration{Subnets: []string{subnetA}}}
		}, true},
		{"load balancers", func(in *ecsapi.UpdateServiceInput) {
			in.LoadBalancers = []ecsapi.LoadBalancer{{TargetGroupArn: new(groupARN), ContainerName: new("app"), ContainerPort: new(int32(80))}}
		}, true},
		{"grace period", func(in *ecsapi.UpdateServiceInput) { in.HealthCheckGracePeriodSeconds = new(int32(60)) }, false},
		{"registries", func(in *ecsapi.UpdateServiceInput) {
			in.ServiceRegistries = []ecsapi.ServiceRegistry{{RegistryArn: new(registryARN)}}
		}, true},
	} {
		before := w.service("web")
		after := w.change("web", tc.edit)
		if deployed := len(after.Deployments) > len(before.Deployments); deployed != tc.deploys {
			t.Errorf("%s: deployed %v", tc.name, deployed)
		}
		if tc.deploys && (*after.Deployments[0].Status != "PRIMARY" || *after.Deployments[1].Status != "ACTIVE" || *after.Deployments[1].Id != *before.Deployments[0].Id) {
			t.Errorf("%s: %+v", tc.name, after.Deployments)
		}
	}
	s := w.service("web")
	if *s.DesiredCount != 5 || *s.TaskDefinition != *next.TaskDefinitionArn || *s.DeploymentConfiguration.MaximumPercent != 150 || *s.DeploymentConfiguration.MinimumHealthyPercent != 100 ||
		s.PropagateTags != "SERVICE" || *s.HealthCheckGracePeriodSeconds != 60 || len(s.LoadBalancers) != 1 || *s.PlatformVersion != "1.4.0" {
		t.Errorf("%+v", s)
	}
	if *s.Deployments[len(s.Deployments)-1].Id != *first.Deployments[0].Id {
		t.Error("the first deployment is not the last that is shown")
	}
}

func TestService_Counts(t *testing.T) {
	w := newWorld(t)
	w.register("web", nil)
	s := w.create("web", nil)
	old := *s.Deployments[0].Id
	tasks := w.start("web", old, 2)
	w.report(tasks[0], model.TaskRunning, nil)
	s = w.change("web", func(in *ecsapi.UpdateServiceInput) { in.ForceNewDeployment = new(true) })
	w.report(w.start("web", *s.Deployments[0].Id, 1)[0], model.TaskRunning, nil)
	s = new(w.service("web"))
	shown := func(d ecsapi.Deployment) string {
		return spaced(*d.Status, *d.DesiredCount, *d.RunningCount, *d.PendingCount)
	}
	if got := spaced(*s.RunningCount, *s.PendingCount, shown(s.Deployments[0]), shown(s.Deployments[1])); got != "2 1 PRIMARY 2 1 0 ACTIVE 2 1 1" {
		t.Error(got)
	}
	// A task that is to stop and still in a load balancer is DEACTIVATING and
	// does not run.
	w.update(func(tx *store.Tx) {
		if err := records.Tasks.Edit(tx, tasks[0][len(tasks[0])-32:], func(task *model.Task) error {
			task.LoadBalancers = []model.ServiceLoadBalancer{{TargetGroupARN: groupARN}}
			task.DecideStop(tx.Now(), model.StopServiceSchedulerInitiated, "")
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	})
	if got := shown(w.service("web").Deployments[1]); got != "ACTIVE 1 0 1" {
		t.Error(got)
	}
	if got := *w.describe(tasks[0]).LastStatus; got != "DEACTIVATING" {
		t.Error(got)
	}
	list, err := w.ListTasks(t.Context(), &ecsapi.ListTasksInput{ServiceName: new("web")})
	if err != nil || len(list.TaskArns) != 2 {
		t.Errorf("%+v, %v", list, err)
	}
	clusters, err := w.DescribeClusters(t.Context(), &ecsapi.DescribeClustersInput{Include: []ecsapi.ClusterField{"STATISTICS"}})
	if err != nil || *clusters.Clusters[0].ActiveServicesCount != 1 || !slices.ContainsFunc(clusters.Clusters[0].Statistics, func(k ecsapi.KeyValuePair) bool {
		return *k.Name == "activeFargateServiceCount" && *k.Value == "1"
	}) {
		t.Errorf("%+v, %v", clusters, err)
	}
}

func TestDeleteService(t *testing.T) {
	w := newWorld(t)
	w.register("web", nil)
	s := w.create("web", nil)
	if _, err := w.DeleteService(t.Context(), &ecsapi.DeleteServiceInput{Service: new("web")}); say(err) != "InvalidParameterException: The service cannot be stopped while it is scaled above 0." {
		t.Error(say(err))
	}
	out, err := w.DeleteService(t.Context(), &ecsapi.DeleteServiceInput{Service: new("web"), Force: new(true)})
	if err != nil || *out.Service.Status != "DRAINING" || *out.Service.DesiredCount != 0 {
		t.Fatalf("%+v, %v", out, err)
	}
	if _, err := w.CreateService(t.Context(), serviceInput("web", nil)); say(err) != "InvalidParameterException: Unable to Start a service that is still Draining." {
		t.Error(say(err))
	}
	if _, err := w.UpdateService(t.Context(), &ecsapi.UpdateServiceInput{Service: new("web")}); say(err) != "ServiceNotActiveException: Service was not ACTIVE." {
		t.Error(say(err))
	}
	if list, err := w.ListServices(t.Context(), &ecsapi.ListServicesInput{}); err != nil || len(list.ServiceArns) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := w.DeleteCluster(t.Context(), &ecsapi.DeleteClusterInput{Cluster: new("default")}); say(err) != "ClusterContainsServicesException: The Cluster cannot be deleted while Services are active." {
		t.Error(say(err))
	}
	w.update(func(tx *store.Tx) {
		for s := range records.Services.All(tx) {
			if err := records.Services.Edit(tx, s.ID, func(s *model.Service) error { s.Status = model.ServiceInactive; return nil }); err != nil {
				t.Fatal(err)
			}
		}
	})
	if got := w.service("web"); *got.Status != "INACTIVE" || len(got.Deployments) != 0 {
		t.Errorf("%+v", got)
	}
	if _, err := w.DeleteService(t.Context(), &ecsapi.DeleteServiceInput{Service: new("web")}); say(err) != "ServiceNotFoundException: Service not found." {
		t.Error(say(err))
	}
	// The name is free again.
	w.advance(1)
	if again := w.create("web", nil); *again.ServiceArn != *s.ServiceArn || *again.Deployments[0].Id == *s.Deployments[0].Id || *w.service("web").Status != "ACTIVE" {
		t.Errorf("%+v", again)
	}
}

func TestListServices(t *testing.T) {
	w := newWorld(t)
	w.register("web", nil)
	w.register("plain", func(in *ecsapi.RegisterTaskDefinitionInput) {
		in.NetworkMode, in.RequiresCompatibilities = "bridge", nil
	})
	for n := range 11 {
		w.create("s"+strconv.Itoa(n), nil)
	}
	w.create("daemon", func(in *ecsapi.CreateServiceInput) {
		in.TaskDefinition, in.LaunchType, in.NetworkConfiguration, in.SchedulingStrategy, in.DesiredCount = new("plain"), "EC2", nil, "DAEMON", nil
	})
	first, err := w.ListServices(t.Context(), &ecsapi.ListServicesInput{})
	if err != nil || len(first.ServiceArns) != 10 || first.NextToken == nil {
		t.Fatalf("%+v, %v", first, err)
	}
	rest, err := w.ListServices(t.Context(), &ecsapi.ListServicesInput{NextToken: first.NextToken})
	if err != nil || len(rest.ServiceArns) != 2 || rest.NextToken != nil {
		t.Fatalf("%+v, %v", rest, err)
	}
	daemons, err := w.ListServices(t.Context(), &ecsapi.ListServicesInput{SchedulingStrategy: "DAEMON", LaunchType: "EC2"})
	if err != nil || len(daemons.ServiceArns) != 1 {
		t.Fatalf("%+v, %v", daemons, err)
	}
	// A DAEMON service wants a task on each instance, wherever there is room.
	w.node("n1", "default", 100, 100)
	w.node("n2", "default", 4096, 8192)
	w.node("n3", "", 4096, 8192)
	if s := w.service("daemon"); *s.DesiredCount != 2 || *s.DeploymentConfiguration.MaximumPercent != 100 || *s.DeploymentConfiguration.MinimumHealthyPercent != 0 ||
		s.AvailabilityZoneRebalancing != "DISABLED" || s.RoleArn != nil || s.PlatformVersion != nil {
		t.Errorf("%+v", s)
	}
	var unknown *ecsapi.NamespaceNotFoundException
	if _, err := w.ListServicesByNamespace(t.Context(), &ecsapi.ListServicesByNamespaceInput{Namespace: new("none")}); !errors.As(err, &unknown) {
		t.Error(err)
	}
}
