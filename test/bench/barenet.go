package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"

	"github.com/opencontainers/cgroups"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/base/ident"
)

// router is a network namespace in the place of Berth's VPC: every port is a
// veth into it. It has no way out, which nobody here needs.
type router struct {
	name   string
	ns     netns.NsHandle
	handle *netlink.Handle
	hosts  atomic.Uint32
}

// port is a namespace with an interface, as a task has one.
type port struct {
	name, path string
}

var nextHop = net.IPv4(10, 255, 0, 1)

func newRouter() (*router, error) {
	r := &router{name: "bench-" + ident.Hex(6)}
	path, err := makeNamespace(r.name)
	if err != nil {
		return nil, err
	}
	if r.ns, err = netns.GetFromPath(path); err != nil {
		return nil, errors.Join(err, dropNamespace(r.name))
	}
	if r.handle, err = netlink.NewHandleAt(r.ns); err != nil {
		return nil, errors.Join(err, r.ns.Close(), dropNamespace(r.name))
	}
	return r, nil
}

func (r *router) close() error {
	r.handle.Close()
	return errors.Join(r.ns.Close(), dropNamespace(r.name))
}

// attach makes a namespace with address and default route, and the route to it.
func (r *router) attach(id string) (*port, error) {
	p := &port{name: r.name + "-" + id}
	var err error
	if p.path, err = makeNamespace(p.name); err != nil {
		return nil, err
	}
	if err := r.wire(p); err != nil {
		return nil, errors.Join(fmt.Errorf("making the network of %s: %w", id, err), p.detach())
	}
	return p, nil
}

func (r *router) wire(p *port) error {
	ns, err := netns.GetFromPath(p.path)
	if err != nil {
		return err
	}
	defer ns.Close()
	inside, err := netlink.NewHandleAt(ns)
	if err != nil {
		return err
	}
	defer inside.Close()

	n := r.hosts.Add(1)
	address := &net.IPNet{IP: net.IPv4(10, 255, byte(1+n/250), byte(2+n%250)), Mask: net.CIDRMask(32, 32)}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = fmt.Sprintf("p%d", n)
	if err := r.handle.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(ns)}); err != nil {
		return err
	}
	outer, err := r.handle.LinkByName(attrs.Name)
	if err != nil {
		return err
	}
	eth0, err := inside.LinkByName("eth0")
	if err != nil {
		return err
	}
	lo, err := inside.LinkByName("lo")
	if err != nil {
		return err
	}
	toGateway := &net.IPNet{IP: nextHop, Mask: net.CIDRMask(32, 32)}
	return errors.Join(
		inside.LinkSetUp(lo),
		inside.AddrAdd(eth0, &netlink.Addr{IPNet: address}),
		inside.LinkSetUp(eth0),
		r.handle.LinkSetUp(outer),
		inside.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Dst: toGateway, Scope: netlink.SCOPE_LINK}),
		inside.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: nextHop}),
		r.handle.RouteAdd(&netlink.Route{LinkIndex: outer.Attrs().Index, Dst: address, Scope: netlink.SCOPE_LINK}),
	)
}

// detach drops the namespace; the kernel removes the veth with it.
func (p *port) detach() error { return dropNamespace(p.name) }

const namespaceDir = "/run/netns"

// makeNamespace makes a named network namespace on a thread that ends with it:
// it must not be used for anything else.
func makeNamespace(name string) (string, error) {
	if err := os.MkdirAll(namespaceDir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(namespaceDir, name)
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread is destroyed
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			if err := os.WriteFile(path, nil, 0o444); err != nil {
				return err
			}
			return unix.Mount(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), path, "", unix.MS_BIND, "")
		}()
	}()
	return path, <-done
}

func dropNamespace(name string) error {
	path := filepath.Join(namespaceDir, name)
	return errors.Join(unix.Unmount(path, unix.MNT_DETACH), os.Remove(path))
}

// removeCgroups removes a directory of cgroups from every hierarchy.
func removeCgroups(name string) error {
	if cgroups.IsCgroup2UnifiedMode() {
		return cgroups.RemovePath(filepath.Join("/sys/fs/cgroup", name))
	}
	dirs, err := filepath.Glob("/sys/fs/cgroup/*/" + name)
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range dirs {
		errs = append(errs, cgroups.RemovePath(dir))
	}
	return errors.Join(errs...)
}
