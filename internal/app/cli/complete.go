package cli

import (
	"context"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/spf13/cobra"
)

// completionPatience is how long a shell's user waits for a Tab.
const completionPatience = 2 * time.Second

// complete asks the API for what may stand in an argument, and offers nothing
// when it does not answer.
func (e *environment) complete(cmd *cobra.Command, ask func(context.Context, *clients) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	c, err := e.connect(cmd)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionPatience)
	defer cancel()
	words, err := ask(ctx, c)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

func (e *environment) completeTasks(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	return e.complete(cmd, func(ctx context.Context, c *clients) ([]string, error) {
		cluster, err := cmd.Flags().GetString("cluster")
		if err != nil {
			return nil, err
		}
		arns, err := c.list(ctx, cluster, "", types.DesiredStatusRunning)
		var ids []string
		for _, arn := range arns {
			if id := lastPart(arn); strings.HasPrefix(id, typed) {
				ids = append(ids, short(id))
			}
		}
		return ids, err
	})
}

func (e *environment) completeFamilies(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return e.complete(cmd, func(ctx context.Context, c *clients) ([]string, error) {
		out, err := c.ecs.ListTaskDefinitionFamilies(ctx, &ecs.ListTaskDefinitionFamiliesInput{
			FamilyPrefix: &typed, Status: types.TaskDefinitionFamilyStatusActive,
		})
		if err != nil {
			return nil, err
		}
		return out.Families, nil
	})
}

func (e *environment) completeServices(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return e.complete(cmd, func(ctx context.Context, c *clients) ([]string, error) {
		cluster, err := cmd.Flags().GetString("cluster")
		if err != nil {
			return nil, err
		}
		var names []string
		for pages := ecs.NewListServicesPaginator(c.ecs, &ecs.ListServicesInput{Cluster: &cluster}); pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, err
			}
			for _, arn := range page.ServiceArns {
				if name := lastPart(arn); strings.HasPrefix(name, typed) {
					names = append(names, name)
				}
			}
		}
		return names, nil
	})
}

func (e *environment) completeTasksAndServices(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	tasks, _ := e.completeTasks(cmd, args, typed)
	services, directive := e.completeServices(cmd, args, typed)
	return append(services, tasks...), directive
}
