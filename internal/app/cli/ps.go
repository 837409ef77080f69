package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/spf13/cobra"
)

func newPS(e *environment) *cobra.Command {
	var cluster string
	var all bool
	cmd := &cobra.Command{
		Use: "ps", Short: "List tasks", Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := e.connect(cmd)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			list := func() ([]string, error) { return c.list(ctx, cluster, "", types.DesiredStatusRunning) }
			if all {
				list = func() ([]string, error) { return c.everyTask(ctx, cluster, "") }
			}
			arns, err := list()
			if err != nil {
				return err
			}
			tasks, _, err := c.describe(ctx, cluster, arns)
			if err != nil {
				return err
			}
			slices.SortStableFunc(tasks, func(a, b types.Task) int { return aws.ToTime(b.CreatedAt).Compare(aws.ToTime(a.CreatedAt)) })
			if e.output == formJSON {
				return e.writeJSON(awsShape(tasks))
			}
			defs := definitions{}
			for i := range tasks {
				// A definition that is gone leaves the column of ports empty.
				if _, err := defs.get(ctx, c, aws.ToString(tasks[i].TaskDefinitionArn)); err != nil && ctx.Err() != nil {
					return err
				}
			}
			if len(tasks) == 0 {
				newPrinter(e.err).say("No task runs in cluster %s. Start one: berth run IMAGE", cluster)
				return nil
			}
			_, err = fmt.Fprint(e.out, taskTable(tasks, defs, time.Now()))
			return err
		},
	}
	clusterFlag(cmd, &cluster)
	cmd.Flags().BoolVarP(&all, "all", "a", false, "stopped tasks too")
	outputFlag(e, cmd)
	return cmd
}

// taskTable is what `berth ps` prints.
func taskTable(tasks []types.Task, defs definitions, now time.Time) string {
	rows := [][]string{{"TASK", "DEFINITION", "STATUS", "HEALTH", "ADDRESS", "PORTS", "AGE", "IMAGES", "CONTAINERS"}}
	for i := range tasks {
		t := &tasks[i]
		var containers []string
		for _, c := range t.Containers {
			containers = append(containers, containerWord(c))
		}
		slices.Sort(containers)
		definition := lastPart(aws.ToString(t.TaskDefinitionArn))
		rows = append(rows, []string{
			short(taskID(t)), definition, aws.ToString(t.LastStatus), health(t), dash(address(t)),
			dash(strings.Join(ports(defs[aws.ToString(t.TaskDefinitionArn)]), " ")),
			age(now.Sub(aws.ToTime(t.CreatedAt))), dash(imagesRan(t)), strings.Join(containers, ", "),
		})
	}
	return columns(rows)
}

// health is empty-handed for tasks without a check.
func health(t *types.Task) string {
	if t.HealthStatus == "" || t.HealthStatus == types.HealthStatusUnknown {
		return "-"
	}
	return string(t.HealthStatus)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
