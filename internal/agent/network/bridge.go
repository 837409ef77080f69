package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"berth.dev/berth/internal/rules/ipam"
)

// Containers in network mode bridge. Each has a namespace and an address of its own on a network that all of them on this
// host share, as on Docker's default bridge, whose range it takes when nobody else has. What carries it is not a Linux
// bridge but one more VPC of this host that the control plane does not know: routed like the others, with the same protection
// from Docker's rules and the same masquerade, but without security groups and free to leave.

// bridgeVPC is the id of that network.
const bridgeVPC = "vpc-bridge"

// bridgeRanges are those of Docker's default pools, in Docker's order.
func bridgeRanges() []netip.Prefix {
	var ranges []netip.Prefix
	for second := byte(17); second < 31; second++ {
		ranges = append(ranges, netip.PrefixFrom(netip.AddrFrom4([4]byte{172, second, 0, 0}), 16))
	}
	return ranges
}

// A Container is what a container in network mode bridge asks of the network.
type Container struct {
	// ID names its interface: eni-…, unique on this host. NetNSPath(ID) is its namespace.
	ID     string
	TaskID string
	Ports  []Port
}

// A Connection is a container's place on the bridge network.
type Connection struct {
	NetNSPath string
	Address   netip.Addr
	// Ports are the container's, with the host ports that they have.
	Ports []Port
}

// Connect gives a container its interface and publishes its ports. It may be repeated: a container that has an address and
// host ports keeps them. Detach takes both away. A host port that something else has is ErrPortTaken.
func (m *Manager) Connect(ctx context.Context, c Container) (Connection, error) {
	m.bridge.Lock() // addresses and ports are chosen one container at a time
	defer m.bridge.Unlock()
	e, err := m.bridgeENI(c)
	if err != nil {
		return Connection{}, fmt.Errorf("connect %s: %w", c.ID, err)
	}
	a, err := m.Attach(ctx, e)
	if err != nil {
		return Connection{}, err
	}
	ports, err := m.publish(ctx, e, c.Ports)
	if err != nil {
		return Connection{}, fmt.Errorf("connect %s: %w", c.ID, err)
	}
	return Connection{NetNSPath: a.NetNSPath, Address: e.Address, Ports: ports}, nil
}

// bridgeENI is the interface that the container has, or else one with a free address. The caller holds m.bridge.
func (m *Manager) bridgeENI(c Container) (ENI, error) {
	v, err := m.bridgeNetwork()
	if err != nil {
		return ENI{}, err
	}
	taken := map[netip.Addr]bool{}
	if m.HasVPC(bridgeVPC) {
		have, err := m.ports(m.VPCNetNSPath(bridgeVPC))
		if err != nil {
			return ENI{}, err
		}
		for _, e := range have {
			// A port whose namespace is gone is on its way out, and its address with it.
			if e.ID == c.ID && m.Has(e.ID) {
				return e, nil
			}
			taken[e.Address] = true
		}
	}
	address, ok := ipam.NextAddress(v.CIDR, func(a netip.Addr) bool { return taken[a] }, m.nextAddress)
	if !ok {
		return ENI{}, fmt.Errorf("no free address in %v", v.CIDR)
	}
	// The next container gets the next address: one that was used a moment ago may still be in somebody's memory.
	m.nextAddress = address.Next()
	return ENI{ID: c.ID, OwnerID: c.TaskID, VPC: v, Subnet: v.CIDR, Address: address, MAC: hardwareAddress(m.cfg.Instance, c.ID)}, nil
}

// bridgeNetwork is the network as it is on this host, or as it will be when the first container comes.
func (m *Manager) bridgeNetwork() (VPC, error) {
	if m.HasVPC(bridgeVPC) {
		if v, err := readVPC(m.VPCNetNSPath(bridgeVPC)); err == nil {
			return v, nil
		} // else it was left half made; it is made again
	}
	host, err := openSpace(m.cfg.HostNetNS)
	if err != nil {
		return VPC{}, err
	}
	used, err := host.ranges()
	host.close()
	if err != nil {
		return VPC{}, err
	}
	if m.cfg.Claims == nil {
		cidr, ok := ipam.ChooseRange(bridgeRanges(), used)
		if !ok {
			return VPC{}, fmt.Errorf("%w among %v", ErrNoRange, bridgeRanges())
		}
		return VPC{ID: bridgeVPC, CIDR: cidr}, nil
	}
	cidr, err := m.cfg.Claims(bridgeRanges(), used)
	return VPC{ID: bridgeVPC, CIDR: cidr}, err
}

// HostNetNSPath is where the host's own namespace has a name, for containers in network mode host to join.
func (m *Manager) HostNetNSPath() string { return namespacePath(m.namespaceName("host")) }

// NameHost gives the host's namespace that name. It may be repeated.
func (m *Manager) NameHost() error {
	m.host.Lock()
	defer m.host.Unlock()
	if isNamespace(m.HostNetNSPath()) {
		return nil
	}
	source := m.cfg.HostNetNS
	if source == "" {
		source = "/proc/thread-self/ns/net" // see openSpace
	}
	if err := nameNamespace(source, m.namespaceName("host")); err != nil {
		return fmt.Errorf("name the host's network namespace: %w", err)
	}
	return nil
}

// ErrPortTaken is returned by Connect when a host port that was asked for is in use.
var ErrPortTaken = errors.New("port is already allocated")
