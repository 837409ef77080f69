package ecs_test

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

func TestRunTask(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "", 4096, 8192)
	def := w.register("web", nil)
	out := w.run("web", func(in *ecsapi.RunTaskInput) {
		in.StartedBy = new("me")
		in.EnableECSManagedTags = new(true)
		in.Tags = []ecsapi.Tag{{Key: new("team"), Value: new("a")}}
		in.Overrides = &ecsapi.TaskOverride{ContainerOverrides: []ecsapi.ContainerOverride{{Name: new("app"), Command: []string{"once"}, Cpu: new(int32(128))}}}
	})
	if len(out.Tasks) != 1 || len(out.Failures) != 0 {
		t.Fatalf("%+v", out)
	}
	task := out.Tasks[0]
	if !regexp.MustCompile(`^arn:aws:ecs:us-east-1:123456789012:task/default/[0-9a-f]{32}$`).MatchString(*task.TaskArn) {
		t.Errorf("ARN %s", *task.TaskArn)
	}
	for _, c := range []struct{ what, got, want string }{
		{"last status", *task.LastStatus, "PROVISIONING"},
		{"desired status", *task.DesiredStatus, "RUNNING"},
		{"definition", *task.TaskDefinitionArn, *def.TaskDefinitionArn},
		{"cluster", *task.ClusterArn, "arn:aws:ecs:us-east-1:123456789012:cluster/default"},
		{"group", *task.Group, "family:web"},
		{"started by", *task.StartedBy, "me"},
		{"launch type", string(task.LaunchType), "FARGATE"},
		{"platform", *task.PlatformVersion + " " + *task.PlatformFamily, "1.4.0 Linux"},
		{"size", *task.Cpu + " " + *task.Memory, "256 512"},
		{"health", string(task.HealthStatus), "UNKNOWN"},
		{"attachment", *task.Attachments[0].Type + " " + *task.Attachments[0].Status, "ElasticNetworkInterface PRECREATED"},
		{"container", *task.Containers[0].Name + " " + *task.Containers[0].LastStatus + " " + *task.Containers[0].Cpu, "app PENDING 128"},
		{"override", *task.Overrides.ContainerOverrides[0].Name + strings.Join(task.Overrides.ContainerOverrides[0].Command, ""), "apponce"},
		{"attribute", *task.Attributes[0].Name + " " + *task.Attributes[0].Value, "ecs.cpu-architecture x86_64"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %q, want %q", c.what, c.got, c.want)
		}
	}
	if *task.Version != 1 || *task.EphemeralStorage.SizeInGiB != 20 || len(task.Overrides.ContainerOverrides) != 2 || len(task.Tags) != 2 {
		t.Errorf("version %d, storage %d, overrides %d, tags %v", *task.Version, *task.EphemeralStorage.SizeInGiB, len(task.Overrides.ContainerOverrides), task.Tags)
	}

	snap := w.store.Snapshot()
	id := (*task.TaskArn)[strings.LastIndex(*task.TaskArn, "/")+1:]
	rec, found := records.Tasks.Get(snap, id)
	if !found || rec.ReservedCPU != 256 || rec.ReservedMemory != 512 {
		t.Fatalf("record %+v", rec)
	}
	if !regexp.MustCompile(`^` + id + `-[0-9]{10}$`).MatchString(rec.Containers[0].RuntimeID) {
		t.Errorf("runtime id %s", rec.Containers[0].RuntimeID)
	}
	eni, found := records.NetworkInterfaces.Get(snap, rec.ENIID)
	if !found || !records.AddressClaims.Has(snap, model.AddressClaimKey(eni.SubnetID, eni.Address)) {
		t.Errorf("interface %+v has no claim", eni)
	}
	if diff := cmp.Diff([]string{groupID}, eni.GroupIDs); diff != "" {
		t.Errorf("default group: %s", diff)
	}
	if node, _ := records.Instances.Get(snap, rec.InstanceID); node.Placements != 1 {
		t.Errorf("%d placements", node.Placements)
	}
}

func TestRunTask_SpreadsOverSubnets(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "", 40960, 81920)
	w.register("web", nil)
	zones := map[string]int{}
	for _, task := range w.run("web", func(in *ecsapi.RunTaskInput) { in.Count = new(int32(10)) }).Tasks {
		zones[*task.AvailabilityZone]++
	}
	if zones["us-east-1a"] != 5 || zones["us-east-1b"] != 5 {
		t.Errorf("%v", zones)
	}
}

func TestRunTask_ClientToken(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "", 512, 1024)
	w.register("web", nil)
	token := func(in *ecsapi.RunTaskInput) { in.ClientToken, in.Count = new("t1"), new(int32(3)) }
	first := w.run("web", token)
	if len(first.Tasks) != 2 || len(first.Failures) != 1 {
		t.Fatalf("%d tasks, %d failures", len(first.Tasks), len(first.Failures))
	}
	again := w.run("web", token)
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("the second answer differs: %s", diff)
	}
	if n := records.Tasks.Len(w.store.Snapshot()); n != 2 {
		t.Errorf("%d tasks", n)
	}
	_, err := w.RunTask(t.Context(), runInput("web", func(in *ecsapi.RunTaskInput) { in.ClientToken, in.Count = new("t1"), new(int32(2)) }))
	var conflict *ecsapi.ConflictException
	if !errors.As(err, &conflict) || len(conflict.ResourceIds) != 2 || conflict.ResourceIds[0] != *first.Tasks[0].TaskArn {
		t.Fatalf("other parameters: %v", err)
	}
	// Another cluster has its own tokens.
	if _, err := w.CreateCluster(t.Context(), &ecsapi.CreateClusterInput{ClusterName: new("other")}); err != nil {
		t.Fatal(err)
	}
	if out := w.run("web", func(in *ecsapi.RunTaskInput) { token(in); in.Cluster = new("other") }); len(out.Tasks) != 0 || len(out.Failures) == 0 {
		t.Errorf("other cluster: %+v", out)
	}
	// A stopped task is shown by its status; an hour later the token is free.
	for _, task := range first.Tasks {
		w.report(*task.TaskArn, model.TaskStopped, nil)
	}
	again = w.run("web", token)
	if len(again.Tasks) != 2 || *again.Tasks[0].LastStatus != "STOPPED" || again.Tasks[0].Containers != nil {
		t.Errorf("stopped: %+v", again.Tasks)
	}
	w.advance(61 * time.Minute)
	if fresh := w.run("web", token); *fresh.Tasks[0].TaskArn == *first.Tasks[0].TaskArn {
		t.Error("the token outlived its tasks")
	}
}

func TestRunTask_NoCapacity(t *testing.T) {
	w := newWorld(t)
	w.register("web", nil)
	w.register("plain", func(in *ecsapi.RegisterTaskDefinitionInput) { in.RequiresCompatibilities = nil })
	if out := w.run("web", nil); len(out.Failures) != 1 || *out.Failures[0].Reason != "Capacity is unavailable at this time. Please try again later or in a different availability zone" {
		t.Errorf("no node: %+v", out)
	}
	n := w.node("n1", "default", 300, 4096)
	out := w.run("web", func(in *ecsapi.RunTaskInput) { in.Count = new(int32(2)) })
	if len(out.Tasks) != 1 || len(out.Failures) != 1 || *out.Failures[0].Detail != "node "+n+": RESOURCE:CPU" {
		t.Errorf("full node: %+v", out)
	}
	ec2 := func(in *ecsapi.RunTaskInput) { in.LaunchType = "EC2" }
	out = w.run("plain", ec2)
	want := []ecsapi.Failure{{Arn: new("arn:aws:ecs:us-east-1:123456789012:container-instance/default/" + n), Reason: new("RESOURCE:CPU")}}
	if diff := cmp.Diff(want, out.Failures); diff != "" {
		t.Error(diff)
	}
	// A task that has stopped gives its room back.
	for task := range records.Tasks.All(w.store.Snapshot()) {
		w.report(task.ARN, model.TaskStopped, nil)
	}
	if out = w.run("plain", ec2); len(out.Tasks) != 1 || *out.Tasks[0].ContainerInstanceArn != *want[0].Arn || out.Tasks[0].PlatformVersion != nil {
		t.Errorf("EC2: %+v", out)
	}
}

func TestRunTask_FullSubnet(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "", 40960, 81920)
	w.register("web", nil)
	w.update(func(tx *store.Tx) {
		records.Subnets.Put(tx, &model.Subnet{ID: "subnet-small", VPCID: "vpc-1", CIDR: "10.0.9.0/28", AvailabilityZone: "us-east-1a"})
	})
	small := func(in *ecsapi.RunTaskInput) {
		in.Count = new(int32(6))
		in.NetworkConfiguration.AwsvpcConfiguration.Subnets = []string{"subnet-small"}
	}
	w.run("web", small)
	out := w.run("web", small) // 11 addresses
	if len(out.Tasks) != 5 || len(out.Failures) != 1 || *out.Failures[0].Reason != "RESOURCE:ENI" {
		t.Errorf("%d tasks, failures %+v", len(out.Tasks), out.Failures)
	}
	// With another subnet in the same zone there is room.
	out = w.run("web", func(in *ecsapi.RunTaskInput) {
		in.NetworkConfiguration.AwsvpcConfiguration.Subnets = []string{"subnet-small", subnetA}
	})
	if len(out.Tasks) != 1 {
		t.Errorf("failures %+v", out.Failures)
	}
}

func TestRunTask_Strategy(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "", 40960, 81920)
	w.register("web", nil)
	if _, err := w.PutClusterCapacityProviders(t.Context(), &ecsapi.PutClusterCapacityProvidersInput{
		Cluster: new("default"), CapacityProviders: []string{"FARGATE", "FARGATE_SPOT"},
		DefaultCapacityProviderStrategy: []ecsapi.CapacityProviderStrategyItem{
			{CapacityProvider: new("FARGATE"), Base: new(int32(1)), Weight: new(int32(1))}, {CapacityProvider: new("FARGATE_SPOT"), Weight: new(int32(1))},
		},
	}); err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, task := range w.run("web", func(in *ecsapi.RunTaskInput) { in.LaunchType, in.Count = "", new(int32(5)) }).Tasks {
		got[*task.CapacityProviderName+"/"+string(task.LaunchType)]++
	}
	if diff := cmp.Diff(map[string]int{"FARGATE/FARGATE": 3, "FARGATE_SPOT/FARGATE": 2}, got); diff != "" {
		t.Error(diff)
	}
	// Providers in use cannot be taken away.
	_, err := w.PutClusterCapacityProviders(t.Context(), &ecsapi.PutClusterCapacityProvidersInput{Cluster: new("default"), CapacityProviders: []string{}, DefaultCapacityProviderStrategy: []ecsapi.CapacityProviderStrategyItem{}})
	if got := say(err); got != "ResourceInUseException: The specified capacity provider is in use and cannot be removed." {
		t.Error(got)
	}
}

// In a fleet so large that only a part of it is compared, no room is missed
// and none is given twice.
func TestRunTask_LargeFleet(t *testing.T) {
	w := newWorld(t)
	for i := range 120 {
		cpu := int64(255) // one unit short
		if i >= 117 {
			cpu = 512
		}
		w.node(fmt.Sprint("n", i), "", cpu, 4096)
	}
	w.register("web", nil)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := w.RunTask(t.Context(), runInput("web", func(in *ecsapi.RunTaskInput) { in.Count = new(int32(2)) })); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	used := map[string]int{}
	for task := range records.Tasks.All(w.store.Snapshot()) {
		used[task.InstanceID]++
	}
	if len(used) != 3 || records.Tasks.Len(w.store.Snapshot()) != 6 {
		t.Errorf("%v", used)
	}
	out := w.run("web", nil)
	if len(out.Failures) != 1 || !strings.HasSuffix(*out.Failures[0].Detail, "and 110 more") {
		t.Errorf("%+v", out.Failures)
	}
}

// Many callers at once: no address is given twice, no instance more than it
// has, and every accepted task is there.
func TestRunTask_Concurrent(t *testing.T) {
	w := newWorld(t)
	for i := range 3 {
		w.node(fmt.Sprint("n", i), "", 2048, 8192) // eight tasks each
	}
	w.register("web", nil)
	// A second provider on the same store stands for another server.
	providers := []*world{w, {T: t, Provider: newProvider(w), store: w.store, clock: w.clock}}
	var wg sync.WaitGroup
	var mu sync.Mutex
	accepted, failed := map[string]bool{}, 0
	for i := range 16 {
		wg.Go(func() {
			out, err := providers[i%2].RunTask(t.Context(), runInput("web", func(in *ecsapi.RunTaskInput) { in.Count = new(int32(2)) }))
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			failed += len(out.Failures)
			for _, task := range out.Tasks {
				accepted[*task.TaskArn] = true
			}
		})
	}
	wg.Wait()
	if len(accepted) != 24 || failed == 0 {
		t.Errorf("%d tasks accepted, %d failures; room is for 24", len(accepted), failed)
	}
	used, addresses := map[string]int64{}, map[string]bool{}
	for task := range records.Tasks.All(w.store.Snapshot()) {
		if !accepted[task.ARN] {
			t.Errorf("%s was stored but not answered", task.ARN)
		}
		used[task.InstanceID] += task.ReservedCPU
		if address := task.NetworkInterface.Address; addresses[address] {
			t.Errorf("%s given twice", address)
		} else {
			addresses[address] = true
		}
	}
	for id, cpu := range used {
		if cpu > 2048 {
			t.Errorf("%s has %d units of 2048", id, cpu)
		}
	}
	if n := records.AddressClaims.Len(w.store.Snapshot()); n != 24 {
		t.Errorf("%d claims", n)
	}
}

// seenRunTask names the refusals whose text was found in real output.
var seenRunTask = []string{
	"unknown cluster", "inactive cluster", "cluster of another account", "unknown definition", "inactive definition", "launch type and strategy",
	"provider not associated", "EC2 without instances", "not for Fargate", "bridge with network", "no network", "no subnets", "unknown subnet",
	"unknown group", "group of another VPC", "override of unknown container", "override of size", "placement strategy",
}

func TestRunTask_Refusals(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "", 4096, 8192)
	w.register("web", nil)
	w.register("bridge", func(in *ecsapi.RegisterTaskDefinitionInput) { in.NetworkMode, in.RequiresCompatibilities = "", nil })
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
	vpc := func(in *ecsapi.RunTaskInput) *ecsapi.AwsVpcConfiguration {
		return in.NetworkConfiguration.AwsvpcConfiguration
	}
	strategy := func(steps ...ecsapi.PlacementStrategy) func(in *ecsapi.RunTaskInput) {
		return func(in *ecsapi.RunTaskInput) {
			in.LaunchType, in.NetworkConfiguration, in.PlacementStrategy = "EC2", nil, steps
		}
	}
	constraint := func(kind, expression string) func(in *ecsapi.RunTaskInput) {
		return func(in *ecsapi.RunTaskInput) {
			in.LaunchType, in.NetworkConfiguration = "EC2", nil
			in.PlacementConstraints = []ecsapi.PlacementConstraint{{Type: ecsapi.PlacementConstraintType(kind), Expression: &expression}}
		}
	}
	var lines strings.Builder
	for _, tc := range []struct {
		name, family string
		edit         func(in *ecsapi.RunTaskInput)
	}{
		{"unknown cluster", "web", func(in *ecsapi.RunTaskInput) { in.Cluster = new("none") }},
		{"inactive cluster", "web", func(in *ecsapi.RunTaskInput) { in.Cluster = new("gone") }},
		{"cluster of another kind", "web", func(in *ecsapi.RunTaskInput) { in.Cluster = new("arn:aws:ecs:us-east-1:123456789012:task/x") }},
		{"cluster of another account", "web", func(in *ecsapi.RunTaskInput) { in.Cluster = new("arn:aws:ecs:us-east-1:210987654321:cluster/x") }},
		{"cluster of another region", "web", func(in *ecsapi.RunTaskInput) { in.Cluster = new("arn:aws:ecs:eu-west-1:123456789012:cluster/x") }},
		{"unknown definition", "none", nil},
		{"bad revision", "web:x", nil},
		{"inactive definition", "old:1", nil},
		{"no active revision", "old", nil},
		{"count", "web", func(in *ecsapi.RunTaskInput) { in.Count = new(int32(11)) }},
		{"launch type and strategy", "web", func(in *ecsapi.RunTaskInput) {
			in.CapacityProviderStrategy = []ecsapi.CapacityProviderStrategyItem{{CapacityProvider: new("FARGATE"), Weight: new(int32(1))}}
		}},
		{"provider not associated", "web", func(in *ecsapi.RunTaskInput) {
			in.LaunchType = ""
			in.CapacityProviderStrategy = []ecsapi.CapacityProviderStrategyItem{{CapacityProvider: new("FARGATE"), Weight: new(int32(1))}}
		}},
		{"launch type", "web", func(in *ecsapi.RunTaskInput) { in.LaunchType = "MOON" }},
		{"managed instances", "web", func(in *ecsapi.RunTaskInput) { in.LaunchType = "MANAGED_INSTANCES" }},
		{"external", "web", func(in *ecsapi.RunTaskInput) { in.LaunchType = "EXTERNAL" }},
		{"EC2 without instances", "web", func(in *ecsapi.RunTaskInput) { in.LaunchType = "" }},
		{"not for Fargate", "bridge", nil},
		{"bridge with network", "bridge", func(in *ecsapi.RunTaskInput) { in.LaunchType = "EC2" }},
		{"no network", "web", func(in *ecsapi.RunTaskInput) { in.NetworkConfiguration = nil }},
		{"no subnets", "web", func(in *ecsapi.RunTaskInput) { vpc(in).Subnets = nil }},
		{"unknown subnet", "web", func(in *ecsapi.RunTaskInput) { vpc(in).Subnets = []string{"subnet-x"} }},
		{"two VPCs", "web", func(in *ecsapi.RunTaskInput) { vpc(in).Subnets = []string{subnetA, otherSubnet} }},
		{"seventeen subnets", "web", func(in *ecsapi.RunTaskInput) { vpc(in).Subnets = make([]string, 17) }},
		{"unknown group", "web", func(in *ecsapi.RunTaskInput) { vpc(in).SecurityGroups = []string{"sg-x"} }},
		{"group of another VPC", "web", func(in *ecsapi.RunTaskInput) { vpc(in).SecurityGroups = []string{otherGroup} }},
		{"public address on EC2", "web", func(in *ecsapi.RunTaskInput) { in.LaunchType, vpc(in).AssignPublicIp = "EC2", "ENABLED" }},
		{"platform version", "web", func(in *ecsapi.RunTaskInput) { in.PlatformVersion = new("0.9") }},
		{"platform version on EC2", "web", func(in *ecsapi.RunTaskInput) { in.LaunchType, in.PlatformVersion = "EC2", new("1.4.0") }},
		{"override of unknown container", "web", func(in *ecsapi.RunTaskInput) {
			in.Overrides = &ecsapi.TaskOverride{ContainerOverrides: []ecsapi.ContainerOverride{{Name: new("db")}}}
		}},
		{"override of size", "web", func(in *ecsapi.RunTaskInput) { in.Overrides = &ecsapi.TaskOverride{Cpu: new("1 vCPU")} }},
		{"started by", "web", func(in *ecsapi.RunTaskInput) { in.StartedBy = new("a b") }},
		{"group", "web", func(in *ecsapi.RunTaskInput) { in.Group = new("service:web") }},
		{"client token", "web", func(in *ecsapi.RunTaskInput) { in.ClientToken = new("a b") }},
		{"propagate tags", "web", func(in *ecsapi.RunTaskInput) { in.PropagateTags = "SERVICE" }},
		{"reserved tag", "web", func(in *ecsapi.RunTaskInput) { in.Tags = []ecsapi.Tag{{Key: new("AWS:x"), Value: new("y")}} }},
		{"volume", "web", func(in *ecsapi.RunTaskInput) {
			in.VolumeConfigurations = []ecsapi.TaskVolumeConfiguration{{Name: new("v"), ManagedEBSVolume: &ecsapi.TaskManagedEBSVolumeConfiguration{RoleArn: new("r"), SnapshotId: new("snap-1")}}}
		}},
		{"volume of another name", "web", func(in *ecsapi.RunTaskInput) {
			in.VolumeConfigurations = []ecsapi.TaskVolumeConfiguration{{Name: new("v"), ManagedEBSVolume: &ecsapi.TaskManagedEBSVolumeConfiguration{RoleArn: new("r")}}}
		}},
		{"volumes", "web", func(in *ecsapi.RunTaskInput) {
			in.VolumeConfigurations = []ecsapi.TaskVolumeConfiguration{{Name: new("v")}}
		}},
		{"placement strategy", "web", func(in *ecsapi.RunTaskInput) { in.PlacementStrategy = []ecsapi.PlacementStrategy{{Type: "random"}} }},
		{"placement constraint", "web", func(in *ecsapi.RunTaskInput) {
			in.PlacementConstraints = []ecsapi.PlacementConstraint{{Type: "distinctInstance"}}
		}},
		{"binpack field", "bridge", strategy(ecsapi.PlacementStrategy{Type: "binpack"})},
		{"spread field", "bridge", strategy(ecsapi.PlacementStrategy{Type: "spread", Field: new("rack")})},
		{"random field", "bridge", strategy(ecsapi.PlacementStrategy{Type: "random", Field: new("cpu")})},
		{"strategy type", "bridge", strategy(ecsapi.PlacementStrategy{Type: "best"})},
		{"six strategies", "bridge", strategy(make([]ecsapi.PlacementStrategy, 6)...)},
		{"constraint type", "bridge", constraint("near", "")},
		{"distinct expression", "bridge", constraint("distinctInstance", "x == y")},
		{"no expression", "bridge", constraint("memberOf", "")},
		{"bad expression", "bridge", constraint("memberOf", "attribute:ecs.os-type ==")},
	} {
		_, err := w.RunTask(t.Context(), runInput(tc.family, tc.edit))
		if err == nil {
			t.Errorf("%s was accepted", tc.name)
			continue
		}
		lines.WriteString(tc.name + ": " + say(err) + mark(seenRunTask, tc.name))
	}
	compareGolden(t, "testdata/runtask_errors.golden", lines.String())
	if n := records.Tasks.Len(w.store.Snapshot()); n != 0 {
		t.Errorf("%d tasks were stored", n)
	}
}
