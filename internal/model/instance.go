package model

import "time"

// Statuses of an instance.
const (
	InstanceActive   = "ACTIVE"
	InstanceDraining = "DRAINING"
	InstanceInactive = "INACTIVE"
)

// Instance is a node: a host whose agent runs tasks. Every node offers
// Fargate capacity; one that names a cluster is a container instance of it
// too. The node's registration writes what it offers, the dispatcher writes
// the connection.
type Instance struct {
	ID           string    `json:"id"` // 32 hex digits, kept by the agent over restarts
	Name         string    `json:"name"`
	ClusterName  string    `json:"clusterName,omitempty"`
	Zone         string    `json:"availabilityZone,omitempty"` // empty: serves every zone
	RegisteredAt time.Time `json:"registeredAt"`
	Status       string    `json:"status"`

	CPU        int64       `json:"cpu"`       // units, 1024 a core
	Memory     int64       `json:"memoryMiB"` // MiB
	Attributes []Attribute `json:"attributes,omitempty"`
	Version    string      `json:"version,omitempty"`
	Runtime    string      `json:"runtime,omitempty"`

	Connected bool `json:"connected"`
	// Session counts the node's connections; only the newest may report.
	Session uint64 `json:"session"`
	// DisconnectedAt is when the connection was lost, nil while connected.
	DisconnectedAt *time.Time `json:"disconnectedAt,omitempty"`

	// Placements counts the tasks ever placed here. Every placement writes it,
	// so two that were decided on the same snapshot cannot both commit.
	Placements uint64 `json:"placements,omitempty"`

	// EC2InstanceID is what AWS would call the host: i-<17 hex digits>.
	EC2InstanceID string `json:"ec2InstanceId,omitempty"`
	// Address is the host's own IPv4 address, for targets of type instance and
	// for names of tasks in bridge and host mode.
	Address string `json:"address,omitempty"`

	Tags []Tag `json:"tags,omitempty"`
}

// Key identifies the instance in the store.
func (i *Instance) Key() string { return i.ID }
