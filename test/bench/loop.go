package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/control/deployment"
	"berth.dev/berth/internal/control/registration"
	"berth.dev/berth/internal/data/etcd"
	"berth.dev/berth/internal/data/launch"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

const (
	loopHosts    = 5000
	loopServices = 30
	loopReports  = 32 // hosts that report at the same time
)

var loopZones = []string{"us-east-1a", "us-east-1b", "us-east-1c"}

// loop measures the control loop of services: from the transaction that wants
// tasks to the one that knows that they run, on an embedded etcd with fsync.
func (b *bench) loop(ctx context.Context) error {
	hosts, sizes, wanted := loopHosts, []int{1000, 100_000}, 3000
	if b.quick {
		hosts, sizes, wanted = 500, []int{100, 1000}, 300
	}
	var rows [][]string
	for _, size := range sizes {
		b.say("loop: %d hosts with %d tasks", hosts, size)
		took, err := b.oneLoop(ctx, hosts, size, wanted)
		if err != nil {
			return err
		}
		rows = append(rows, []string{fmt.Sprint(size), fmt.Sprint(wanted), took.Round(time.Millisecond).String(), fmt.Sprintf("%.0f", float64(wanted)/took.Seconds())})
	}
	out := b.report.section("loop")
	fmt.Fprintf(out, "## The control loop\n\n%d hosts, simulated in this process: a host reports a task as running, in a transaction of its own, as soon as it sees it. "+
		"%d services are wanted at once; every task is decided, placed, given an interface and an address, committed by etcd, and its report too.\n\n", hosts, loopServices)
	table(out, []string{"tasks there already", "tasks wanted", "until all are known to run", "tasks/s"}, rows)
	return nil
}

func (b *bench) oneLoop(ctx context.Context, hosts, size, wanted int) (took time.Duration, err error) {
	ctx, end := context.WithCancel(ctx)
	g, ctx := errgroup.WithContext(ctx)
	defer func() {
		end()
		if ran := g.Wait(); !errors.Is(ran, context.Canceled) {
			err = errors.Join(err, ran)
		}
	}()
	member := etcd.New(etcd.Config{Dir: filepath.Join(b.dir, fmt.Sprint("loop-", size))})
	g.Go(func() error { return member.Run(ctx) })
	s, err := store.Open(member.KV(), "/berth/", store.Options{}, records.All()...)
	if err != nil {
		return 0, err
	}
	g.Go(func() error { return s.Run(ctx) })
	select {
	case <-s.Ready():
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	scope := arn.Scope{Region: "us-east-1", AccountID: "123456789012"}
	if err := furnish(ctx, s, scope, hosts, size); err != nil {
		return 0, err
	}
	quiet := slog.New(slog.DiscardHandler)
	loop := deployment.New(deployment.Config{Store: s, Launcher: launch.New(launch.Config{Scope: scope}), HealthyAfter: deployment.DefaultHealthyAfter, Log: quiet})
	g.Go(func() error { return loop.Run(ctx) })
	g.Go(func() error {
		return registration.New(registration.Config{Store: s, Scope: scope, Log: quiet}).Run(ctx)
	})
	reported := make(chan struct{}, wanted)
	g.Go(func() error { return reportAll(ctx, s, reported) })
	// The loop begins with a look at every service; what comes after those
	// that were there finds it at rest.
	if err := want(ctx, s, scope, "warm", loopServices, reported); err != nil {
		return 0, err
	}
	begun := time.Now()
	err = want(ctx, s, scope, "new", wanted, reported)
	return time.Since(begun), err
}

// want makes services that want so many tasks in all, and waits until these
// are reported.
func want(ctx context.Context, s *store.Store, scope arn.Scope, name string, tasks int, reported <-chan struct{}) error {
	services := make([]int, loopServices)
	for i := range services {
		services[i] = i
	}
	if _, err := store.Batch(ctx, s, services, func(tx *store.Tx, n int) error {
		putService(tx, scope, fmt.Sprint(name, n), tasks/loopServices, model.RolloutInProgress)
		return nil
	}); err != nil {
		return err
	}
	for range tasks {
		select {
		case <-reported:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// furnish makes hosts and what tasks need, and services with size tasks that
// run, a thousand each.
func furnish(ctx context.Context, s *store.Store, scope arn.Scope, hosts, size int) error {
	if _, err := s.Update(ctx, func(tx *store.Tx) error {
		records.Clusters.Put(tx, &model.Cluster{Name: "default", ARN: scope.Cluster("default"), Status: model.ClusterActive})
		records.VPCs.Put(tx, &model.VPC{ID: "vpc-1", CIDR: "10.0.0.0/8"})
		records.SecurityGroups.Put(tx, &model.SecurityGroup{ID: "sg-1", Name: "default", VPCID: "vpc-1"})
		for n, zone := range loopZones {
			records.Subnets.Put(tx, &model.Subnet{ID: "subnet-" + zone, VPCID: "vpc-1", CIDR: fmt.Sprintf("10.%d.0.0/16", n), AvailabilityZone: zone})
		}
		records.TaskDefinitions.Put(tx, &model.TaskDefinition{
			Family: "web", Revision: 1, ARN: scope.TaskDefinition("web", 1), Status: model.TaskDefinitionActive, NetworkMode: "awsvpc", CPU: "256", Memory: "512",
			ContainerDefinitions: []model.ContainerDefinition{{Name: "app", Image: "nginx"}},
		})
		return nil
	}); err != nil {
		return err
	}
	numbers := make([]int, max(hosts, size))
	for i := range numbers {
		numbers[i] = i
	}
	if _, err := store.Batch(ctx, s, numbers[:hosts], func(tx *store.Tx, n int) error {
		records.Instances.Put(tx, &model.Instance{
			ID: hostID(n), Name: fmt.Sprint("host", n), ClusterName: "default", Zone: loopZones[n%len(loopZones)], Status: model.InstanceActive, Connected: true,
			CPU: 65536, Memory: 262144, Attributes: []model.Attribute{{Name: "ecs.cpu-architecture", Value: "x86_64"}},
		})
		return nil
	}); err != nil {
		return err
	}
	const each = 1000
	deployments := map[int]string{}
	for first := 0; first < size; first += each {
		if _, err := s.Update(ctx, func(tx *store.Tx) error {
			deployments[first/each] = putService(tx, scope, fmt.Sprint("old", first/each), min(each, size-first), model.RolloutCompleted)
			return nil
		}); err != nil {
			return err
		}
	}
	_, err := store.Batch(ctx, s, numbers[:size], func(tx *store.Tx, n int) error {
		service, id := fmt.Sprint("old", n/each), ident.Task()
		begun := tx.Now().Add(-time.Hour)
		records.Tasks.Put(tx, &model.Task{
			ID: id, ARN: scope.Task("default", id), ClusterName: "default", CreatedAt: begun, ServiceID: service, ServiceName: service,
			TaskDefinitionARN: scope.TaskDefinition("web", 1), Family: "web", Revision: 1, LaunchType: model.LaunchEC2,
			Group: launch.Group(service), StartedBy: deployments[n/each], InstanceID: hostID(n % hosts), AvailabilityZone: loopZones[n%hosts%len(loopZones)],
			ReservedCPU: 256, ReservedMemory: 512, DesiredStatus: model.TaskRunning, Version: 3, Containers: []model.TaskContainer{{Name: "app", Essential: true}},
			Observed: model.TaskObserved{Seq: 1, Status: model.TaskRunning, StartedAt: &begun},
		})
		return nil
	})
	return err
}

func hostID(n int) string { return fmt.Sprintf("%032x", n) }

// putService writes a service as CreateService does, and returns the id of its
// deployment.
func putService(tx *store.Tx, scope arn.Scope, name string, desired int, state string) string {
	spec := model.RevisionSpec{TaskDefinitionARN: scope.TaskDefinition("web", 1), LaunchType: model.LaunchEC2, Network: &model.NetworkConfiguration{}}
	for _, zone := range loopZones {
		spec.Network.Subnets = append(spec.Network.Subnets, "subnet-"+zone)
	}
	config := model.DeploymentConfiguration{MinimumHealthyPercent: 100, MaximumPercent: 200}
	records.Services.Put(tx, &model.Service{
		ID: name, Name: name, ARN: scope.Service("default", name), ClusterName: "default", Status: model.ServiceActive, CreatedAt: tx.Now(),
		DesiredCount: desired, SchedulingStrategy: model.SchedulingReplica, DeploymentConfiguration: config, Revision: spec,
		Progress: model.ServiceProgress{Steady: state == model.RolloutCompleted},
	})
	records.ServiceRevisions.Put(tx, &model.ServiceRevision{ID: name, ServiceID: name, ClusterName: "default", CreatedAt: tx.Now(), Spec: spec})
	d := &model.Deployment{
		ID: ident.Deployment(), ServiceID: name, ClusterName: "default", Number: 1, RevisionID: name, CreatedAt: tx.Now(), UpdatedAt: tx.Now(),
		Status: model.DeploymentPrimary, RolloutState: state, ServiceDeploymentID: ident.ServiceDeployment(), ServiceDeploymentStatus: model.ServiceDeploymentPending, Config: config,
	}
	if state == model.RolloutCompleted {
		d.ServiceDeploymentStatus = model.ServiceDeploymentSuccessful
	}
	records.Deployments.Put(tx, d)
	return d.ID
}

// reportAll is every host's agent: it reports each task that is new on its
// host as running, the tasks of one host together and hosts side by side, as
// the dispatcher writes them.
func reportAll(ctx context.Context, s *store.Store, reported chan<- struct{}) error {
	watch := s.Watch(ctx, records.Tasks)
	var g errgroup.Group
	g.SetLimit(loopReports)
	defer g.Wait() //nolint:errcheck // its error has ended the loop that returns it
	seen := map[string]bool{}
	for {
		snap, changes, err := watch.Next(ctx)
		if err != nil {
			return ctx.Err()
		}
		byHost := map[string][]string{}
		for _, c := range changes {
			if t, found := records.Tasks.Get(snap, c.Key); found && t.Observed.Seq == 0 && !seen[t.ID] {
				seen[t.ID] = true
				byHost[t.InstanceID] = append(byHost[t.InstanceID], t.ID)
			}
		}
		for _, ids := range byHost {
			g.Go(func() error {
				if err := reportHost(ctx, s, ids); err != nil {
					return err
				}
				for range ids {
					reported <- struct{}{}
				}
				return nil
			})
		}
	}
}

// reportHost writes the reports of one host.
func reportHost(ctx context.Context, s *store.Store, ids []string) error {
	_, err := store.Batch(ctx, s, ids, func(tx *store.Tx, id string) error {
		return records.Tasks.Edit(tx, id, func(t *model.Task) error {
			now := tx.Now()
			o := t.Observed
			o.Seq, o.Status, o.ENIAttached, o.StartedAt = 1, model.TaskRunning, true, &now
			t.Observe(now, o)
			return nil
		})
	})
	return err
}
