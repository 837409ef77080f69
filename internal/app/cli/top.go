package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/spf13/cobra"
)

func newTop(e *environment) *cobra.Command {
	var cluster string
	var every time.Duration
	var once bool
	cmd := &cobra.Command{
		Use: "top", Short: "Show the tasks of all services, and what they have reserved", Args: arguments(cobra.NoArgs),
		Long: `Show the tasks of the cluster by service, with their state, health, age and the CPU and
memory that they have reserved. RESTARTS counts the tasks of the service that failed, as
long as ECS tells of them. On a terminal it is shown anew until Ctrl-C.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if every < 100*time.Millisecond {
				return misuse("--every %s is too often", every)
			}
			c, err := e.connect(cmd)
			if err != nil {
				return err
			}
			return e.showTop(cmd.Context(), c, cluster, every, once)
		},
	}
	clusterFlag(cmd, &cluster)
	cmd.Flags().DurationVar(&every, "every", 2*time.Second, "how often it is shown anew")
	cmd.Flags().BoolVar(&once, "once", false, "show it once")
	outputFlag(e, cmd)
	return cmd
}

func (e *environment) showTop(ctx context.Context, c *clients, cluster string, every time.Duration, once bool) error {
	p := newPrinter(e.out)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	defer func() {
		if p.shown > 0 {
			p.say("") // what was shown stays
		}
	}()
	for {
		l, err := c.load(ctx, cluster)
		if err != nil {
			return quietly(ctx, err)
		}
		switch {
		case e.output == formJSON:
			return e.writeJSON(l)
		case once || !p.terminal:
			_, err := fmt.Fprint(e.out, l.render(time.Now()))
			return err
		}
		p.block(strings.Split(strings.TrimRight(l.render(time.Now()), "\n"), "\n"))
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// load is what a cluster has to carry.
type load struct {
	Cluster   string     `json:"cluster"`
	Nodes     int        `json:"nodes"`
	CPU       int        `json:"registeredCpu"`
	Memory    int        `json:"registeredMemory"` // MiB
	CPUUsed   int        `json:"reservedCpu"`
	MemUsed   int        `json:"reservedMemory"`
	Tasks     []loadTask `json:"tasks"`
	statuses  map[string]int
	byService map[string]int // failures
}

// loadTask is one task of it.
type loadTask struct {
	Task       string    `json:"task"`
	Service    string    `json:"service"` // empty for a task of its own
	Definition string    `json:"taskDefinition"`
	Status     string    `json:"lastStatus"`
	Health     string    `json:"health"`
	CPU        int       `json:"cpu"`
	Memory     int       `json:"memory"`
	CreatedAt  time.Time `json:"createdAt"`
	Restarts   int       `json:"restarts"`
}

// load describes a cluster's nodes and tasks.
func (c *clients) load(ctx context.Context, cluster string) (*load, error) {
	arns, err := c.everyTask(ctx, cluster, "")
	if err != nil {
		return nil, err
	}
	tasks, _, err := c.describe(ctx, cluster, arns)
	if err != nil {
		return nil, err
	}
	var nodes []types.ContainerInstance
	for pages := ecs.NewListContainerInstancesPaginator(c.ecs, &ecs.ListContainerInstancesInput{Cluster: &cluster}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, explained(err)
		}
		if len(page.ContainerInstanceArns) == 0 {
			continue
		}
		out, err := c.ecs.DescribeContainerInstances(ctx, &ecs.DescribeContainerInstancesInput{Cluster: &cluster, ContainerInstances: page.ContainerInstanceArns})
		if err != nil {
			return nil, explained(err)
		}
		nodes = append(nodes, out.ContainerInstances...)
	}
	return newLoad(cluster, nodes, tasks), nil
}

func newLoad(cluster string, nodes []types.ContainerInstance, tasks []types.Task) *load {
	l := &load{Cluster: cluster, Nodes: len(nodes), Tasks: []loadTask{}, statuses: map[string]int{}, byService: map[string]int{}}
	for _, n := range nodes {
		for _, r := range n.RegisteredResources {
			switch aws.ToString(r.Name) {
			case "CPU":
				l.CPU += int(r.IntegerValue)
			case "MEMORY":
				l.Memory += int(r.IntegerValue)
			}
		}
	}
	for i := range tasks {
		if failedTask(&tasks[i]) && aws.ToString(tasks[i].LastStatus) == stopped {
			l.byService[serviceOf(&tasks[i])]++
		}
	}
	for i := range tasks {
		t := &tasks[i]
		status := aws.ToString(t.LastStatus)
		if status == stopped {
			continue
		}
		one := loadTask{
			Task: taskID(t), Service: serviceOf(t), Definition: definitionName(t.TaskDefinitionArn), Status: status, Health: health(t),
			CPU: number(t.Cpu), Memory: number(t.Memory), CreatedAt: aws.ToTime(t.CreatedAt),
		}
		if one.Service != "" {
			one.Restarts = l.byService[one.Service]
		}
		l.Tasks = append(l.Tasks, one)
		l.statuses[status]++
		l.CPUUsed += one.CPU
		l.MemUsed += one.Memory
	}
	slices.SortStableFunc(l.Tasks, func(a, b loadTask) int {
		if order := strings.Compare(a.Service, b.Service); order != 0 {
			return order
		}
		return a.CreatedAt.Compare(b.CreatedAt)
	})
	return l
}

// serviceOf is the service that a task belongs to; empty for none.
func serviceOf(t *types.Task) string {
	name, ok := strings.CutPrefix(aws.ToString(t.Group), "service:")
	if !ok {
		return ""
	}
	return name
}

// number reads what ECS writes as a string; zero when it writes nothing.
func number(s *string) int {
	n, err := strconv.Atoi(aws.ToString(s))
	if err != nil {
		return 0
	}
	return n
}

func (l *load) render(now time.Time) string {
	var counts []string
	for _, status := range slices.Sorted(maps.Keys(l.statuses)) {
		counts = append(counts, fmt.Sprintf("%d %s", l.statuses[status], status))
	}
	if len(counts) == 0 {
		counts = []string{"no tasks"}
	}
	head := fmt.Sprintf("%s  %s; reserved %d CPU and %d MiB; nodes: %d with %d CPU and %d MiB\n\n",
		l.Cluster, strings.Join(counts, ", "), l.CPUUsed, l.MemUsed, l.Nodes, l.CPU, l.Memory)
	rows := [][]string{{"SERVICE", "TASK", "DEFINITION", "STATUS", "HEALTH", "CPU", "MEMORY", "AGE", "RESTARTS"}}
	for _, t := range l.Tasks {
		restarts := "-"
		if t.Service != "" {
			restarts = strconv.Itoa(t.Restarts)
		}
		rows = append(rows, []string{
			dash(t.Service), short(t.Task), t.Definition, t.Status, t.Health, strconv.Itoa(t.CPU), strconv.Itoa(t.Memory), age(now.Sub(t.CreatedAt)), restarts,
		})
	}
	return head + columns(rows)
}
