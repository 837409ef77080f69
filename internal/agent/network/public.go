package network

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/google/nftables"

	"berth.dev/berth/internal/agent/nft"
)

// SetPublic says which public addresses lead to which private ones. What is given replaces everything that was said
// earlier, in one step and without an end to connections that exist.
func (m *Manager) SetPublic(to map[netip.Addr]netip.Addr) error {
	m.host.Lock()
	defer m.host.Unlock()
	table := publicTable()
	if len(to) == 0 {
		table.Rules = nil
	}
	var elements nft.Elements
	for _, from := range slices.SortedFunc(maps.Keys(to), netip.Addr.Compare) {
		elements = append(elements, nft.Mapping(from, to[from]))
	}
	if err := m.keepTable(publicPurpose, table, map[string]nft.Elements{publicMap.Name: elements}); err != nil {
		return fmt.Errorf("set public addresses: %w", err)
	}
	vpcs, err := m.vpcs()
	if err != nil {
		return err
	}
	return m.openLoopback(vpcs)
}

const publicPurpose = "public"

var publicMap = nft.Set{Name: "public", Kind: nft.AddressMap}

// publicTable is what leads public addresses to private ones:
//
//	raw:         iifname "berth*" ip daddr 127.0.0.0/8 drop   route_localnet opens the host's loopback to no task
//	prerouting:  iifname != "berth*" dnat to ip daddr map @public
//	output:      dnat to ip daddr map @public
//	postrouting: ip saddr 127.0.0.0/8 oifname "berth*" masquerade
func publicTable() nft.Table {
	return nft.Table{
		Family: nftables.TableFamilyIPv4, Sets: []nft.Set{publicMap},
		Chains: []nft.Chain{
			{Name: "raw", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw},
			{Name: "prerouting", Type: nftables.ChainTypeNAT, Hook: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest},
			{Name: "output", Type: nftables.ChainTypeNAT, Hook: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest},
			{Name: "postrouting", Type: nftables.ChainTypeNAT, Hook: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource},
		},
		Rules: []nft.Rule{
			{Chain: "raw", Comment: "loopback is the host's own", Words: nft.All(nft.FromPrefix("berth"), nft.Destination(loopbackRange), nft.Drop())},
			{Chain: "prerouting", Comment: "from elsewhere", Words: nft.All(nft.NotFromPrefix("berth"), nft.TranslateBy(publicMap.Name))},
			{Chain: "output", Comment: "from the host", Words: nft.TranslateBy(publicMap.Name)},
			{Chain: "postrouting", Comment: "answers find the way", Words: nft.All(nft.Source(loopbackRange), nft.ToPrefix("berth"), nft.Masquerade())},
		},
	}
}

var loopbackRange = netip.MustParsePrefix("127.0.0.0/8")

// openLoopback lets packets from a loopback address leave by the uplinks, and their answers come back, when there are public
// addresses or published ports. Their tables keep tasks from the host's loopback range. The caller holds m.host.
func (m *Manager) openLoopback(vpcs []VPC) error {
	_, public := m.kept[publicPurpose]
	_, ports := m.kept[portsPurpose]
	if !public && !ports {
		return nil
	}
	var errs []error
	for _, v := range vpcs {
		errs = append(errs, apply(m.cfg.HostNetNS, []setting{{"net/ipv4/conf/" + m.uplinkName(v.ID) + "/route_localnet", "1"}}))
	}
	return errors.Join(errs...)
}
