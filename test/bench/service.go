package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// markSwarm is the most that a service of 50 tasks may take of what Docker's
// swarm takes.
const markSwarm = 0.4

// service measures a service from nothing to 50 tasks that run and are
// registered with a target group, beside `docker service create`.
func (b *bench) service(ctx context.Context, w *berth, docker *docker) error {
	rounds := 3
	if b.quick {
		rounds = 1
	}
	group, remove, err := w.targetGroup(ctx)
	if err != nil {
		return err
	}
	var whole, swarm []time.Duration
	for round := range rounds {
		b.say("service: round %d of %d", round+1, rounds)
		took, err := w.serviceRound(ctx, group)
		if err != nil {
			return errors.Join(err, remove())
		}
		whole = append(whole, took)
		if docker == nil || round > 0 { // Docker takes minutes
			continue
		}
		if took, err = swarmRound(ctx); err != nil {
			return errors.Join(err, remove())
		}
		swarm = append(swarm, took)
	}
	out := b.report.section("service")
	fmt.Fprintf(out, "## A service of %d tasks\n\nFrom CreateService until the client reads %d RUNNING and %d targets; median of %d rounds. "+
		"Docker: from `docker service create --detach --replicas %d` until it lists as many as running; one round.\n\n", burst, burst, burst, rounds, burst)
	rows := [][]string{{"Berth", ms(median(whole))}}
	if len(swarm) > 0 {
		rows = append(rows, []string{"Docker swarm", ms(median(swarm))})
	}
	table(out, []string{"way", "time"}, rows)
	if len(swarm) > 0 {
		fmt.Fprintf(out, "- Berth / Docker: %s\n", atMost(ratio(median(whole), median(swarm)), markSwarm))
	} else {
		fmt.Fprintf(out, "- Berth / Docker: not measured, no Docker engine answered\n")
	}
	return remove()
}

// targetGroup makes a target group that a load balancer forwards to.
func (w *berth) targetGroup(ctx context.Context) (arn string, remove func() error, err error) {
	client := elb.NewFromConfig(w.aws)
	subnets, err := ec2.NewFromConfig(w.aws).DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{})
	if err != nil {
		return "", nil, err
	}
	lb, err := client.CreateLoadBalancer(ctx, &elb.CreateLoadBalancerInput{Name: aws.String("bench"), Subnets: w.subnets})
	if err != nil {
		return "", nil, err
	}
	group, err := client.CreateTargetGroup(ctx, &elb.CreateTargetGroupInput{
		Name: aws.String("bench"), Protocol: elbtypes.ProtocolEnumHttp, Port: aws.Int32(80), VpcId: subnets.Subnets[0].VpcId, TargetType: elbtypes.TargetTypeEnumIp,
		HealthCheckIntervalSeconds: aws.Int32(300),
	})
	if err != nil {
		return "", nil, err
	}
	arn = *group.TargetGroups[0].TargetGroupArn
	_, err = client.CreateListener(ctx, &elb.CreateListenerInput{
		LoadBalancerArn: lb.LoadBalancers[0].LoadBalancerArn, Protocol: elbtypes.ProtocolEnumHttp, Port: aws.Int32(80),
		DefaultActions: []elbtypes.Action{{Type: elbtypes.ActionTypeEnumForward, TargetGroupArn: &arn}},
	})
	if err == nil {
		_, err = client.ModifyTargetGroupAttributes(ctx, &elb.ModifyTargetGroupAttributesInput{TargetGroupArn: &arn, Attributes: []elbtypes.TargetGroupAttribute{
			{Key: aws.String("deregistration_delay.timeout_seconds"), Value: aws.String("0")},
		}})
	}
	return arn, func() error {
		_, err := client.DeleteLoadBalancer(ctx, &elb.DeleteLoadBalancerInput{LoadBalancerArn: lb.LoadBalancers[0].LoadBalancerArn})
		return err
	}, err
}

// serviceRound makes the service, waits for its tasks and removes it.
func (w *berth) serviceRound(ctx context.Context, group string) (time.Duration, error) {
	name := fmt.Sprintf("bench-%d", time.Now().UnixNano())
	balancers := elb.NewFromConfig(w.aws)
	begun := time.Now()
	_, err := w.ecs.CreateService(ctx, &ecs.CreateServiceInput{
		ServiceName: &name, TaskDefinition: aws.String(silentFamily), DesiredCount: aws.Int32(burst), LaunchType: types.LaunchTypeFargate,
		NetworkConfiguration: &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: w.subnets}},
		LoadBalancers:        []types.LoadBalancer{{TargetGroupArn: &group, ContainerName: aws.String("app"), ContainerPort: aws.Int32(80)}},
		// The image answers nothing: nobody is to look before the end.
		HealthCheckGracePeriodSeconds: aws.Int32(3600),
	})
	if err != nil {
		return 0, err
	}
	for {
		described, err := w.ecs.DescribeServices(ctx, &ecs.DescribeServicesInput{Services: []string{name}})
		if err != nil {
			return 0, err
		}
		targets, err := balancers.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: &group})
		if err != nil {
			return 0, err
		}
		if described.Services[0].RunningCount == burst && len(targets.TargetHealthDescriptions) == burst {
			break
		}
		if err := sleep(ctx, burstPoll); err != nil {
			return 0, err
		}
	}
	took := time.Since(begun)
	_, err = w.ecs.DeleteService(ctx, &ecs.DeleteServiceInput{Service: &name, Force: aws.Bool(true)})
	for err == nil {
		var left *ecs.ListTasksOutput
		if left, err = w.ecs.ListTasks(ctx, &ecs.ListTasksInput{}); err != nil || len(left.TaskArns) == 0 {
			break
		}
		err = sleep(ctx, burstPoll)
	}
	return took, err
}

// swarmRound does the same with Docker's swarm, and leaves it.
func swarmRound(ctx context.Context) (took time.Duration, err error) {
	run := func(args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, "docker", args...).CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out)), nil
	}
	if _, err := run("swarm", "init", "--advertise-addr", "127.0.0.1"); err != nil {
		return 0, err
	}
	defer func() {
		_, leave := run("swarm", "leave", "--force")
		err = errors.Join(err, leave)
	}()
	begun := time.Now()
	// Without a published port: the ingress network needs IPVS, which not every kernel has.
	if _, err := run("service", "create", "--detach", "--name", "bench", "--replicas", fmt.Sprint(burst),
		"--limit-cpu", "0.25", "--limit-memory", "512m", imageName, "sleep"); err != nil {
		return 0, err
	}
	for want := fmt.Sprintf("%d/%d", burst, burst); ; {
		replicas, err := run("service", "ls", "--filter", "name=bench", "--format", "{{.Replicas}}")
		if err != nil {
			return 0, err
		}
		if replicas == want {
			break
		}
		if err := sleep(ctx, burstPoll); err != nil {
			return 0, err
		}
	}
	took = time.Since(begun)
	_, err = run("service", "rm", "bench")
	return took, err
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
