package network

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/agent/nft"
)

// The ports on which endpoints really listen: above those that the kernel gives to clients, where hardly a program listens.
const (
	firstHidden = 61000
	lastHidden  = 65535
	// hideTries is how many of them are tried; that even two are taken is rare.
	hideTries = 16
)

// ListenEndpointTCP opens a TCP listener that answers at address inside the network namespace at path, and leaves
// address's port to the namespace's programs: a socket that listens on port 80 of one address keeps a web server from
// listening on port 80 of all addresses. It listens on another port, to which the kernel leads who asks for this one. The
// address must be one of the namespace's own. With port 0 it is ListenTCP.
func ListenEndpointTCP(ctx context.Context, path string, address netip.AddrPort) (net.Listener, error) {
	return hidden(path, address, unix.IPPROTO_TCP, func(at netip.AddrPort) (net.Listener, error) { return ListenTCP(ctx, path, at.String()) })
}

// ListenEndpointUDP is ListenEndpointTCP for UDP.
func ListenEndpointUDP(ctx context.Context, path string, address netip.AddrPort) (net.PacketConn, error) {
	return hidden(path, address, unix.IPPROTO_UDP, func(at netip.AddrPort) (net.PacketConn, error) { return ListenUDP(ctx, path, at.String()) })
}

// hidden opens a socket on a port that is free, and leads address there.
func hidden[S interface{ Close() error }](path string, address netip.AddrPort, protocol uint8, open func(netip.AddrPort) (S, error)) (socket S, err error) {
	if address.Port() == 0 {
		return open(address)
	}
	for range hideTries {
		at := netip.AddrPortFrom(address.Addr(), uint16(firstHidden+rand.IntN(lastHidden-firstHidden+1))) //nolint:gosec // which is no secret
		if socket, err = open(at); errors.Is(err, unix.EADDRINUSE) {
			continue
		}
		if err != nil {
			return socket, err
		}
		if err := lead(path, address, at, protocol); err != nil {
			return socket, errors.Join(fmt.Errorf("lead %s to %s: %w", address, at, err), socket.Close())
		}
		return socket, nil
	}
	return socket, fmt.Errorf("no port is free for the endpoint %s: %w", address, err)
}

// lead writes the table of one endpoint. An earlier agent's, which led to a socket that is gone, is replaced.
func lead(path string, from, to netip.AddrPort, protocol uint8) error {
	conn, err := nft.Open(path)
	if err != nil {
		return err
	}
	_, err = conn.Write(nft.Table{
		Name: fmt.Sprintf("berth-endpoint-%s-%d-%d", from.Addr(), protocol, from.Port()), Family: nftables.TableFamilyIPv4,
		Chains: []nft.Chain{{Name: "output", Type: nftables.ChainTypeNAT, Hook: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest}},
		Rules: []nft.Rule{{Chain: "output", Comment: "it answers at " + to.String(), Words: nft.All(
			nft.Destination(netip.PrefixFrom(from.Addr(), 32)), nft.Protocol(protocol), nft.Ports(from.Port(), from.Port()), nft.TranslateTo(to))}},
	}, nil)
	return errors.Join(err, conn.Close())
}
