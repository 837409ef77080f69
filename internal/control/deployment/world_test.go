package deployment_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/control/deployment"
	"berth.dev/berth/internal/data/kv"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/launch"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

var scope = arn.Scope{Region: "us-east-1", AccountID: "123456789012"}

// world is a store with the loop on it, and nodes that do as they are told.
type world struct {
	t     *testing.T
	kv    kv.KV
	store *store.Store
	stop  func()

	mu           sync.Mutex
	tag          string // what nodes find that images mean
	fewest, most int    // running tasks, and all that run or are about to
}

// measure begins to watch the bounds anew.
func (w *world) measure() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fewest, w.most = 1<<30, 0
}

// within expects that the bounds were kept since.
func (w *world) within(lower, upper int) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fewest < lower || w.most > upper {
		w.t.Errorf("between %d and %d tasks ran", w.fewest, w.most)
	}
}

// run plays fn in a bubble.
func run(t *testing.T, fn func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, kv: memkv.New(10_000)}
		w.begin()
		w.update(func(tx *store.Tx) error {
			records.Clusters.Put(tx, &model.Cluster{Name: "c", ARN: "arn:c", Status: model.ClusterActive})
			return nil
		})
		defer func() { w.stop() }()
		fn(w)
	})
}

// begin starts a control plane.
func (w *world) begin() {
	s, err := store.Open(w.kv, "/berth/", store.Options{CheckMutation: true}, records.All()...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.store = s
	ctx, cancel := context.WithCancel(context.Background())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Run(ctx) })
	<-s.Ready()
	g.Go(func() error {
		return deployment.New(deployment.Config{
			Store: s, Launcher: launch.New(launch.Config{Scope: scope}), Scope: scope,
			HealthyAfter: deployment.DefaultHealthyAfter, Log: slog.New(slog.DiscardHandler),
		}).Run(ctx)
	})
	g.Go(func() error { w.nodes(ctx, s); return nil })
	w.stop = func() {
		cancel()
		if err := g.Wait(); err != nil {
			w.t.Error(err)
		}
	}
}

func (w *world) update(fn func(tx *store.Tx) error) {
	w.t.Helper()
	if _, err := w.store.Update(w.t.Context(), fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) instance(id string, cpu int64, edit func(*model.Instance)) {
	w.update(func(tx *store.Tx) error {
		i := &model.Instance{ID: id, Name: id, ClusterName: "c", Status: model.InstanceActive, CPU: cpu, Memory: 1 << 20, Connected: true}
		if edit != nil {
			edit(i)
		}
		records.Instances.Put(tx, i)
		return nil
	})
}

// definition is one of which a node knows by its family what to do.
func definition(tx *store.Tx, family string) string {
	d := &model.TaskDefinition{
		Family: family, Revision: 1, ARN: "arn:aws:ecs:us-east-1:123456789012:task-definition/" + family + ":1", Status: model.TaskDefinitionActive,
		NetworkMode: "bridge", RequiresCompatibilities: []string{"EC2"}, Compatibilities: []string{"EC2"},
		ContainerDefinitions: []model.ContainerDefinition{{Name: "app", Image: imageOf(family), CPU: 256, Memory: new(int32(64))}},
	}
	records.TaskDefinitions.Put(tx, d)
	return d.ARN
}

// imageOf is the image of a family: that of "ecr" is in our own registry.
func imageOf(family string) string {
	if family == "ecr" {
		return "123456789012.dkr.ecr.us-east-1.amazonaws.com/app:v1"
	}
	return family
}

// service makes a service as the provider does.
func (w *world) service(family string, desired int, edit func(*model.Service)) {
	w.update(func(tx *store.Tx) error {
		s := &model.Service{
			ID: "s", Name: "web", ARN: "arn:s", ClusterName: "c", Status: model.ServiceActive, CreatedAt: tx.Now(), DesiredCount: desired,
			SchedulingStrategy:      model.SchedulingReplica,
			DeploymentConfiguration: model.DeploymentConfiguration{MinimumHealthyPercent: 100, MaximumPercent: 200},
			Revision:                model.RevisionSpec{TaskDefinitionARN: definition(tx, family), LaunchType: model.LaunchEC2},
		}
		if edit != nil {
			edit(s)
		}
		records.Services.Put(tx, s)
		deploy(tx, s, 1)
		return nil
	})
}

// deploy makes a deployment of what the service is to run.
func deploy(tx *store.Tx, s *model.Service, number uint64) {
	revision := ident.ServiceRevision()
	name := s.Revision.TaskDefinitionARN
	image := strings.TrimSuffix(name[strings.LastIndexByte(name, '/')+1:], ":1")
	records.ServiceRevisions.Put(tx, &model.ServiceRevision{
		ID: revision, ServiceID: s.ID, Spec: s.Revision, Images: []model.RevisionImage{{ContainerName: "app", Image: imageOf(image)}},
	})
	records.Deployments.Put(tx, &model.Deployment{
		ID: fmt.Sprintf("ecs-svc/%d", number), ServiceID: s.ID, ClusterName: s.ClusterName, Number: number, RevisionID: revision,
		CreatedAt: tx.Now(), Status: model.DeploymentPrimary, RolloutState: model.RolloutInProgress,
		ServiceDeploymentID: fmt.Sprint("sd", number), ServiceDeploymentStatus: model.ServiceDeploymentPending,
	})
}

// redeploy updates the service to another task definition.
func (w *world) redeploy(family string) {
	w.update(func(tx *store.Tx) error {
		var last *model.Deployment
		for d := range records.Deployments.Prefix(tx, "s/") {
			last = d
		}
		return records.Services.Edit(tx, "s", func(s *model.Service) error {
			s.Revision.TaskDefinitionARN = definition(tx, family)
			deploy(tx, s, last.Number+1)
			return records.Deployments.Edit(tx, last.Key(), func(d *model.Deployment) error {
				d.Status = model.DeploymentActive
				return nil
			})
		})
	})
}

func (w *world) edit(fn func(s *model.Service)) {
	w.update(func(tx *store.Tx) error {
		return records.Services.Edit(tx, "s", func(s *model.Service) error { fn(s); return nil })
	})
}

// nodes run tasks: they start within 100 ms and stop within 100 ms. Tasks of
// the family "missing" cannot be started, those of "exits" end at once.
func (w *world) nodes(ctx context.Context, s *store.Store) {
	watch := s.Watch(ctx, records.Tasks)
	for t := range records.Tasks.All(watch.Snapshot()) {
		w.advance(ctx, s, t)
	}
	for {
		snap, changes, err := watch.Next(ctx)
		if err != nil {
			return
		}
		w.count(snap)
		for _, c := range changes {
			if t, ok := records.Tasks.Get(snap, c.Key); ok {
				w.advance(ctx, s, t)
			}
		}
	}
}

// count watches the bounds.
func (w *world) count(r store.Reader) {
	running, all := 0, 0
	for t := range records.Tasks.By(r, records.OpenTasksByService, "s") {
		if t.LastStatus() == model.TaskRunning && t.DesiredStatus == model.TaskRunning {
			running++
		}
		if model.TaskStatusRank(t.LastStatus()) <= model.TaskStatusRank(model.TaskRunning) {
			all++
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fewest, w.most = min(w.fewest, running), max(w.most, all)
}

func (w *world) advance(ctx context.Context, s *store.Store, t *model.Task) {
	if t.Stopped() {
		return
	}
	report := t.Observed
	report.Seq++
	now := time.Now()
	after := 100 * time.Millisecond
	switch {
	case t.DesiredStatus == model.TaskStopped && report.Status != model.TaskStopping:
		report.Status = model.TaskStopping
	case t.DesiredStatus == model.TaskStopped:
		report.Status, report.StoppedAt = model.TaskStopped, &now
	case report.Status == model.TaskRunning && t.Family == "exits":
		report.Status, report.StoppedAt = model.TaskStopped, &now
		report.StopCode, report.StoppedReason = model.StopEssentialContainerExited, "Essential container in task exited"
	case report.Status == model.TaskRunning:
		return
	case t.Family == "missing":
		report.Status, report.StoppedAt = model.TaskStopped, &now
		report.StopCode, report.StoppedReason = model.StopTaskFailedToStart, "CannotPullContainerError: no such image"
	default:
		report.Status, report.StartedAt = model.TaskRunning, &now
		report.Containers = []model.ContainerObserved{{Name: "app", Status: model.ContainerRunning, ImageDigest: w.found(t)}}
	}
	time.AfterFunc(after, func() {
		if ctx.Err() != nil {
			return
		}
		_, err := s.Update(ctx, func(tx *store.Tx) error {
			return records.Tasks.Edit(tx, t.ID, func(t *model.Task) error {
				t.Observe(tx.Now(), report)
				return nil
			})
		})
		if err != nil && ctx.Err() == nil {
			w.t.Error(err)
		}
	})
}

// moveTag changes what nodes find from now on.
func (w *world) moveTag(digest string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tag = digest
}

// found is the digest of the image that a node runs for a task.
func (w *world) found(t *model.Task) string {
	if pinned := t.Containers[0].ImageDigest; pinned != "" {
		return pinned
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tag
}

// digests are what the live tasks of the service run.
func (w *world) digests() []string {
	var list []string
	for t := range records.Tasks.By(w.store.Snapshot(), records.TasksByService, "s") {
		if o, ok := t.Observed.Container("app"); ok && !t.Stopped() {
			list = append(list, o.ImageDigest)
		}
	}
	slices.Sort(list)
	return list
}

// events are the messages so far, with ids left out.
func (w *world) events() []string {
	var messages []string
	for e := range records.ServiceEvents.Prefix(w.store.Snapshot(), "s/") {
		m, _, _ := strings.Cut(e.Message, ": (task")
		messages = append(messages, strings.TrimPrefix(m, "(service web) "))
	}
	return messages
}

// tasks counts the live ones by family and state, such as "web RUNNING".
func (w *world) tasks() map[string]int {
	count := map[string]int{}
	for t := range records.Tasks.By(w.store.Snapshot(), records.TasksByService, "s") {
		if !t.Stopped() {
			count[t.Family+" "+t.LastStatus()]++
		}
	}
	return count
}

func (w *world) deployments() []string {
	var list []string
	for d := range records.Deployments.Prefix(w.store.Snapshot(), "s/") {
		list = append(list, fmt.Sprintf("%d %s %s", d.Number, d.Status, d.RolloutState))
	}
	return list
}

func (w *world) expect(what string, got, want any) {
	w.t.Helper()
	if g, wnt := fmt.Sprint(got), fmt.Sprint(want); g != wnt {
		w.t.Errorf("%s: got %s\nwant %s", what, strings.ReplaceAll(g, ". ", ".\n"), wnt)
	}
}

func contains(list []string, part string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return strings.Contains(s, part) })
}
