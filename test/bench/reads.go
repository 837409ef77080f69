package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
)

// describedAtOnce is DescribeTasks' limit.
const describedAtOnce = 100

// reads measures the calls that clients poll with, in a full store.
func (b *bench) reads(ctx context.Context, p *plane, tasks int) error {
	arns, err := p.listAll(ctx)
	if err != nil {
		return err
	}
	calls := []struct {
		name  string
		count int
		call  func(context.Context, int) error
	}{
		{fmt.Sprintf("DescribeTasks, %d of them", describedAtOnce), 400, func(ctx context.Context, _ int) error {
			some := make([]string, describedAtOnce)
			for i, at := range rand.Perm(len(arns))[:describedAtOnce] {
				some[i] = arns[at]
			}
			out, err := p.ecs.DescribeTasks(ctx, &ecs.DescribeTasksInput{Tasks: some})
			if err == nil && len(out.Tasks) != describedAtOnce {
				err = fmt.Errorf("DescribeTasks found %d tasks of %d", len(out.Tasks), describedAtOnce)
			}
			return err
		}},
		{"ListTasks, a page of 100", 1000, func(ctx context.Context, _ int) error {
			_, err := p.ecs.ListTasks(ctx, &ecs.ListTasksInput{})
			return err
		}},
		{"DescribeTaskDefinition", 4000, func(ctx context.Context, _ int) error {
			_, err := p.ecs.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: aws.String(loggedFamily)})
			return err
		}},
	}
	var rows [][]string
	for _, c := range calls {
		if b.quick {
			c.count /= 10
		}
		for _, clients := range []int{1, 8} {
			b.say("reads: %s, %d clients", c.name, clients)
			d, err := drive(ctx, clients, c.count, c.call)
			if err != nil {
				return err
			}
			rows = append(rows, append([]string{c.name, fmt.Sprint(clients)}, d.cells()...))
		}
	}
	out := b.report.section("reads")
	writeReads(out, len(arns), tasks, rows)
	return nil
}

func writeReads(out *strings.Builder, have, wanted int, rows [][]string) {
	fmt.Fprintf(out, "## Reads with %d tasks in the store\n\nThe AWS SDK for Go calls over loopback, signing and verifying included. "+
		"Clients and server are one process here and share the cores.", have)
	if have != wanted {
		fmt.Fprintf(out, " (%d tasks were meant to be there.)", wanted)
	}
	out.WriteString("\n\n")
	table(out, []string{"call", "clients", "calls/s", "p50", "p99"}, rows)
}

func (p *plane) listAll(ctx context.Context) ([]string, error) {
	var arns []string
	pages := ecs.NewListTasksPaginator(p.ecs, &ecs.ListTasksInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		arns = append(arns, page.TaskArns...)
	}
	return arns, nil
}
