package placement

import (
	"cmp"
	"fmt"
	"slices"
)

// Reasons why an instance cannot take a task.
const (
	ReasonCPU       = "RESOURCE:CPU"
	ReasonMemory    = "RESOURCE:MEMORY"
	ReasonPorts     = "RESOURCE:PORTS"
	ReasonENI       = "RESOURCE:ENI" // the subnets have no free address
	ReasonAgent     = "AGENT"        // its agent is not connected
	ReasonInactive  = "INACTIVE"     // it is draining or deregistered
	ReasonAttribute = "ATTRIBUTE"    // it lacks a capability, such as the processor
	ReasonLocation  = "LOCATION"     // it is in another zone than the task's subnets
	ReasonMemberOf  = "MemberOf placement constraint unsatisfied."
	ReasonDistinct  = "DistinctInstance placement constraint unsatisfied."
)

// FargateUnavailable is what RunTask answers when Fargate has no room.
const FargateUnavailable = "Capacity is unavailable at this time. Please try again later or in a different availability zone"

// NoInstances is the reason when a cluster has no container instance at all.
const NoInstances = "No Container Instances were found in your cluster."

// Rejection says why an instance did not take a task.
type Rejection struct {
	InstanceID string
	Reason     string
}

// nearness orders the reasons from the instance that would be nearest to
// taking the task to the one that is farthest.
var nearness = [...]string{
	ReasonCPU, ReasonMemory, ReasonPorts, ReasonENI, ReasonDistinct, ReasonMemberOf,
	ReasonAttribute, ReasonLocation, ReasonAgent, ReasonInactive,
}

// Closest is the instance that would have come nearest to taking the task,
// which is the one that a service's event names.
func Closest(rejections []Rejection) (Rejection, bool) {
	if len(rejections) == 0 {
		return Rejection{}, false
	}
	return slices.MinFunc(rejections, func(a, b Rejection) int {
		return cmp.Or(
			cmp.Compare(slices.Index(nearness[:], a.Reason), slices.Index(nearness[:], b.Reason)),
			cmp.Compare(a.InstanceID, b.InstanceID),
		)
	}), true
}

// Explain says in the words of a service's event why no container instance
// took a task: "The closest matching (container-instance …) has insufficient
// CPU units available." or that there is none.
func Explain(rejections []Rejection) string {
	r, found := Closest(rejections)
	if !found {
		return "Reason: " + NoInstances
	}
	what := fmt.Sprintf("encountered error %q", r.Reason)
	switch r.Reason {
	case ReasonCPU:
		what = "has insufficient CPU units available"
	case ReasonMemory:
		what = "has insufficient memory available"
	case ReasonPorts:
		what = "is already using a port required by your task"
	case ReasonAttribute:
		what = "is missing an attribute required by your task"
	}
	return fmt.Sprintf("The closest matching (container-instance %s) %s.", r.InstanceID, what)
}
