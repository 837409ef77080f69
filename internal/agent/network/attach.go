package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Attach makes the interface, and its VPC on this host when it is the first. It may be repeated with the same ENI and
// then completes what is missing; another ENI under the same id is an error. It returns when packets flow.
func (m *Manager) Attach(ctx context.Context, e ENI) (Attachment, error) {
	if err := e.check(); err != nil {
		return Attachment{}, fmt.Errorf("attach: %w", err)
	}
	defer m.lockENI(e.ID)()
	if err := m.ensureVPC(ctx, e.VPC); err != nil {
		return Attachment{}, fmt.Errorf("attach %s: %w", e.ID, err)
	}
	name := m.namespaceName(e.ID)
	if _, err := ensureNamespace(name); err != nil {
		return Attachment{}, fmt.Errorf("attach %s: %w", e.ID, err)
	}
	if err := m.wire(ctx, e); err != nil {
		return Attachment{}, fmt.Errorf("attach %s: %w", e.ID, err)
	}
	return Attachment{ENI: e, NetNSPath: namespacePath(name), Complete: true}, nil
}

// wire connects the task's namespace to the VPC's.
func (m *Manager) wire(ctx context.Context, e ENI) error {
	task, err := openSpace(namespacePath(m.namespaceName(e.ID)))
	if err != nil {
		return err
	}
	defer task.close()
	vpc, err := openSpace(namespacePath(m.namespaceName(e.VPC.ID)))
	if err != nil {
		return err
	}
	defer vpc.close()
	port, eth0, err := m.cable(e, task, vpc)
	if err != nil {
		return err
	}
	gw, inVPC := gateway(e.Subnet), ipNet(single(gateway(e.Subnet)))
	return errors.Join(
		task.up(loopback),
		task.address(loopback, netip.MustParsePrefix(MetadataAddress+"/32")),
		task.address(loopback, netip.MustParsePrefix(ResolverAddress+"/32")),
		task.address(eth0, netip.PrefixFrom(e.Address, e.Subnet.Bits())),
		task.up(eth0),
		task.neighbour(eth0, gw, hardwareAddress(e.ID)),
		task.route(netlink.Route{LinkIndex: eth0, Dst: inVPC, Scope: netlink.SCOPE_LINK}),
		task.route(netlink.Route{LinkIndex: eth0, Gw: gw.AsSlice()}),

		vpc.address(loopback, single(gw)),
		vpc.up(port),
		vpc.neighbour(port, e.Address, e.MAC),
		// Replaced, because a predecessor of this address may still be on its way out.
		vpc.nl.RouteReplace(&netlink.Route{LinkIndex: port, Dst: ipNet(single(e.Address)), Scope: netlink.SCOPE_LINK}),

		task.awaitUp(ctx, eth0),
		vpc.awaitUp(ctx, port),
	)
}

// cable makes the pair of links between task and VPC and returns their indexes. A pair of which the task's end is gone
// belongs to an earlier namespace of the same name that is still ending; it is removed.
func (m *Manager) cable(e ENI, task, vpc *space) (port, eth0 int, err error) {
	for range 2 {
		inside, err := task.link("eth0")
		if err != nil {
			return 0, 0, err
		}
		outside, err := vpc.link(portName(e.ID))
		if err != nil {
			return 0, 0, err
		}
		switch {
		case inside != nil && outside != nil:
			return outside.Attrs().Index, inside.Attrs().Index, describe(vpc, outside, e)
		case outside != nil:
			if err := vpc.nl.LinkDel(outside); err != nil && !errors.Is(err, unix.ENODEV) {
				return 0, 0, fmt.Errorf("remove stale link %s: %w", portName(e.ID), err)
			}
		case inside != nil:
			return 0, 0, fmt.Errorf("namespace has an eth0 that leads elsewhere")
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.HardwareAddr, attrs.MTU = portName(e.ID), hardwareAddress(e.ID), m.mtu()
		pair := &netlink.Veth{
			LinkAttrs: attrs, PeerName: "eth0", PeerHardwareAddr: e.MAC, PeerMTU: uint32(attrs.MTU),
			PeerNamespace: netlink.NsFd(task.ns),
		}
		if err := vpc.nl.LinkAdd(pair); err != nil && !errors.Is(err, unix.EEXIST) {
			return 0, 0, fmt.Errorf("make link pair: %w", err)
		}
	}
	return 0, 0, fmt.Errorf("link pair disappeared while it was made")
}

// Detach removes the interface: at once its route, so that nothing reaches the address, then its namespace. It is not
// an error when there is none. A process that still runs in the namespace keeps its sockets but no way out.
func (m *Manager) Detach(ctx context.Context, eniID string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	defer m.lockENI(eniID)()
	if err := m.unpublish(eniID); err != nil {
		return fmt.Errorf("detach %s: %w", eniID, err)
	}
	if err := m.unroute(eniID); err != nil {
		return fmt.Errorf("detach %s: %w", eniID, err)
	}
	if err := dropNamespace(m.namespaceName(eniID)); err != nil {
		return fmt.Errorf("detach %s: %w", eniID, err)
	}
	return nil
}

// unroute removes the route to an interface, in whichever VPC it is. Nothing reaches it then, and nothing that is still
// in its namespace gets out: the port's reverse path filter finds no way back. The port goes when the namespace ends.
func (m *Manager) unroute(eniID string) error {
	vpcs, err := namespaceNames(m.namespaceName("vpc-"))
	if err != nil {
		return err
	}
	for _, name := range vpcs {
		if !isNamespace(namespacePath(name)) {
			continue
		}
		if err := unrouteIn(namespacePath(name), eniID); err != nil {
			return err
		}
	}
	return nil
}

func unrouteIn(path, eniID string) error {
	vpc, err := openSpace(path)
	if err != nil {
		return err
	}
	defer vpc.close()
	port, err := vpc.link(portName(eniID))
	if err != nil || port == nil || port.Attrs().Alias == "" {
		return err // without an alias it never had a route
	}
	e, err := parseENI(port.Attrs().Alias)
	if err != nil {
		return err
	}
	err = vpc.nl.RouteDel(&netlink.Route{LinkIndex: port.Attrs().Index, Dst: ipNet(single(e.Address)), Scope: netlink.SCOPE_LINK})
	if err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove route to %v: %w", e.Address, err)
	}
	return nil
}

// describe writes an interface's description on its port, unless another interface's is there.
func describe(vpc *space, port netlink.Link, e ENI) error {
	switch alias := port.Attrs().Alias; alias {
	case e.String():
		return nil
	case "":
		if err := vpc.nl.LinkSetAlias(port, e.String()); err != nil {
			return fmt.Errorf("describe link %s: %w", port.Attrs().Name, err)
		}
		return nil
	default:
		return fmt.Errorf("exists with other properties: have %q, want %q", alias, e)
	}
}

// ports lists the interfaces that a VPC's namespace describes.
func (m *Manager) ports(path string) ([]ENI, error) {
	vpc, err := openSpace(path)
	if err != nil {
		return nil, err
	}
	defer vpc.close()
	links, err := vpc.nl.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list links of %s: %w", path, err)
	}
	var enis []ENI
	for _, l := range links {
		if !strings.HasPrefix(l.Attrs().Name, "eni") || l.Attrs().Alias == "" {
			continue
		}
		e, err := parseENI(l.Attrs().Alias)
		if err != nil {
			m.log.Warn("link is not understood", "namespace", path, "link", l.Attrs().Name, "error", err)
			continue
		}
		enis = append(enis, e)
	}
	return enis, nil
}

// carries reports whether the interface is whole: address and default route in the task, route in the VPC.
func (m *Manager) carries(e ENI) bool {
	task, err := openSpace(namespacePath(m.namespaceName(e.ID)))
	if err != nil {
		return false
	}
	defer task.close()
	eth0, err := task.link("eth0")
	if err != nil || eth0 == nil || eth0.Attrs().HardwareAddr.String() != e.MAC.String() {
		return false
	}
	inside, err := task.nl.RouteGet([]byte{8, 8, 8, 8})
	if err != nil || len(inside) == 0 || !inside[0].Src.Equal(e.Address.AsSlice()) {
		return false
	}
	vpc, err := openSpace(namespacePath(m.namespaceName(e.VPC.ID)))
	if err != nil {
		return false
	}
	defer vpc.close()
	port, err := vpc.link(portName(e.ID))
	if err != nil || port == nil {
		return false
	}
	outside, err := vpc.nl.RouteGet(e.Address.AsSlice())
	return err == nil && len(outside) > 0 && outside[0].LinkIndex == port.Attrs().Index
}
