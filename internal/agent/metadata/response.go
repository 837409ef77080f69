package metadata

import (
	"cmp"
	"maps"
	"net/netip"
	"time"
)

// version is which of the endpoint's versions answers: they share shapes, and earlier ones have fewer fields.
type version int

const (
	v2 version = 2
	v3 version = 3
	v4 version = 4
)

// minimumCPU is the cpu units that the agent gives a container that asks for none.
const minimumCPU = 2

type taskResponse struct {
	Cluster            string              `json:"Cluster"`
	TaskARN            string              `json:"TaskARN"`
	Family             string              `json:"Family"`
	Revision           string              `json:"Revision"`
	DesiredStatus      string              `json:"DesiredStatus,omitempty"`
	KnownStatus        string              `json:"KnownStatus"`
	Limits             *taskLimits         `json:"Limits,omitempty"`
	PullStartedAt      *time.Time          `json:"PullStartedAt,omitempty"`
	PullStoppedAt      *time.Time          `json:"PullStoppedAt,omitempty"`
	ExecutionStoppedAt *time.Time          `json:"ExecutionStoppedAt,omitempty"`
	AvailabilityZone   string              `json:"AvailabilityZone,omitempty"`
	TaskTags           map[string]string   `json:"TaskTags,omitempty"`
	LaunchType         string              `json:"LaunchType,omitempty"`
	Containers         []containerResponse `json:"Containers,omitempty"`
	VPCID              string              `json:"VPCID,omitempty"`
	ServiceName        string              `json:"ServiceName,omitempty"`
	EphemeralStorage   *ephemeralStorage   `json:"EphemeralStorageMetrics,omitempty"`
	FaultInjection     bool                `json:"FaultInjectionEnabled,omitempty"`
}

type taskLimits struct {
	CPU    float64 `json:"CPU,omitempty"`
	Memory int64   `json:"Memory,omitempty"`
}

type ephemeralStorage struct {
	Utilized int64 `json:"Utilized"`
	Reserved int64 `json:"Reserved"`
}

type containerResponse struct {
	DockerID      string            `json:"DockerId"`
	Name          string            `json:"Name"`
	DockerName    string            `json:"DockerName"`
	Image         string            `json:"Image"`
	ImageID       string            `json:"ImageID"`
	Ports         []portResponse    `json:"Ports,omitempty"`
	Labels        map[string]string `json:"Labels,omitempty"`
	DesiredStatus string            `json:"DesiredStatus"`
	KnownStatus   string            `json:"KnownStatus"`
	ExitCode      *int              `json:"ExitCode,omitempty"`
	Limits        containerLimits   `json:"Limits"`
	CreatedAt     *time.Time        `json:"CreatedAt,omitempty"`
	StartedAt     *time.Time        `json:"StartedAt,omitempty"`
	FinishedAt    *time.Time        `json:"FinishedAt,omitempty"`
	Type          string            `json:"Type"`
	Health        *healthResponse   `json:"Health,omitempty"`
	Volumes       []VolumeView      `json:"Volumes,omitempty"`
	RestartCount  *int              `json:"RestartCount,omitempty"`
	LogDriver     string            `json:"LogDriver,omitempty"`
	LogOptions    map[string]string `json:"LogOptions,omitempty"`
	ContainerARN  string            `json:"ContainerARN,omitempty"`
	Networks      []networkResponse `json:"Networks,omitempty"`
	Snapshotter   string            `json:"Snapshotter,omitempty"`
}

type containerLimits struct {
	CPU    int64 `json:"CPU"`
	Memory int64 `json:"Memory,omitempty"`
}

type portResponse struct {
	ContainerPort uint16 `json:"ContainerPort,omitempty"`
	Protocol      string `json:"Protocol,omitempty"`
	HostPort      uint16 `json:"HostPort,omitempty"`
	HostIP        string `json:"HostIp,omitempty"`
}

type healthResponse struct {
	Status   string     `json:"status"`
	Since    *time.Time `json:"statusSince,omitempty"`
	ExitCode int        `json:"exitCode"`
	Output   string     `json:"output,omitempty"`
}

type networkResponse struct {
	NetworkMode   string   `json:"NetworkMode"`
	IPv4Addresses []string `json:"IPv4Addresses"`
	*networkDetails
}

// networkDetails are the fields that only version 4 has.
type networkDetails struct {
	AttachmentIndex      int      `json:"AttachmentIndex"`
	MACAddress           string   `json:"MACAddress"`
	IPv4SubnetCIDRBlock  string   `json:"IPv4SubnetCIDRBlock"`
	DomainNameServers    []string `json:"DomainNameServers,omitempty"`
	DomainNameSearchList []string `json:"DomainNameSearchList,omitempty"`
	PrivateDNSName       string   `json:"PrivateDNSName,omitempty"`
	SubnetGateway        string   `json:"SubnetGatewayIpv4Address"`
}

// taskOf makes the answer of a version from a task.
func taskOf(t TaskView, v version, withTags bool) taskResponse {
	r := taskResponse{
		Cluster: t.Cluster, TaskARN: t.ARN, Family: t.Family, Revision: t.Revision, DesiredStatus: t.DesiredStatus,
		KnownStatus: t.KnownStatus, PullStartedAt: stamp(t.PullStartedAt), PullStoppedAt: stamp(t.PullStoppedAt),
		ExecutionStoppedAt: stamp(t.ExecutionStoppedAt), AvailabilityZone: t.AvailabilityZone,
	}
	if t.CPU != 0 || t.Memory != 0 {
		r.Limits = &taskLimits{CPU: t.CPU, Memory: t.Memory}
	}
	if withTags {
		r.TaskTags = t.Tags
	}
	for _, c := range t.Containers {
		r.Containers = append(r.Containers, containerOf(t, c, v))
	}
	if v < v4 {
		return r
	}
	r.LaunchType, r.VPCID, r.ServiceName, r.FaultInjection = t.LaunchType, t.VPCID, t.ServiceName, t.FaultInjectionEnabled
	if t.EphemeralStorageReserved != 0 {
		r.EphemeralStorage = &ephemeralStorage{Utilized: t.EphemeralStorageUsed, Reserved: t.EphemeralStorageReserved}
	}
	return r
}

// containerOf makes the answer of a version from a container of the task.
func containerOf(t TaskView, c ContainerView, v version) containerResponse {
	r := containerResponse{
		DockerID: c.ID, Name: c.Name, DockerName: c.DockerName, Image: c.Image, ImageID: c.ImageID,
		Labels: labelsOf(t, c), DesiredStatus: c.DesiredStatus, KnownStatus: c.KnownStatus, ExitCode: c.ExitCode,
		Limits: containerLimits{CPU: max(c.CPU, minimumCPU), Memory: c.Memory}, CreatedAt: stamp(c.CreatedAt),
		StartedAt: stamp(c.StartedAt), FinishedAt: stamp(c.FinishedAt), Type: "NORMAL", Volumes: c.Volumes,
		RestartCount: c.RestartCount, Networks: networksOf(cmp.Or(c.Network, t.Network), v),
	}
	if r.DockerName == "" {
		r.DockerName = c.Name
	}
	for _, p := range c.Ports {
		r.Ports = append(r.Ports, portResponse{ContainerPort: p.ContainerPort, Protocol: p.Protocol, HostPort: p.HostPort, HostIP: p.HostIP})
	}
	if c.Health != nil {
		r.Health = &healthResponse{Status: c.Health.Status, Since: stamp(c.Health.Since), ExitCode: c.Health.ExitCode, Output: c.Health.Output}
	}
	if v >= v4 {
		r.LogDriver, r.LogOptions, r.ContainerARN, r.Snapshotter = c.LogDriver, c.LogOptions, c.ARN, c.Snapshotter
	}
	return r
}

// labelsOf adds the labels that ECS gives every container to the user's, which cannot replace them.
func labelsOf(t TaskView, c ContainerView) map[string]string {
	labels := maps.Clone(c.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	const prefix = "com.amazonaws.ecs."
	labels[prefix+"cluster"] = t.Cluster
	labels[prefix+"container-name"] = c.Name
	labels[prefix+"task-arn"] = t.ARN
	labels[prefix+"task-definition-family"] = t.Family
	labels[prefix+"task-definition-version"] = t.Revision
	return labels
}

func networksOf(n *NetworkView, v version) []networkResponse {
	if n == nil {
		return nil
	}
	r := networkResponse{NetworkMode: n.Mode, IPv4Addresses: []string{""}} // as amazon-ecs-agent has it for host
	if n.Address.IsValid() {
		r.IPv4Addresses[0] = n.Address.String()
	}
	if v >= v4 && n.Subnet.IsValid() {
		gateway := netip.PrefixFrom(n.Subnet.Masked().Addr().Next(), n.Subnet.Bits())
		r.networkDetails = &networkDetails{
			MACAddress: n.MAC, IPv4SubnetCIDRBlock: n.Subnet.Masked().String(),
			DomainNameServers: n.DomainNameServer, DomainNameSearchList: n.SearchDomains, PrivateDNSName: n.PrivateDNSName,
			SubnetGateway: gateway.String(),
		}
	}
	return []networkResponse{r}
}

// stamp is a time as answers have it, or nil for none.
func stamp(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
