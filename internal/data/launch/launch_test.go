package launch_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/launch"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/placement"
	"berth.dev/berth/internal/rules/taskspec"
)

var scope = arn.Scope{Region: "us-east-1", AccountID: "123456789012"}

// world is a launcher on a store with a VPC of three zones.
type world struct {
	testing.TB
	*launch.Launcher
	store   *store.Store
	cluster *model.Cluster
}

func newWorld(t testing.TB) *world {
	t.Helper()
	s, err := store.Open(memkv.New(0), "/berth/", store.Options{}, records.All()...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	w := &world{
		TB: t, store: s, cluster: &model.Cluster{Name: "c", Status: model.ClusterActive},
		Launcher: launch.New(launch.Config{Scope: scope, PublicAddresses: netip.MustParsePrefix("127.128.0.0/29")}),
	}
	w.update(func(tx *store.Tx) {
		records.Clusters.Put(tx, w.cluster)
		for n, zone := range []string{"x", "y", "z"} {
			records.Subnets.Put(tx, &model.Subnet{ID: "subnet-" + zone, VPCID: "vpc-1", CIDR: fmt.Sprintf("10.%d.0.0/16", n), AvailabilityZone: zone})
		}
		records.SecurityGroups.Put(tx, &model.SecurityGroup{ID: "sg-1", Name: "default", VPCID: "vpc-1"})
	})
	return w
}

func (w *world) update(fn func(tx *store.Tx)) {
	w.Helper()
	if _, err := w.store.Update(context.Background(), func(tx *store.Tx) error { fn(tx); return nil }); err != nil {
		w.Fatal(err)
	}
}

func (w *world) node(id, cluster, zone string, attributes ...model.Attribute) {
	w.update(func(tx *store.Tx) {
		records.Instances.Put(tx, &model.Instance{
			ID: id, Name: id, ClusterName: cluster, Zone: zone, Status: model.InstanceActive, Connected: true, CPU: 4096, Memory: 8192, Attributes: attributes,
		})
	})
}

// definition is one for EC2; ports are those of the host, 0 for one that the
// host chooses.
func definition(mode string, ports ...int32) *model.TaskDefinition {
	d := &model.TaskDefinition{
		Family: "f", Revision: 1, ARN: scope.TaskDefinition("f", 1), Status: model.TaskDefinitionActive, NetworkMode: mode,
		Compatibilities: []string{"EC2"}, ContainerDefinitions: []model.ContainerDefinition{{Name: "app", Image: "nginx", CPU: 100, Memory: new(int32(100))}},
	}
	for _, p := range ports {
		d.ContainerDefinitions[0].PortMappings = append(d.ContainerDefinitions[0].PortMappings,
			model.PortMapping{ContainerPort: new(int32(80)), HostPort: &p, Protocol: "tcp"})
	}
	return d
}

func (w *world) launch(req launch.Request) launch.Outcome {
	w.Helper()
	var out launch.Outcome
	if _, err := w.store.Update(context.Background(), func(tx *store.Tx) error {
		req.Cluster = w.cluster
		var err error
		out, err = w.Launch(tx, req)
		return err
	}); err != nil {
		w.Fatal(err)
	}
	return out
}

func instances(out launch.Outcome) map[string]int {
	n := map[string]int{}
	for _, t := range out.Tasks {
		n[t.InstanceID]++
	}
	return n
}

func TestLaunch_HostPorts(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"a", "b"} {
		w.node(id, "c", "")
	}
	fixed := launch.Request{Definition: definition("bridge", 8080), LaunchType: "EC2", Count: 3}
	out := w.launch(fixed)
	if got := instances(out); got["a"] != 1 || got["b"] != 1 || len(out.Rejections) != 2 || out.Failures[0].Reason != placement.ReasonPorts {
		t.Fatalf("%v, %+v", got, out.Failures)
	}
	task := out.Tasks[0]
	if !slices.Equal(task.HostPorts, []string{"8080/tcp"}) || task.ENIID != "" || task.Observed.Status != model.TaskPending {
		t.Errorf("%+v", task)
	}
	if n := records.NetworkInterfaces.Len(w.store.Snapshot()); n != 0 {
		t.Errorf("%d interfaces of tasks without one", n)
	}
	// Another port, and one that the host chooses, are free.
	if out := w.launch(launch.Request{Definition: definition("host", 8081), LaunchType: "EC2", Count: 2}); len(out.Tasks) != 2 {
		t.Errorf("%+v", out)
	}
	if out := w.launch(launch.Request{Definition: definition("bridge", 0), LaunchType: "EC2", Count: 9}); len(out.Tasks) != 9 {
		t.Errorf("%+v", out)
	}
	// Some are ECS's own.
	if out := w.launch(launch.Request{Definition: definition("bridge", 22), LaunchType: "EC2", Count: 1}); len(out.Tasks) != 0 || out.Failures[0].Reason != placement.ReasonPorts {
		t.Errorf("%+v", out)
	}
	// A task that has stopped holds its port no more.
	w.update(func(tx *store.Tx) {
		if err := records.Tasks.Edit(tx, task.ID, func(t *model.Task) error { t.Observed.Status = model.TaskStopped; return nil }); err != nil {
			t.Fatal(err)
		}
	})
	if out := w.launch(fixed); len(out.Tasks) != 1 || out.Tasks[0].InstanceID != task.InstanceID {
		t.Errorf("%+v", out)
	}
}

func TestLaunch_ConstraintsAndStrategy(t *testing.T) {
	w := newWorld(t)
	for n, id := range []string{"a", "b", "c"} {
		w.node(id, "c", "", model.Attribute{Name: "rack", Value: fmt.Sprint(n / 2)})
	}
	plain := launch.Request{Definition: definition("none"), LaunchType: "EC2"}
	distinct := plain
	distinct.Count, distinct.Group = 5, "db"
	distinct.Constraints = []model.PlacementConstraint{{Type: "distinctInstance"}}
	if out := w.launch(distinct); len(out.Tasks) != 3 || out.Failures[0].Reason != placement.ReasonDistinct {
		t.Errorf("distinct: %+v", out)
	}
	if out := w.launch(distinct); len(out.Tasks) != 0 {
		t.Errorf("distinct again: %+v", out)
	}
	where := plain
	where.Count = 4
	where.Constraints = []model.PlacementConstraint{{Type: "memberOf", Expression: "attribute:rack == 0 and task:group == db"}}
	where.Strategy = []model.PlacementStrategy{{Type: "spread", Field: "instanceId"}}
	if out := w.launch(where); instances(out)["a"] != 2 || instances(out)["b"] != 2 {
		t.Errorf("member: %+v", instances(out))
	}
	// The definition's own constraints bind too.
	plain.Definition.PlacementConstraints = []model.PlacementConstraint{{Type: "memberOf", Expression: "attribute:rack == 1"}}
	plain.Count = 2
	if out := w.launch(plain); instances(out)["c"] != 2 {
		t.Errorf("definition: %+v", instances(out))
	}
}

func TestLaunch_Refusals(t *testing.T) {
	w := newWorld(t)
	awsvpc := definition("awsvpc")
	awsvpc.CPU, awsvpc.Memory = "256", "512"
	network := &model.NetworkConfiguration{Subnets: []string{"subnet-x"}}
	for name, tc := range map[string]struct {
		req  launch.Request
		want string
	}{
		"not for Fargate": {launch.Request{Definition: definition("bridge"), LaunchType: "FARGATE"}, "Task definition does not support launch_type FARGATE."},
		"bad expression": {
			launch.Request{Definition: definition("bridge"), LaunchType: "EC2", Constraints: []model.PlacementConstraint{{Type: "memberOf", Expression: "x"}}},
			"Invalid expression 'x': expected an operator instead of 'end' at position 2.",
		},
		"network of bridge": {
			launch.Request{Definition: definition("bridge"), LaunchType: "EC2", Network: network},
			"Network Configuration is not valid for the given networkMode of this task definition.",
		},
		"no network": {launch.Request{Definition: awsvpc, LaunchType: "EC2"}, "Network Configuration must be provided when networkMode 'awsvpc' is specified."},
		"public on EC2": {
			launch.Request{Definition: awsvpc, LaunchType: "EC2", Network: &model.NetworkConfiguration{Subnets: []string{"subnet-x"}, PublicIP: true}},
			"Assign public IP is not supported for this launch type.",
		},
	} {
		err := w.Check(w.store.Snapshot(), tc.req)
		var problem *taskspec.Error
		if !errors.As(err, &problem) || problem.Message != tc.want || problem.Class != taskspec.InvalidParameterException {
			t.Errorf("%s: %v", name, err)
		}
	}
	if out := w.launch(launch.Request{Definition: definition("bridge"), LaunchType: "EC2", Count: 1}); !out.NoInstances {
		t.Errorf("%+v", out)
	}
}

func TestLaunch_PublicAddresses(t *testing.T) {
	w := newWorld(t)
	w.node("a", "", "")
	d := definition("awsvpc")
	d.CPU, d.Memory, d.RequiresCompatibilities = "256", "512", []string{"FARGATE"}
	d.ExecutionRoleARN = "arn:aws:iam::123456789012:role/exec"
	req := launch.Request{Definition: d, LaunchType: "FARGATE", Count: 8, Network: &model.NetworkConfiguration{Subnets: []string{"subnet-x", "subnet-y"}, PublicIP: true}}
	out := w.launch(req)
	if len(out.Tasks) != 6 || out.Failures[0].Reason != placement.ReasonENI { // of eight addresses, two cannot be used
		t.Fatalf("%d tasks, %+v", len(out.Tasks), out.Failures)
	}
	snap := w.store.Snapshot()
	for _, task := range out.Tasks {
		n, found := records.NetworkInterfaces.Get(snap, task.ENIID)
		if !found || n.InstanceID != "a" || n.PublicAddress == "" {
			t.Fatalf("%+v", n)
		}
		if a, found := records.PublicAddresses.Get(snap, n.PublicAddress); !found || a.ENIID != n.ID {
			t.Errorf("%+v", a)
		}
	}
	if records.NetworkInterfaces.Len(snap) != 6 || records.AddressClaims.Len(snap) != 6 || records.Tasks.Len(snap) != 6 {
		t.Error("a task that was not made left something behind")
	}
	req.Network.PublicIP, req.Zones = false, []string{"y"}
	for _, task := range w.launch(req).Tasks {
		if task.AvailabilityZone != "y" {
			t.Errorf("in zone %s", task.AvailabilityZone)
		}
	}
}

// A service's tasks are spread over zones, then instances, whatever was there
// before, and follow its capacity providers over all of its launches.
func TestLaunch_Service(t *testing.T) {
	w := newWorld(t)
	for n, zone := range []string{"x", "y", "z"} {
		for i := range 2 {
			w.node(fmt.Sprint(zone, n, i), "c", zone)
		}
	}
	d := definition("awsvpc")
	s := &model.Service{
		ID: "s", Name: "web", ARN: "service", ClusterName: "c", EnableECSManagedTags: true, PropagateTags: "SERVICE",
		Tags: []model.Tag{{Key: "team", Value: "a"}},
	}
	deployment := &model.Deployment{ID: "ecs-svc/1", ServiceID: "s"}
	revision := &model.ServiceRevision{ID: "1", Spec: model.RevisionSpec{
		TaskDefinitionARN: d.ARN, LaunchType: "EC2", Network: &model.NetworkConfiguration{Subnets: []string{"subnet-x", "subnet-y", "subnet-z"}},
		LoadBalancers: []model.ServiceLoadBalancer{{TargetGroupARN: "g", ContainerName: "app", ContainerPort: 80}},
	}}
	w.update(func(tx *store.Tx) { records.TaskDefinitions.Put(tx, d) })
	more := func(count int, edit func(*launch.Request)) launch.Outcome {
		t.Helper()
		req, err := launch.ServiceRequest(w.store.Snapshot(), s, deployment, revision, count)
		if err != nil {
			t.Fatal(err)
		}
		if edit != nil {
			edit(&req)
		}
		return w.launch(req)
	}
	for range 6 {
		more(2, nil)
	}
	here, zones := map[string]int{}, map[string]int{}
	for task := range records.Tasks.By(w.store.Snapshot(), records.TasksByService, "s") {
		here[task.InstanceID]++
		zones[task.AvailabilityZone]++
		if task.Group != "service:web" || task.StartedBy != "ecs-svc/1" || task.ServiceName != "web" || len(task.LoadBalancers) != 1 || len(task.Tags) != 3 {
			t.Errorf("%+v", task)
		}
	}
	if zones["x"] != 4 || zones["y"] != 4 || zones["z"] != 4 || len(here) != 6 {
		t.Errorf("zones %v, instances %v", zones, here)
	}
	for id, n := range here {
		if n != 2 {
			t.Errorf("%d tasks on %s", n, id)
		}
	}
	if out := more(2, func(r *launch.Request) { r.Zones = []string{"y"} }); len(out.Tasks) != 2 || out.Tasks[0].AvailabilityZone != "y" || out.Tasks[1].AvailabilityZone != "y" {
		t.Errorf("%+v", out)
	}

	revision.Spec.LaunchType = ""
	revision.Spec.CapacityProviderStrategy = []model.CapacityProviderStrategyItem{{CapacityProvider: "FARGATE", Base: 1, Weight: 1}, {CapacityProvider: "FARGATE_SPOT", Weight: 3}}
	deployment.ID = "ecs-svc/2"
	d.CPU, d.Memory, d.RequiresCompatibilities, d.ExecutionRoleARN = "256", "512", []string{"FARGATE"}, "arn:aws:iam::123456789012:role/exec"
	w.update(func(tx *store.Tx) { records.TaskDefinitions.Put(tx, d) })
	providers := map[string]int{}
	for range 9 {
		for _, task := range more(1, nil).Tasks {
			providers[task.CapacityProviderName]++
		}
	}
	if providers["FARGATE"] != 3 || providers["FARGATE_SPOT"] != 6 {
		t.Errorf("%v", providers)
	}
}

func TestEligible(t *testing.T) {
	w := newWorld(t)
	w.node("a", "c", "", model.Attribute{Name: "rack", Value: "1"})
	w.node("b", "c", "")
	w.node("away", "c", "", model.Attribute{Name: "rack", Value: "1"})
	w.node("draining", "c", "", model.Attribute{Name: "rack", Value: "1"})
	w.node("elsewhere", "", "")
	w.update(func(tx *store.Tx) {
		for id, edit := range map[string]func(*model.Instance){
			"away":     func(i *model.Instance) { i.Connected = false },
			"draining": func(i *model.Instance) { i.Status = model.InstanceDraining },
			"a":        func(i *model.Instance) { i.CPU = 0 },
		} {
			if err := records.Instances.Edit(tx, id, func(i *model.Instance) error { edit(i); return nil }); err != nil {
				t.Fatal(err)
			}
		}
	})
	req := launch.Request{
		Cluster: w.cluster, Definition: definition("bridge"), LaunchType: "EC2",
		Constraints: []model.PlacementConstraint{{Type: "memberOf", Expression: "attribute:rack == 1"}},
	}
	if ids, err := w.Eligible(w.store.Snapshot(), req); err != nil || !slices.Equal(ids, []string{"a", "away"}) {
		t.Errorf("%v, %v", ids, err)
	}
	// One task each.
	req.InstanceIDs, req.Count, req.Constraints = []string{"b"}, 2, nil
	if out := w.launch(req); len(out.Tasks) != 1 || out.Tasks[0].InstanceID != "b" {
		t.Errorf("%+v", out)
	}
}

// BenchmarkLaunch places and commits tasks of services on 5,000 hosts, of
// which some have tasks already.
func BenchmarkLaunch(b *testing.B) {
	for _, tasks := range []int{1000, 100000} {
		b.Run(fmt.Sprint(tasks, " tasks"), func(b *testing.B) { benchmarkLaunch(b, tasks) })
	}
}

func benchmarkLaunch(b *testing.B, tasks int) {
	w := newWorld(b)
	for start := 0; start < 5000; start += 100 {
		w.update(func(tx *store.Tx) {
			for n := start; n < start+100; n++ {
				records.Instances.Put(tx, &model.Instance{
					ID: fmt.Sprintf("%032d", n), ClusterName: "c", Zone: []string{"x", "y", "z"}[n%3], Status: model.InstanceActive, Connected: true,
					CPU: 1 << 20, Memory: 1 << 20, Attributes: []model.Attribute{{Name: "ecs.cpu-architecture", Value: "x86_64"}},
				})
			}
		})
	}
	for start := 0; start < tasks; start += 100 {
		w.update(func(tx *store.Tx) {
			for n := start; n < start+100; n++ {
				records.Tasks.Put(tx, &model.Task{
					ID: fmt.Sprintf("old%d", n), ClusterName: "c", Group: fmt.Sprint("service:old", n%100), InstanceID: fmt.Sprintf("%032d", n%5000), DesiredStatus: model.TaskRunning,
					ReservedCPU: 10, ReservedMemory: 10, Observed: model.TaskObserved{Status: model.TaskRunning},
				})
			}
		})
	}
	d := definition("awsvpc")
	s := &model.Service{ID: "s", Name: "web", ARN: "service", ClusterName: "c"}
	deployment := &model.Deployment{ID: "ecs-svc/1", ServiceID: "s"}
	revision := &model.ServiceRevision{ID: "1", Spec: model.RevisionSpec{
		TaskDefinitionARN: d.ARN, LaunchType: "EC2", Network: &model.NetworkConfiguration{Subnets: []string{"subnet-x", "subnet-y", "subnet-z"}},
	}}
	w.update(func(tx *store.Tx) { records.TaskDefinitions.Put(tx, d) })
	made := 0
	for b.Loop() {
		req, err := launch.ServiceRequest(w.store.Snapshot(), s, deployment, revision, launch.MaxCount)
		if err != nil {
			b.Fatal(err)
		}
		made += len(w.launch(req).Tasks)
	}
	if made != b.N*launch.MaxCount {
		b.Fatalf("%d tasks of %d", made, b.N*launch.MaxCount)
	}
	b.ReportMetric(float64(made)/b.Elapsed().Seconds(), "tasks/s")
}
