package task

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"berth.dev/berth/internal/agent/network"
	"berth.dev/berth/internal/model"
)

// Network modes of a task definition.
const (
	modeAwsvpc = "awsvpc" // the task has an interface, which its containers share
	modeBridge = "bridge" // each container has an address on the host's bridge network, and ports of the host
	modeHost   = "host"   // the containers are on the host's own network
	modeNone   = "none"   // each container has a loopback and nothing else
)

// modeOf is the task's network mode. An interface decides, because what it is made from comes with it; without one the
// default is EC2's (behaviour/task-definitions.md §2).
func modeOf(a *model.Assignment) string {
	switch mode := a.TaskDefinition.NetworkMode; {
	case a.NetworkInterface != nil:
		return modeAwsvpc
	case mode == "":
		return modeBridge
	default:
		return mode
	}
}

// modeIn is the network mode as one container has it: disableNetworking, which only the modes without an interface
// accept, leaves it a loopback.
func modeIn(a *model.Assignment, def *model.ContainerDefinition) string {
	if mode := modeOf(a); mode != modeBridge || !isTrue(def.DisableNetworking) {
		return mode
	}
	return modeNone
}

// Bridge is the part of the host's network that tasks without an interface of their own use.
type Bridge interface {
	// Connect gives a container an address and publishes its ports. It is idempotent; Network.Detach undoes it.
	Connect(ctx context.Context, c network.Container) (network.Connection, error)
	// HostNetNSPath is the name that NameHost gives to the host's own namespace.
	HostNetNSPath() string
	NameHost() error
}

// noBridge is the network of a node that has none.
type noBridge struct{}

func (noBridge) Connect(context.Context, network.Container) (network.Connection, error) {
	return network.Connection{}, errNoBridge
}
func (noBridge) HostNetNSPath() string { return "" }
func (noBridge) NameHost() error       { return errNoBridge }

var errNoBridge = errors.New("this node runs tasks in network mode awsvpc only")

// bridgeID names the interface of a container on the bridge network. Containers' own names are too long for it.
func bridgeID(runtimeID string) string { return "eni-" + shortHash(runtimeID, 17) }

// shortID is what Docker would use as the host name of the container: twelve hex digits.
func shortID(runtimeID string) string { return shortHash(runtimeID, 12) }

func shortHash(s string, digits int) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])[:digits]
}

// bridgeIDs are the interfaces of all containers of a task in network mode bridge.
func bridgeIDs(a *model.Assignment) []string {
	if modeOf(a) != modeBridge {
		return nil
	}
	ids := make([]string, len(a.TaskDefinition.ContainerDefinitions))
	for i := range ids {
		ids[i] = bridgeID(runtimeID(a, a.TaskDefinition.ContainerDefinitions[i].Name))
	}
	return ids
}

// portsOf are what a container asks of the bridge network.
func portsOf(def *model.ContainerDefinition) []network.Port {
	var out []network.Port
	for _, m := range def.PortMappings {
		p := network.Port{Protocol: protocolOf(m), Container: uint16(value(m.ContainerPort, 0)), Host: uint16(value(m.HostPort, 0))} //nolint:gosec // registration checks ports
		if first, last, ok := rangeOf(m.ContainerPortRange); ok {
			p.Container, p.Count = first, last-first+1
		}
		out = append(out, p)
	}
	return out
}

func protocolOf(m model.PortMapping) string {
	if m.Protocol == "" {
		return "tcp"
	}
	return m.Protocol
}

// rangeOf reads "8000-8010".
func rangeOf(s string) (first, last uint16, ok bool) {
	low, high, found := strings.Cut(s, "-")
	from, err1 := strconv.ParseUint(low, 10, 16)
	to, err2 := strconv.ParseUint(high, 10, 16)
	return uint16(from), uint16(to), found && err1 == nil && err2 == nil && from <= to
}

// bindingsOf describes the ports that a container got.
func bindingsOf(ports []network.Port) []model.NetworkBinding {
	var out []model.NetworkBinding
	for _, p := range ports {
		b := model.NetworkBinding{BindIP: "0.0.0.0", Protocol: p.Protocol}
		if p.Count > 0 {
			b.ContainerPortRange = fmt.Sprintf("%d-%d", p.Container, p.Container+p.Count-1)
			b.HostPortRange = fmt.Sprintf("%d-%d", p.Host, p.Host+p.Count-1)
		} else {
			b.ContainerPort, b.HostPort = int32(p.Container), int32(p.Host)
		}
		out = append(out, b)
	}
	return out
}

// bindings are the ports of the host that lead to a container. In network mode host they are the container's own, from
// when it first ran [GK: AWS reports them so for load balancers to find].
func (c *ContainerState) bindings(a *model.Assignment) []model.NetworkBinding {
	if modeOf(a) != modeHost || !c.RanOnce {
		return c.Bindings
	}
	def, ok := a.TaskDefinition.Container(c.Name)
	if !ok {
		return nil
	}
	var out []model.NetworkBinding
	for _, m := range def.PortMappings {
		port := value(m.ContainerPort, 0)
		out = append(out, model.NetworkBinding{BindIP: "0.0.0.0", ContainerPort: port, HostPort: port, Protocol: protocolOf(m)})
	}
	return out
}

// A link is another container of the task as a container in network mode bridge knows it.
type link struct {
	name, alias string
	address     netip.Addr
	def         *model.ContainerDefinition
}

// linksOf are the containers that def links to and that have an address. Those are all, once it may be made: links are
// dependencies.
func linksOf(a *model.Assignment, s *State, def *model.ContainerDefinition) []link {
	if modeIn(a, def) != modeBridge {
		return nil
	}
	var out []link
	for _, text := range def.Links {
		name, alias, renamed := strings.Cut(text, ":")
		if !renamed {
			alias = name
		}
		linked, ok := a.TaskDefinition.Container(name)
		c := s.container(name)
		if !ok || c == nil {
			continue
		}
		if address, err := netip.ParseAddr(c.Address); err == nil {
			out = append(out, link{name: name, alias: alias, address: address, def: linked})
		}
	}
	return out
}

// environment is what Docker tells a container about one that it links to.
func (l link) environment(of string) []string {
	prefix := strings.ReplaceAll(strings.ToUpper(l.alias), "-", "_")
	env := []string{prefix + "_NAME=/" + of + "/" + l.alias}
	for i, m := range l.def.PortMappings {
		port, protocol := strconv.Itoa(int(value(m.ContainerPort, 0))), protocolOf(m)
		if m.ContainerPort == nil {
			continue
		}
		url := protocol + "://" + l.address.String() + ":" + port
		if i == 0 {
			env = append(env, prefix+"_PORT="+url)
		}
		one := prefix + "_PORT_" + port + "_" + strings.ToUpper(protocol)
		env = append(env, one+"="+url, one+"_ADDR="+l.address.String(), one+"_PORT="+port, one+"_PROTO="+protocol)
	}
	for _, kv := range l.def.Environment {
		env = append(env, prefix+"_ENV_"+kv.Name+"="+kv.Value)
	}
	return env
}
