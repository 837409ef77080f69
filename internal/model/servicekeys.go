package model

import "fmt"

// DeploymentKey is the store key of a deployment; those of a service have its
// id and a slash as their prefix and sort by number.
func DeploymentKey(serviceID string, number uint64) string {
	return fmt.Sprintf("%s/%020d", serviceID, number)
}

// ServiceEventKey is the store key of an event of a service.
func ServiceEventKey(serviceID string, seq uint64) string {
	return fmt.Sprintf("%s/%020d", serviceID, seq)
}

// TargetKey is the store key of a target; those of a group have its id and a
// bar as their prefix.
func TargetKey(targetGroupID, targetID string, port int32) string {
	return fmt.Sprintf("%s|%s|%d", targetGroupID, targetID, port)
}
