package nft

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A Words is a part of a rule: conditions, or what happens when all of them are true.
type Words []expr.Any

// From matches packets that came in by a link of this name.
func From(link string) Words { return ifname(expr.MetaKeyIIFNAME, expr.CmpOpEq, link) }

// NotFrom matches packets that came in by another link.
func NotFrom(link string) Words { return ifname(expr.MetaKeyIIFNAME, expr.CmpOpNeq, link) }

// To matches packets that leave by a link of this name.
func To(link string) Words { return ifname(expr.MetaKeyOIFNAME, expr.CmpOpEq, link) }

// NotTo matches packets that leave by another link.
func NotTo(link string) Words { return ifname(expr.MetaKeyOIFNAME, expr.CmpOpNeq, link) }

// FromPrefix matches packets that came in by a link whose name begins so.
func FromPrefix(prefix string) Words { return ifprefix(expr.MetaKeyIIFNAME, expr.CmpOpEq, prefix) }

// NotFromPrefix matches packets that came in by a link whose name does not begin so.
func NotFromPrefix(prefix string) Words {
	return ifprefix(expr.MetaKeyIIFNAME, expr.CmpOpNeq, prefix)
}

// ToPrefix matches packets that leave by a link whose name begins so.
func ToPrefix(prefix string) Words { return ifprefix(expr.MetaKeyOIFNAME, expr.CmpOpEq, prefix) }

func ifname(key expr.MetaKey, op expr.CmpOp, name string) Words {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return Words{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: padded}}
}

func ifprefix(key expr.MetaKey, op expr.CmpOp, prefix string) Words {
	return Words{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: []byte(prefix)}}
}

// Accept lets the packet go on to the next hook.
func Accept() Words { return Words{&expr.Verdict{Kind: expr.VerdictAccept}} }

// Drop ends the packet silently.
func Drop() Words { return Words{&expr.Verdict{Kind: expr.VerdictDrop}} }

// Goto goes on in another chain for good.
func Goto(chain string) Words { return Words{&expr.Verdict{Kind: expr.VerdictGoto, Chain: chain}} }

// Masquerade gives the connection the source address of the link that it leaves by.
func Masquerade() Words { return Words{&expr.Masq{}} }

// Known matches packets of connections that exist, in both directions, and errors about them.
func Known() Words {
	return bits(&expr.Ct{Key: expr.CtKeySTATE, Register: 1}, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED)
}

// statusDNAT is IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h.
const statusDNAT = 1 << 5

// Translated matches packets of connections whose destination was translated on this host.
func Translated() Words { return bits(&expr.Ct{Key: expr.CtKeySTATUS, Register: 1}, statusDNAT) }

// bits matches when one of the bits is set in what load puts in register 1.
func bits(load expr.Any, mask uint32) Words {
	return Words{
		load,
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(mask), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

// IPv4 matches packets of that family, in a table of both.
func IPv4() Words {
	return Words{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
	}
}

// Offsets of the addresses in an IPv4 header.
const (
	sourceOffset      = 12
	destinationOffset = 16
)

// Source matches IPv4 packets from a range.
func Source(p netip.Prefix) Words { return in(sourceOffset, p) }

// Destination matches IPv4 packets to a range.
func Destination(p netip.Prefix) Words { return in(destinationOffset, p) }

func in(offset uint32, p netip.Prefix) Words {
	if p.Bits() == 0 {
		return nil // every address
	}
	load := &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4}
	same := &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Masked().Addr().AsSlice()}
	if p.IsSingleIP() {
		return Words{load, same}
	}
	return Words{load, &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: net.CIDRMask(p.Bits(), 32), Xor: make([]byte, 4)}, same}
}

// SourceIn matches IPv4 packets from an address in a set of the table.
func SourceIn(set string) Words { return lookup(sourceOffset, set) }

// DestinationIn matches IPv4 packets to an address in a set of the table.
func DestinationIn(set string) Words { return lookup(destinationOffset, set) }

func lookup(offset uint32, set string) Words {
	return Words{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Lookup{SourceRegister: 1, SetName: set},
	}
}

// secondWord is the register after the first four bytes of register 1, for keys of two addresses.
const secondWord = 9

// PairIn matches IPv4 packets whose source and destination together are in a set of the table.
func PairIn(set string) Words {
	return Words{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: sourceOffset, Len: 4},
		&expr.Payload{DestRegister: secondWord, Base: expr.PayloadBaseNetworkHeader, Offset: destinationOffset, Len: 4},
		&expr.Lookup{SourceRegister: 1, SetName: set},
	}
}

// TranslateBy gives a connection the destination that the map has for its destination address; it goes on unchanged
// when the map has none.
func TranslateBy(set string) Words {
	return Words{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: destinationOffset, Len: 4},
		&expr.Lookup{SourceRegister: 1, DestRegister: 1, IsDestRegSet: true, SetName: set},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1},
	}
}

// TranslateTo gives a connection this destination.
func TranslateTo(to netip.AddrPort) Words {
	return Words{
		&expr.Immediate{Register: 1, Data: to.Addr().AsSlice()},
		&expr.Immediate{Register: 2, Data: binary.BigEndian.AppendUint16(nil, to.Port())},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2, Specified: true},
	}
}

// Protocol matches packets of an IP protocol.
func Protocol(number uint8) Words {
	return Words{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{number}}}
}

// Ports matches packets to a port in the range, both ends included. Protocol must have said that there are ports.
func Ports(first, last uint16) Words {
	load := &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
	compare := func(op expr.CmpOp, port uint16) expr.Any {
		return &expr.Cmp{Op: op, Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)}
	}
	switch {
	case first == 0 && last == 65535:
		return nil
	case first == last:
		return Words{load, compare(expr.CmpOpEq, first)}
	}
	return Words{load, compare(expr.CmpOpGte, first), compare(expr.CmpOpLte, last)}
}

// ICMPType matches ICMP packets of a type. Protocol must have said that it is ICMP.
func ICMPType(number uint8) Words { return icmpByte(0, number) }

// ICMPCode matches ICMP packets with a code. Protocol must have said that it is ICMP.
func ICMPCode(number uint8) Words { return icmpByte(1, number) }

func icmpByte(offset uint32, number uint8) Words {
	return Words{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{number}},
	}
}

// DestinationIsLocal matches packets to an address of this host.
func DestinationIsLocal() Words {
	return Words{
		&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
	}
}

// All puts words in a row: all conditions must be true.
func All(words ...Words) Words { return slices.Concat(words...) }
