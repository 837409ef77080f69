package ecs_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

func (w *world) cluster(name string, include ...ecsapi.ClusterField) ecsapi.Cluster {
	w.Helper()
	out, err := w.DescribeClusters(w.Context(), &ecsapi.DescribeClustersInput{Clusters: []string{name}, Include: include})
	if err != nil {
		w.Fatal(err)
	}
	if len(out.Clusters) != 1 {
		w.Fatalf("%+v", out.Failures)
	}
	return out.Clusters[0]
}

func TestClusterLife(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	created, err := w.CreateCluster(ctx, &ecsapi.CreateClusterInput{
		ClusterName: new("web"), Tags: []ecsapi.Tag{{Key: new("team"), Value: new("a")}},
		Settings:          []ecsapi.ClusterSetting{{Name: "containerInsights", Value: new("enabled")}},
		CapacityProviders: []string{"FARGATE"},
		Configuration:     &ecsapi.ClusterConfiguration{ExecuteCommandConfiguration: &ecsapi.ExecuteCommandConfiguration{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	again, err := w.CreateCluster(ctx, &ecsapi.CreateClusterInput{ClusterName: new("web")})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(created.Cluster, again.Cluster); diff != "" {
		t.Errorf("creating it again: %s", diff)
	}
	plain := w.cluster("web")
	if len(plain.Settings)+len(plain.Tags)+len(plain.Statistics) != 0 || plain.Settings == nil || plain.Configuration != nil || plain.AttachmentsStatus != nil {
		t.Errorf("what was not asked for is shown: %+v", plain)
	}
	full := w.cluster("web", "SETTINGS", "TAGS", "STATISTICS", "CONFIGURATIONS", "ATTACHMENTS")
	if *full.Settings[0].Value != "enabled" || *full.Tags[0].Value != "a" || len(full.Statistics) != 12 ||
		full.Configuration.ExecuteCommandConfiguration.Logging != "DEFAULT" || *full.AttachmentsStatus != "UPDATE_COMPLETE" {
		t.Errorf("%+v", full)
	}
	if _, err := w.UpdateClusterSettings(ctx, &ecsapi.UpdateClusterSettingsInput{Cluster: new("web"), Settings: []ecsapi.ClusterSetting{{Name: "containerInsights", Value: new("disabled")}}}); err != nil {
		t.Fatal(err)
	}
	updated, err := w.UpdateCluster(ctx, &ecsapi.UpdateClusterInput{Cluster: created.Cluster.ClusterArn, Configuration: &ecsapi.ClusterConfiguration{
		ExecuteCommandConfiguration: &ecsapi.ExecuteCommandConfiguration{Logging: "NONE"},
	}})
	if err != nil || *updated.Cluster.Settings[0].Value != "disabled" || updated.Cluster.Configuration.ExecuteCommandConfiguration.Logging != "NONE" {
		t.Errorf("%+v, %v", updated, err)
	}

	deleted, err := w.DeleteCluster(ctx, &ecsapi.DeleteClusterInput{Cluster: new("web")})
	if err != nil || *deleted.Cluster.Status != "INACTIVE" {
		t.Fatalf("%+v, %v", deleted, err)
	}
	if c := w.cluster("web"); *c.Status != "INACTIVE" {
		t.Errorf("described as %s", *c.Status)
	}
	list, err := w.ListClusters(ctx, &ecsapi.ListClustersInput{})
	if err != nil || len(list.ClusterArns) != 1 || !strings.HasSuffix(list.ClusterArns[0], "/default") {
		t.Errorf("%+v, %v", list, err)
	}
	fresh, err := w.CreateCluster(ctx, &ecsapi.CreateClusterInput{ClusterName: new("web")})
	if err != nil || *fresh.Cluster.Status != "ACTIVE" || len(fresh.Cluster.Tags) != 0 || *fresh.Cluster.ClusterArn != *created.Cluster.ClusterArn {
		t.Errorf("%+v, %v", fresh, err)
	}
	missing, err := w.DescribeClusters(ctx, &ecsapi.DescribeClustersInput{Clusters: []string{"none"}})
	if err != nil || *missing.Failures[0].Arn != "arn:aws:ecs:us-east-1:123456789012:cluster/none" || *missing.Failures[0].Reason != "MISSING" {
		t.Errorf("%+v, %v", missing, err)
	}
}

func TestEnsureDefaultCluster_KeepsDeleted(t *testing.T) {
	w := newWorld(t)
	if _, err := w.DeleteCluster(t.Context(), &ecsapi.DeleteClusterInput{Cluster: new("default")}); err != nil {
		t.Fatal(err)
	}
	if err := w.EnsureDefaultCluster(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c := w.cluster("default"); *c.Status != "INACTIVE" {
		t.Errorf("it came back: %s", *c.Status)
	}
}

func TestClusterStatistics(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "default", 4096, 8192)
	w.register("web", nil)
	a := *w.run("web", nil).Tasks[0].TaskArn
	w.run("web", nil)
	w.run("web", func(in *ecsapi.RunTaskInput) { in.LaunchType = "EC2" })
	w.report(a, model.TaskRunning, nil)
	c := w.cluster("default", "STATISTICS")
	got := map[string]string{}
	for _, s := range c.Statistics {
		if *s.Value != "0" {
			got[*s.Name] = *s.Value
		}
	}
	if diff := cmp.Diff(map[string]string{"runningFargateTasksCount": "1", "pendingFargateTasksCount": "1", "pendingEC2TasksCount": "1"}, got); diff != "" {
		t.Error(diff)
	}
	if *c.RunningTasksCount != 1 || *c.PendingTasksCount != 2 || *c.RegisteredContainerInstancesCount != 1 {
		t.Errorf("%d running, %d pending, %d instances", *c.RunningTasksCount, *c.PendingTasksCount, *c.RegisteredContainerInstancesCount)
	}
}

// Whoever comes first, no task is ever accepted into a deleted cluster.
func TestDeleteCluster_AgainstRunTask(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "", 40960, 81920)
	w.register("web", nil)
	other := newProvider(w) // without the turns that one provider takes
	for range 20 {
		if _, err := w.CreateCluster(t.Context(), &ecsapi.CreateClusterInput{ClusterName: new("c")}); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		var ran, deleted error
		wg.Go(func() {
			_, ran = other.RunTask(t.Context(), runInput("web", func(in *ecsapi.RunTaskInput) { in.Cluster = new("c") }))
		})
		wg.Go(func() { _, deleted = w.DeleteCluster(t.Context(), &ecsapi.DeleteClusterInput{Cluster: new("c")}) })
		wg.Wait()
		if (ran == nil) == (deleted == nil) {
			t.Fatalf("run: %v, delete: %v", ran, deleted)
		}
		if deleted != nil && say(deleted) != "ClusterContainsTasksException: The Cluster cannot be deleted while Tasks are active." {
			t.Fatal(say(deleted))
		}
		for task := range records.Tasks.By(w.store.Snapshot(), records.TasksByCluster, "c") {
			if !task.Stopped() {
				w.report(task.ARN, model.TaskStopped, nil)
			}
		}
	}
}

func TestClusterRefusals(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.node("n1", "busy", 1024, 1024)
	create := func(in ecsapi.CreateClusterInput) error { _, err := w.CreateCluster(ctx, &in); return err }
	put := func(in ecsapi.PutClusterCapacityProvidersInput) error {
		in.Cluster = new("default")
		_, err := w.PutClusterCapacityProviders(ctx, &in)
		return err
	}
	remove := func(name string) error {
		_, err := w.DeleteCluster(ctx, &ecsapi.DeleteClusterInput{Cluster: &name})
		return err
	}
	setting := func(name, v string) error {
		_, err := w.UpdateClusterSettings(ctx, &ecsapi.UpdateClusterSettingsInput{Cluster: new("default"), Settings: []ecsapi.ClusterSetting{{Name: ecsapi.ClusterSettingName(name), Value: &v}}})
		return err
	}
	item := func(name string, weight, base int32) ecsapi.CapacityProviderStrategyItem {
		return ecsapi.CapacityProviderStrategyItem{CapacityProvider: &name, Weight: &weight, Base: &base}
	}
	if err := create(ecsapi.CreateClusterInput{ClusterName: new("busy")}); err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	for _, tc := range []struct {
		name string
		err  error
	}{
		{"name", create(ecsapi.CreateClusterInput{ClusterName: new("a b")})},
		{"provider", create(ecsapi.CreateClusterInput{ClusterName: new("x"), CapacityProviders: []string{"mine"}})},
		{"setting name", setting("colour", "red")},
		{"setting value", setting("containerInsights", "maybe")},
		{"no settings", func() error {
			_, err := w.UpdateClusterSettings(ctx, &ecsapi.UpdateClusterSettingsInput{Cluster: new("default")})
			return err
		}()},
		{"namespace", create(ecsapi.CreateClusterInput{ClusterName: new("x"), ServiceConnectDefaults: &ecsapi.ClusterServiceConnectDefaultsRequest{Namespace: new("n")}})},
		{"storage key", create(ecsapi.CreateClusterInput{ClusterName: new("x"), Configuration: &ecsapi.ClusterConfiguration{
			ManagedStorageConfiguration: &ecsapi.ManagedStorageConfiguration{KmsKeyId: new("k")},
		}})},
		{"exec override", create(ecsapi.CreateClusterInput{ClusterName: new("x"), Configuration: &ecsapi.ClusterConfiguration{
			ExecuteCommandConfiguration: &ecsapi.ExecuteCommandConfiguration{Logging: "OVERRIDE"},
		}})},
		{"strategy not associated", put(ecsapi.PutClusterCapacityProvidersInput{DefaultCapacityProviderStrategy: []ecsapi.CapacityProviderStrategyItem{item("FARGATE", 1, 0)}})},
		{"two bases", put(ecsapi.PutClusterCapacityProvidersInput{
			CapacityProviders:               []string{"FARGATE", "FARGATE_SPOT"},
			DefaultCapacityProviderStrategy: []ecsapi.CapacityProviderStrategyItem{item("FARGATE", 1, 1), item("FARGATE_SPOT", 1, 1)},
		})},
		{"provider twice", put(ecsapi.PutClusterCapacityProvidersInput{
			CapacityProviders:               []string{"FARGATE"},
			DefaultCapacityProviderStrategy: []ecsapi.CapacityProviderStrategyItem{item("FARGATE", 1, 0), item("FARGATE", 1, 0)},
		})},
		{"instances", remove("busy")},
		{"delete unknown", remove("none")},
		{"tag", create(ecsapi.CreateClusterInput{ClusterName: new("x"), Tags: []ecsapi.Tag{{Key: new("aws:x"), Value: new("")}}})},
		{"tag twice", create(ecsapi.CreateClusterInput{ClusterName: new("x"), Tags: []ecsapi.Tag{{Key: new("a")}, {Key: new("a")}}})},
	} {
		if tc.err == nil {
			t.Errorf("%s was accepted", tc.name)
			continue
		}
		lines.WriteString(tc.name + ": " + say(tc.err) + mark([]string{"instances", "delete unknown", "strategy not associated"}, tc.name))
	}
	compareGolden(t, "testdata/cluster_errors.golden", lines.String())
}

func TestDescribeCapacityProviders(t *testing.T) {
	w := newWorld(t)
	out, err := w.DescribeCapacityProviders(t.Context(), &ecsapi.DescribeCapacityProvidersInput{})
	if err != nil || len(out.CapacityProviders) != 2 || *out.CapacityProviders[0].CapacityProviderArn != "arn:aws:ecs:us-east-1:123456789012:capacity-provider/FARGATE" {
		t.Fatalf("%+v, %v", out, err)
	}
	out, err = w.DescribeCapacityProviders(t.Context(), &ecsapi.DescribeCapacityProvidersInput{CapacityProviders: []string{"FARGATE_SPOT", "mine"}})
	if err != nil || len(out.CapacityProviders) != 1 || len(out.Failures) != 1 || *out.Failures[0].Reason != "MISSING" {
		t.Errorf("%+v, %v", out, err)
	}
}
