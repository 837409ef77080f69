package rollout

import (
	"fmt"
	"slices"
	"strings"

	"berth.dev/berth/internal/model"
)

// The messages of service events. Which end with a full stop and which do not
// is as AWS has it (behaviour/services-deployments.md §7): people match them.

const troubleshooting = " For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."

func taskList(ids []string) string {
	var b strings.Builder
	for _, id := range ids {
		fmt.Fprintf(&b, " (task %s)", id)
	}
	return b.String()
}

// Started says that tasks were launched; replaced of them stand in for tasks
// that are unhealthy.
func Started(service string, taskIDs []string, replaced int) string {
	msg := fmt.Sprintf("(service %s) has started %d tasks:%s.", service, len(taskIDs), taskList(taskIDs))
	if replaced > 0 {
		msg += fmt.Sprintf(" Amazon ECS replaced %d tasks due to an unhealthy status.", replaced)
	}
	return msg
}

// Stopped says that running tasks are to stop.
func Stopped(service string, taskIDs []string) string {
	return fmt.Sprintf("(service %s) has stopped %d running tasks:%s.", service, len(taskIDs), taskList(taskIDs))
}

// StoppedPending says that tasks are to stop that never ran. (uncertain)
func StoppedPending(service string, count int) string {
	return fmt.Sprintf("(service %s) has stopped %d pending tasks.", service, count)
}

// RegisteredTargets says that targets were registered in a target group.
func RegisteredTargets(service string, count int, groupARN string) string {
	return fmt.Sprintf("(service %s) registered %d targets in (target-group %s)", service, count, groupARN)
}

// DeregisteredTargets says that targets were deregistered from a target group.
func DeregisteredTargets(service string, count int, groupARN string) string {
	return fmt.Sprintf("(service %s) deregistered %d targets in (target-group %s)", service, count, groupARN)
}

// DrainingConnections says that connections of a deployment's tasks may end.
func DrainingConnections(service, deploymentID string, count int) string {
	return fmt.Sprintf("(service %s, taskSet %s) has begun draining connections on %d tasks.", service, deploymentID, count)
}

// SteadyState says that everything is as it should be.
func SteadyState(service string) string {
	return fmt.Sprintf("(service %s) has reached a steady state.", service)
}

// DeploymentCompleted says that only the newest deployment is left.
func DeploymentCompleted(service, deploymentID string) string {
	return fmt.Sprintf("(service %s) (deployment %s) deployment completed.", service, deploymentID)
}

// DeploymentFailed says that a deployment is given up, and why, such as
// "tasks failed to start".
func DeploymentFailed(service, deploymentID, why string) string {
	return fmt.Sprintf("(service %s) (deployment %s) deployment failed: %s.", service, deploymentID, why)
}

// RollingBack says to which deployment the service returns.
func RollingBack(service, deploymentID string) string {
	return fmt.Sprintf("(service %s) rolling back to deployment %s.", service, deploymentID)
}

// FailedContainerHealth says that a task is UNHEALTHY.
func FailedContainerHealth(service, taskID string) string {
	return fmt.Sprintf("(service %s) (task %s) failed container health checks.", service, taskID)
}

// UnhealthyTarget says that a task's target is unhealthy. A task with an
// interface of its own is named by itself, another one by its EC2 instance;
// the other of the two is empty.
func UnhealthyTarget(service, taskID, ec2InstanceID string, port int32, groupARN, reason string) string {
	who := "task " + taskID
	if ec2InstanceID != "" {
		who = "instance " + ec2InstanceID
	}
	return fmt.Sprintf("(service %s) (%s) (port %d) is unhealthy in (target-group %s) due to (reason %s).", service, who, port, groupARN, reason)
}

// NoContainerInstances is the reason when a cluster has none.
const NoContainerInstances = "No Container Instances were found in your cluster."

// Unplaceable says that no container instance can take a task. why is a whole
// sentence, such as "Reason: …." or "The closest matching …."; ClosestMatch and
// NoInstances make them.
func Unplaceable(service, why string) string {
	return fmt.Sprintf("(service %s) was unable to place a task because no container instance met all of its requirements. %s%s", service, why, troubleshooting)
}

// NoInstances is the sentence for Unplaceable when there are no instances.
func NoInstances() string { return "Reason: " + NoContainerInstances }

// ClosestMatch is the sentence for Unplaceable that names the instance which
// lacks least, and what it lacks, in the codes of RunTask's failures.
func ClosestMatch(instanceID, code string) string {
	return fmt.Sprintf("The closest matching (container-instance %s) %s.", instanceID, lack(code))
}

func lack(code string) string {
	switch code {
	case "RESOURCE:CPU":
		return "has insufficient CPU units available"
	case "RESOURCE:MEMORY":
		return "has insufficient memory available"
	case "RESOURCE:PORTS":
		return "is already using a port required by your task"
	case "ATTRIBUTE":
		return "is missing an attribute required by your task"
	}
	return fmt.Sprintf("encountered error %q", code)
}

// Unable says that a task could not be placed or started, with the reason it
// has, such as a stoppedReason.
func Unable(service, reason string) string {
	return fmt.Sprintf("(service %s) was unable to place a task. Reason: %s.", service, strings.TrimSuffix(reason, "."))
}

// CouldNotLaunch says that only part of the tasks of a deployment started.
func CouldNotLaunch(service, deploymentID string, count int) string {
	return fmt.Sprintf("(service %s) could not launch %d tasks for deployment %s.", service, count, deploymentID)
}

// Inconsistent says that tasks keep failing before they run, so that launches
// are delayed.
func Inconsistent(service string) string {
	return fmt.Sprintf("(service %s) is unable to consistently start tasks successfully.", service)
}

// BlockedByConfiguration says that minimumHealthyPercent forbids every stop
// and maximumPercent every start.
func BlockedByConfiguration(service string) string {
	return fmt.Sprintf("(service %s) was unable to stop or start tasks during a deployment because of the service deployment configuration. "+
		"Update the minimumHealthyPercent or maximumPercent value and try again.", service)
}

// BlockedByProtection says that what should stop is protected.
func BlockedByProtection(service, deploymentID string) string {
	return fmt.Sprintf("(service %s) was unable to reach steady state because task set (%s) was unable to scale in. "+
		"Reason: The number of protected tasks are more than the desired count of tasks", service, deploymentID)
}

// zoneCounts reads "3 tasks in a, 1 tasks in b": fullest first, then by name.
func zoneCounts(counts map[string]int) string {
	zones := make([]string, 0, len(counts))
	for zone := range counts {
		zones = append(zones, zone)
	}
	slices.SortFunc(zones, func(a, b string) int {
		if counts[a] != counts[b] {
			return counts[b] - counts[a]
		}
		return strings.Compare(a, b)
	})
	parts := make([]string, len(zones))
	for i, zone := range zones {
		parts[i] = fmt.Sprintf("%d tasks in %s", counts[zone], zone)
	}
	return strings.Join(parts, ", ")
}

// NotBalanced says that tasks are about to be moved between zones.
func NotBalanced(service string, counts map[string]int) string {
	return fmt.Sprintf("(service %s) is not AZ balanced with %s. AZ Rebalancing in progress.", service, zoneCounts(counts))
}

// Balanced says that no zone has two tasks more than another.
func Balanced(service string, counts map[string]int) string {
	return fmt.Sprintf("(service %s) is AZ balanced with %s.", service, zoneCounts(counts))
}

// StartedToRebalance says that tasks were launched in the emptiest zone.
func StartedToRebalance(service, zone string, taskIDs []string) string {
	return fmt.Sprintf("(service %s) has started %d tasks in %s to AZ Rebalance:%s.", service, len(taskIDs), zone, taskList(taskIDs))
}

// StoppedToRebalance says that tasks of the fullest zone are to stop.
func StoppedToRebalance(service, zone string, taskIDs []string) string {
	return fmt.Sprintf("(service %s) has stopped %d running tasks in %s due to AZ rebalancing:%s.", service, len(taskIDs), zone, taskList(taskIDs))
}

// UnplaceableInZone says that the emptiest zone has no room.
func UnplaceableInZone(service, zone string) string {
	return fmt.Sprintf("(service %s) is unable to place a task in %s because no container instance met all of its requirements.", service, zone)
}

// StoppedRebalancing says that tasks are no longer moved.
func StoppedRebalancing(service string) string {
	return fmt.Sprintf("(service %s) stopped AZ Rebalancing.", service)
}

// The reasons of tasks that a service stops: Task.StoppedReason with the code
// ServiceSchedulerInitiated.

// ReasonScaling is the reason of a task that its deployment has too many of.
func ReasonScaling(deploymentID string) string {
	return fmt.Sprintf("Scaling activity initiated by (deployment %s)", deploymentID)
}

// ReasonContainerHealth is the reason of a task whose container is unhealthy.
const ReasonContainerHealth = "Task failed container health checks"

// ReasonTargetHealth is the reason of a task whose target is unhealthy.
func ReasonTargetHealth(groupARN string) string {
	return fmt.Sprintf("Task failed ELB health checks in (target-group %s)", groupARN)
}

// Rollout state reasons.

func reasonInProgress(d *model.Deployment) string {
	return fmt.Sprintf("ECS deployment %s in progress.", d.ID)
}

func reasonCompleted(d *model.Deployment) string {
	return fmt.Sprintf("ECS deployment %s completed.", d.ID)
}
