package placement

import (
	"cmp"
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
