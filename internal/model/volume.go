package model

import "time"

// Volume is storage that a task's containers may mount; at most one kind
// besides Name is set, and none means an empty volume that lives as long as
// the task.
type Volume struct {
	Name                                    string                                   `json:"name,omitempty"`
	Host                                    *HostVolumeProperties                    `json:"host,omitempty"`
	DockerVolumeConfiguration               *DockerVolumeConfiguration               `json:"dockerVolumeConfiguration,omitempty"`
	EFSVolumeConfiguration                  *EFSVolumeConfiguration                  `json:"efsVolumeConfiguration,omitempty"`
	S3FilesVolumeConfiguration              *S3FilesVolumeConfiguration              `json:"s3filesVolumeConfiguration,omitempty"`
	FSxWindowsFileServerVolumeConfiguration *FSxWindowsFileServerVolumeConfiguration `json:"fsxWindowsFileServerVolumeConfiguration,omitempty"`
	ConfiguredAtLaunch                      *bool                                    `json:"configuredAtLaunch,omitempty"`
}

// HostVolumeProperties bind a path of the host; an empty path is a scratch
// volume.
type HostVolumeProperties struct {
	SourcePath string `json:"sourcePath,omitempty"`
}

// DockerVolumeConfiguration is a volume with a driver and a scope.
type DockerVolumeConfiguration struct {
	Scope         string            `json:"scope,omitempty"`
	Autoprovision *bool             `json:"autoprovision,omitempty"`
	Driver        string            `json:"driver,omitempty"`
	DriverOpts    map[string]string `json:"driverOpts,omitempty"`
	Labels        map[string]string `json:"labels,omitempty"`
}

// EFSVolumeConfiguration is an EFS file system.
type EFSVolumeConfiguration struct {
	FileSystemID          string                  `json:"fileSystemId"`
	RootDirectory         string                  `json:"rootDirectory,omitempty"`
	TransitEncryption     string                  `json:"transitEncryption,omitempty"`
	TransitEncryptionPort *int32                  `json:"transitEncryptionPort,omitempty"`
	AuthorizationConfig   *EFSAuthorizationConfig `json:"authorizationConfig,omitempty"`
}

// EFSAuthorizationConfig says how an EFS volume is opened.
type EFSAuthorizationConfig struct {
	AccessPointID string `json:"accessPointId,omitempty"`
	IAM           string `json:"iam,omitempty"`
}

// S3FilesVolumeConfiguration is an S3 Files file system.
type S3FilesVolumeConfiguration struct {
	FileSystemARN         string `json:"fileSystemArn"`
	RootDirectory         string `json:"rootDirectory,omitempty"`
	TransitEncryptionPort *int32 `json:"transitEncryptionPort,omitempty"`
	AccessPointARN        string `json:"accessPointArn,omitempty"`
}

// FSxWindowsFileServerVolumeConfiguration is an FSx share.
type FSxWindowsFileServerVolumeConfiguration struct {
	FileSystemID        string                                  `json:"fileSystemId"`
	RootDirectory       string                                  `json:"rootDirectory"`
	AuthorizationConfig FSxWindowsFileServerAuthorizationConfig `json:"authorizationConfig"`
}

// FSxWindowsFileServerAuthorizationConfig is the login of an FSx share.
type FSxWindowsFileServerAuthorizationConfig struct {
	CredentialsParameter string `json:"credentialsParameter"`
	Domain               string `json:"domain"`
}

// VolumeConfiguration is what a request says of a volume with
// configuredAtLaunch: RunTask for its tasks, a service for each of its own.
type VolumeConfiguration struct {
	Name       string           `json:"name"`
	ManagedEBS ManagedEBSVolume `json:"managedEBSVolume"`
}

// ManagedEBSVolume is the EBS volume that each task is to get.
type ManagedEBSVolume struct {
	RoleARN    string `json:"roleArn"`
	SizeGiB    int32  `json:"sizeInGiB"`
	VolumeType string `json:"volumeType,omitempty"` // empty: gp3
	IOPS       *int32 `json:"iops,omitempty"`
	Throughput *int32 `json:"throughput,omitempty"` // MiB a second
	// FilesystemType is empty when the user leaves it open: then the node makes
	// xfs if it can, else ext4.
	FilesystemType    string                `json:"filesystemType,omitempty"`
	Encrypted         *bool                 `json:"encrypted,omitempty"` // false or nil: true is refused
	TagSpecifications []EBSTagSpecification `json:"tagSpecifications,omitempty"`
	// KeepOnTermination is RunTask's terminationPolicy, turned around; the
	// volumes of services always go with their tasks.
	KeepOnTermination bool `json:"keepOnTermination,omitempty"`
}

// EBSTagSpecification says which tags the volume gets.
type EBSTagSpecification struct {
	Tags []Tag `json:"tags,omitempty"`
	// PropagateTags is TASK_DEFINITION, SERVICE, NONE or empty.
	PropagateTags string `json:"propagateTags,omitempty"`
}

// States of an EBS volume as it is stored. While its task lives it is InUse,
// and what users see of that comes from what the task's node observes.
const (
	EBSInUse     = "in-use"
	EBSAvailable = "available" // its task has stopped; it waits to be deleted
	EBSDeleting  = "deleting"  // its node shall delete it
)

// EBSVolume is a block device that was made for one task, on the task's node,
// where it stays until it is deleted.
//
// The launcher makes it. The volumes loop (control/volumes) writes State when
// the task has stopped and deletes the record when nothing of the volume is
// left; the EC2 provider writes Tags, and State when a user deletes a volume
// that outlived its task.
type EBSVolume struct {
	ID                string    `json:"id"` // vol-<17 hex digits>
	TaskID            string    `json:"taskId"`
	TaskARN           string    `json:"taskArn"`
	InstanceID        string    `json:"instanceId"`
	AvailabilityZone  string    `json:"availabilityZone,omitempty"`
	SizeGiB           int32     `json:"sizeInGiB"`
	VolumeType        string    `json:"volumeType"`
	IOPS              *int32    `json:"iops,omitempty"`
	Throughput        *int32    `json:"throughput,omitempty"`
	FilesystemType    string    `json:"filesystemType,omitempty"`
	KeepOnTermination bool      `json:"keepOnTermination,omitempty"`
	CreatedAt         time.Time `json:"createdAt"`
	Tags              []Tag     `json:"tags,omitempty"`
	State             string    `json:"state"`
}

// Key identifies the volume in the store.
func (v *EBSVolume) Key() string { return v.ID }

// TaskVolume is the EBS volume of a task, as its node must make it and as the
// task shows it when the volume is gone.
type TaskVolume struct {
	Name              string `json:"name"` // of the volume in the task definition
	AttachmentID      string `json:"attachmentId"`
	VolumeID          string `json:"volumeId"`
	RoleARN           string `json:"roleArn"`
	SizeGiB           int32  `json:"sizeInGiB"`
	FilesystemType    string `json:"filesystemType,omitempty"`
	KeepOnTermination bool   `json:"keepOnTermination,omitempty"`
}

// AttributeFileSystem is the attribute by which a node says that it can mount
// an EFS file system, or an access point, of an id.
func AttributeFileSystem(id string) string { return "berth.efs." + id }
