package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/spf13/cobra"
)

// place in a task: what exec, port-forward, cp and debug work on.
type inside struct {
	cluster   string
	task      *types.Task
	container *types.Container
}

// String is how people name it.
func (i *inside) String() string {
	return fmt.Sprintf("container %s of task %s", aws.ToString(i.container.Name), short(taskID(i.task)))
}

// target is how SSM names it.
func (i *inside) target() string {
	return fmt.Sprintf("ecs:%s_%s_%s", clusterOf(i.task), taskID(i.task), aws.ToString(i.container.RuntimeId))
}

// insideFlags are what the verbs that go into a task have in common.
type insideFlags struct {
	cluster, container string
}

func (f *insideFlags) register(cmd *cobra.Command) {
	clusterFlag(cmd, &f.cluster)
	cmd.Flags().StringVarP(&f.container, "container", "c", "", "container (default: the first essential one)")
}

// find finds the container that is meant by a task or a service. What was not
// typed but chosen is said.
func (f *insideFlags) find(ctx context.Context, c *clients, p *printer, typed string) (*inside, error) {
	t, chosen, err := c.runningTask(ctx, f.cluster, typed)
	if err != nil {
		return nil, err
	}
	container, guessed, err := f.choose(ctx, c, t)
	if err != nil {
		return nil, err
	}
	at := &inside{f.cluster, t, container}
	switch {
	case chosen:
		p.say("%s", p.paint("2", fmt.Sprintf("%s: %s", typed, at)))
	case guessed:
		p.say("%s", p.paint("2", fmt.Sprintf("%s; there are %s (-c)", at, strings.Join(containerNames(t), ", "))))
	}
	return at, nil
}

// runningTask finds a task that somebody typed, or the one of a service that
// has run the longest of those that run what the service wants. It tells
// whether it had to choose.
func (c *clients) runningTask(ctx context.Context, cluster, typed string) (*types.Task, bool, error) {
	s, err := c.service(ctx, cluster, typed)
	if err == nil {
		t, err := c.representative(ctx, cluster, s)
		return t, true, err
	}
	if _, none := errors.AsType[*noService](err); !none && !isTaskName(typed) {
		return nil, false, err
	}
	arn, err := c.resolve(ctx, cluster, typed)
	if none, ok := errors.AsType[*noTask](err); ok {
		return nil, false, fmt.Errorf("cluster %s has neither a service %q nor a task that begins so; `berth ps` and `berth services` list them", none.cluster, typed)
	}
	if err != nil {
		return nil, false, err
	}
	tasks, _, err := c.describe(ctx, cluster, []string{arn})
	if err != nil {
		return nil, false, err
	}
	if len(tasks) == 0 {
		return nil, false, fmt.Errorf("cluster %s has no task %s; `berth ps` lists them", cluster, lastPart(arn))
	}
	if status := aws.ToString(tasks[0].LastStatus); status != running {
		return nil, false, fmt.Errorf("task %s does not run: it is %s; `berth why %s` says more", short(taskID(&tasks[0])), status, short(taskID(&tasks[0])))
	}
	return &tasks[0], false, nil
}

// isTaskName tells what can only be a task: its ARN.
func isTaskName(typed string) bool { return strings.HasPrefix(typed, "arn:") }

// representative is the task of a service that one looks into when nobody says
// which.
func (c *clients) representative(ctx context.Context, cluster string, s *types.Service) (*types.Task, error) {
	arns, err := c.ofService(ctx, cluster, serviceName(s), types.DesiredStatusRunning)
	if err != nil {
		return nil, err
	}
	tasks, _, err := c.describe(ctx, cluster, arns)
	if err != nil {
		return nil, err
	}
	tasks = slices.DeleteFunc(tasks, func(t types.Task) bool { return aws.ToString(t.LastStatus) != running })
	if len(tasks) == 0 {
		return nil, fmt.Errorf("no task of service %s runs; `berth why %s` says why", serviceName(s), serviceName(s))
	}
	current := func(t *types.Task) int {
		if aws.ToString(t.TaskDefinitionArn) == aws.ToString(s.TaskDefinition) {
			return 0
		}
		return 1
	}
	slices.SortFunc(tasks, func(a, b types.Task) int {
		if order := current(&a) - current(&b); order != 0 {
			return order
		}
		if order := aws.ToTime(a.StartedAt).Compare(aws.ToTime(b.StartedAt)); order != 0 {
			return order
		}
		return strings.Compare(taskID(&a), taskID(&b))
	})
	return &tasks[0], nil
}

// choose finds the container of -c, else the first essential one that runs. It
// tells whether it had to guess.
func (f *insideFlags) choose(ctx context.Context, c *clients, t *types.Task) (*types.Container, bool, error) {
	if f.container != "" {
		for i := range t.Containers {
			if aws.ToString(t.Containers[i].Name) == f.container {
				return &t.Containers[i], false, nil
			}
		}
		return nil, false, misuse("task %s has no container %q; there are %s", short(taskID(t)), f.container, strings.Join(containerNames(t), ", "))
	}
	if len(t.Containers) == 1 {
		return &t.Containers[0], false, nil
	}
	def, err := definitions{}.get(ctx, c, aws.ToString(t.TaskDefinitionArn))
	if err != nil {
		def = nil // it may be gone while its tasks run
	}
	place := func(one *types.Container) int {
		if def != nil {
			for i, d := range def.ContainerDefinitions {
				if aws.ToString(d.Name) == aws.ToString(one.Name) {
					return i
				}
			}
		}
		return len(t.Containers)
	}
	var best *types.Container
	for i := range t.Containers {
		one := &t.Containers[i]
		if aws.ToString(one.LastStatus) != running || !essential(def, aws.ToString(one.Name)) {
			continue
		}
		if best == nil || place(one) < place(best) {
			best = one
		}
	}
	if best == nil {
		return nil, false, fmt.Errorf("no essential container of task %s runs; name one with -c: %s", short(taskID(t)), strings.Join(containerNames(t), ", "))
	}
	return best, true, nil
}

func containerNames(t *types.Task) []string {
	var names []string
	for _, c := range t.Containers {
		names = append(names, aws.ToString(c.Name))
	}
	return names
}

// explainSession says what to do when there is no way into a task.
func (i *inside) explainSession(err error) error {
	name := short(taskID(i.task))
	if !i.task.EnableExecuteCommand {
		how := "start it with `berth run IMAGE`, which enables it, or aws ecs run-task --enable-execute-command"
		if group, ok := strings.CutPrefix(aws.ToString(i.task.Group), "service:"); ok {
			how = "`berth deploy " + group + " --enable-execute-command` replaces the service's tasks by ones that do"
		}
		return fmt.Errorf("task %s does not let anybody in: it was started without enableExecuteCommand; %s", name, how)
	}
	for _, agent := range i.container.ManagedAgents {
		if agent.Name != types.ManagedAgentNameExecuteCommandAgent || aws.ToString(agent.LastStatus) == running {
			continue
		}
		if agent.Reason != nil {
			return fmt.Errorf("the agent that lets people into %s is %s: %s", i, aws.ToString(agent.LastStatus), *agent.Reason)
		}
		return fmt.Errorf("the agent that lets people into %s is %s; try again in a moment", i, aws.ToString(agent.LastStatus))
	}
	return explained(err)
}
