package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// Statuses of services and of their deployments.
const (
	inactive = "INACTIVE"
	primary  = "PRIMARY"
)

// servicesLimit is how many services one DescribeServices takes.
const servicesLimit = 10

// noService says that nothing has this name.
type noService struct{ cluster, name string }

func (n *noService) Error() string {
	return fmt.Sprintf("cluster %s has no service %q; `berth services` lists them", n.cluster, n.name)
}

func serviceName(s *types.Service) string { return aws.ToString(s.ServiceName) }

// service describes one service that is not INACTIVE.
func (c *clients) service(ctx context.Context, cluster, name string) (*types.Service, error) {
	out, err := c.ecs.DescribeServices(ctx, &ecs.DescribeServicesInput{
		Cluster: &cluster, Services: []string{name}, Include: []types.ServiceField{types.ServiceFieldTags},
	})
	if err != nil {
		return nil, explained(err)
	}
	if len(out.Services) == 0 || aws.ToString(out.Services[0].Status) == inactive {
		return nil, &noService{cluster, name}
	}
	return &out.Services[0], nil
}

// services describes every service of a cluster, in the order of their names.
func (c *clients) services(ctx context.Context, cluster string) ([]types.Service, error) {
	var arns []string
	for pages := ecs.NewListServicesPaginator(c.ecs, &ecs.ListServicesInput{Cluster: &cluster, MaxResults: aws.Int32(100)}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, explained(err)
		}
		arns = append(arns, page.ServiceArns...)
	}
	var all []types.Service
	for some := range slices.Chunk(arns, servicesLimit) {
		out, err := c.ecs.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: &cluster, Services: some})
		if err != nil {
			return nil, explained(err)
		}
		all = append(all, out.Services...)
	}
	slices.SortFunc(all, func(a, b types.Service) int { return strings.Compare(serviceName(&a), serviceName(&b)) })
	return all, nil
}

// ofService lists a service's tasks with one desired status.
func (c *clients) ofService(ctx context.Context, cluster, service string, desired types.DesiredStatus) ([]string, error) {
	var all []string
	in := &ecs.ListTasksInput{Cluster: &cluster, ServiceName: &service, DesiredStatus: desired}
	for pages := ecs.NewListTasksPaginator(c.ecs, in); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, explained(err)
		}
		all = append(all, page.TaskArns...)
	}
	return all, nil
}

// primaryOf is the deployment that the service is brought to.
func primaryOf(s *types.Service) *types.Deployment {
	for i := range s.Deployments {
		if aws.ToString(s.Deployments[i].Status) == primary {
			return &s.Deployments[i]
		}
	}
	return nil
}

// deploymentOf finds a deployment that the service still has.
func deploymentOf(s *types.Service, id string) *types.Deployment {
	for i := range s.Deployments {
		if aws.ToString(s.Deployments[i].Id) == id {
			return &s.Deployments[i]
		}
	}
	return nil
}

// rolloutWord says how the newest deployment of a service is.
func rolloutWord(s *types.Service) string {
	d := primaryOf(s)
	if d == nil {
		return "-"
	}
	switch {
	case d.RolloutState == types.DeploymentRolloutStateInProgress && len(s.Deployments) > 1:
		return fmt.Sprintf("%s %d/%d", d.RolloutState, d.RunningCount, d.DesiredCount)
	case d.RolloutState == "":
		return "-"
	}
	return string(d.RolloutState)
}

// definitionName is family:revision.
func definitionName(arn *string) string { return lastPart(aws.ToString(arn)) }
