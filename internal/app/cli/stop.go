package cli

import (
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/spf13/cobra"
)

func newStop(e *environment) *cobra.Command {
	var cluster, reason string
	var detach bool
	cmd := &cobra.Command{
		Use: "stop TASK...", Short: "Stop tasks and wait until they have stopped", Args: arguments(cobra.MinimumNArgs(1)),
		Long: "Stop tasks, by ARN, id, or the beginning of an id, and wait until they are STOPPED.",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := e.connect(cmd)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			// All are found before one is stopped: a slip of the pen stops nothing.
			tasks := make([]string, len(args))
			for i, typed := range args {
				if tasks[i], err = c.resolve(ctx, cluster, typed); err != nil {
					return err
				}
			}
			p := newPrinter(e.err)
			follower := newFollower(c, p, e.output == formJSON, cluster, definitions{})
			if !detach { // what happened before is no news
				if _, _, err := follower.look(ctx, tasks); err != nil {
					return err
				}
			}
			in := &ecs.StopTaskInput{Cluster: &cluster}
			if reason != "" {
				in.Reason = &reason
			}
			for _, task := range tasks {
				in.Task = aws.String(task)
				if _, err := c.ecs.StopTask(ctx, in); err != nil {
					return fmt.Errorf("stopping task %s: %w", lastPart(task), explained(err))
				}
			}
			if detach {
				return nil
			}
			ended, err := follower.follow(ctx, tasks, func(t *types.Task) bool {
				return aws.ToString(t.LastStatus) == stopped
			})
			if err != nil {
				return err
			}
			if e.output == formJSON {
				return e.writeJSON(awsShape(ended))
			}
			return nil
		},
	}
	clusterFlag(cmd, &cluster)
	cmd.Flags().StringVar(&reason, "reason", "", "why, as the tasks' stoppedReason will say")
	cmd.Flags().BoolVarP(&detach, "detach", "d", false, "do not wait")
	outputFlag(e, cmd)
	cmd.ValidArgsFunction = e.completeTasks
	return cmd
}
