package server

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"berth.dev/berth/internal/agent/network"
	"berth.dev/berth/internal/app/instance"
	"berth.dev/berth/internal/base/atomicfile"
	"berth.dev/berth/internal/base/telemetry"
)

// Ranges of this host, which several Berths may want: those of VPCs, and the
// pool of public addresses. A claim lives as long as the directory that owns
// it, so each VPC has one below the data directory.

// ranges claims the ranges of VPCs for the EC2 provider.
type ranges struct {
	dir string
	log *slog.Logger
}

func (p *controlPlane) ranges() ranges {
	return ranges{dir: p.cfg.Instance.Path("server", "ranges"), log: room(p.cfg.Log, "app/server")}
}

// owner is the directory that owns a range's claim.
func (r ranges) owner(cidr netip.Prefix) string {
	return filepath.Join(r.dir, strings.ReplaceAll(cidr.String(), "/", "-"))
}

// claim keeps a range for this Berth, or says who else has it.
func (r ranges) claim(cidr netip.Prefix) error {
	if err := os.MkdirAll(r.owner(cidr), 0o700); err != nil {
		return err
	}
	routes, err := network.HostRoutes()
	if err != nil {
		return fmt.Errorf("reading the host's routes: %w", err)
	}
	if _, err := network.ClaimRange(network.ClaimDir, r.owner(cidr), []netip.Prefix{cidr}, routes); err != nil {
		return errors.Join(fmt.Errorf("this host routes %v elsewhere already, or another VPC has it: %w", cidr, err), os.Remove(r.owner(cidr)))
	}
	return nil
}

// release gives a range back. What goes wrong leaves it claimed until this
// Berth is removed.
func (r ranges) release(cidr netip.Prefix) {
	err := errors.Join(network.ReleaseRanges(network.ClaimDir, r.owner(cidr)), os.RemoveAll(r.owner(cidr)))
	if err != nil {
		r.log.Warn("the range of a deleted VPC was not given back", "range", cidr, telemetry.Error, err)
	}
}

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
	pool, err := network.ClaimRange(instance.PublicClaims, p.cfg.Instance.DataDir, candidates, nil)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("claiming public addresses: %w", err)
	}
	return pool, atomicfile.WriteSecret(file, []byte(pool.String()+"\n"))
}
