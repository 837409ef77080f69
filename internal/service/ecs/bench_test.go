package ecs_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/service/ecs"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

// large is a store with many nodes and tasks, on the in-memory kv, so that
// what is measured is the provider and the store.
func large(b *testing.B, nodes, tasks int) (*ecs.Provider, []string) {
	b.Helper()
	s, err := store.Open(memkv.New(1000), "/berth/", store.Options{}, records.All()...)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			b.Error(err)
		}
	})
	p := ecs.New(ecs.Config{Store: s, Scope: scope})
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	must(p.EnsureDefaultCluster(ctx))
	_, err = p.RegisterTaskDefinition(ctx, &ecsapi.RegisterTaskDefinitionInput{
		Family: new("web"), NetworkMode: "awsvpc", Cpu: new("256"), Memory: new("512"), RequiresCompatibilities: []ecsapi.Compatibility{"FARGATE"},
		ContainerDefinitions: []ecsapi.ContainerDefinition{{Name: new("app"), Image: new("nginx")}},
	})
	must(err)
	_, err = s.Update(ctx, func(tx *store.Tx) error {
		records.VPCs.Put(tx, &model.VPC{ID: "vpc-1", CIDR: "10.0.0.0/8"})
		records.Subnets.Put(tx, &model.Subnet{ID: subnetA, VPCID: "vpc-1", CIDR: "10.0.0.0/9", AvailabilityZone: "us-east-1a"})
		records.Subnets.Put(tx, &model.Subnet{ID: subnetB, VPCID: "vpc-1", CIDR: "10.128.0.0/9", AvailabilityZone: "us-east-1b"})
		records.SecurityGroups.Put(tx, &model.SecurityGroup{ID: groupID, Name: "default", VPCID: "vpc-1"})
		return nil
	})
	must(err)
	ids := make([]string, nodes)
	for i := range ids {
		ids[i] = fmt.Sprintf("%032x", i)
	}
	_, err = store.Batch(ctx, s, ids, func(tx *store.Tx, id string) error {
		records.Instances.Put(tx, &model.Instance{ID: id, Status: model.InstanceActive, Connected: true, CPU: 1 << 30, Memory: 1 << 30})
		return nil
	})
	must(err)
	var arns []string
	for len(arns) < tasks {
		out, err := p.RunTask(ctx, runInput("web", func(in *ecsapi.RunTaskInput) { in.Count = new(int32(10)) }))
		must(err)
		for _, t := range out.Tasks {
			arns = append(arns, *t.TaskArn)
		}
	}
	return p, arns
}

func BenchmarkRunTask(b *testing.B) {
	for _, size := range []struct{ nodes, tasks int }{{1, 0}, {1000, 0}, {1000, 10000}} {
		b.Run(fmt.Sprintf("nodes=%d/tasks=%d", size.nodes, size.tasks), func(b *testing.B) {
			p, _ := large(b, size.nodes, size.tasks)
			for b.Loop() {
				if out, err := p.RunTask(b.Context(), runInput("web", nil)); err != nil || len(out.Tasks) != 1 {
					b.Fatal(out, err)
				}
			}
		})
	}
}

func BenchmarkRunTask_Parallel(b *testing.B) {
	p, _ := large(b, 1000, 0)
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if out, err := p.RunTask(b.Context(), runInput("web", nil)); err != nil || len(out.Tasks) != 1 {
				b.Error(out, err)
			}
		}
	})
}

func BenchmarkRead(b *testing.B) {
	p, arns := large(b, 1000, 10000)
	b.Run("DescribeTasks", func(b *testing.B) {
		for b.Loop() {
			if _, err := p.DescribeTasks(b.Context(), &ecsapi.DescribeTasksInput{Tasks: arns[:10]}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("ListTasks", func(b *testing.B) {
		for b.Loop() {
			if _, err := p.ListTasks(b.Context(), &ecsapi.ListTasksInput{Family: new("web")}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("DescribeTaskDefinition", func(b *testing.B) {
		for b.Loop() {
			if _, err := p.DescribeTaskDefinition(b.Context(), &ecsapi.DescribeTaskDefinitionInput{TaskDefinition: new("web")}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("DescribeClusters", func(b *testing.B) {
		for b.Loop() {
			if _, err := p.DescribeClusters(b.Context(), &ecsapi.DescribeClustersInput{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
