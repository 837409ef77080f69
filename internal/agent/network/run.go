package network

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// settle is how long Run lets a burst of notices (Docker writes dozens of rules when it starts) end before it looks.
const settle = 100 * time.Millisecond

// Run keeps the host's part of every VPC true until ctx ends, and then returns ctx's error. A failure to restore is
// logged and tried again: tasks that run must not depend on it ending well.
func (m *Manager) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wake := make(chan struct{}, 1)
	if err := m.watch(ctx, &wg, wake); err != nil {
		// The timer alone does, only later.
		m.log.WarnContext(ctx, "changes of the host's rules are noticed late", "every", m.cfg.Resync.String(), "error", err)
	}
	ticker := time.NewTicker(m.cfg.Resync)
	defer ticker.Stop()
	for {
		if err := m.restore(ctx); err != nil && ctx.Err() == nil {
			m.log.ErrorContext(ctx, "restore of the host's network failed", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		case <-wake:
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(settle):
			}
			select {
			case <-wake:
			default:
			}
		}
	}
}

// restore looks at all VPCs of this instance and completes what is missing. Nothing is written when all is well.
func (m *Manager) restore(ctx context.Context) error {
	m.host.Lock()
	defer m.host.Unlock()
	vpcs, err := m.vpcs()
	if err != nil || len(vpcs) == 0 {
		return err
	}
	var errs []error
	for _, v := range vpcs {
		err := m.buildVPC(ctx, v)
		if err == nil {
			m.ready[v.ID] = v
		}
		errs = append(errs, err)
	}
	return errors.Join(append(errs, m.keepPorts(vpcs), m.writeHostRules(ctx, vpcs))...)
}

// watch sends to wake, without ever blocking, when the kernel says that rules, links or routes of the host changed.
func (m *Manager) watch(ctx context.Context, wg *sync.WaitGroup, wake chan<- struct{}) error {
	host, err := openSpace(m.cfg.HostNetNS)
	if err != nil {
		return err
	}
	defer host.close()
	for _, s := range []struct {
		protocol int
		groups   []uint
	}{
		{unix.NETLINK_NETFILTER, []uint{unix.NFNLGRP_NFTABLES}},
		{unix.NETLINK_ROUTE, []uint{unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_ROUTE}},
	} {
		socket, err := nl.SubscribeAt(host.ns, netns.None(), s.protocol, s.groups...)
		if err != nil {
			return fmt.Errorf("subscribe to kernel notices: %w", err)
		}
		stop := context.AfterFunc(ctx, socket.Close)
		wg.Go(func() {
			defer stop()
			listen(ctx, socket, wake)
		})
	}
	return nil
}

func listen(ctx context.Context, socket *nl.NetlinkSocket, wake chan<- struct{}) {
	defer socket.Close()
	for {
		_, _, err := socket.Receive()
		if ctx.Err() != nil {
			return
		}
		// Too many notices for the socket's buffer are as good as one.
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return
		}
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}
