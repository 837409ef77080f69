package network

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/nftables"

	"berth.dev/berth/internal/agent/nft"
)

// writeHostRules makes the host's rules those of vpcs: our own tables, and the way through iptables.
func (m *Manager) writeHostRules(ctx context.Context, vpcs []VPC) error {
	return errors.Join(
		m.onHost(func(host *nft.Conn) error {
			_, err := host.Write(m.hostTable(vpcs), nil)
			return errors.Join(err, m.writeKept(host), m.openLoopback(vpcs))
		}),
		m.writeRules(ctx, vpcs))
}

// hostTable is this instance's own table on the host. A drop here is final; an accept is only ours, see iptables.go. Its
// rules are:
//
//	forward:     oifname "berth*" ct state established,related accept
//	             oifname "berth*" ct status dnat accept            public addresses and published ports lead in
//	             iifname <uplink> oifname "berth*" drop            for each VPC: VPCs do not meet otherwise
//	             oifname <uplink> drop                             for each VPC: nothing else routes into it
//	postrouting: ip saddr <range> oifname != <uplink> masquerade   for each VPC
//
// Traffic of the host itself passes neither the forward chain nor, towards a task, the masquerade.
func (m *Manager) hostTable(vpcs []VPC) nft.Table {
	t := nft.Table{
		Name: m.tableName(""), Family: nftables.TableFamilyIPv4,
		Chains: []nft.Chain{
			{Name: "forward", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter},
			{Name: "postrouting", Type: nftables.ChainTypeNAT, Hook: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource},
		},
		Rules: []nft.Rule{
			{Chain: "forward", Comment: "answers come in", Words: nft.All(nft.ToPrefix("berth"), nft.Known(), nft.Accept())},
			{Chain: "forward", Comment: "what is translated comes in", Words: nft.All(nft.ToPrefix("berth"), nft.Translated(), nft.Accept())},
		},
	}
	for _, v := range vpcs {
		uplink := m.uplinkName(v.ID)
		t.Rules = append(t.Rules,
			nft.Rule{Chain: "forward", Comment: v.ID + " reaches no other VPC", Words: nft.All(nft.From(uplink), nft.ToPrefix("berth"), nft.Drop())},
			nft.Rule{Chain: "forward", Comment: v.ID + " has no other way in", Words: nft.All(nft.To(uplink), nft.Drop())},
			nft.Rule{
				Chain: "postrouting", Comment: fmt.Sprintf("%s %v leaves by NAT", v.ID, v.CIDR),
				Words: nft.All(nft.Source(v.CIDR), nft.NotTo(uplink), nft.Masquerade()),
			},
		)
	}
	return t
}

// tableName names a table of this instance on the host: the main one, or one for a purpose.
func (m *Manager) tableName(purpose string) string {
	if purpose == "" {
		return "berth-" + m.cfg.Instance
	}
	return "berth-" + m.cfg.Instance + "-" + purpose
}

// A keptTable is a table on the host that another part of the agent has given into care.
type keptTable struct {
	table    nft.Table
	elements map[string]nft.Elements
}

// KeepTable makes a table of the host, berth-<instance>-<purpose>, what it should be, elements of its sets included, and keeps it
// so for as long as the process lives: Run restores it when another program removes it. A table without rules is removed.
// A new process knows nothing of tables that an earlier one kept, and leaves them until it is given them again.
func (m *Manager) KeepTable(purpose string, t nft.Table, elements map[string]nft.Elements) error {
	m.host.Lock()
	defer m.host.Unlock()
	return m.keepTable(purpose, t, elements)
}

// keepTable is KeepTable for callers that hold m.host.
func (m *Manager) keepTable(purpose string, t nft.Table, elements map[string]nft.Elements) error {
	t.Name = m.tableName(purpose)
	err := m.onHost(func(host *nft.Conn) error {
		if len(t.Rules) == 0 {
			delete(m.kept, purpose)
			return host.Delete(t.Family, t.Name)
		}
		m.kept[purpose] = keptTable{t, elements}
		return host.Make(t, elements)
	})
	if err != nil {
		return fmt.Errorf("keep table %s: %w", t.Name, err)
	}
	return nil
}

// writeKept restores the tables in care. The caller holds m.host.
func (m *Manager) writeKept(host *nft.Conn) error {
	var errs []error
	for _, k := range m.kept {
		_, err := host.Write(k.table, k.elements)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// deleteTables removes every table of this instance on the host, whichever package wrote it.
func (m *Manager) deleteTables() error {
	return m.onHost(func(host *nft.Conn) error {
		return errors.Join(host.Delete(nftables.TableFamilyIPv4, m.tableName("")), host.Delete(nftables.TableFamilyINet, m.tableName("")))
	})
}

// onHost runs fn with a connection to the host's nftables.
func (m *Manager) onHost(fn func(*nft.Conn) error) error {
	conn, err := nft.Open(m.cfg.HostNetNS)
	if err != nil {
		return err
	}
	return errors.Join(fn(conn), conn.Close())
}
