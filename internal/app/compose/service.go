package compose

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/compose-spec/compose-go/v2/types"
)

// create is what makes the ECS service.
func (w *work) create(def *ecs.RegisterTaskDefinitionInput) *ecs.CreateServiceInput {
	in := &ecs.CreateServiceInput{
		ServiceName: &w.full, TaskDefinition: &w.full, LaunchType: ecstypes.LaunchTypeFargate, EnableExecuteCommand: w.options.Exec,
	}
	if !slices.Contains(def.RequiresCompatibilities, ecstypes.CompatibilityFargate) {
		in.LaunchType = ecstypes.LaunchTypeEc2
	}
	count := int32of(w.s.GetScale())
	if w.mode() == "global" {
		in.SchedulingStrategy = ecstypes.SchedulingStrategyDaemon
	} else {
		in.SchedulingStrategy, in.DesiredCount = ecstypes.SchedulingStrategyReplica, &count
	}
	in.DeploymentConfiguration = w.rollout(int64(count))
	var labels map[string]string
	if w.s.Deploy != nil {
		labels = w.s.Deploy.Labels
	}
	in.Tags = w.tags(labels)
	return in
}

// rollout is how one set of tasks takes the place of another. ECS knows how
// many there may be and must be, in percent, where Compose has steps and order.
func (w *work) rollout(count int64) *ecstypes.DeploymentConfiguration {
	breaker := &ecstypes.DeploymentCircuitBreaker{Enable: true, Rollback: true}
	out := &ecstypes.DeploymentConfiguration{DeploymentCircuitBreaker: breaker}
	low, high := int64(100), int64(200)
	var update *types.UpdateConfig
	if w.s.Deploy != nil {
		update = w.s.Deploy.UpdateConfig
	}
	switch {
	case update != nil:
		switch update.FailureAction {
		case "pause":
			breaker.Rollback = false
		case "continue":
			breaker.Enable, breaker.Rollback = false, false
		}
		low, high = percentages(update, count)
	case w.keeps:
		low, high = 0, 100
	}
	if w.mode() == "global" {
		low, high = min(low, 0), 100 // what ECS wants of DAEMON
	}
	out.MinimumHealthyPercent, out.MaximumPercent = aws.Int32(int32(low)), aws.Int32(int32(high)) //nolint:gosec // some hundreds
	return out
}

// percentages are the bounds that lead to the same steps; ECS rounds the
// minimum up and the maximum down. Beyond a hundred tasks a percent is more than
// one of them, and steps may be that much larger.
func percentages(update *types.UpdateConfig, count int64) (low, high int64) {
	count = max(count, 1)
	step := int64(1)
	if update.Parallelism != nil {
		step = int64(min(*update.Parallelism, uint64(count))) //nolint:gosec // at most count
		if step == 0 {
			step = count
		}
	}
	if update.Order == "start-first" {
		return 100, 100 + (step*100+count-1)/count
	}
	return (count - step) * 100 / count, 100
}
