package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"berth.dev/berth/internal/agent/network"
	"berth.dev/berth/internal/base/atomicfile"
)

// Ranges of this host, which several Berths may want: those of VPCs, and the
// pool of public addresses. A claim lives as long as the directory that owns
// it, so each VPC has one below the data directory.

// ranges claims VPCs' ranges for the EC2 provider.
type ranges struct{ dir string }

// Claim keeps a VPC's range for it, or says who else has it.
func (r ranges) Claim(_ context.Context, vpcID string, cidr netip.Prefix) error {
	owner := filepath.Join(r.dir, vpcID)
	if err := os.MkdirAll(owner, 0o700); err != nil {
		return err
	}
	routes, err := network.HostRoutes()
	if err != nil {
		return fmt.Errorf("reading the host's routes: %w", err)
	}
	if _, err := network.ClaimRange(network.ClaimDir, owner, []netip.Prefix{cidr}, routes); err != nil {
		return errors.Join(err, os.Remove(owner))
	}
	return nil
}

// Release gives a VPC's range back.
func (r ranges) Release(_ context.Context, vpcID string) error {
	owner := filepath.Join(r.dir, vpcID)
	return errors.Join(network.ReleaseRanges(network.ClaimDir, owner), os.RemoveAll(owner))
}

// publicClaims is where Berths of this host share out the loopback range.
const publicClaims = "/run/berth/public"

// publicCandidates are the pools of public addresses on a single machine: on
// the loopback range, so that they need no interface, meet no other network
// and port 80 of each is free.
func publicCandidates() []netip.Prefix {
	var pools []netip.Prefix
	for second := byte(64); second < 128; second++ {
		pools = append(pools, netip.PrefixFrom(netip.AddrFrom4([4]byte{127, second, 0, 0}), 24))
	}
	return pools
}

// choosePublic finds the pool of public addresses: the operator's, else the
// one chosen before, else the first that no other Berth of this host has. It
// is remembered, because load balancers keep their addresses.
func (p *controlPlane) choosePublic() (netip.Prefix, error) {
	if p.cfg.PublicAddresses.IsValid() {
		return p.cfg.PublicAddresses, nil
	}
	file := p.cfg.Instance.Path("public-addresses")
	candidates := publicCandidates()
	data, err := os.ReadFile(file)
	if err == nil {
		pool, err := netip.ParsePrefix(strings.TrimSpace(string(data)))
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("%s is damaged: %w", file, err)
		}
		candidates = []netip.Prefix{pool}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return netip.Prefix{}, err
	}
	pool, err := network.ClaimRange(publicClaims, p.cfg.Instance.DataDir, candidates, nil)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("claiming public addresses: %w", err)
	}
	return pool, atomicfile.WriteSecret(file, []byte(pool.String()+"\n"))
}
