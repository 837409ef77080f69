package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/spf13/cobra"
)

// verb makes a verb that changes one service and follows what comes of it.
// The change gets a pursuit that may be told when it has succeeded.
func (f *followFlags) verb(e *environment, change func(context.Context, *pursuit, *types.Service) (*types.Service, error)) func(*cobra.Command, string) error {
	return func(cmd *cobra.Command, name string) error {
		c, err := e.connect(cmd)
		if err != nil {
			return err
		}
		ctx, cancel := f.bounded(cmd.Context())
		defer cancel()
		u, err := c.pursue(ctx, e, newPrinter(e.err), f, name)
		if err != nil {
			return err
		}
		s, err := c.service(ctx, f.cluster, name)
		if err != nil {
			return err
		}
		if s, err = change(ctx, u, s); err != nil {
			return err
		}
		if f.detach {
			if e.output == formJSON {
				return e.writeJSON(map[string]any{"service": awsShape(s)})
			}
			return nil
		}
		end, g, err := u.follow(ctx, s)
		if err != nil {
			return err
		}
		return u.conclude(ctx, end, g)
	}
}

func newScale(e *environment) *cobra.Command {
	var f followFlags
	cmd := &cobra.Command{
		Use: "scale SERVICE COUNT", Short: "Set how many tasks a service has, and wait until it has them", Args: arguments(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			count, err := strconv.ParseInt(args[1], 10, 32)
			if err != nil || count < 0 {
				return misuse("%q is not a number of tasks; usage: %s", args[1], cmd.UseLine())
			}
			return f.verb(e, func(ctx context.Context, u *pursuit, s *types.Service) (*types.Service, error) {
				u.over = func(g *glimpse) bool { return g.settled(int(count)) }
				return u.clients.updateService(ctx, &ecs.UpdateServiceInput{
					Cluster: &f.cluster, Service: s.ServiceName, DesiredCount: aws.Int32(int32(count)),
				})
			})(cmd, args[0])
		},
	}
	f.register(e, cmd)
	cmd.ValidArgsFunction = e.completeServices
	return cmd
}

// settled tells whether a service has so many tasks, all healthy, and none
// that comes or goes.
func (g *glimpse) settled(count int) bool {
	s := &g.service
	if int(s.DesiredCount) != count || int(s.RunningCount) != count || s.PendingCount != 0 {
		return false
	}
	healthy := 0
	for i := range g.tasks {
		switch t := &g.tasks[i]; {
		case g.healthy(t):
			healthy++
		case aws.ToString(t.LastStatus) != stopped:
			return false
		}
	}
	return healthy == count
}

func newRestart(e *environment) *cobra.Command {
	var f followFlags
	cmd := &cobra.Command{
		Use: "restart SERVICE", Short: "Replace all tasks of a service by new ones", Args: arguments(cobra.ExactArgs(1)),
		Long: "Replace all tasks of a service by new ones of the same revision, as a deployment replaces\nthem: without a lost request. It is aws ecs update-service --force-new-deployment.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.verb(e, func(ctx context.Context, u *pursuit, s *types.Service) (*types.Service, error) {
				return u.clients.updateService(ctx, &ecs.UpdateServiceInput{Cluster: &f.cluster, Service: s.ServiceName, ForceNewDeployment: true})
			})(cmd, args[0])
		},
	}
	f.register(e, cmd)
	cmd.ValidArgsFunction = e.completeServices
	return cmd
}

func newRollback(e *environment) *cobra.Command {
	var f followFlags
	var to string
	cmd := &cobra.Command{
		Use: "rollback SERVICE", Short: "Bring a service back to what it ran before", Args: arguments(cobra.ExactArgs(1)),
		Long: `Bring a service back. A deployment that is under way is stopped and rolled back; else the
service goes to the task definition of the deployment that succeeded before the current
one, or to that of --to.`,
		Example: `  berth rollback web
  berth rollback web --to 7`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.verb(e, func(ctx context.Context, u *pursuit, s *types.Service) (*types.Service, error) {
				if d := primaryOf(s); to == "" && d != nil && d.RolloutState == types.DeploymentRolloutStateInProgress && s.CurrentServiceDeployment != nil {
					u.wants = rolledBack
					return s, u.clients.stopDeployment(ctx, *s.CurrentServiceDeployment)
				}
				definition, err := u.clients.rollbackTarget(ctx, s, to)
				if err != nil {
					return nil, err
				}
				return u.clients.updateService(ctx, &ecs.UpdateServiceInput{Cluster: &f.cluster, Service: s.ServiceName, TaskDefinition: &definition})
			})(cmd, args[0])
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "revision, family:revision or ARN of the task definition")
	f.register(e, cmd)
	cmd.ValidArgsFunction = e.completeServices
	return cmd
}

func (c *clients) updateService(ctx context.Context, in *ecs.UpdateServiceInput) (*types.Service, error) {
	out, err := c.ecs.UpdateService(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("updating service %s: %w", aws.ToString(in.Service), explained(err))
	}
	return out.Service, nil
}

func (c *clients) stopDeployment(ctx context.Context, arn string) error {
	_, err := c.ecs.StopServiceDeployment(ctx, &ecs.StopServiceDeploymentInput{
		ServiceDeploymentArn: &arn, StopType: types.StopServiceDeploymentStopTypeRollback,
	})
	if err != nil {
		return fmt.Errorf("stopping the deployment: %w", explained(err))
	}
	return nil
}

// rollbackTarget is the task definition to go back to: the one that was typed,
// else that of the newest deployment that succeeded with another one than the
// service has.
func (c *clients) rollbackTarget(ctx context.Context, s *types.Service, to string) (string, error) {
	current := aws.ToString(s.TaskDefinition)
	if to != "" {
		if _, err := strconv.Atoi(to); err == nil {
			family, _, _ := strings.Cut(lastPart(current), ":")
			return family + ":" + to, nil
		}
		return to, nil
	}
	var past []types.ServiceDeploymentBrief
	in := &ecs.ListServiceDeploymentsInput{
		Cluster: s.ClusterArn, Service: s.ServiceArn, Status: []types.ServiceDeploymentStatus{types.ServiceDeploymentStatusSuccessful},
	}
	for {
		out, err := c.ecs.ListServiceDeployments(ctx, in)
		if err != nil {
			return "", fmt.Errorf("looking for earlier deployments: %w", explained(err))
		}
		past = append(past, out.ServiceDeployments...)
		if in.NextToken = out.NextToken; out.NextToken == nil {
			break
		}
	}
	slices.SortFunc(past, func(a, b types.ServiceDeploymentBrief) int {
		return aws.ToTime(b.CreatedAt).Compare(aws.ToTime(a.CreatedAt))
	})
	for some := range slices.Chunk(past, 20) {
		var arns []string
		for _, d := range some {
			arns = append(arns, aws.ToString(d.TargetServiceRevisionArn))
		}
		out, err := c.ecs.DescribeServiceRevisions(ctx, &ecs.DescribeServiceRevisionsInput{ServiceRevisionArns: arns})
		if err != nil {
			return "", fmt.Errorf("looking for earlier revisions: %w", explained(err))
		}
		ran := map[string]string{}
		for _, r := range out.ServiceRevisions {
			ran[aws.ToString(r.ServiceRevisionArn)] = aws.ToString(r.TaskDefinition)
		}
		for _, arn := range arns {
			if definition := ran[arn]; definition != "" && definition != current {
				return definition, nil
			}
		}
	}
	return "", fmt.Errorf("service %s has run nothing but %s; name a revision with --to", serviceName(s), lastPart(current))
}
