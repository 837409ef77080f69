package store_test

import (
	"context"
	"fmt"

	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/store"
)

type task struct {
	ARN     string `json:"arn"`
	Cluster string `json:"cluster"`
	Status  string `json:"status"`
}

// Tables and indexes are declared once, at package level.
var (
	byCluster = store.NewIndex("cluster", func(t *task) []string { return []string{t.Cluster} })
	tasks     = store.NewTable("task", func(t *task) string { return t.ARN }, byCluster)
)

func Example() {
	s, err := store.Open(memkv.New(0), "/berth/", store.Options{}, tasks)
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	<-s.Ready()

	watch := s.Watch(ctx, tasks)
	_, err = s.Update(ctx, func(tx *store.Tx) error {
		tasks.Put(tx, &task{ARN: "task/1", Cluster: "default", Status: "PENDING"})
		tasks.Put(tx, &task{ARN: "task/2", Cluster: "default", Status: "PENDING"})
		return tasks.Edit(tx, "task/1", func(t *task) error {
			t.Status = "RUNNING"
			return nil
		})
	})
	if err != nil {
		panic(err)
	}
	for t := range tasks.By(s.Snapshot(), byCluster, "default") {
		fmt.Println(t.ARN, t.Status)
	}
	_, changes, err := watch.Next(ctx)
	fmt.Println(changes, err)

	cancel()
	fmt.Println(<-done)
	// Output:
	// task/1 RUNNING
	// task/2 PENDING
	// [{task task/1} {task task/2}] <nil>
	// <nil>
}
