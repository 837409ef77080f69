package registration_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/control/registration"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

const (
	groupID  = "targetgroup/web/0123456789abcdef"
	groupARN = "arn:aws:elasticloadbalancing:us-east-1:123456789012:" + groupID
	hostsID  = "targetgroup/hosts/0123456789abcdef"
	hostsARN = "arn:aws:elasticloadbalancing:us-east-1:123456789012:" + hostsID
	nameARN  = "arn:aws:servicediscovery:us-east-1:123456789012:service/srv-1"
)

// world is a loop in a bubble, with a service behind a target group and a name.
type world struct {
	*testing.T
	store *store.Store
	ctx   context.Context
	stop  context.CancelFunc // of the loop alone
	loops *errgroup.Group
}

func bubble(t *testing.T, test func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		s, err := store.Open(memkv.New(1000), "/berth/", store.Options{CheckMutation: true}, records.All()...)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return s.Run(ctx) })
		<-s.Ready()
		w := &world{T: t, store: s, ctx: ctx, loops: g}
		w.update(func(tx *store.Tx) {
			records.Services.Put(tx, &model.Service{ID: "s", Name: "web", ClusterName: "c", Status: model.ServiceActive})
			records.TargetGroups.Put(tx, &model.TargetGroup{ID: groupID, ARN: groupARN, TargetType: "ip"})
			records.TargetGroups.Put(tx, &model.TargetGroup{ID: hostsID, ARN: hostsARN, TargetType: "instance"})
			records.DiscoveryServices.Put(tx, &model.DiscoveryService{ID: "srv-1", ARN: nameARN, Records: []model.DNSRecord{{Type: "A", TTL: 60}}})
			records.TaskDefinitions.Put(tx, &model.TaskDefinition{Family: "web", Revision: 1, NetworkMode: "awsvpc", ContainerDefinitions: []model.ContainerDefinition{{Name: "app"}}})
			records.TaskDefinitions.Put(tx, &model.TaskDefinition{Family: "web", Revision: 2, NetworkMode: "awsvpc", ContainerDefinitions: []model.ContainerDefinition{{Name: "app", HealthCheck: &model.HealthCheck{}}}})
			records.TaskDefinitions.Put(tx, &model.TaskDefinition{Family: "web", Revision: 3, NetworkMode: "bridge", ContainerDefinitions: []model.ContainerDefinition{{Name: "app"}}})
			records.TaskDefinitions.Put(tx, &model.TaskDefinition{Family: "web", Revision: 4, NetworkMode: "host", ContainerDefinitions: []model.ContainerDefinition{{Name: "app"}}})
			records.Instances.Put(tx, &model.Instance{ID: "n", EC2InstanceID: "i-1", Address: "192.0.2.1"})
		})
		w.begin()
		test(w)
		w.stop()
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
}

func (w *world) begin() {
	ctx, stop := context.WithCancel(w.ctx)
	w.stop = stop
	loop := registration.New(registration.Config{
		Store: w.store, Scope: arn.Scope{Region: "us-east-1", AccountID: "123456789012"}, Log: slog.New(slog.DiscardHandler),
	})
	w.loops.Go(func() error { return loop.Run(ctx) })
}

func (w *world) update(fn func(tx *store.Tx)) {
	w.Helper()
	if _, err := w.store.Update(w.ctx, func(tx *store.Tx) error { fn(tx); return nil }); err != nil {
		w.Fatal(err)
	}
}

func (w *world) put(id string, edit func(*model.Task)) {
	w.Helper()
	t := &model.Task{
		ID: id, ARN: id, ClusterName: "c", ServiceID: "s", ServiceName: "web", StartedBy: "ecs-svc/1", Family: "web", Revision: 1,
		InstanceID: "n", AvailabilityZone: "us-east-1a", DesiredStatus: model.TaskRunning, Version: 1,
		Containers:       []model.TaskContainer{{Name: "app", Essential: true}},
		NetworkInterface: &model.NetworkInterface{Address: "10.0.0." + id},
		LoadBalancers:    []model.ServiceLoadBalancer{{TargetGroupARN: groupARN, ContainerName: "app", ContainerPort: 80}},
		Registries:       []model.ServiceRegistry{{RegistryARN: nameARN}},
		Observed:         model.TaskObserved{Status: model.TaskPending, Containers: []model.ContainerObserved{{Name: "app"}}},
	}
	if edit != nil {
		edit(t)
	}
	w.update(func(tx *store.Tx) { records.Tasks.Put(tx, t) })
	synctest.Wait()
}

func (w *world) edit(id string, edit func(*model.Task)) {
	w.Helper()
	w.update(func(tx *store.Tx) {
		if err := records.Tasks.Edit(tx, id, func(t *model.Task) error { edit(t); return nil }); err != nil {
			w.Fatal(err)
		}
	})
	synctest.Wait()
}

func running(t *model.Task) { t.Observed.Status = model.TaskRunning }

func (w *world) end(id string) {
	w.Helper()
	w.edit(id, func(t *model.Task) { t.DecideStop(time.Now(), model.StopUserInitiated, "") })
}

// drained is what control/balancing does when the delay is over.
func (w *world) drained() {
	w.update(func(tx *store.Tx) {
		for t := range records.Targets.All(tx) {
			if t.DeregisteredAt != nil {
				records.Targets.Delete(tx, t.Key())
			}
		}
	})
	synctest.Wait()
}

func (w *world) task(id string) *model.Task {
	t, _ := records.Tasks.Get(w.store.Snapshot(), id)
	return t
}

// state is a task in a line: whether it is registered, released, and what
// leads to it.
func (w *world) state(id string) string {
	t, snap := w.task(id), w.store.Snapshot()
	var words []string
	add := func(is bool, word string) {
		if is {
			words = append(words, word)
		}
	}
	add(t.Registered, "registered")
	add(t.Released, "released")
	for target := range records.Targets.By(snap, records.TargetsByTask, id) {
		add(target.DeregisteredAt == nil, "target "+target.Key())
		add(target.DeregisteredAt != nil, "draining "+target.Key())
	}
	for i := range records.DiscoveryInstances.By(snap, records.DiscoveryInstancesByTask, id) {
		add(i.Healthy, "name")
		add(!i.Healthy, "unhealthy name")
	}
	return t.LastStatus() + " " + join(words)
}

func join(words []string) string {
	var line strings.Builder
	for _, w := range words {
		line.WriteString(w + "; ")
	}
	return line.String()
}

func (w *world) expect(id, want string) {
	w.Helper()
	if got := w.state(id); got != want {
		w.Errorf("task %s:\n got %s\nwant %s", id, got, want)
	}
}

func (w *world) events() []string {
	var lines []string
	for e := range records.ServiceEvents.Prefix(w.store.Snapshot(), "s/") {
		lines = append(lines, e.Message)
	}
	return lines
}

func TestRun_LifeOfATask(t *testing.T) {
	bubble(t, func(w *world) {
		w.put("1", nil)
		w.expect("1", "PENDING ")
		w.edit("1", running)
		w.expect("1", "RUNNING registered; target "+groupID+"|10.0.0.1|80; name; ")
		i, _ := records.DiscoveryInstances.Get(w.store.Snapshot(), "srv-1/1")
		if diff := cmp.Diff(map[string]string{
			"AWS_INSTANCE_IPV4": "10.0.0.1", "AVAILABILITY_ZONE": "us-east-1a", "REGION": "us-east-1", "ECS_CLUSTER_NAME": "c",
			"ECS_SERVICE_NAME": "web", "ECS_TASK_DEFINITION_FAMILY": "web", "AWS_INIT_HEALTH_STATUS": "HEALTHY",
		}, i.Attributes); diff != "" {
			t.Error(diff)
		}
		w.end("1")
		w.expect("1", "DEACTIVATING registered; draining "+groupID+"|10.0.0.1|80; ")
		if w.task("1").Ends() {
			t.Error("the node would be told to stop it")
		}
		w.drained()
		w.expect("1", "DEACTIVATING registered; ") // resolvers remember its name for ten seconds
		time.Sleep(10*time.Second - 1)
		synctest.Wait()
		w.expect("1", "DEACTIVATING registered; ")
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		w.expect("1", "STOPPING registered; released; ")
		if !w.task("1").Ends() {
			t.Error("the node would not be told to stop it")
		}
		want := []string{
			"(service web) registered 1 targets in (target-group " + groupARN + ")",
			"(service web, taskSet ecs-svc/1) has begun draining connections on 1 tasks.",
			"(service web) deregistered 1 targets in (target-group " + groupARN + ")",
		}
		if diff := cmp.Diff(want, w.events()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestRun_WaitsForTheDelayAfterTheName(t *testing.T) {
	bubble(t, func(w *world) {
		w.put("1", running)
		w.end("1")
		time.Sleep(time.Minute)
		synctest.Wait()
		w.expect("1", "DEACTIVATING registered; draining "+groupID+"|10.0.0.1|80; ")
		w.drained()
		w.expect("1", "STOPPING registered; released; ")
	})
}

// The server may end between any two steps.
func TestRun_GoesOnWhereAnotherEnded(t *testing.T) {
	bubble(t, func(w *world) {
		again := func() {
			w.stop()
			synctest.Wait()
			w.begin()
			synctest.Wait()
		}
		w.put("1", running)
		again()
		w.expect("1", "RUNNING registered; target "+groupID+"|10.0.0.1|80; name; ")
		w.stop()
		w.end("1")
		w.expect("1", "DEACTIVATING registered; target "+groupID+"|10.0.0.1|80; name; ")
		w.begin()
		synctest.Wait()
		w.expect("1", "DEACTIVATING registered; draining "+groupID+"|10.0.0.1|80; ")
		again()
		w.stop()
		w.drained()
		time.Sleep(time.Minute)
		w.begin()
		synctest.Wait()
		w.expect("1", "STOPPING registered; released; ")
		if n := len(w.events()); n != 3 {
			t.Errorf("%d events: %q", n, w.events())
		}
	})
}

func TestRun_NothingToWaitFor(t *testing.T) {
	for name, test := range map[string]func(w *world){
		"never ran": func(w *world) {
			w.put("1", nil)
			w.end("1")
			w.expect("1", "STOPPING released; ")
		},
		"stopped by itself": func(w *world) {
			w.put("1", running)
			w.edit("1", func(t *model.Task) { t.Observe(time.Now(), model.TaskObserved{Seq: 1, Status: model.TaskStopped}) })
			w.expect("1", "STOPPED registered; released; draining "+groupID+"|10.0.0.1|80; ")
		},
		"stopped while it was to stop": func(w *world) {
			w.put("1", running)
			w.end("1")
			w.edit("1", func(t *model.Task) { t.Observe(time.Now(), model.TaskObserved{Seq: 1, Status: model.TaskStopped}) })
			w.expect("1", "STOPPED registered; released; draining "+groupID+"|10.0.0.1|80; ")
		},
		"lost": func(w *world) {
			w.put("1", running)
			w.edit("1", func(t *model.Task) { t.Lose(time.Now(), "gone") })
			w.expect("1", "STOPPED registered; released; draining "+groupID+"|10.0.0.1|80; ")
		},
		"target group deleted": func(w *world) {
			w.put("1", func(t *model.Task) { running(t); t.Registries = nil })
			w.end("1")
			w.update(func(tx *store.Tx) { records.TargetGroups.Delete(tx, groupID) })
			synctest.Wait()
			w.expect("1", "STOPPING registered; released; draining "+groupID+"|10.0.0.1|80; ")
		},
		"everything deleted before": func(w *world) {
			w.update(func(tx *store.Tx) {
				records.TargetGroups.Delete(tx, groupID)
				records.DiscoveryServices.Delete(tx, "srv-1")
			})
			w.put("1", running)
			w.expect("1", "RUNNING registered; ")
			w.end("1")
			w.expect("1", "STOPPING registered; released; ")
		},
		"address used again": func(w *world) {
			w.put("1", func(t *model.Task) { running(t); t.Registries = nil })
			w.end("1")
			w.put("2", func(t *model.Task) {
				running(t)
				t.Registries, t.NetworkInterface.Address = nil, "10.0.0.1"
			})
			w.expect("2", "RUNNING registered; target "+groupID+"|10.0.0.1|80; ")
			w.expect("1", "STOPPING registered; released; ")
		},
	} {
		t.Run(name, func(t *testing.T) { bubble(t, test) })
	}
}

func TestRun_ContainerHealth(t *testing.T) {
	bubble(t, func(w *world) {
		health := func(status string) func(*model.Task) {
			return func(t *model.Task) { t.Observed.Containers[0].HealthStatus = status }
		}
		w.put("1", func(t *model.Task) { running(t); t.Revision = 2 })
		w.expect("1", "RUNNING target "+groupID+"|10.0.0.1|80; ")
		w.edit("1", health(model.HealthHealthy))
		w.expect("1", "RUNNING registered; target "+groupID+"|10.0.0.1|80; name; ")
		w.edit("1", health(model.HealthUnhealthy))
		w.expect("1", "RUNNING registered; target "+groupID+"|10.0.0.1|80; unhealthy name; ")
		w.edit("1", health(model.HealthHealthy))
		w.expect("1", "RUNNING registered; target "+groupID+"|10.0.0.1|80; name; ")
		if n := len(w.events()); n != 1 {
			t.Errorf("%q", w.events())
		}
	})
}

func TestRun_PortsOfTheHost(t *testing.T) {
	bubble(t, func(w *world) {
		hosts := func(revision int) func(*model.Task) {
			return func(t *model.Task) {
				running(t)
				t.Revision, t.NetworkInterface, t.Registries = revision, nil, []model.ServiceRegistry{{RegistryARN: nameARN, ContainerName: "app", ContainerPort: 80}}
				t.LoadBalancers[0].TargetGroupARN = hostsARN
			}
		}
		w.put("1", hosts(3))
		w.expect("1", "RUNNING ")
		w.edit("1", func(t *model.Task) {
			t.Observed.Containers[0].Bindings = []model.NetworkBinding{{ContainerPort: 80, HostPort: 32768}}
		})
		w.expect("1", "RUNNING registered; target "+hostsID+"|i-1|32768; name; ")
		i, _ := records.DiscoveryInstances.Get(w.store.Snapshot(), "srv-1/1")
		if i.Attributes["AWS_INSTANCE_IPV4"] != "192.0.2.1" || i.Attributes["AWS_INSTANCE_PORT"] != "32768" || i.Attributes["EC2_INSTANCE_ID"] != "i-1" {
			t.Errorf("%v", i.Attributes)
		}
		w.put("2", hosts(4))
		w.expect("2", "RUNNING registered; target "+hostsID+"|i-1|80; name; ")
		target, _ := records.Targets.Get(w.store.Snapshot(), model.TargetKey(hostsID, "i-1", 80))
		if target.Address != "192.0.2.1" {
			t.Errorf("%+v", target)
		}
	})
}

// What a user takes out stays out, and his own targets stay his.
func TestRun_LeavesUsersAlone(t *testing.T) {
	bubble(t, func(w *world) {
		w.put("1", running)
		w.update(func(tx *store.Tx) {
			records.Targets.Delete(tx, model.TargetKey(groupID, "10.0.0.1", 80))
			records.DiscoveryInstances.Delete(tx, "srv-1/1")
			records.Targets.Put(tx, &model.Target{TargetGroupID: groupID, TargetID: "10.0.0.9", Port: 80})
		})
		w.edit("1", func(t *model.Task) { t.Version++ })
		w.expect("1", "RUNNING registered; ")
		w.end("1")
		w.expect("1", "STOPPING registered; released; ")
		if mine, found := records.Targets.Get(w.store.Snapshot(), model.TargetKey(groupID, "10.0.0.9", 80)); !found || mine.DeregisteredAt != nil {
			t.Error("a user's target was taken out")
		}
	})
}

// Tasks that change together are told of together.
func TestRun_CountsTogether(t *testing.T) {
	bubble(t, func(w *world) {
		ids := []string{"1", "2", "3"}
		for _, id := range ids {
			w.put(id, nil)
		}
		w.update(func(tx *store.Tx) {
			for _, id := range ids {
				if err := records.Tasks.Edit(tx, id, func(t *model.Task) error { running(t); return nil }); err != nil {
					t.Fatal(err)
				}
			}
		})
		synctest.Wait()
		if want := []string{"(service web) registered 3 targets in (target-group " + groupARN + ")"}; !slices.Equal(w.events(), want) {
			t.Errorf("%q", w.events())
		}
	})
}
