package ecs_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/service/ecs"
	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/smithy"
)

var update = flag.Bool("update", false, "write the golden files")

var scope = arn.Scope{Region: "us-east-1", AccountID: "123456789012"}

const (
	subnetA, subnetB = "subnet-0000000000000000a", "subnet-0000000000000000b"
	groupID          = "sg-00000000000000001"
	otherSubnet      = "subnet-0000000000000000f"
	otherGroup       = "sg-0000000000000000f"
)

// world is a provider on a store with a VPC of two subnets, and another VPC.
type world struct {
	*testing.T
	*ecs.Provider
	store *store.Store
	clock *atomic.Pointer[time.Time]
}

func newWorld(t *testing.T) *world {
	t.Helper()
	clock := new(atomic.Pointer[time.Time])
	clock.Store(new(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)))
	s, err := store.Open(memkv.New(0), "/berth/", store.Options{Now: func() time.Time { return *clock.Load() }, CheckMutation: true}, records.All()...)
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
	w := &world{T: t, Provider: ecs.New(ecs.Config{Store: s, Scope: scope, PublicAddresses: netip.MustParsePrefix("127.128.0.0/24")}), store: s, clock: clock}
	if err := w.EnsureDefaultCluster(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.update(func(tx *store.Tx) {
		records.VPCs.Put(tx, &model.VPC{ID: "vpc-1", CIDR: "10.0.0.0/16", IsDefault: true})
		records.Subnets.Put(tx, &model.Subnet{ID: subnetA, VPCID: "vpc-1", CIDR: "10.0.0.0/24", AvailabilityZone: "us-east-1a"})
		records.Subnets.Put(tx, &model.Subnet{ID: subnetB, VPCID: "vpc-1", CIDR: "10.0.1.0/24", AvailabilityZone: "us-east-1b"})
		records.Subnets.Put(tx, &model.Subnet{ID: otherSubnet, VPCID: "vpc-2", CIDR: "10.1.0.0/24", AvailabilityZone: "us-east-1a"})
		records.SecurityGroups.Put(tx, &model.SecurityGroup{ID: groupID, Name: "default", VPCID: "vpc-1"})
		records.SecurityGroups.Put(tx, &model.SecurityGroup{ID: otherGroup, Name: "default", VPCID: "vpc-2"})
	})
	return w
}

func (w *world) update(fn func(tx *store.Tx)) {
	w.Helper()
	if _, err := w.store.Update(w.Context(), func(tx *store.Tx) error { fn(tx); return nil }); err != nil {
		w.Fatal(err)
	}
}

// node registers a host; cluster may be empty.
func (w *world) node(name, cluster string, cpu, memory int64) string {
	id := fmt.Sprintf("%032s", name)
	w.update(func(tx *store.Tx) {
		records.Instances.Put(tx, &model.Instance{
			ID: id, Name: name, ClusterName: cluster, Status: model.InstanceActive, Connected: true, CPU: cpu, Memory: memory,
			RegisteredAt: tx.Now(), Version: "1.0.0", Attributes: []model.Attribute{{Name: "ecs.cpu-architecture", Value: "x86_64"}},
		})
	})
	return id
}

func (w *world) advance(d time.Duration) { w.clock.Store(new(w.clock.Load().Add(d))) }

// report is what a node says about a task.
func (w *world) report(taskARN, status string, edit func(*model.TaskObserved)) {
	w.Helper()
	id := taskARN[strings.LastIndex(taskARN, "/")+1:]
	if _, err := w.store.Update(w.Context(), func(tx *store.Tx) error {
		return records.Tasks.Edit(tx, id, func(t *model.Task) error {
			o := t.Observed
			o.Seq++
			o.Status = status
			if status == model.TaskStopped {
				o.StoppedAt = new(tx.Now())
			}
			if edit != nil {
				edit(&o)
			}
			t.Observe(tx.Now(), o)
			return nil
		})
	}); err != nil {
		w.Fatal(err)
	}
}

// register registers a small definition for Fargate.
func (w *world) register(family string, edit func(*ecsapi.RegisterTaskDefinitionInput)) *ecsapi.TaskDefinition {
	w.Helper()
	in := &ecsapi.RegisterTaskDefinitionInput{
		Family: &family, NetworkMode: "awsvpc", RequiresCompatibilities: []ecsapi.Compatibility{"FARGATE"},
		Cpu: new("256"), Memory: new("512"), ExecutionRoleArn: new("arn:aws:iam::123456789012:role/exec"),
		ContainerDefinitions: []ecsapi.ContainerDefinition{
			{Name: new("app"), Image: new("nginx"), PortMappings: []ecsapi.PortMapping{{ContainerPort: new(int32(80))}}},
			{Name: new("init"), Image: new("busybox"), Essential: new(false)},
		},
	}
	if edit != nil {
		edit(in)
	}
	out, err := w.RegisterTaskDefinition(w.Context(), in)
	if err != nil {
		w.Fatal(err)
	}
	return out.TaskDefinition
}

func runInput(family string, edit func(*ecsapi.RunTaskInput)) *ecsapi.RunTaskInput {
	in := &ecsapi.RunTaskInput{
		TaskDefinition: &family, LaunchType: "FARGATE",
		NetworkConfiguration: &ecsapi.NetworkConfiguration{AwsvpcConfiguration: &ecsapi.AwsVpcConfiguration{Subnets: []string{subnetA, subnetB}}},
	}
	if edit != nil {
		edit(in)
	}
	return in
}

func (w *world) run(family string, edit func(*ecsapi.RunTaskInput)) *ecsapi.RunTaskOutput {
	w.Helper()
	out, err := w.RunTask(w.Context(), runInput(family, edit))
	if err != nil {
		w.Fatal(err)
	}
	return out
}

func (w *world) describe(arn string) ecsapi.Task {
	w.Helper()
	out, err := w.DescribeTasks(w.Context(), &ecsapi.DescribeTasksInput{Tasks: []string{arn}, Include: []ecsapi.TaskField{"TAGS"}})
	if err != nil {
		w.Fatal(err)
	}
	if len(out.Tasks) != 1 {
		w.Fatalf("%s: %+v", arn, out.Failures)
	}
	return out.Tasks[0]
}

// say renders an error as a client sees it.
func say(err error) string {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return fmt.Sprintf("NOT AN API ERROR: %v", err)
	}
	return api.ErrorCode() + ": " + api.ErrorMessage()
}

// mark ends a line of a golden file: a text that was not seen in real AWS
// output is uncertain, or Berth's own where Berth refuses what AWS does.
func mark(seen []string, name string) string {
	if slices.Contains(seen, name) {
		return "\n"
	}
	return " (uncertain)\n"
}

func compareGolden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wantLines, gotLines := strings.Split(string(want), "\n"), strings.Split(got, "\n")
	for i := range max(len(wantLines), len(gotLines)) {
		var w, g string
		if i < len(wantLines) {
			w = wantLines[i]
		}
		if i < len(gotLines) {
			g = gotLines[i]
		}
		if w != g {
			t.Errorf("%s line %d:\n got %s\nwant %s", path, i+1, g, w)
		}
	}
}

// newProvider is another provider on the same store, as another server has.
func newProvider(w *world) *ecs.Provider { return ecs.New(ecs.Config{Store: w.store, Scope: scope}) }
