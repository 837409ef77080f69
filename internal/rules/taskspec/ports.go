package taskspec

import (
	"slices"
	"strconv"
	"strings"

	"berth.dev/berth/internal/model"
)

const maxPort = 65535

func validatePort(def *model.TaskDefinition, c *model.ContainerDefinition, p *model.PortMapping) error {
	if def.NetworkMode == NetworkNone {
		return client("Port mappings are not supported when networkMode=none.")
	}
	if p.Protocol != "tcp" && p.Protocol != "udp" {
		return invalidChoice("portMappings.protocol", p.Protocol, []string{"tcp", "udp"})
	}
	if protocols := []string{"http", "http2", "grpc"}; p.AppProtocol != "" && !slices.Contains(protocols, p.AppProtocol) {
		return invalidChoice("portMappings.appProtocol", p.AppProtocol, protocols)
	}
	if p.Name != "" && !portNamePattern.MatchString(p.Name) {
		return client("Invalid port mapping name '%s' for container '%s'.", p.Name, c.Name)
	}
	if p.AppProtocol != "" && p.Name == "" {
		return client("A port mapping of container '%s' has an appProtocol but no name.", c.Name)
	}
	if p.ContainerPortRange != "" {
		return validatePortRange(def, c, p)
	}
	if p.ContainerPort == nil {
		return client("Container port is required in the port mappings of container '%s'.", c.Name)
	}
	if *p.ContainerPort < 1 || *p.ContainerPort > maxPort {
		return client("Invalid 'containerPort' setting for container '%s'.", c.Name)
	}
	if p.HostPort != nil && (*p.HostPort < 0 || *p.HostPort > maxPort) {
		return client("Invalid 'hostPort' setting for container '%s'.", c.Name)
	}
	if (def.NetworkMode == NetworkAwsvpc || def.NetworkMode == NetworkHost) && *p.HostPort != *p.ContainerPort {
		return client("When networkMode=%s, the host ports and container ports in port mappings must match.", def.NetworkMode)
	}
	return nil
}

func validatePortRange(def *model.TaskDefinition, c *model.ContainerDefinition, p *model.PortMapping) error {
	if p.ContainerPort != nil || p.HostPort != nil {
		return client("A port mapping of container '%s' has a containerPortRange together with a containerPort or a hostPort.", c.Name)
	}
	if def.NetworkMode == NetworkHost {
		return client("containerPortRange is not supported when networkMode=host.")
	}
	if _, _, ok := portRange(p.ContainerPortRange); !ok {
		return client("Invalid 'containerPortRange' setting for container '%s'.", c.Name)
	}
	return nil
}

// portRange reads "8000-8010".
func portRange(s string) (first, last int, ok bool) {
	low, high, found := strings.Cut(s, "-")
	first, err1 := strconv.Atoi(low)
	last, err2 := strconv.Atoi(high)
	return first, last, found && err1 == nil && err2 == nil && first >= 1 && first <= last && last <= maxPort
}

// validatePorts finds ports that two mappings of the task claim: names are
// unique in a task, a container's port in the container, and the host's port,
// which is the task's own with awsvpc, in the task.
func validatePorts(def *model.TaskDefinition) error {
	names := map[string]bool{}
	host := map[string]bool{}
	for i := range def.ContainerDefinitions {
		c := &def.ContainerDefinitions[i]
		for _, p := range c.PortMappings {
			if p.Name != "" && names[p.Name] {
				return client("The port mapping name '%s' is used more than once.", p.Name)
			}
			names[p.Name] = true
			if p.HostPort == nil || *p.HostPort == 0 {
				continue
			}
			key := p.Protocol + strconv.Itoa(int(*p.HostPort))
			if host[key] {
				return client("%s host port '%d' is mapped multiple times in task.", strings.ToUpper(p.Protocol), *p.HostPort)
			}
			host[key] = true
		}
	}
	return nil
}

// HostPorts are the fixed ports of its instance that a task of the definition
// holds, such as "80/tcp", sorted. Ports that are left to the instance to
// choose are not among them, and in mode awsvpc a task's ports are its own.
func HostPorts(def model.TaskDefinition) []string {
	if def.NetworkMode == NetworkAwsvpc || def.NetworkMode == NetworkNone {
		return nil
	}
	var ports []string
	for i := range def.ContainerDefinitions {
		for _, p := range def.ContainerDefinitions[i].PortMappings {
			if p.HostPort != nil && *p.HostPort != 0 {
				ports = append(ports, strconv.Itoa(int(*p.HostPort))+"/"+p.Protocol)
			}
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}
