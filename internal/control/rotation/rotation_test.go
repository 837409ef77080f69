package rotation_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/control/rotation"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/launch"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

var scope = arn.Scope{Region: "us-east-1", AccountID: "123456789012"}

const secretARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:s-AbCdEf"

// world is a loop in a bubble, with a secret that has a value, task definitions
// that rotate it, and a node to run them.
type world struct {
	testing.TB
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
		w := &world{TB: t, store: s, ctx: ctx, loops: g}
		w.furnish()
		w.begin()
		test(w)
		w.stop()
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
}

func (w *world) furnish() {
	w.update(func(tx *store.Tx) {
		records.Clusters.Put(tx, &model.Cluster{Name: "default", Status: model.ClusterActive})
		records.VPCs.Put(tx, &model.VPC{ID: "vpc-1", CIDR: "10.0.0.0/16", IsDefault: true})
		for n, zone := range []string{"x", "y"} {
			records.Subnets.Put(tx, &model.Subnet{ID: "subnet-" + zone, VPCID: "vpc-1", CIDR: fmt.Sprintf("10.0.%d.0/24", n), AvailabilityZone: zone, DefaultForAZ: true, MapPublicIP: true})
		}
		records.Subnets.Put(tx, &model.Subnet{ID: "subnet-own", VPCID: "vpc-1", CIDR: "10.0.9.0/24", AvailabilityZone: "x"})
		records.SecurityGroups.Put(tx, &model.SecurityGroup{ID: "sg-1", Name: "default", VPCID: "vpc-1"})
		records.SecurityGroups.Put(tx, &model.SecurityGroup{ID: "sg-2", Name: "own", VPCID: "vpc-1"})
		records.Families.Put(tx, &model.Family{Name: "bridge", LastRevision: 1})
		records.Families.Put(tx, &model.Family{Name: "fargate", LastRevision: 1})
		for family, def := range map[string]*model.TaskDefinition{
			"bridge":  {NetworkMode: "bridge", Compatibilities: []string{"EC2"}},
			"fargate": {NetworkMode: "awsvpc", Compatibilities: []string{"EC2", "FARGATE"}, RequiresCompatibilities: []string{"FARGATE"}, CPU: "256", Memory: "512"},
		} {
			def.Family, def.Revision, def.ARN, def.Status = family, 1, scope.TaskDefinition(family, 1), model.TaskDefinitionActive
			def.ContainerDefinitions = []model.ContainerDefinition{{Name: "app", Image: "rotate", CPU: 10, Memory: new(int32(64))}}
			records.TaskDefinitions.Put(tx, def)
		}
		records.Instances.Put(tx, &model.Instance{ID: "n", Name: "n", ClusterName: "default", Status: model.InstanceActive, Connected: true, CPU: 4096, Memory: 8192})
		records.SecretVersions.Put(tx, &model.SecretVersion{SecretName: "s", ID: "v0", CreatedAt: tx.Now()})
		records.Secrets.Put(tx, &model.Secret{Name: "s", ARN: secretARN, Stages: model.SecretStages(nil).Add("v0", nil)})
	})
}

func (w *world) begin() {
	ctx, stop := context.WithCancel(w.ctx)
	w.stop = stop
	loop := rotation.New(rotation.Config{
		Store: w.store, Scope: scope, Log: slog.New(slog.DiscardHandler), PublicAddresses: true,
		Launcher: launch.New(launch.Config{Scope: scope, PublicAddresses: netip.MustParsePrefix("127.128.0.0/24")}),
	})
	w.loops.Go(func() error { return loop.Run(ctx) })
}

func (w *world) update(fn func(tx *store.Tx)) {
	w.Helper()
	if _, err := w.store.Update(w.ctx, func(tx *store.Tx) error { fn(tx); return nil }); err != nil {
		w.Fatal(err)
	}
}

// edit changes the secret and lets the loop come to rest.
func (w *world) edit(fn func(s *model.Secret, r *model.SecretRotation)) {
	w.Helper()
	w.update(func(tx *store.Tx) {
		if err := records.Secrets.Edit(tx, "s", func(s *model.Secret) error {
			r := model.SecretRotation{TaskDefinitionARN: "arn:aws:ecs:us-east-1:123456789012:task-definition/bridge"}
			if s.Rotation != nil {
				r = *s.Rotation
			}
			fn(s, &r)
			s.Rotation = &r
			return nil
		}); err != nil {
			w.Fatal(err)
		}
	})
	synctest.Wait()
}

func (w *world) ask(version string) {
	w.Helper()
	w.edit(func(_ *model.Secret, r *model.SecretRotation) { r.Enabled, r.VersionID, r.AfterDays = true, version, 1 })
}

func (w *world) secret() *model.Secret {
	w.Helper()
	s, found := records.Secrets.Get(w.store.Snapshot(), "s")
	if !found {
		w.Fatal("the secret is gone")
	}
	return s
}

// live are the tasks that have not stopped.
func (w *world) live() []*model.Task {
	return slices.Collect(records.Tasks.By(w.store.Snapshot(), records.LiveTasksByInstance, "n"))
}

func (w *world) only() *model.Task {
	w.Helper()
	live := w.live()
	if len(live) != 1 {
		w.Fatalf("%d tasks run: %+v", len(live), w.secret().Rotation)
	}
	return live[0]
}

// versionOf is the version that a task is to make.
func versionOf(t *model.Task) string {
	for _, e := range t.Overrides.ContainerOverrides[0].Environment {
		if e.Name == "SECRET_VERSION_ID" {
			return e.Value
		}
	}
	return ""
}

// stores makes a task store its version, as PutSecretValue does.
func (w *world) stores(t *model.Task) {
	w.Helper()
	w.update(func(tx *store.Tx) {
		v := &model.SecretVersion{SecretName: "s", ID: versionOf(t), CreatedAt: tx.Now()}
		if records.SecretVersions.Has(tx, v.Key()) {
			return
		}
		records.SecretVersions.Put(tx, v)
		if err := records.Secrets.Edit(tx, "s", func(s *model.Secret) error {
			s.Stages = s.Stages.Add(v.ID, []string{model.StagePending})
			return nil
		}); err != nil {
			w.Fatal(err)
		}
	})
}

func (w *world) ends(t *model.Task, code int32) {
	w.Helper()
	w.update(func(tx *store.Tx) {
		if err := records.Tasks.Edit(tx, t.ID, func(t *model.Task) error {
			t.Observe(tx.Now(), model.TaskObserved{Seq: t.Observed.Seq + 1, Status: model.TaskStopped, Containers: []model.ContainerObserved{{Name: "app", ExitCode: &code}}})
			return nil
		}); err != nil {
			w.Fatal(err)
		}
	})
	synctest.Wait()
}

func TestRotation(t *testing.T) {
	bubble(t, func(w *world) {
		w.ask("v1")
		task := w.only()
		want := []model.KeyValuePair{{Name: "SECRET_ARN", Value: secretARN}, {Name: "SECRET_VERSION_ID", Value: "v1"}}
		if diff := cmp.Diff(want, task.Overrides.ContainerOverrides[0].Environment); diff != "" {
			t.Error(diff)
		}
		if task.ClusterName != "default" || task.LaunchType != model.LaunchEC2 || task.StartedBy != "secretsmanager" || w.secret().Rotation.TaskID != task.ID {
			t.Errorf("%+v", task)
		}
		w.stores(task)
		synctest.Wait()
		if diff := cmp.Diff(model.SecretStages{"AWSCURRENT": "v0", "AWSPENDING": "v1"}, w.secret().Stages); diff != "" {
			t.Error(diff)
		}
		w.ends(task, 0)
		s := w.secret()
		if diff := cmp.Diff(model.SecretStages{"AWSCURRENT": "v1", "AWSPREVIOUS": "v0"}, s.Stages); diff != "" {
			t.Error(diff)
		}
		r := s.Rotation
		midnight := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, 1)
		if r.TaskID != "" || r.VersionID != "" || !r.LastAt.Equal(time.Now()) || !r.NextAt.Equal(midnight) || len(w.live()) != 0 {
			t.Errorf("%+v", r)
		}
		// The next one comes by itself.
		time.Sleep(time.Until(midnight) - time.Nanosecond)
		synctest.Wait()
		if n := len(w.live()); n != 0 {
			t.Errorf("%d tasks before the window opens", n)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		task = w.only()
		if id := versionOf(task); len(id) != 36 || id != w.secret().Rotation.VersionID {
			t.Error(id)
		}
		w.stores(task)
		w.ends(task, 0)
		if got := w.secret().Stages["AWSPREVIOUS"]; got != "v1" {
			t.Error(got)
		}
	})
}

func TestFailuresAreRepeated(t *testing.T) {
	bubble(t, func(w *world) {
		w.ask("v1")
		task := w.only()
		w.stores(task)
		w.ends(task, 7)
		r := w.secret().Rotation
		if r.Failure != "container app of the task exited with 7" || r.VersionID != "v1" || len(w.live()) != 0 {
			t.Errorf("%+v", r)
		}
		if w.secret().Stages["AWSPENDING"] != "v1" || w.secret().Stages["AWSCURRENT"] != "v0" {
			t.Error(w.secret().Stages)
		}
		for _, pause := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute} {
			time.Sleep(pause - time.Nanosecond)
			synctest.Wait()
			if n := len(w.live()); n != 0 {
				t.Errorf("%d tasks within the pause", n)
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			if task = w.only(); versionOf(task) != "v1" {
				t.Errorf("the attempt makes %s", versionOf(task))
			}
			w.ends(task, 1)
		}
		time.Sleep(8 * time.Minute)
		synctest.Wait()
		w.ends(w.only(), 0) // it found its version, and has tested it
		if s := w.secret(); s.Stages["AWSCURRENT"] != "v1" || s.Rotation.Failure != "" || s.Rotation.Failures != 0 {
			t.Errorf("%+v, %+v", s.Stages, s.Rotation)
		}
	})
}

// What keeps a task from being run is told, and tried again.
func TestNoTask(t *testing.T) {
	for _, tc := range []struct {
		name string
		edit func(tx *store.Tx, s *model.Secret, r *model.SecretRotation)
		want string
	}{
		{"no definition", func(_ *store.Tx, _ *model.Secret, r *model.SecretRotation) {
			r.TaskDefinitionARN = "arn:aws:ecs:us-east-1:123456789012:task-definition/none"
		}, "arn:aws:ecs:us-east-1:123456789012:task-definition/none does not exist, or is not active"},
		{"no cluster", func(_ *store.Tx, s *model.Secret, _ *model.SecretRotation) {
			s.Tags = []model.Tag{{Key: "berth:rotation-cluster", Value: "prod"}}
		}, "cluster prod does not exist, or is not active"},
		{"no subnet", func(_ *store.Tx, s *model.Secret, r *model.SecretRotation) {
			r.TaskDefinitionARN, s.Tags = scope.TaskDefinition("fargate", 1), []model.Tag{{Key: "berth:rotation-subnets", Value: "subnet-none"}}
		}, "the task cannot be run: Error retrieving subnet information for [subnet-none]: The subnet ID 'subnet-none' does not exist (ErrorCode: InvalidSubnetID.NotFound)"},
		{"no room", func(tx *store.Tx, _ *model.Secret, _ *model.SecretRotation) {
			if err := records.Instances.Edit(tx, "n", func(i *model.Instance) error { i.Memory = 1; return nil }); err != nil {
				panic(err)
			}
		}, "the task was not placed: RESOURCE:MEMORY"},
		{"no instance", func(tx *store.Tx, _ *model.Secret, _ *model.SecretRotation) { records.Instances.Delete(tx, "n") }, "cluster default has no container instance"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(w *world) {
				w.update(func(tx *store.Tx) {
					s, _ := records.Secrets.Get(tx, "s")
					changed := *s
					changed.Rotation = &model.SecretRotation{Enabled: true, VersionID: "v1", TaskDefinitionARN: scope.TaskDefinition("bridge", 1)}
					tc.edit(tx, &changed, changed.Rotation)
					records.Secrets.Put(tx, &changed)
				})
				synctest.Wait()
				if r := w.secret().Rotation; r.Failure != tc.want || r.RetryAt == nil || r.TaskID != "" || r.VersionID != "v1" {
					t.Errorf("%+v", r)
				}
			})
		})
	}
}

func TestPlaces(t *testing.T) {
	bubble(t, func(w *world) {
		w.edit(func(_ *model.Secret, r *model.SecretRotation) {
			r.Enabled, r.VersionID, r.TaskDefinitionARN = true, "v1", scope.TaskDefinition("fargate", 1)
		})
		task := w.only()
		n := task.NetworkInterface
		if task.LaunchType != model.LaunchFargate || n == nil || n.SubnetID == "subnet-own" || n.PublicAddress == "" || !slices.Equal(n.GroupIDs, []string{"sg-1"}) {
			t.Fatalf("%+v, %+v", task, n)
		}
		w.ends(task, 1)
		w.edit(func(s *model.Secret, _ *model.SecretRotation) {
			s.Tags = []model.Tag{{Key: "berth:rotation-subnets", Value: "subnet-own"}, {Key: "berth:rotation-security-groups", Value: "sg-2"}}
		})
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := w.only().NetworkInterface; n.SubnetID != "subnet-own" || n.PublicAddress != "" || !slices.Equal(n.GroupIDs, []string{"sg-2"}) {
			t.Errorf("%+v", n)
		}
	})
}

func TestCancel(t *testing.T) {
	bubble(t, func(w *world) {
		w.ask("v1")
		task := w.only()
		w.stores(task)
		w.edit(func(_ *model.Secret, r *model.SecretRotation) { r.Enabled, r.NextAt = false, nil })
		task = w.only()
		if task.DesiredStatus != model.TaskStopped || task.StoppedReason != "Rotation of the secret was cancelled" {
			t.Errorf("%+v", task)
		}
		w.ends(task, 0) // too late
		if s := w.secret(); s.Rotation.VersionID != "" || s.Rotation.TaskID != "" || s.Stages["AWSCURRENT"] != "v0" {
			t.Errorf("%+v, %+v", s.Stages, s.Rotation)
		}
	})
}

func TestTooLong(t *testing.T) {
	bubble(t, func(w *world) {
		w.ask("v1")
		time.Sleep(time.Hour)
		synctest.Wait()
		task := w.only()
		if task.DesiredStatus != model.TaskStopped || task.StoppedReason != "Rotation of the secret took longer than 1h0m0s" {
			t.Errorf("%+v", task)
		}
		w.ends(task, 137)
		if r := w.secret().Rotation; r.Failures != 1 || r.VersionID != "v1" {
			t.Errorf("%+v", r)
		}
	})
}

// A task whose record is gone has failed, whatever it did.
func TestForgottenTask(t *testing.T) {
	bubble(t, func(w *world) {
		w.ask("v1")
		task := w.only()
		w.stop()
		synctest.Wait()
		w.update(func(tx *store.Tx) { records.Tasks.Delete(tx, task.ID) })
		w.begin()
		synctest.Wait()
		if r := w.secret().Rotation; r.Failure != "what became of the task is not known any more" || r.RetryAt == nil {
			t.Errorf("%+v", r)
		}
	})
}

func TestDeletedSecretWaits(t *testing.T) {
	bubble(t, func(w *world) {
		w.edit(func(s *model.Secret, r *model.SecretRotation) {
			s.DeletedAt, r.Enabled, r.VersionID = new(time.Now()), true, "v1"
		})
		if n := len(w.live()); n != 0 {
			t.Errorf("%d tasks for a secret that waits for deletion", n)
		}
		w.edit(func(s *model.Secret, _ *model.SecretRotation) { s.DeletedAt = nil })
		w.only()
	})
}

// Whenever the loop dies and returns, and whatever its tasks do, there is one
// task at a time, no rotation is lost and none is done twice.
func TestKilledAtAnyTime(t *testing.T) {
	for seed := range uint64(40) {
		bubble(t, func(w *world) {
			random := rand.New(rand.NewPCG(seed, 1))
			running, asked := true, 0
			versions := map[string]bool{"v0": true}
			check := func() {
				t.Helper()
				s := w.secret()
				if n := len(w.live()); n > 1 {
					t.Fatalf("seed %d: %d tasks at once", seed, n)
				}
				if !versions[s.Stages["AWSCURRENT"]] || s.Stages["AWSCURRENT"] == s.Stages["AWSPREVIOUS"] {
					t.Fatalf("seed %d: %v", seed, s.Stages)
				}
			}
			for range 60 {
				switch random.IntN(6) {
				case 0:
					if running {
						w.stop() // without waiting for what it does at this moment
					} else {
						w.begin()
					}
					running = !running
				case 1:
					if r := w.secret().Rotation; r == nil || r.VersionID == "" && r.TaskID == "" && (r.NextAt == nil || r.NextAt.After(time.Now())) {
						asked++
						id := fmt.Sprint("v", asked)
						w.update(func(tx *store.Tx) {
							if err := records.Secrets.Edit(tx, "s", func(s *model.Secret) error {
								s.Rotation = &model.SecretRotation{Enabled: true, VersionID: id, TaskDefinitionARN: scope.TaskDefinition("bridge", 1)}
								return nil
							}); err != nil {
								t.Fatal(err)
							}
						})
					}
				case 2:
					for _, task := range w.live() {
						w.stores(task)
						versions[versionOf(task)] = true
					}
				case 3:
					for _, task := range w.live() {
						w.ends(task, int32(random.IntN(2)))
					}
				case 4:
					time.Sleep(time.Duration(random.IntN(10)) * time.Minute)
				case 5:
					synctest.Wait()
				}
				check()
			}
			if !running {
				w.begin()
			}
			for range 40 { // what was asked for is done in the end
				time.Sleep(time.Hour)
				synctest.Wait()
				check()
				for _, task := range w.live() {
					w.stores(task)
					versions[versionOf(task)] = true
					w.ends(task, 0)
				}
			}
			if done, s := len(versions)-1, w.secret(); done != asked || asked > 0 && s.Stages["AWSCURRENT"] != fmt.Sprint("v", asked) {
				t.Fatalf("seed %d: %d rotations were asked for, %d done: %+v, %+v", seed, asked, done, s.Stages, s.Rotation)
			}
		})
	}
}
