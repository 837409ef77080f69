package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A Chain of a Table. Without a hook it is one that others go to.
type Chain struct {
	Name     string
	Type     nftables.ChainType
	Hook     *nftables.ChainHook
	Priority *nftables.ChainPriority
	// Drop makes dropping the policy of a chain with a hook.
	Drop bool
}

// A Rule of a chain. Rules of a chain are in the order in which they are passed.
type Rule struct {
	Chain string
	// Comment says what the rule is for. It is shown by `nft list`, and it is how the rule is recognised: rules of one table
	// with the same chain and comment must be the same.
	Comment string
	Words   Words
}

// A Set is a named set of addresses, of pairs of an address and a range, or a map from address to address, by which of
// its members are used. Its elements are not part of what Write compares: they are the business of Update.
type Set struct {
	Name string
	Kind SetKind
}

// SetKind says what the elements of a set are.
type SetKind int

// The kinds of sets.
const (
	Addresses  SetKind = iota // addresses
	Pairs                     // an address with a range of addresses
	AddressMap                // addresses with the address that each leads to
)

// A Table is everything of one table but the elements of its sets.
type Table struct {
	Name   string
	Family nftables.TableFamily
	Chains []Chain
	Sets   []Set
	Rules  []Rule
}

// A Conn writes tables of one network namespace.
type Conn struct {
	nft *nftables.Conn
	ns  netns.NsHandle
}

// Open returns a connection to the nftables of the network namespace at path; the empty path is that of this process.
func Open(path string) (*Conn, error) {
	if path == "" {
		path = "/proc/thread-self/ns/net" // not that of the main thread, which may be elsewhere just now
	}
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	conn, err := nftables.New(nftables.WithNetNSFd(int(ns)), nftables.AsLasting(), nftables.WithSockOptions(roomForAcks))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open nftables: %w", err), ns.Close())
	}
	return &Conn{nft: conn, ns: ns}, nil
}

// roomForAcks makes room for a transaction of thousands of messages, each of which the kernel acknowledges before the first
// acknowledgement is read. Its parameter is the library's socket.
func roomForAcks[C interface {
	SetReadBuffer(bytes int) error
	SetWriteBuffer(bytes int) error
}](c C) error {
	const buffer = 8 << 20
	return errors.Join(c.SetReadBuffer(buffer), c.SetWriteBuffer(buffer))
}

// Close ends the connection.
func (c *Conn) Close() error { return errors.Join(c.nft.CloseLasting(), c.ns.Close()) }

// Write makes the table what it should be, with sets that keep their elements unless they are new, and reports whether
// anything had to be written. fill gives the elements of sets, by name, when the table is written; nil leaves them.
func (c *Conn) Write(t Table, fill map[string]Elements) (changed bool, err error) {
	have, exists, err := c.read(t)
	if err != nil {
		return false, err
	}
	if exists && have.equal(t) {
		return false, nil
	}
	table := c.nft.AddTable(t.handle())
	c.nft.FlushTable(table) // of its rules; chains and sets stay
	for _, s := range have.sets {
		if !slices.Contains(t.Sets, s) {
			c.nft.DelSet(s.handle(table))
		}
	}
	for i, s := range t.Sets {
		set := s.handle(table)
		if !slices.Contains(have.sets, s) {
			// Unique in the transaction. The library would count in a variable that all connections share, unguarded.
			set.ID = uint32(i) + 1
			if err := c.nft.AddSet(set, nil); err != nil {
				return false, fmt.Errorf("make set %s: %w", s.Name, err)
			}
		}
		if elements, ok := fill[s.Name]; ok {
			c.nft.FlushSet(set)
			if err := inParts(elements, func(part Elements) error { return c.nft.SetAddElements(set, part) }); err != nil {
				return false, fmt.Errorf("fill set %s: %w", s.Name, err)
			}
		}
	}
	for _, chain := range t.Chains {
		c.nft.AddChain(chain.handle(table))
	}
	for _, r := range t.Rules {
		c.nft.AddRule(&nftables.Rule{
			Table: table, Chain: &nftables.Chain{Name: r.Chain, Table: table},
			Exprs: []expr.Any(r.Words), UserData: userdata.AppendString(nil, userdata.TypeComment, r.Comment),
		})
	}
	for _, name := range have.chains {
		if !slices.ContainsFunc(t.Chains, func(c Chain) bool { return c.Name == name }) {
			c.nft.DelChain(&nftables.Chain{Name: name, Table: table})
		}
	}
	if err := c.nft.Flush(); err != nil {
		return false, fmt.Errorf("write nftables table %s: %w", t.Name, err)
	}
	return true, nil
}

// Make is Write with elements that count: every set that elements names has them afterwards, and no others.
func (c *Conn) Make(t Table, elements map[string]Elements) error {
	changed, err := c.Write(t, elements)
	if changed || err != nil {
		return err
	}
	var changes []Change
	for _, s := range t.Sets {
		if e, ok := elements[s.Name]; ok {
			changes = append(changes, Change{Set: s, Flush: true, Add: e})
		}
	}
	return c.Update(t, changes...)
}

// Elements are those of one set.
type Elements []nftables.SetElement

// Address is an element of a set of addresses.
func Address(a netip.Addr) nftables.SetElement { return nftables.SetElement{Key: a.AsSlice()} }

// Pair is an element of a set of pairs.
func Pair(a netip.Addr, p netip.Prefix) nftables.SetElement {
	first, last := bounds(p)
	return nftables.SetElement{Key: slices.Concat(a.AsSlice(), first), KeyEnd: slices.Concat(a.AsSlice(), last)}
}

// Mapping is an element of a map.
func Mapping(from, to netip.Addr) nftables.SetElement {
	return nftables.SetElement{Key: from.AsSlice(), Val: to.AsSlice()}
}

func bounds(p netip.Prefix) (first, last []byte) {
	a := p.Masked().Addr().As4()
	b := a
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	return a[:], b[:]
}

// Change is what Update does to one set.
type Change struct {
	Set Set
	// Flush removes all elements first.
	Flush       bool
	Add, Remove Elements
}

// Comments lists the comments of a chain's rules, none when there is no such chain.
func (c *Conn) Comments(t Table, chain string) ([]string, error) {
	have, _, err := c.read(t)
	return have.rules[chain], err
}

// Exists reports whether there is a table of that name, whatever is in it.
func (c *Conn) Exists(t Table) (bool, error) {
	tables, err := c.nft.ListTablesOfFamily(t.Family)
	if err != nil {
		return false, fmt.Errorf("list nftables tables: %w", err)
	}
	return slices.ContainsFunc(tables, func(x *nftables.Table) bool { return x.Name == t.Name }), nil
}

// Update changes elements of sets of a table that exists, all in one transaction.
func (c *Conn) Update(t Table, changes ...Change) error {
	table := t.handle()
	for _, change := range changes {
		set := change.Set.handle(table)
		if change.Flush {
			c.nft.FlushSet(set)
		}
		if err := inParts(change.Remove, func(part Elements) error { return c.nft.SetDeleteElements(set, part) }); err != nil {
			return fmt.Errorf("remove elements of %s: %w", set.Name, err)
		}
		if err := inParts(change.Add, func(part Elements) error { return c.nft.SetAddElements(set, part) }); err != nil {
			return fmt.Errorf("add elements to %s: %w", set.Name, err)
		}
	}
	if err := c.nft.Flush(); err != nil {
		return fmt.Errorf("update sets of nftables table %s: %w", t.Name, err)
	}
	return nil
}

// inParts calls fn with as many elements at a time as fit in one message: its length has 16 bits.
func inParts(elements Elements, fn func(Elements) error) error {
	for part := range slices.Chunk(elements, 1000) {
		if err := fn(part); err != nil {
			return err
		}
	}
	return nil
}

// Elements lists the keys of a set's elements.
func (c *Conn) Elements(t Table, s Set) (Elements, error) {
	elements, err := c.nft.GetSetElements(s.handle(t.handle()))
	if err != nil {
		return nil, fmt.Errorf("list elements of %s: %w", s.Name, err)
	}
	return elements, nil
}

// Delete removes the tables of a family that are named, or whose names begin with name and a dash. It is not an error
// when there is none.
func (c *Conn) Delete(family nftables.TableFamily, name string) error {
	tables, err := c.nft.ListTablesOfFamily(family)
	if err != nil {
		return fmt.Errorf("list nftables tables: %w", err)
	}
	var errs []error
	for _, t := range tables {
		if t.Name != name && !strings.HasPrefix(t.Name, name+"-") {
			continue
		}
		c.nft.DelTable(t)
		if err := c.nft.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("delete nftables table %s: %w", t.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (t Table) handle() *nftables.Table {
	return &nftables.Table{Name: t.Name, Family: t.Family}
}

func (c Chain) handle(table *nftables.Table) *nftables.Chain {
	chain := &nftables.Chain{Name: c.Name, Table: table, Type: c.Type, Hooknum: c.Hook, Priority: c.Priority}
	if c.Drop {
		policy := nftables.ChainPolicyDrop
		chain.Policy = &policy
	}
	return chain
}

func (s Set) handle(table *nftables.Table) *nftables.Set {
	set := &nftables.Set{Table: table, Name: s.Name, KeyType: nftables.TypeIPAddr}
	switch s.Kind {
	case Addresses:
	case Pairs:
		set.KeyType = nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeIPAddr)
		set.Concatenation, set.Interval = true, true
	case AddressMap:
		set.IsMap, set.DataType = true, nftables.TypeIPAddr
	}
	return set
}

// content is what the kernel has of a table.
type content struct {
	chains []string
	sets   []Set
	rules  map[string][]string // comments, by chain
}

func (c *Conn) read(t Table) (have content, exists bool, err error) {
	if exists, err := c.Exists(t); err != nil || !exists {
		return content{}, false, err
	}
	chains, err := c.nft.ListChainsOfTableFamily(t.Family)
	if err != nil {
		return content{}, false, fmt.Errorf("list nftables chains: %w", err)
	}
	have.rules = map[string][]string{}
	for _, chain := range chains {
		if chain.Table.Name != t.Name {
			continue
		}
		have.chains = append(have.chains, chain.Name)
		rules, err := c.nft.GetRules(t.handle(), chain)
		if err != nil {
			return content{}, false, fmt.Errorf("list nftables rules: %w", err)
		}
		for _, r := range rules {
			comment, _ := userdata.GetString(r.UserData, userdata.TypeComment)
			have.rules[chain.Name] = append(have.rules[chain.Name], comment)
		}
	}
	sets, err := c.nft.GetSets(t.handle())
	if err != nil {
		return content{}, false, fmt.Errorf("list nftables sets: %w", err)
	}
	for _, s := range sets {
		set := Set{Name: s.Name}
		switch {
		case s.IsMap:
			set.Kind = AddressMap
		case s.Concatenation:
			set.Kind = Pairs
		}
		have.sets = append(have.sets, set)
	}
	return have, true, nil
}

// equal reports whether the kernel's table is t: the same chains, sets and comments.
func (h content) equal(t Table) bool {
	if len(h.chains) != len(t.Chains) || len(h.sets) != len(t.Sets) {
		return false
	}
	for _, s := range t.Sets {
		if !slices.Contains(h.sets, s) {
			return false
		}
	}
	want := map[string][]string{}
	for _, r := range t.Rules {
		want[r.Chain] = append(want[r.Chain], r.Comment)
	}
	for _, chain := range t.Chains {
		if !slices.Contains(h.chains, chain.Name) || !slices.Equal(h.rules[chain.Name], want[chain.Name]) {
			return false
		}
	}
	return true
}
