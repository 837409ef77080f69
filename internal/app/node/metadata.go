package node

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"berth.dev/berth/internal/agent/credentials"
	"berth.dev/berth/internal/agent/dns"
	"berth.dev/berth/internal/agent/metadata"
	"berth.dev/berth/internal/agent/network"
	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/agent/task"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/taskspec"
)

// metadataSource tells tasks about themselves from the task engine's view and
// the runtime's counters.
type metadataSource struct {
	tasks      *task.Engine
	containers runtime.Runtime
	roles      *roles

	mu      sync.Mutex
	samples map[string]metadata.Sample // the last of each container, for rates
}

var _ metadata.Source = (*metadataSource)(nil)

// Task returns the view of a task.
func (m *metadataSource) Task(taskID string) (metadata.TaskView, bool) {
	v, ok := m.tasks.Task(taskID)
	if !ok {
		return metadata.TaskView{}, false
	}
	return taskView(v), true
}

// Credentials returns those of a task's role, under their id.
func (m *metadataSource) Credentials(taskID, id string) (*credentials.Credentials, bool) {
	v, ok := m.tasks.Task(taskID)
	if !ok {
		return nil, false
	}
	return m.roles.ofTask(v, id)
}

func taskView(v task.View) metadata.TaskView {
	a, s := v.Assignment, v.State
	out := metadata.TaskView{
		Cluster: a.ClusterARN, ARN: a.Task.ARN,
		Family: a.TaskDefinition.Family, Revision: strconv.Itoa(a.TaskDefinition.Revision),
		DesiredStatus: a.Task.DesiredStatus, KnownStatus: knownTask(s.Status),
		LaunchType: a.Task.LaunchType, AvailabilityZone: a.Task.AvailabilityZone,
		PullStartedAt: at(s.PullStartedAt), PullStoppedAt: at(s.PullStoppedAt), ExecutionStoppedAt: at(s.ExecutionStoppedAt),
		Network: networkView(a),
	}
	if units, err := strconv.ParseFloat(a.Task.CPU, 64); err == nil {
		out.CPU = units / 1024
	}
	if mib, err := strconv.ParseInt(a.Task.Memory, 10, 64); err == nil {
		out.Memory = mib
	}
	if a.NetworkInterface != nil {
		out.VPCID = a.NetworkInterface.VPCID
	}
	if len(a.Task.Tags) > 0 {
		out.Tags = map[string]string{}
		for _, tag := range a.Task.Tags {
			out.Tags[tag.Key] = tag.Value
		}
	}
	for i := range s.Containers {
		if def, ok := a.TaskDefinition.Container(s.Containers[i].Name); ok {
			out.Containers = append(out.Containers, containerView(a, def, &s.Containers[i]))
		}
	}
	return out
}

func networkView(a *model.Assignment) *metadata.NetworkView {
	if a.NetworkInterface == nil {
		if a.TaskDefinition.NetworkMode == taskspec.NetworkHost {
			return &metadata.NetworkView{Mode: taskspec.NetworkHost}
		}
		return nil // in mode bridge each container has its own
	}
	address, err1 := netip.ParseAddr(a.NetworkInterface.Address)
	subnet, err2 := netip.ParsePrefix(a.NetworkInterface.SubnetCIDR)
	if err1 != nil || err2 != nil {
		return nil // the interface could not have been made from these
	}
	return &metadata.NetworkView{
		Mode: "awsvpc", Address: address, Subnet: subnet, MAC: a.NetworkInterface.MAC,
		PrivateDNSName: dns.PrivateName(address, a.Region), DomainNameServer: []string{network.ResolverAddress},
		SearchDomains: []string{dns.Domain(a.Region)},
	}
}

func containerView(a *model.Assignment, def *model.ContainerDefinition, s *task.ContainerState) metadata.ContainerView {
	out := metadata.ContainerView{
		Name: def.Name, Image: def.Image, Labels: def.DockerLabels,
		DesiredStatus: a.Task.DesiredStatus, KnownStatus: knownContainer(s.Phase),
		CPU: int64(def.CPU), StartedAt: at(s.StartedAt), CreatedAt: at(s.StartedAt), FinishedAt: at(s.ExitedAt),
		Snapshotter: "overlayfs",
	}
	for _, c := range a.Task.Containers {
		if c.Name == def.Name {
			out.ID = c.RuntimeID
			_, cluster, _ := strings.Cut(a.ClusterARN, "/")
			out.ARN = strings.Replace(a.ClusterARN, "cluster/"+cluster, "container/"+cluster+"/"+a.Task.ID+"/"+c.ID, 1)
		}
	}
	if def.Memory != nil {
		out.Memory = int64(*def.Memory)
	}
	if s.Image != nil {
		out.ImageID = s.Image.Digest
	}
	if s.ExitCode != nil {
		code := int(*s.ExitCode)
		out.ExitCode = &code
	}
	if def.RestartPolicy != nil && def.RestartPolicy.Enabled {
		out.RestartCount = &s.Restarts
	}
	if def.HealthCheck != nil {
		status := s.Health.Status
		if status == "" {
			status = model.HealthUnknown
		}
		out.Health = &metadata.HealthView{Status: status, Output: s.Health.Output}
	}
	if def.LogConfiguration != nil {
		out.LogDriver, out.LogOptions = def.LogConfiguration.LogDriver, def.LogConfiguration.Options
	}
	out.Ports = portViews(def, s)
	if address, err := netip.ParseAddr(s.Address); err == nil {
		out.Network = &metadata.NetworkView{Mode: taskspec.NetworkBridge, Address: address}
	}
	for _, m := range def.MountPoints {
		out.Volumes = append(out.Volumes, metadata.VolumeView{DockerName: m.SourceVolume, Destination: m.ContainerPath})
	}
	return out
}

// portViews are the ports that lead to a container: those of the host that it
// was given, else its own.
func portViews(def *model.ContainerDefinition, s *task.ContainerState) []metadata.PortView {
	var out []metadata.PortView
	for _, b := range s.Bindings {
		out = append(out, metadata.PortView{
			ContainerPort: uint16(b.ContainerPort), HostPort: uint16(b.HostPort), Protocol: b.Protocol, //nolint:gosec // ports
		})
	}
	if len(out) > 0 {
		return out
	}
	for _, p := range def.PortMappings {
		if p.ContainerPort != nil {
			port := uint16(*p.ContainerPort) //nolint:gosec // checked at registration
			out = append(out, metadata.PortView{ContainerPort: port, HostPort: port, Protocol: p.Protocol})
		}
	}
	return out
}

// knownTask is the agent's own word for a task's status, which the endpoint
// shows instead of the API's.
func knownTask(status string) string {
	switch status {
	case model.TaskRunning, model.TaskStopped:
		return status
	case model.TaskProvisioning, model.TaskPending:
		return "NONE"
	case model.TaskActivating:
		return "CREATED"
	default:
		return model.TaskRunning // it stops, but has not stopped
	}
}

func knownContainer(phase task.Phase) string {
	switch {
	case phase >= task.PhaseExited:
		return model.ContainerStopped
	case phase == task.PhaseRunning:
		return model.ContainerRunning
	case phase == task.PhaseCreated:
		return "CREATED"
	case phase == task.PhasePulled:
		return "PULLED"
	default:
		return "NONE"
	}
}

func at(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

// Stats takes a sample of a container and returns it with the one before.
func (m *metadataSource) Stats(ctx context.Context, containerID string) (metadata.Stats, error) {
	stats, err := m.containers.Stats(ctx, containerID)
	if err != nil {
		return metadata.Stats{}, err
	}
	status, err := m.containers.Status(ctx, containerID)
	if err != nil {
		return metadata.Stats{}, err
	}
	now := sample(stats)
	if now.Networks, err = interfaces(status.PID); err != nil {
		return metadata.Stats{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.samples[containerID]
	m.samples[containerID] = now
	for id, s := range m.samples { // containers that nobody asks about any more
		if now.Read.Sub(s.Read) > 10*time.Minute {
			delete(m.samples, id)
		}
	}
	return metadata.Stats{Previous: before, Current: now}, nil
}

func sample(s runtime.Stats) metadata.Sample {
	out := metadata.Sample{
		Read: s.Read, CPUTotal: s.CPU.Usage, CPUKernel: s.CPU.UsageKern, CPUUser: s.CPU.UsageUser, CPUPerCPU: s.CPU.PerCPU,
		SystemCPU: s.CPU.System, OnlineCPUs: s.CPU.OnlineCPUs,
		Periods: s.CPU.ThrottlingPeriods, ThrottledPeriods: s.CPU.ThrottledPeriods, ThrottledTime: s.CPU.ThrottledTime,
		MemoryUsage: s.Memory.Usage, MemoryMax: s.Memory.MaxUsage, MemLimit: s.Memory.Limit, MemoryStats: s.Memory.Detail,
		PIDs: s.Pids.Current, PIDsLimit: s.Pids.Limit,
	}
	for _, b := range s.BlkIO {
		out.BlockIO = append(out.BlockIO,
			metadata.BlockIO{Major: b.Major, Minor: b.Minor, Op: "Read", Bytes: b.ReadBytes, Count: b.ReadOps},
			metadata.BlockIO{Major: b.Major, Minor: b.Minor, Op: "Write", Bytes: b.WriteBytes, Count: b.WriteOps})
	}
	return out
}

// interfaces reads the counters of the network namespace that a process is in.
func interfaces(pid int) (map[string]metadata.Interface, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", pid))
	if err != nil {
		return nil, err
	}
	out := map[string]metadata.Interface{}
	for line := range strings.Lines(string(data)) {
		name, counters, ok := strings.Cut(line, ":")
		fields := strings.Fields(counters)
		if name = strings.TrimSpace(name); !ok || len(fields) < 16 || name == "lo" {
			continue
		}
		var n [16]uint64
		for i := range n {
			if n[i], err = strconv.ParseUint(fields[i], 10, 64); err != nil {
				return nil, fmt.Errorf("reading the counters of %s: %w", name, err)
			}
		}
		out[name] = metadata.Interface{
			RxBytes: n[0], RxPackets: n[1], RxErrors: n[2], RxDropped: n[3],
			TxBytes: n[8], TxPackets: n[9], TxErrors: n[10], TxDropped: n[11],
		}
	}
	return out, nil
}
