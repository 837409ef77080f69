package model

import "time"

// Statuses of a cluster.
const (
	ClusterActive   = "ACTIVE"
	ClusterInactive = "INACTIVE"
)

// Cluster groups tasks. Providers write every field; counts are derived from
// tasks when a cluster is described and never stored.
type Cluster struct {
	Name      string    `json:"clusterName"`
	ARN       string    `json:"clusterArn"`
	Status    string    `json:"status"`
	CreatedAt time.Time `json:"createdAt"`

	Settings                        []Setting                      `json:"settings,omitempty"`
	Configuration                   *ClusterConfiguration          `json:"configuration,omitempty"`
	ServiceConnectNamespace         string                         `json:"serviceConnectNamespace,omitempty"`
	CapacityProviders               []string                       `json:"capacityProviders,omitempty"`
	DefaultCapacityProviderStrategy []CapacityProviderStrategyItem `json:"defaultCapacityProviderStrategy,omitempty"`
	Tags                            []Tag                          `json:"tags,omitempty"`
}

// Key identifies the cluster in the store.
func (c *Cluster) Key() string { return c.Name }

// Setting is a named option of a cluster.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// CapacityProviderStrategyItem says which share of tasks a provider gets.
type CapacityProviderStrategyItem struct {
	CapacityProvider string `json:"capacityProvider"`
	Weight           int32  `json:"weight,omitempty"`
	Base             int32  `json:"base,omitempty"`
}

// ClusterConfiguration holds the options of ECS Exec and of managed storage.
type ClusterConfiguration struct {
	ExecuteCommand *ExecuteCommandConfiguration `json:"executeCommandConfiguration,omitempty"`
	ManagedStorage *ManagedStorageConfiguration `json:"managedStorageConfiguration,omitempty"`
}

// ExecuteCommandConfiguration says how sessions of ECS Exec are logged.
type ExecuteCommandConfiguration struct {
	KMSKeyID         string                          `json:"kmsKeyId,omitempty"`
	Logging          string                          `json:"logging,omitempty"`
	LogConfiguration *ExecuteCommandLogConfiguration `json:"logConfiguration,omitempty"`
}

// ExecuteCommandLogConfiguration names where session logs go.
type ExecuteCommandLogConfiguration struct {
	CloudWatchLogGroupName      string `json:"cloudWatchLogGroupName,omitempty"`
	CloudWatchEncryptionEnabled *bool  `json:"cloudWatchEncryptionEnabled,omitempty"`
	S3BucketName                string `json:"s3BucketName,omitempty"`
	S3EncryptionEnabled         *bool  `json:"s3EncryptionEnabled,omitempty"`
	S3KeyPrefix                 string `json:"s3KeyPrefix,omitempty"`
}

// ManagedStorageConfiguration names the keys of managed storage.
type ManagedStorageConfiguration struct {
	KMSKeyID                        string `json:"kmsKeyId,omitempty"`
	FargateEphemeralStorageKMSKeyID string `json:"fargateEphemeralStorageKmsKeyId,omitempty"`
}
