package ecs

import (
	"fmt"
	"strconv"
	"strings"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

// Statuses of a task's network interface as an attachment.
const (
	attachmentPrecreated = "PRECREATED"
	attachmentAttaching  = "ATTACHING"
	attachmentAttached   = "ATTACHED"
	attachmentDetaching  = "DETACHING"
	attachmentDeleted    = "DELETED"
)

// taskOut shows a task. Everything is derived from the record, but for the
// connection, which is the instance's.
func (p *Provider) taskOut(r store.Reader, t *model.Task, withTags bool) ecsapi.Task {
	o := &t.Observed
	out := ecsapi.Task{
		TaskArn: &t.ARN, ClusterArn: new(p.scope.Cluster(t.ClusterName)), TaskDefinitionArn: &t.TaskDefinitionARN,
		LastStatus: new(t.LastStatus()), DesiredStatus: &t.DesiredStatus, Version: &t.Version,
		LaunchType: ecsapi.LaunchType(t.LaunchType), CapacityProviderName: optional(t.CapacityProviderName),
		Cpu: optional(t.CPU), Memory: optional(t.Memory),
		Group: optional(t.Group), StartedBy: optional(t.StartedBy), EnableExecuteCommand: &t.EnableExecuteCommand,
		AvailabilityZone:      optional(t.AvailabilityZone),
		Attachments:           p.attachmentsOf(t),
		Attributes:            []ecsapi.Attribute{{Name: new("ecs.cpu-architecture"), Value: optional(t.CPUArchitecture)}},
		Containers:            []ecsapi.Container{},
		HealthStatus:          ecsapi.HealthStatus(taskHealth(t)),
		Overrides:             overridesOf(t),
		InferenceAccelerators: []ecsapi.InferenceAccelerator{},
		StopCode:              ecsapi.TaskStopCode(t.StopCode),
		StoppedReason:         optional(t.StoppedReason),
		Tags:                  []ecsapi.Tag{},

		CreatedAt: new(t.CreatedAt), ConnectivityAt: o.ConnectivityAt, PullStartedAt: o.PullStartedAt, PullStoppedAt: o.PullStoppedAt,
		StartedAt: o.StartedAt, StoppingAt: o.StoppingAt, ExecutionStoppedAt: o.ExecutionStoppedAt, StoppedAt: o.StoppedAt,
	}
	if out.StoppingAt == nil && model.TaskStatusRank(o.Status) >= model.TaskStatusRank(model.TaskStopping) {
		out.StoppingAt = t.StopDecidedAt
	}
	if o.ConnectivityAt != nil {
		out.Connectivity = connectivity(r, t)
	}
	if t.LaunchType == model.LaunchFargate {
		out.PlatformVersion, out.PlatformFamily = optional(t.PlatformVersion), new("Linux")
		out.EphemeralStorage = &ecsapi.EphemeralStorage{SizeInGiB: &t.EphemeralStorageGiB}
		out.FargateEphemeralStorage = &ecsapi.TaskEphemeralStorage{SizeInGiB: &t.EphemeralStorageGiB}
	} else {
		out.ContainerInstanceArn = new(p.scope.ContainerInstance(t.ClusterName, t.InstanceID))
	}
	for i := range t.Containers {
		out.Containers = append(out.Containers, p.taskContainerOut(t, &t.Containers[i]))
	}
	if withTags {
		out.Tags = every(t.Tags, tagOut)
	}
	return out
}

// connectivity is the instance's connection while the task lives; a task that
// has stopped keeps what it last had.
func connectivity(r store.Reader, t *model.Task) ecsapi.Connectivity {
	if i, found := records.Instances.Get(r, t.InstanceID); !t.Stopped() && (!found || !i.Connected) {
		return "DISCONNECTED"
	}
	return "CONNECTED"
}

func (p *Provider) taskContainerOut(t *model.Task, c *model.TaskContainer) ecsapi.Container {
	out := ecsapi.Container{
		ContainerArn: new(p.scope.Container(t.ClusterName, t.ID, c.ID)), TaskArn: &t.ARN, Name: &c.Name, Image: &c.Image,
		LastStatus: new(model.ContainerPending), HealthStatus: model.HealthUnknown,
		NetworkBindings: []ecsapi.NetworkBinding{}, NetworkInterfaces: []ecsapi.NetworkInterface{},
		Cpu: new(strconv.Itoa(int(c.CPU))), Memory: number(c.Memory), MemoryReservation: number(c.MemoryReservation),
	}
	if n := t.NetworkInterface; n != nil && attachmentStatus(t) != attachmentPrecreated {
		out.NetworkInterfaces = append(out.NetworkInterfaces, ecsapi.NetworkInterface{AttachmentId: &n.AttachmentID, PrivateIpv4Address: &n.Address})
	}
	o, found := t.Observed.Container(c.Name)
	out.ManagedAgents = managedAgents(t, o)
	if !found {
		return out
	}
	out.LastStatus = &o.Status
	out.ImageDigest, out.ExitCode, out.Reason = optional(o.ImageDigest), o.ExitCode, optional(reasonOf(o))
	out.NetworkBindings = every(o.Bindings, bindingOut)
	if o.HealthStatus != "" {
		out.HealthStatus = ecsapi.HealthStatus(o.HealthStatus)
	}
	if o.Status != model.ContainerPending {
		out.RuntimeId = &c.RuntimeID
	}
	return out
}

func bindingOut(b model.NetworkBinding) ecsapi.NetworkBinding {
	return ecsapi.NetworkBinding{BindIP: &b.BindIP, ContainerPort: &b.ContainerPort, HostPort: &b.HostPort, Protocol: ecsapi.TransportProtocol(b.Protocol)}
}

func number(n *int32) *string {
	if n == nil {
		return nil
	}
	return new(strconv.Itoa(int(*n)))
}

// taskHealth is UNHEALTHY when an essential container is, HEALTHY when all
// are, and else UNKNOWN: also when one of them has no health check.
func taskHealth(t *model.Task) string {
	health := model.HealthHealthy
	essential := 0
	for i := range t.Containers {
		if !t.Containers[i].Essential {
			continue
		}
		essential++
		o, found := t.Observed.Container(t.Containers[i].Name)
		switch {
		case found && o.HealthStatus == model.HealthUnhealthy:
			return model.HealthUnhealthy
		case !found || o.HealthStatus != model.HealthHealthy:
			health = model.HealthUnknown
		}
	}
	if essential == 0 {
		return model.HealthUnknown
	}
	return health
}

// attachmentStatus derives the interface's status from the task's.
func attachmentStatus(t *model.Task) string {
	switch {
	case t.Stopped():
		return attachmentDeleted
	case t.Observed.Status == model.TaskDeprovisioning:
		return attachmentDetaching
	case t.Observed.ENIAttached:
		return attachmentAttached
	case t.Observed.Status == model.TaskProvisioning:
		return attachmentPrecreated
	}
	return attachmentAttaching
}

// attachmentsOf shows what was attached to the task: its network interface and
// its volume.
func (p *Provider) attachmentsOf(t *model.Task) []ecsapi.Attachment {
	out := []ecsapi.Attachment{}
	if t.NetworkInterface != nil {
		out = append(out, p.interfaceAttachment(t))
	}
	if t.Volume != nil {
		out = append(out, volumeAttachment(t))
	}
	return out
}

// interfaceAttachment shows, of an interface that was not begun yet, only the
// subnet, as ECS does.
func (p *Provider) interfaceAttachment(t *model.Task) ecsapi.Attachment {
	n := t.NetworkInterface
	status := attachmentStatus(t)
	details := []model.KeyValuePair{{Name: "subnetId", Value: n.SubnetID}}
	if status != attachmentPrecreated {
		details = append(details,
			model.KeyValuePair{Name: "networkInterfaceId", Value: n.ID},
			model.KeyValuePair{Name: "macAddress", Value: n.MAC},
			model.KeyValuePair{Name: "privateDnsName", Value: n.PrivateDNSName(p.scope.Region)},
			model.KeyValuePair{Name: "privateIPv4Address", Value: n.Address},
		)
	}
	return ecsapi.Attachment{
		Id: &n.AttachmentID, Type: new("ElasticNetworkInterface"), Status: &status, Details: every(details, pairOut),
	}
}

// overridesOf has an entry for every container, as ECS shows it.
func overridesOf(t *model.Task) *ecsapi.TaskOverride {
	o := &t.Overrides
	out := &ecsapi.TaskOverride{
		ContainerOverrides: []ecsapi.ContainerOverride{}, InferenceAcceleratorOverrides: []ecsapi.InferenceAcceleratorOverride{},
		Cpu: optional(o.CPU), Memory: optional(o.Memory), TaskRoleArn: optional(o.TaskRoleARN), ExecutionRoleArn: optional(o.ExecutionRoleARN),
		EphemeralStorage: the(o.EphemeralStorage, storageOut),
	}
	for i := range t.Containers {
		entry := ecsapi.ContainerOverride{Name: &t.Containers[i].Name}
		for j := range o.ContainerOverrides {
			c := &o.ContainerOverrides[j]
			if c.Name != t.Containers[i].Name {
				continue
			}
			entry.Command, entry.Environment = c.Command, each(c.Environment, pairOut)
			entry.Cpu, entry.Memory, entry.MemoryReservation = c.CPU, c.Memory, c.MemoryReservation
		}
		out.ContainerOverrides = append(out.ContainerOverrides, entry)
	}
	return out
}

// reasonOf is the container's reason and, while AWS has none, why its health
// check fails: users look for it here, and nothing else of the API carries it.
func reasonOf(o *model.ContainerObserved) string {
	if o.Reason == "" && o.HealthStatus == model.HealthUnhealthy && o.HealthOutput != "" {
		return "Health check failed: " + strings.TrimSpace(o.HealthOutput)
	}
	if o.Reason == "" && o.Pull != nil && o.Status == model.ContainerPending {
		return pulling(o.Pull)
	}
	return o.Reason
}

// pulling says how far an image has come. AWS has no place for it, and gives a
// container no reason before it has one to end.
func pulling(p *model.PullProgress) string {
	if p.Total == 0 {
		return "Pulling image"
	}
	return fmt.Sprintf("Pulling image: %.1f of %.1f MB, %d of %d layers", float64(p.Bytes)/1e6, float64(p.Total)/1e6, p.LayersDone, p.Layers)
}
