package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// writeHostRules makes the host's rules those of vpcs: our own table, and the way through iptables.
func (m *Manager) writeHostRules(ctx context.Context, vpcs []VPC) error {
	return errors.Join(m.writeTable(vpcs), m.writeRules(ctx, vpcs))
}

// table is this instance's own table on the host. A drop here is final; an accept is only ours, see iptables.go.
func (m *Manager) table() *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyIPv4, Name: "berth-" + m.cfg.Instance}
}

// A rule is one nftables rule with the comment by which it is recognised later.
type rule struct {
	chain   string
	comment string
	exprs   []expr.Any
}

// hostRules are, for each VPC:
//
//	forward:     iifname <uplink> oifname "berth*" drop               VPCs do not meet
//	             oifname <uplink> ct state established,related accept
//	             oifname <uplink> drop                                nothing routes into a VPC
//	postrouting: ip saddr <range> oifname != <uplink> masquerade
//
// Traffic of the host itself passes neither the forward chain nor, towards a task, the masquerade.
func (m *Manager) hostRules(vpcs []VPC) []rule {
	var rules []rule
	for _, v := range vpcs {
		uplink := m.uplinkName(v.ID)
		rules = append(rules,
			rule{"forward", v.ID + " reaches no other VPC", slices.Concat(
				ifname(expr.MetaKeyIIFNAME, expr.CmpOpEq, uplink), ifprefix(expr.MetaKeyOIFNAME, "berth"), verdict(expr.VerdictDrop))},
			rule{"forward", v.ID + " gets answers", slices.Concat(
				ifname(expr.MetaKeyOIFNAME, expr.CmpOpEq, uplink), answers(), verdict(expr.VerdictAccept))},
			rule{"forward", v.ID + " has no way in", slices.Concat(
				ifname(expr.MetaKeyOIFNAME, expr.CmpOpEq, uplink), verdict(expr.VerdictDrop))},
			rule{"postrouting", fmt.Sprintf("%s %v leaves by NAT", v.ID, v.CIDR), slices.Concat(
				source(v), ifname(expr.MetaKeyOIFNAME, expr.CmpOpNeq, uplink), []expr.Any{&expr.Masq{}})},
		)
	}
	return rules
}

// writeTable replaces the table in one transaction, unless it is right already.
func (m *Manager) writeTable(vpcs []VPC) error {
	return m.nft(func(conn *nftables.Conn) error {
		want := m.hostRules(vpcs)
		have, err := m.comments(conn)
		if err != nil {
			return err
		}
		if slices.EqualFunc(have, want, func(comment string, r rule) bool { return comment == r.comment }) {
			return nil
		}
		table := conn.AddTable(m.table())
		conn.FlushTable(table)
		chains := map[string]*nftables.Chain{
			"forward": conn.AddChain(&nftables.Chain{Name: "forward", Table: table, Type: nftables.ChainTypeFilter,
				Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter}),
			"postrouting": conn.AddChain(&nftables.Chain{Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT,
				Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource}),
		}
		for _, r := range want {
			conn.AddRule(&nftables.Rule{Table: table, Chain: chains[r.chain], Exprs: r.exprs,
				UserData: userdata.AppendString(nil, userdata.TypeComment, r.comment)})
		}
		if err := conn.Flush(); err != nil {
			return fmt.Errorf("write nftables table %s: %w", table.Name, err)
		}
		return nil
	})
}

// comments returns the comments of the table's rules in the order of hostRules, or nothing when there is no table.
func (m *Manager) comments(conn *nftables.Conn) ([]string, error) {
	chains, err := conn.ListChainsOfTableFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return nil, fmt.Errorf("list nftables chains: %w", err)
	}
	byVPC := map[string][]string{}
	for _, chain := range []string{"forward", "postrouting"} {
		if !slices.ContainsFunc(chains, func(c *nftables.Chain) bool {
			return c.Table.Name == m.table().Name && c.Name == chain
		}) {
			return nil, nil
		}
		rules, err := conn.GetRules(m.table(), &nftables.Chain{Name: chain})
		if err != nil {
			return nil, fmt.Errorf("list nftables rules: %w", err)
		}
		for _, r := range rules {
			comment, _ := userdata.GetString(r.UserData, userdata.TypeComment)
			id, _, _ := bytes.Cut([]byte(comment), []byte(" "))
			byVPC[string(id)] = append(byVPC[string(id)], comment)
		}
	}
	var comments []string
	for _, id := range slices.Sorted(maps.Keys(byVPC)) {
		comments = append(comments, byVPC[id]...)
	}
	return comments, nil
}

func (m *Manager) deleteTable() error {
	return m.nft(func(conn *nftables.Conn) error {
		tables, err := conn.ListTablesOfFamily(nftables.TableFamilyIPv4)
		if err != nil {
			return fmt.Errorf("list nftables tables: %w", err)
		}
		if !slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == m.table().Name }) {
			return nil
		}
		conn.DelTable(m.table())
		if err := conn.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("delete nftables table %s: %w", m.table().Name, err)
		}
		return nil
	})
}

// nft runs fn with a connection to the host's nftables.
func (m *Manager) nft(fn func(*nftables.Conn) error) error {
	host, err := openSpace(m.cfg.HostNetNS)
	if err != nil {
		return err
	}
	defer host.close()
	conn, err := nftables.New(nftables.WithNetNSFd(int(host.ns)))
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	return fn(conn)
}

func ifname(key expr.MetaKey, op expr.CmpOp, name string) []expr.Any {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: padded}}
}

func ifprefix(key expr.MetaKey, prefix string) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte(prefix)}}
}

func verdict(kind expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: kind}} }

// answers matches packets of connections that exist.
func answers() []expr.Any {
	states := binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED)
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: states, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

// source matches packets from the VPC's range: four bytes at offset 12 of the IPv4 header.
func source(v VPC) []expr.Any {
	n := ipNet(v.CIDR)
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: n.Mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: n.IP.To4()},
	}
}
