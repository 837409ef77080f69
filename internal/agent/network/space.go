package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// loopback is the index of lo, the first link of every namespace.
const loopback = 1

// A space is an open network namespace with a netlink socket in it. Its changes are idempotent and silent when there
// is nothing to change: the kernel sends no notice then, so Run does not wake itself.
type space struct {
	ns netns.NsHandle
	nl *netlink.Handle
}

// openSpace opens the namespace at path; the empty path is that of this process.
func openSpace(path string) (*space, error) {
	if path == "" {
		// Not /proc/self, which is the main thread's: that may be in another namespace just now, on behalf of In.
		path = "/proc/thread-self/ns/net"
	}
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	handle, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		ns.Close()
		return nil, fmt.Errorf("open netlink socket in %s: %w", path, err)
	}
	return &space{ns: ns, nl: handle}, nil
}

func (s *space) close() {
	s.nl.Close()
	s.ns.Close()
}

// link returns the link with this name, or nil when there is none.
func (s *space) link(name string) (netlink.Link, error) {
	l, err := s.nl.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find link %s: %w", name, err)
	}
	return l, nil
}

func (s *space) up(index int) error {
	return s.nl.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}})
}

// awaitUp returns when the link sends packets. A link that was set up before its peer drops what it is given until the
// kernel's link watcher has run: the first packets of a task would be lost, and TCP repeats only after a second.
func (s *space) awaitUp(ctx context.Context, index int) error {
	// Recent kernels run the watcher for the link that they are asked about: mostly this is all.
	if up, err := s.isUp(index); up || err != nil {
		return err
	}
	notices, err := nl.SubscribeAt(s.ns, netns.None(), unix.NETLINK_ROUTE, unix.RTNLGRP_LINK)
	if err != nil {
		return fmt.Errorf("subscribe to link notices: %w", err)
	}
	defer context.AfterFunc(ctx, notices.Close)()
	defer notices.Close()
	for {
		if up, err := s.isUp(index); up || err != nil {
			return err
		}
		if _, _, err := notices.Receive(); err != nil && !errors.Is(err, unix.ENOBUFS) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("await link %d: %w", index, err)
		}
	}
}

func (s *space) isUp(index int) (bool, error) {
	l, err := s.nl.LinkByIndex(index)
	if err != nil {
		return false, fmt.Errorf("find link %d: %w", index, err)
	}
	return l.Attrs().OperState == netlink.OperUp, nil
}

// address gives a link an address. It brings no route with it: routes are made one by one.
func (s *space) address(index int, p netip.Prefix) error {
	err := s.nl.AddrAdd(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}},
		&netlink.Addr{IPNet: ipNet(p), Flags: unix.IFA_F_NOPREFIXROUTE})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add address %v: %w", p, err)
	}
	return nil
}

// alias writes text on a link, for List and for people: `ip link` shows it.
func (s *space) alias(index int, text string) error {
	l, err := s.nl.LinkByIndex(index)
	if err != nil {
		return fmt.Errorf("find link %d: %w", index, err)
	}
	if l.Attrs().Alias == text {
		return nil
	}
	if err := s.nl.LinkSetAlias(l, text); err != nil {
		return fmt.Errorf("describe link %s: %w", l.Attrs().Name, err)
	}
	return nil
}

// route adds r unless there is one for the same destination.
func (s *space) route(r netlink.Route) error {
	if err := s.nl.RouteAdd(&r); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add route to %v: %w", r.Dst, err)
	}
	return nil
}

// neighbour makes addr known as mac on a link, for good: nobody asks for it, nobody can answer wrongly.
func (s *space) neighbour(index int, addr netip.Addr, mac net.HardwareAddr) error {
	err := s.nl.NeighSet(&netlink.Neigh{
		LinkIndex: index, Family: netlink.FAMILY_V4, State: netlink.NUD_PERMANENT,
		IP: addr.AsSlice(), HardwareAddr: mac,
	})
	if err != nil {
		return fmt.Errorf("add neighbour %v: %w", addr, err)
	}
	return nil
}

func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// prefixOf is the inverse of ipNet; the default route, which netlink gives as nil or 0.0.0.0/0, is not valid.
func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || bits == 0 || ones == 0 {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(addr.Unmap(), ones)
}
