package model

import (
	"fmt"
	"time"
)

// Statuses of a task definition. They only move to the right.
const (
	TaskDefinitionActive           = "ACTIVE"
	TaskDefinitionInactive         = "INACTIVE"
	TaskDefinitionDeleteInProgress = "DELETE_IN_PROGRESS"
)

// TaskDefinition is one registered revision of a family. Everything but
// Status and the times of its changes is immutable once registered.
//
// Optional members are pointers where AWS tells "absent" from zero, so that
// what was registered is described without drift.
type TaskDefinition struct {
	Family   string `json:"family"`
	Revision int    `json:"revision"`
	ARN      string `json:"taskDefinitionArn"`

	Status            string     `json:"status"`
	RegisteredAt      time.Time  `json:"registeredAt"`
	RegisteredBy      string     `json:"registeredBy,omitempty"`
	DeregisteredAt    *time.Time `json:"deregisteredAt,omitempty"`
	DeleteRequestedAt *time.Time `json:"deleteRequestedAt,omitempty"`

	TaskRoleARN             string                 `json:"taskRoleArn,omitempty"`
	ExecutionRoleARN        string                 `json:"executionRoleArn,omitempty"`
	NetworkMode             string                 `json:"networkMode,omitempty"`
	ContainerDefinitions    []ContainerDefinition  `json:"containerDefinitions"`
	Volumes                 []Volume               `json:"volumes,omitempty"`
	PlacementConstraints    []PlacementConstraint  `json:"placementConstraints,omitempty"`
	RequiresCompatibilities []string               `json:"requiresCompatibilities,omitempty"`
	CPU                     string                 `json:"cpu,omitempty"`    // units; 1024 are one vCPU
	Memory                  string                 `json:"memory,omitempty"` // MiB
	PIDMode                 string                 `json:"pidMode,omitempty"`
	IPCMode                 string                 `json:"ipcMode,omitempty"`
	ProxyConfiguration      *ProxyConfiguration    `json:"proxyConfiguration,omitempty"`
	InferenceAccelerators   []InferenceAccelerator `json:"inferenceAccelerators,omitempty"`
	EphemeralStorage        *EphemeralStorage      `json:"ephemeralStorage,omitempty"`
	RuntimePlatform         *RuntimePlatform       `json:"runtimePlatform,omitempty"`
	EnableFaultInjection    *bool                  `json:"enableFaultInjection,omitempty"`
	Tags                    []Tag                  `json:"tags,omitempty"`

	// Compatibilities and RequiresAttributes are derived at registration.
	Compatibilities    []string    `json:"compatibilities,omitempty"`
	RequiresAttributes []Attribute `json:"requiresAttributes,omitempty"`
}

// Key identifies the revision in the store; revisions of a family sort
// numerically.
func (d *TaskDefinition) Key() string { return TaskDefinitionKey(d.Family, d.Revision) }

// TaskDefinitionKey is the store key of a revision.
func TaskDefinitionKey(family string, revision int) string {
	return fmt.Sprintf("%s/%010d", family, revision)
}

// Container returns the container definition of that name.
func (d *TaskDefinition) Container(name string) (*ContainerDefinition, bool) {
	for i := range d.ContainerDefinitions {
		if d.ContainerDefinitions[i].Name == name {
			return &d.ContainerDefinitions[i], true
		}
	}
	return nil, false
}

// Family remembers the highest revision ever given out, because AWS never
// uses a number twice even when revisions are deleted.
type Family struct {
	Name         string `json:"name"`
	LastRevision int    `json:"lastRevision"`
}

// Key identifies the family in the store.
func (f *Family) Key() string { return f.Name }

// Attribute is a capability or label, of a container instance or required by
// a task definition.
type Attribute struct {
	Name       string `json:"name"`
	Value      string `json:"value,omitempty"`
	TargetType string `json:"targetType,omitempty"`
	TargetID   string `json:"targetId,omitempty"`
}

// PlacementConstraint restricts where a task may run.
type PlacementConstraint struct {
	Type       string `json:"type,omitempty"`
	Expression string `json:"expression,omitempty"`
}

// ProxyConfiguration is App Mesh's proxy.
type ProxyConfiguration struct {
	Type          string         `json:"type,omitempty"`
	ContainerName string         `json:"containerName"`
	Properties    []KeyValuePair `json:"properties,omitempty"`
}

// InferenceAccelerator is kept because the API still has it; AWS retired it.
type InferenceAccelerator struct {
	DeviceName string `json:"deviceName"`
	DeviceType string `json:"deviceType"`
}

// EphemeralStorage is the size of a Fargate task's own storage in GiB.
type EphemeralStorage struct {
	SizeInGiB int32 `json:"sizeInGiB"`
}

// RuntimePlatform is the processor and operating system that images need.
type RuntimePlatform struct {
	CPUArchitecture       string `json:"cpuArchitecture,omitempty"`
	OperatingSystemFamily string `json:"operatingSystemFamily,omitempty"`
}

// KeyValuePair is a named value such as an environment variable.
type KeyValuePair struct {
	Name  string `json:"name,omitempty"`
	Value string `json:"value"`
}
