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
	if m.public != nil && maps.Equal(m.public, to) {
		return nil
	}
	m.public = maps.Clone(to)
	if m.public == nil {
		m.public = map[netip.Addr]netip.Addr{}
	}
	vpcs, err := m.vpcs()
	if err != nil {
		return err
	}
	err = m.onHost(func(host *nft.Conn) error {
		if len(m.public) == 0 {
			return host.Delete(nftables.TableFamilyIPv4, m.tableName("public"))
		}
		if err := m.writePublic(host, vpcs); err != nil {
			return err
		}
		return host.Update(m.publicTable(), nft.Change{Set: publicMap, Flush: true, Add: m.mappings()})
	})
	if err != nil {
		m.public = nil // so that it is tried again
		return fmt.Errorf("set public addresses: %w", err)
	}
	return nil
}

var publicMap = nft.Set{Name: "public", Kind: nft.AddressMap}

// publicTable is what leads public addresses to private ones:
//
//	raw:         iifname "berth*" ip daddr 127.0.0.0/8 drop   route_localnet opens the host's loopback to no task
//	prerouting:  iifname != "berth*" dnat to ip daddr map @public
//	output:      dnat to ip daddr map @public
//	postrouting: ip saddr 127.0.0.0/8 oifname "berth*" masquerade
func (m *Manager) publicTable() nft.Table {
	return nft.Table{
		Name: m.tableName("public"), Family: nftables.TableFamilyIPv4, Sets: []nft.Set{publicMap},
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

// writePublic restores the table, and what the kernel needs for it, when there are public addresses. The caller holds
// m.host.
func (m *Manager) writePublic(host *nft.Conn, vpcs []VPC) error {
	if len(m.public) == 0 {
		return nil // nothing to do, or an earlier process knew better: SetPublic will say
	}
	if _, err := host.Write(m.publicTable(), map[string]nft.Elements{publicMap.Name: m.mappings()}); err != nil {
		return err
	}
	var errs []error
	for _, v := range vpcs {
		// Lets packets from a loopback address leave by the uplink, and their answers come back.
		errs = append(errs, apply(m.cfg.HostNetNS, []setting{{"net/ipv4/conf/" + m.uplinkName(v.ID) + "/route_localnet", "1"}}))
	}
	return errors.Join(errs...)
}

func (m *Manager) mappings() nft.Elements {
	var elements nft.Elements
	for _, from := range slices.SortedFunc(maps.Keys(m.public), netip.Addr.Compare) {
		elements = append(elements, nft.Mapping(from, m.public[from]))
	}
	return elements
}
