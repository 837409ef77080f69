package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/spf13/cobra"
)

// shownEvents is how many events the details of a service end with.
const shownEvents = 10

func newServices(e *environment) *cobra.Command {
	var cluster string
	cmd := &cobra.Command{
		Use: "services [SERVICE]", Aliases: []string{"service"}, Short: "List services, or show one in detail", Args: arguments(cobra.MaximumNArgs(1)),
		Long: "List the services of the cluster with where they answer; or show one service: its\ndeployments, its tasks with their place in load balancers, and its newest events.",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := e.connect(cmd)
			if err != nil {
				return err
			}
			if len(args) > 0 {
				return e.showService(cmd.Context(), c, cluster, args[0])
			}
			return e.listServices(cmd.Context(), c, cluster)
		},
	}
	clusterFlag(cmd, &cluster)
	outputFlag(e, cmd)
	cmd.ValidArgsFunction = e.completeServices
	return cmd
}

// places are where a service is found: from outside, and inside the VPC.
type places struct {
	URLs  []string `json:"urls"`
	Names []string `json:"names"`
}

// placesOf finds them for services, in their order.
func (c *clients) placesOf(ctx context.Context, services []types.Service) ([]places, error) {
	b, err := c.balancersOf(ctx, services...)
	if err != nil {
		return nil, err
	}
	d := newDiscovery(c)
	all := make([]places, len(services))
	for i := range services {
		all[i].URLs = b.urls(&services[i])
		if all[i].Names, err = d.names(ctx, &services[i]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (e *environment) listServices(ctx context.Context, c *clients, cluster string) error {
	services, err := c.services(ctx, cluster)
	if err != nil {
		return err
	}
	found, err := c.placesOf(ctx, services)
	if err != nil {
		return err
	}
	if e.output == formJSON {
		all := make([]any, len(services))
		for i := range services {
			all[i] = map[string]any{"service": awsShape(services[i]), "urls": found[i].URLs, "names": found[i].Names}
		}
		return e.writeJSON(all)
	}
	if len(services) == 0 {
		newPrinter(e.err).say("Cluster %s has no service. Make one: berth deploy -f service.json", cluster)
		return nil
	}
	_, err = fmt.Fprint(e.out, serviceTable(services, found, time.Now()))
	return err
}

// serviceTable is what `berth services` prints.
func serviceTable(services []types.Service, found []places, now time.Time) string {
	rows := [][]string{{"SERVICE", "STATUS", "TASKS", "ROLLOUT", "DEFINITION", "AGE", "URL", "NAMES"}}
	for i := range services {
		s := &services[i]
		rows = append(rows, []string{
			serviceName(s), aws.ToString(s.Status), fmt.Sprintf("%d/%d", s.RunningCount, s.DesiredCount), rolloutWord(s),
			definitionName(s.TaskDefinition), age(now.Sub(aws.ToTime(s.CreatedAt))),
			dash(strings.Join(found[i].URLs, " ")), dash(strings.Join(found[i].Names, " ")),
		})
	}
	return columns(rows)
}

func (e *environment) showService(ctx context.Context, c *clients, cluster, name string) error {
	g, err := newWatcher(c, cluster, name).look(ctx)
	if err != nil {
		return err
	}
	found, err := c.placesOf(ctx, []types.Service{g.service})
	if err != nil {
		return err
	}
	if e.output == formJSON {
		return e.writeJSON(map[string]any{
			"service": awsShape(g.service), "tasks": awsShape(g.tasks), "serviceDeployment": awsShape(g.deployment),
			"urls": found[0].URLs, "names": found[0].Names,
		})
	}
	g.print(newPrinter(e.out), found[0])
	return nil
}

// print lays out a service for a person.
func (g *glimpse) print(p *printer, found places) {
	s := &g.service
	p.say("%s  %s  %s", p.paint("1", serviceName(s)), aws.ToString(s.Status), lastPart(aws.ToString(s.ClusterArn)))
	p.say("")
	fact := func(name, text string) {
		if text != "" {
			p.say("  %-10s %s", name, text)
		}
	}
	fact("Tasks", fmt.Sprintf("%d of %d run, %d pending", s.RunningCount, s.DesiredCount, s.PendingCount))
	fact("Runs", strings.TrimSpace(definitionName(s.TaskDefinition)+"  "+string(s.LaunchType)))
	fact("URL", strings.Join(found.URLs, " "))
	fact("Names", strings.Join(found.Names, " "))
	fact("Deploys", deployRule(s.DeploymentConfiguration))
	section := func(title, table string) {
		p.say("")
		p.say("  %s", p.paint("33", title))
		for line := range strings.Lines(table) {
			p.say("   %s", strings.TrimRight(line, "\n"))
		}
	}
	section("Deployments", columns(g.deploymentRows()))
	if rows := g.taskRows(); len(rows) > 1 {
		section("Tasks", columns(rows))
	}
	if len(s.Events) > 0 {
		section("Events", g.eventLines(p, shownEvents))
	}
}

// deployRule says how deployments replace tasks.
func deployRule(c *types.DeploymentConfiguration) string {
	if c == nil {
		return ""
	}
	text := fmt.Sprintf("%d %% to %d %%", aws.ToInt32(c.MinimumHealthyPercent), aws.ToInt32(c.MaximumPercent))
	switch b := c.DeploymentCircuitBreaker; {
	case b == nil || !b.Enable:
		text += ", no circuit breaker"
	case b.Rollback:
		text += ", circuit breaker with rollback"
	default:
		text += ", circuit breaker without rollback"
	}
	return text
}

func (g *glimpse) deploymentRows() [][]string {
	rows := [][]string{{"ID", "STATUS", "ROLLOUT", "DEFINITION", "RUNNING", "PENDING", "FAILED", "AGE"}}
	for i := range g.service.Deployments {
		d := &g.service.Deployments[i]
		rows = append(rows, []string{
			aws.ToString(d.Id), aws.ToString(d.Status), dash(string(d.RolloutState)), definitionName(d.TaskDefinition),
			fmt.Sprintf("%d/%d", d.RunningCount, d.DesiredCount), fmt.Sprint(d.PendingCount), fmt.Sprint(d.FailedTasks),
			age(g.at.Sub(aws.ToTime(d.CreatedAt))),
		})
	}
	return rows
}

// taskRows lists tasks that have not stopped by deployment, newest first.
func (g *glimpse) taskRows() [][]string {
	rows := [][]string{{"TASK", "DEFINITION", "STATUS", "HEALTH", "TARGET", "ADDRESS", "ZONE", "AGE", "WAITS FOR"}}
	place := map[string]int{}
	for i, d := range g.service.Deployments {
		place[aws.ToString(d.Id)] = i
	}
	tasks := slices.Clone(g.tasks)
	slices.SortStableFunc(tasks, func(a, b types.Task) int {
		return place[aws.ToString(a.StartedBy)] - place[aws.ToString(b.StartedBy)]
	})
	for i := range tasks {
		t := &tasks[i]
		if aws.ToString(t.LastStatus) == stopped {
			continue
		}
		state := ""
		if one, ok := g.target(t); ok {
			state = one.words()
		}
		waits := ""
		if w := g.wait(t); w.what != "" {
			waits = w.String()
		}
		rows = append(rows, []string{
			short(taskID(t)), definitionName(t.TaskDefinitionArn), aws.ToString(t.LastStatus), health(t), dash(state), dash(address(t)),
			dash(aws.ToString(t.AvailabilityZone)), age(g.at.Sub(aws.ToTime(t.CreatedAt))), waits,
		})
	}
	return rows
}

// eventLines are the newest events, oldest first.
func (g *glimpse) eventLines(p *printer, count int) string {
	var b strings.Builder
	events := g.service.Events[:min(len(g.service.Events), count)] // AWS lists the newest first
	for _, v := range slices.Backward(events) {
		b.WriteString(p.paint("2", aws.ToTime(v.CreatedAt).Local().Format(time.TimeOnly)) + " " + aws.ToString(v.Message) + "\n")
	}
	return b.String()
}
