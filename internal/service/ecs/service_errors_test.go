package ecs_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

// seenService names the refusals whose text was found in real output.
var seenService = []string{
	"unknown cluster", "inactive cluster", "unknown definition", "launch type and strategy", "not for Fargate", "no network", "network of bridge",
	"no load balancer", "target type", "unknown container", "unknown port", "dynamic port", "Fargate strategy", "unknown group", "update inactive definition",
}

func lb(group, container string, port int32) []ecsapi.LoadBalancer {
	return []ecsapi.LoadBalancer{{TargetGroupArn: &group, ContainerName: &container, ContainerPort: &port}}
}

func TestCreateService_Refusals(t *testing.T) {
	w := newWorld(t)
	w.balance()
	w.register("web", nil)
	w.register("plain", func(in *ecsapi.RegisterTaskDefinitionInput) {
		in.NetworkMode, in.RequiresCompatibilities = "bridge", nil
	})
	w.register("old", nil)
	if _, err := w.DeregisterTaskDefinition(t.Context(), &ecsapi.DeregisterTaskDefinitionInput{TaskDefinition: new("old:1")}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.CreateCluster(t.Context(), &ecsapi.CreateClusterInput{ClusterName: new("gone")}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.DeleteCluster(t.Context(), &ecsapi.DeleteClusterInput{Cluster: new("gone")}); err != nil {
		t.Fatal(err)
	}
	type create = *ecsapi.CreateServiceInput
	plain := func(edit func(create)) func(create) {
		return func(in create) {
			in.TaskDefinition, in.LaunchType, in.NetworkConfiguration = new("plain"), "EC2", nil
			if edit != nil {
				edit(in)
			}
		}
	}
	config := func(c ecsapi.DeploymentConfiguration) func(create) {
		return func(in create) { in.DeploymentConfiguration = &c }
	}
	var lines strings.Builder
	for _, tc := range []struct {
		name string
		edit func(create)
	}{
		{"unknown cluster", func(in create) { in.Cluster = new("none") }},
		{"inactive cluster", func(in create) { in.Cluster = new("gone") }},
		{"name", func(in create) { in.ServiceName = new("a b") }},
		{"client token", func(in create) { in.ClientToken = new("a b") }},
		{"no definition", func(in create) { in.TaskDefinition = nil }},
		{"unknown definition", func(in create) { in.TaskDefinition = new("none") }},
		{"inactive definition", func(in create) { in.TaskDefinition = new("old:1") }},
		{"no desired count", func(in create) { in.DesiredCount = nil }},
		{"negative count", func(in create) { in.DesiredCount = new(int32(-1)) }},
		{"launch type and strategy", func(in create) {
			in.CapacityProviderStrategy = []ecsapi.CapacityProviderStrategyItem{{CapacityProvider: new("FARGATE"), Weight: new(int32(1))}}
		}},
		{"external", func(in create) { in.LaunchType = "EXTERNAL" }},
		{"not for Fargate", func(in create) { in.TaskDefinition = new("plain") }},
		{"no network", func(in create) { in.NetworkConfiguration = nil }},
		{"network of bridge", func(in create) { in.TaskDefinition, in.LaunchType = new("plain"), "EC2" }},
		{"unknown group", func(in create) { in.NetworkConfiguration.AwsvpcConfiguration.SecurityGroups = []string{"sg-x"} }},
		{"platform version", func(in create) { in.PlatformVersion = new("0.9") }},
		{"controller", func(in create) { in.DeploymentController = &ecsapi.DeploymentController{Type: "CODE_DEPLOY"} }},
		{"scheduling", func(in create) { in.SchedulingStrategy = "SOMETIMES" }},
		{"daemon count", plain(func(in create) { in.SchedulingStrategy = "DAEMON" })},
		{"daemon on Fargate", func(in create) { in.SchedulingStrategy, in.DesiredCount = "DAEMON", nil }},
		{"daemon strategy", plain(func(in create) {
			in.SchedulingStrategy, in.DesiredCount, in.PlacementStrategy = "DAEMON", nil, []ecsapi.PlacementStrategy{{Type: "random"}}
		})},
		{"daemon maximum", plain(func(in create) {
			in.SchedulingStrategy, in.DesiredCount, in.DeploymentConfiguration = "DAEMON", nil, &ecsapi.DeploymentConfiguration{MaximumPercent: new(int32(200))}
		})},
		{"minimum", config(ecsapi.DeploymentConfiguration{MinimumHealthyPercent: new(int32(101))})},
		{"maximum", config(ecsapi.DeploymentConfiguration{MaximumPercent: new(int32(99))})},
		{"blue green", config(ecsapi.DeploymentConfiguration{Strategy: "BLUE_GREEN"})},
		{"hooks", config(ecsapi.DeploymentConfiguration{LifecycleHooks: []ecsapi.DeploymentLifecycleHook{{}}})},
		{"canary", config(ecsapi.DeploymentConfiguration{CanaryConfiguration: &ecsapi.CanaryConfiguration{}})},
		{"bake time", config(ecsapi.DeploymentConfiguration{BakeTimeInMinutes: new(int32(5))})},
		{"alarms", config(ecsapi.DeploymentConfiguration{Alarms: &ecsapi.DeploymentAlarms{AlarmNames: []string{"a"}, Enable: new(true), Rollback: new(true)}})},
		{"service connect", func(in create) {
			in.ServiceConnectConfiguration = &ecsapi.ServiceConnectConfiguration{Enabled: new(true)}
		}},
		{"volumes", func(in create) { in.VolumeConfigurations = []ecsapi.ServiceVolumeConfiguration{{Name: new("v")}} }},
		{"lattice", func(in create) { in.VpcLatticeConfigurations = []ecsapi.VpcLatticeConfiguration{{}} }},
		{"propagation", func(in create) { in.PropagateTags = "ALWAYS" }},
		{"tag", func(in create) { in.Tags = []ecsapi.Tag{{Key: new("aws:x"), Value: new("")}} }},
		{"Fargate strategy", func(in create) { in.PlacementStrategy = []ecsapi.PlacementStrategy{{Type: "random"}} }},
		{"rebalancing", func(in create) { in.AvailabilityZoneRebalancing = "MAYBE" }},
		{"rebalancing at 100", func(in create) {
			in.AvailabilityZoneRebalancing, in.DeploymentConfiguration = "ENABLED", &ecsapi.DeploymentConfiguration{MaximumPercent: new(int32(100))}
		}},
		{"rebalancing binpack", plain(func(in create) {
			in.AvailabilityZoneRebalancing, in.PlacementStrategy = "ENABLED", []ecsapi.PlacementStrategy{{Type: "binpack", Field: new("cpu")}}
		})},
		{"rebalancing constraint", plain(func(in create) {
			in.AvailabilityZoneRebalancing = "ENABLED"
			in.PlacementConstraints = []ecsapi.PlacementConstraint{{Type: "memberOf", Expression: new("attribute:ecs.availability-zone == us-east-1a")}}
		})},
		{"grace period", func(in create) { in.HealthCheckGracePeriodSeconds = new(int32(60)) }},
		{"role", func(in create) { in.Role, in.LoadBalancers = new("mine"), lb(groupARN, "app", 80) }},
		{"role without load balancer", plain(func(in create) { in.Role = new("mine") })},
		{"unknown target group", func(in create) { in.LoadBalancers = lb(groupARN+"0", "app", 80) }},
		{"no load balancer", func(in create) { in.LoadBalancers = lb(loneGroup, "app", 80) }},
		{"target type", func(in create) { in.LoadBalancers = lb(hostGroup, "app", 80) }},
		{"target type ip", plain(func(in create) { in.LoadBalancers = lb(groupARN, "app", 80) })},
		{"dynamic port", plain(func(in create) { in.LoadBalancers = lb(hostGroup, "app", 80) })},
		{"unknown container", func(in create) { in.LoadBalancers = lb(groupARN, "db", 80) }},
		{"unknown port", func(in create) { in.LoadBalancers = lb(groupARN, "app", 5000) }},
		{"other VPC", func(in create) {
			in.LoadBalancers, in.NetworkConfiguration.AwsvpcConfiguration.Subnets = lb(groupARN, "app", 80), []string{otherSubnet}
		}},
		{"six target groups", func(in create) { in.LoadBalancers = make([]ecsapi.LoadBalancer, 6) }},
		{"target group twice", func(in create) { in.LoadBalancers = slices.Concat(lb(groupARN, "app", 80), lb(groupARN, "app", 80)) }},
		{"classic load balancer", func(in create) { in.LoadBalancers = []ecsapi.LoadBalancer{{LoadBalancerName: new("old")}} }},
		{"no container", func(in create) { in.LoadBalancers = lb(groupARN, "", 80) }},
		{"two registries", func(in create) { in.ServiceRegistries = make([]ecsapi.ServiceRegistry, 2) }},
		{"unknown registry", func(in create) {
			in.ServiceRegistries = []ecsapi.ServiceRegistry{{RegistryArn: new(registryARN + "0")}}
		}},
		{"registry's two ports", func(in create) {
			in.ServiceRegistries = []ecsapi.ServiceRegistry{{RegistryArn: new(registryARN), Port: new(int32(80)), ContainerName: new("app"), ContainerPort: new(int32(80))}}
		}},
		{"SRV without port", func(in create) { in.ServiceRegistries = []ecsapi.ServiceRegistry{{RegistryArn: new(srvRegistry)}} }},
		{"A of bridge", plain(func(in create) {
			in.ServiceRegistries = []ecsapi.ServiceRegistry{{RegistryArn: new(registryARN), ContainerName: new("app"), ContainerPort: new(int32(80))}}
		})},
		{"SRV of bridge without port", plain(func(in create) {
			in.ServiceRegistries = []ecsapi.ServiceRegistry{{RegistryArn: new(srvRegistry)}}
		})},
	} {
		_, err := w.CreateService(t.Context(), serviceInput("s", tc.edit))
		if err == nil {
			t.Errorf("%s was accepted", tc.name)
			continue
		}
		lines.WriteString(tc.name + ": " + say(err) + mark(seenService, tc.name))
	}
	if n := records.Services.Len(w.store.Snapshot()); n != 0 {
		t.Errorf("%d services were stored", n)
	}
	w.create("web", nil)
	w.create("daemon", plain(func(in create) { in.SchedulingStrategy, in.DesiredCount = "DAEMON", nil }))
	for _, tc := range []struct {
		name, service string
		edit          func(*ecsapi.UpdateServiceInput)
	}{
		{"update unknown", "none", nil},
		{"update inactive definition", "web", func(in *ecsapi.UpdateServiceInput) { in.TaskDefinition = new("old:1") }},
		{"update daemon count", "daemon", func(in *ecsapi.UpdateServiceInput) { in.DesiredCount = new(int32(1)) }},
		{"update to bridge", "web", func(in *ecsapi.UpdateServiceInput) { in.TaskDefinition = new("plain") }},
		{"update strategy", "web", func(in *ecsapi.UpdateServiceInput) {
			in.CapacityProviderStrategy = []ecsapi.CapacityProviderStrategyItem{{CapacityProvider: new("FARGATE"), Weight: new(int32(1))}}
		}},
		{"update grace period", "web", func(in *ecsapi.UpdateServiceInput) { in.HealthCheckGracePeriodSeconds = new(int32(1)) }},
	} {
		in := &ecsapi.UpdateServiceInput{Service: &tc.service}
		if tc.edit != nil {
			tc.edit(in)
		}
		_, err := w.UpdateService(t.Context(), in)
		if err == nil {
			t.Errorf("%s was accepted", tc.name)
			continue
		}
		lines.WriteString(tc.name + ": " + say(err) + mark(seenService, tc.name))
	}
	compareGolden(t, "testdata/service_errors.golden", lines.String())
}

func TestServiceDeployments(t *testing.T) {
	w := newWorld(t)
	w.register("web", nil)
	s := w.create("web", func(in *ecsapi.CreateServiceInput) {
		in.DeploymentConfiguration = &ecsapi.DeploymentConfiguration{DeploymentCircuitBreaker: &ecsapi.DeploymentCircuitBreaker{Enable: new(true), Rollback: new(true)}}
	})
	first := *s.CurrentServiceDeployment
	tasks := w.start("web", *s.Deployments[0].Id, 2)
	w.report(tasks[0], model.TaskRunning, func(o *model.TaskObserved) {
		o.Containers = []model.ContainerObserved{{Name: "app", ImageDigest: "sha256:1"}}
	})
	w.advance(time.Second)
	s = w.change("web", func(in *ecsapi.UpdateServiceInput) { in.ForceNewDeployment = new(true) })
	second := *s.CurrentServiceDeployment
	list, err := w.ListServiceDeployments(t.Context(), &ecsapi.ListServiceDeploymentsInput{Service: new("web"), MaxResults: new(int32(1))})
	if err != nil || len(list.ServiceDeployments) != 1 || *list.ServiceDeployments[0].ServiceDeploymentArn != second || list.NextToken == nil {
		t.Fatalf("%+v, %v", list, err)
	}
	list, err = w.ListServiceDeployments(t.Context(), &ecsapi.ListServiceDeploymentsInput{Service: new("web"), NextToken: list.NextToken})
	if err != nil || len(list.ServiceDeployments) != 1 || *list.ServiceDeployments[0].ServiceDeploymentArn != first || list.NextToken != nil {
		t.Fatalf("%+v, %v", list, err)
	}
	list, err = w.ListServiceDeployments(t.Context(), &ecsapi.ListServiceDeploymentsInput{Service: new("web"), CreatedAt: &ecsapi.CreatedAt{After: list.ServiceDeployments[0].CreatedAt}})
	if err != nil || len(list.ServiceDeployments) != 1 || *list.ServiceDeployments[0].ServiceDeploymentArn != second {
		t.Fatalf("%+v, %v", list, err)
	}
	out, err := w.DescribeServiceDeployments(t.Context(), &ecsapi.DescribeServiceDeploymentsInput{ServiceDeploymentArns: []string{second, second + "x"}})
	if err != nil || len(out.ServiceDeployments) != 1 || len(out.Failures) != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	d := out.ServiceDeployments[0]
	source, target := d.SourceServiceRevisions[0], d.TargetServiceRevision
	if got := spaced(d.Status, d.DeploymentCircuitBreaker.Status, *d.DeploymentCircuitBreaker.Threshold, *source.RunningTaskCount, *source.PendingTaskCount,
		*target.RequestedTaskCount, *target.RunningTaskCount, d.Alarms.Status); got != "PENDING MONITORING 3 1 1 2 0 DISABLED" {
		t.Error(got)
	}
	revisions, err := w.DescribeServiceRevisions(t.Context(), &ecsapi.DescribeServiceRevisionsInput{ServiceRevisionArns: []string{*source.Arn, *target.Arn, *target.Arn + "0"}})
	if err != nil || len(revisions.ServiceRevisions) != 2 || len(revisions.Failures) != 1 {
		t.Fatalf("%+v, %v", revisions, err)
	}
	image := revisions.ServiceRevisions[0].ContainerImages[0]
	if *image.Image != "nginx" || *image.ImageDigest != "sha256:1" || revisions.ServiceRevisions[1].ContainerImages[0].ImageDigest != nil {
		t.Errorf("%+v", image)
	}

	if _, err := w.StopServiceDeployment(t.Context(), &ecsapi.StopServiceDeploymentInput{ServiceDeploymentArn: &first}); !strings.HasPrefix(say(err), "ConflictException") {
		t.Error(say(err))
	}
	if _, err := w.StopServiceDeployment(t.Context(), &ecsapi.StopServiceDeploymentInput{ServiceDeploymentArn: new(second + "x")}); !strings.HasPrefix(say(err), "ServiceDeploymentNotFoundException") {
		t.Error(say(err))
	}
	if _, err := w.StopServiceDeployment(t.Context(), &ecsapi.StopServiceDeploymentInput{ServiceDeploymentArn: &second}); err != nil {
		t.Error(err)
	}
	out, err = w.DescribeServiceDeployments(t.Context(), &ecsapi.DescribeServiceDeploymentsInput{ServiceDeploymentArns: []string{second}})
	if err != nil || out.ServiceDeployments[0].Status != "ROLLBACK_REQUESTED" {
		t.Errorf("%+v, %v", out, err)
	}
	for d := range records.Deployments.All(w.store.Snapshot()) {
		if d.Status == model.DeploymentPrimary && d.Requested != "ROLLBACK" {
			t.Errorf("%+v", d)
		}
	}
}

// After a rollback, which the loop makes, the service shows what it runs, and
// the same update again is a change.
func TestUpdateService_AfterRollback(t *testing.T) {
	w := newWorld(t)
	good := w.register("web", nil)
	w.create("web", nil)
	w.register("web", nil)
	failed := w.change("web", func(in *ecsapi.UpdateServiceInput) { in.TaskDefinition = new("web") })
	w.update(func(tx *store.Tx) {
		var first, last *model.Deployment
		for d := range records.Deployments.All(tx) {
			if first == nil {
				first = d
			}
			last = d
		}
		over, back := *last, *first
		over.Status, over.RolloutState = model.DeploymentActive, model.RolloutFailed
		over.ServiceDeploymentStatus, over.RollbackRevisionID, over.RollbackReason = model.ServiceDeploymentRollbackInProgress, first.RevisionID, "it failed"
		back.ID, back.Number, back.Status, back.RollbackOf, back.ServiceDeploymentID = "ecs-svc/3", 3, model.DeploymentPrimary, over.ID, over.ServiceDeploymentID
		records.Deployments.Put(tx, &over)
		records.Deployments.Put(tx, &back)
	})
	s := w.service("web")
	if *s.TaskDefinition != *good.TaskDefinitionArn || *s.Deployments[0].TaskDefinition != *good.TaskDefinitionArn || *s.CurrentServiceDeployment != *failed.CurrentServiceDeployment {
		t.Errorf("%+v", s)
	}
	list, err := w.ListServiceDeployments(t.Context(), &ecsapi.ListServiceDeploymentsInput{Service: new("web")})
	if err != nil || len(list.ServiceDeployments) != 2 || list.ServiceDeployments[0].Status != "ROLLBACK_IN_PROGRESS" {
		t.Errorf("%+v, %v", list, err)
	}
	out, err := w.DescribeServiceDeployments(t.Context(), &ecsapi.DescribeServiceDeploymentsInput{ServiceDeploymentArns: []string{*s.CurrentServiceDeployment}})
	if err != nil || out.ServiceDeployments[0].Rollback == nil || *out.ServiceDeployments[0].Rollback.Reason != "it failed" {
		t.Errorf("%+v, %v", out, err)
	}
	again := w.change("web", func(in *ecsapi.UpdateServiceInput) { in.TaskDefinition = new("web") })
	if *again.TaskDefinition == *good.TaskDefinitionArn || *again.Deployments[0].Status != "PRIMARY" || *again.Deployments[0].Id == "ecs-svc/3" {
		t.Errorf("%+v", again.Deployments)
	}
}

func TestTaskProtection(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "", 4096, 8192)
	w.register("web", nil)
	s := w.create("web", func(in *ecsapi.CreateServiceInput) { in.DesiredCount = new(int32(1)) })
	tasks := w.start("web", *s.Deployments[0].Id, 3)
	alone := *w.run("web", nil).Tasks[0].TaskArn
	protect := func(on bool, refs ...string) string {
		t.Helper()
		out, err := w.UpdateTaskProtection(t.Context(), &ecsapi.UpdateTaskProtectionInput{Cluster: new("default"), Tasks: refs, ProtectionEnabled: &on, ExpiresInMinutes: new(int32(60))})
		if err != nil {
			t.Fatal(err)
		}
		var line strings.Builder
		line.WriteString(spaced(len(out.ProtectedTasks)))
		for _, f := range out.Failures {
			line.WriteString(" " + *f.Reason)
		}
		return line.String()
	}
	if got := protect(true, tasks[0], alone, strings.Repeat("f", 32)); got != "1 TASK_NOT_VALID MISSING" {
		t.Error(got)
	}
	if got := protect(true, tasks[1]); got != "1" {
		t.Error(got)
	}
	if got := protect(true, tasks[2]); got != "0 DEPLOYMENT_BLOCKED" { // two of one wanted are protected already
		t.Error(got)
	}
	read := func(refs ...string) (on int) {
		t.Helper()
		out, err := w.GetTaskProtection(t.Context(), &ecsapi.GetTaskProtectionInput{Cluster: new("default"), Tasks: refs})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range out.ProtectedTasks {
			if *p.ProtectionEnabled != (p.ExpirationDate != nil) {
				t.Errorf("%+v", p)
			}
			if *p.ProtectionEnabled {
				on++
			}
		}
		return on
	}
	if got := protect(false, tasks[1]); got != "1" || read(tasks...) != 1 || read() != 1 {
		t.Error(got)
	}
	w.advance(time.Hour)
	if read(tasks...) != 0 || read() != 0 {
		t.Error("the protection did not end")
	}
	for _, in := range []*ecsapi.UpdateTaskProtectionInput{
		{Cluster: new("default"), Tasks: nil}, {Cluster: new("default"), Tasks: make([]string, 11)}, {Cluster: new("default"), Tasks: tasks, ExpiresInMinutes: new(int32(2881))},
	} {
		if _, err := w.UpdateTaskProtection(t.Context(), in); !strings.HasPrefix(say(err), "InvalidParameterException") {
			t.Error(say(err))
		}
	}
}

func TestInstanceStates(t *testing.T) {
	w := newWorld(t)
	n := w.node("n1", "default", 4096, 8192)
	w.register("plain", func(in *ecsapi.RegisterTaskDefinitionInput) {
		in.NetworkMode, in.RequiresCompatibilities = "bridge", nil
	})
	ec2 := func(in *ecsapi.RunTaskInput) { in.LaunchType, in.NetworkConfiguration = "EC2", nil }
	task := *w.run("plain", ec2).Tasks[0].TaskArn
	state := func(status string) string {
		t.Helper()
		out, err := w.UpdateContainerInstancesState(t.Context(), &ecsapi.UpdateContainerInstancesStateInput{
			ContainerInstances: []string{n, strings.Repeat("0", 32)}, Status: ecsapi.ContainerInstanceStatus(status),
		})
		if err != nil {
			return say(err)
		}
		var line strings.Builder
		for _, i := range out.ContainerInstances {
			line.WriteString(*i.Status)
		}
		for _, f := range out.Failures {
			line.WriteString(" " + *f.Reason)
		}
		return line.String()
	}
	if got := state("DRAINING"); got != "DRAINING MISSING" {
		t.Error(got)
	}
	if out := w.run("plain", ec2); len(out.Tasks) != 0 || *out.Failures[0].Reason != "INACTIVE" {
		t.Errorf("%+v", out)
	}
	if *w.describe(task).DesiredStatus != "RUNNING" {
		t.Error("draining stopped a task of nobody's")
	}
	if got := state("ACTIVE"); got != "ACTIVE MISSING" {
		t.Error(got)
	}
	if got := state("INACTIVE"); got != "InvalidParameterException: Container instance status should be one of [ACTIVE, DRAINING]" {
		t.Error(got)
	}
	if _, err := w.DeregisterContainerInstance(t.Context(), &ecsapi.DeregisterContainerInstanceInput{ContainerInstance: &n}); say(err) != "InvalidParameterException: Found running tasks on the instance." {
		t.Error(say(err))
	}
	out, err := w.DeregisterContainerInstance(t.Context(), &ecsapi.DeregisterContainerInstanceInput{ContainerInstance: &n, Force: new(true)})
	if err != nil || *out.ContainerInstance.Status != "INACTIVE" {
		t.Fatalf("%+v, %v", out, err)
	}
	if got := w.describe(task); *got.DesiredStatus != "STOPPED" || *got.StoppedReason != "Container instance deregistration forced by user" {
		t.Errorf("%+v", got)
	}
	if got := state("ACTIVE"); got != " INACTIVE MISSING" {
		t.Error(got)
	}
}
