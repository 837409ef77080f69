package e2e_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// Deployments whose tasks keep failing end by themselves and go back to what worked, and the events say so in AWS's words
// and order.
func TestCircuitBreakerRollsBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		bad types.ContainerDefinition
		why string // an event says so
	}{
		"an image that is not there": {
			bad: with(answering("bad"), func(c *types.ContainerDefinition) { c.Image = aws.String("berth.test/absent:1") }),
			why: "CannotPullContainerError",
		},
		"a container that exits at once": {bad: container("app", "exit", "3")},
		"a health check that never passes": {
			bad: with(answering("bad"), func(c *types.ContainerDefinition) {
				c.HealthCheck = &types.HealthCheck{Command: []string{"CMD", "/probe", "exit", "1"}, Interval: aws.Int32(5), Timeout: aws.Int32(2), Retries: aws.Int32(1)}
			}),
			why: "failed container health checks",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &site{b: shared, name: "breaker-" + random()}
			s.network = must(shared.network(t.Context()))(t)
			good := s.define(t, answering("good"))
			s.create(t, good, 1, func(in *ecs.CreateServiceInput) {
				in.DeploymentConfiguration = &types.DeploymentConfiguration{
					DeploymentCircuitBreaker: &types.DeploymentCircuitBreaker{Enable: true, Rollback: true},
				}
			})
			s.completed(t)
			before := s.tasks(t)
			bad := s.define(t, c.bad)
			failed := s.update(t, &ecs.UpdateServiceInput{TaskDefinition: &bad}).Deployments[0]
			svc := s.await(t, "the rollback", func(svc types.Service) bool {
				return len(svc.Deployments) == 1 && svc.Deployments[0].RolloutState == types.DeploymentRolloutStateCompleted && *svc.TaskDefinition == good
			})
			if svc.RunningCount != 1 || *svc.Deployments[0].Id == *failed.Id {
				t.Error(summary(svc))
			}
			if after := s.tasks(t); len(after) != 1 || after[0] != before[0] {
				t.Errorf("the good task was %v and is %v", before, after)
			}
			inOrder(t, s.events(t),
				"(service "+s.name+") has started 1 tasks: (task ",
				"(service "+s.name+") (deployment "+*failed.Id+") deployment failed: tasks failed to start.",
				"(service "+s.name+") rolling back to deployment ecs-svc/",
				"(service "+s.name+") (deployment "+*svc.Deployments[0].Id+") deployment completed.",
				"(service "+s.name+") has reached a steady state.")
			if c.why != "" {
				inOrder(t, s.events(t), c.why)
			}
			listed := must(shared.ecs.ListServiceDeployments(t.Context(), &ecs.ListServiceDeploymentsInput{Service: &s.name}))(t).ServiceDeployments
			if len(listed) == 0 || listed[0].Status != types.ServiceDeploymentStatusRollbackSuccessful {
				t.Errorf("the service deployments are %+v", listed)
			}
		})
	}
}

// inOrder expects each text in an event, each after the one before it.
func inOrder(t *testing.T, events []string, texts ...string) {
	t.Helper()
	at := 0
	for _, text := range texts {
		for at < len(events) && !strings.Contains(events[at], text) {
			at++
		}
		if at == len(events) {
			t.Errorf("no event says %q where it should:\n%s", text, strings.Join(events, "\n"))
			return
		}
		at++
	}
}
