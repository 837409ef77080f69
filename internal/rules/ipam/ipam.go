package ipam

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
)

const (
	// reservedFirst is how many addresses AWS keeps at the start of a subnet.
	reservedFirst = 4
	// subnetBits is how much longer than its VPC's a default subnet's prefix is: /16 is cut in /20s.
	subnetBits = 4
	// smallestSubnet is the longest prefix that EC2 accepts for a VPC or a subnet.
	smallestSubnet = 28
)

// DefaultRanges are the ranges for a default VPC in the order in which they are tried: AWS's own first, then ranges
// that home and office networks, Docker's default pools and Kubernetes' usual defaults seldom use.
func DefaultRanges() []netip.Prefix {
	ranges := []netip.Prefix{netip.MustParsePrefix("172.31.0.0/16")}
	for second := 64; second < 96; second++ {
		ranges = append(ranges, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(second), 0, 0}), 16))
	}
	return ranges
}

// ChooseRange returns the first of candidates that overlaps none of used, and false when there is none.
func ChooseRange(candidates, used []netip.Prefix) (netip.Prefix, bool) {
	for _, candidate := range candidates {
		if !candidate.IsValid() {
			continue
		}
		candidate = candidate.Masked()
		if !slices.ContainsFunc(used, candidate.Overlaps) {
			return candidate, true
		}
	}
	return netip.Prefix{}, false
}

// SubnetRanges returns the first n subnets of a default VPC, adjacent and in order. They are AWS's: /20 in a /16. Of
// a smaller VPC each is a sixteenth, but never smaller than the /28 that EC2 allows. The result is shorter than n
// when the VPC has no room for n, and empty when vpc is not an IPv4 prefix.
func SubnetRanges(vpc netip.Prefix, n int) []netip.Prefix {
	if !vpc.IsValid() || !vpc.Addr().Is4() || n <= 0 || vpc.Bits() > smallestSubnet {
		return nil
	}
	bits := min(vpc.Bits()+subnetBits, smallestSubnet)
	base, size := number(vpc.Masked().Addr()), uint64(1)<<(32-bits)
	n = min(n, 1<<(bits-vpc.Bits()))
	subnets := make([]netip.Prefix, n)
	for i := range subnets {
		subnets[i] = netip.PrefixFrom(address(base+uint64(i)*size), bits)
	}
	return subnets
}

// NextAddress returns a free address of subnet for an interface. It looks from hint upwards and wraps, so that a
// caller that passes the successor of the last address it gave leaves a released address unused for as long as the
// subnet allows: peers and caches then do not meet a new task under the address of one that just stopped. A hint
// that is not an assignable address of the subnet, such as the zero Addr, means its first assignable address.
// It returns false when inUse is true of every assignable address.
func NextAddress(subnet netip.Prefix, inUse func(netip.Addr) bool, hint netip.Addr) (netip.Addr, bool) {
	first, last, ok := assignable(subnet)
	if !ok {
		return netip.Addr{}, false
	}
	return next(first, last, inUse, hint)
}

// next finds the first address from first to last that is not in use, from hint upwards and around.
func next(first, last uint64, inUse func(netip.Addr) bool, hint netip.Addr) (netip.Addr, bool) {
	count := last - first + 1
	var start uint64
	if hint.Is4() {
		if n := number(hint); n >= first && n <= last {
			start = n - first
		}
	}
	for i := range count {
		candidate := address(first + (start+i)%count)
		if !inUse(candidate) {
			return candidate, true
		}
	}
	return netip.Addr{}, false
}

// Assignable reports whether an interface in subnet may have addr: it is in the subnet and not one of the five
// addresses that AWS keeps.
func Assignable(subnet netip.Prefix, addr netip.Addr) bool {
	first, last, ok := assignable(subnet)
	return ok && addr.Is4() && number(addr) >= first && number(addr) <= last
}

// Capacity is how many interfaces a subnet can hold: the AvailableIpAddressCount of an empty one.
func Capacity(subnet netip.Prefix) int {
	first, last, ok := assignable(subnet)
	if !ok {
		return 0
	}
	return int(last - first + 1)
}

// Gateway is the address of a subnet's router, its second address, or the zero Addr when subnet is not an IPv4 prefix.
func Gateway(subnet netip.Prefix) netip.Addr {
	if !subnet.IsValid() || !subnet.Addr().Is4() {
		return netip.Addr{}
	}
	return subnet.Masked().Addr().Next()
}

// MAC returns the hardware address of the interface with the given id, in AWS's notation. It is the same for the same
// id, differs between ids as far as 42 bits allow, and is locally administered and unicast: EC2's begin with 02, 06,
// 0a or 0e.
func MAC(id string) string {
	sum := sha256.Sum256([]byte(id))
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", sum[0]&0x0c|0x02, sum[1], sum[2], sum[3], sum[4], sum[5])
}

// assignable returns the first and last address, as numbers, that interfaces of subnet may have.
func assignable(subnet netip.Prefix) (first, last uint64, ok bool) {
	first, last, ok = bounds(subnet)
	if !ok || last-first <= reservedFirst {
		return 0, 0, false
	}
	return first + reservedFirst, last - 1, true
}

// number is an IPv4 address as a number; wide enough that arithmetic at the end of the space does not wrap.
func number(a netip.Addr) uint64 {
	b := a.As4()
	return uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])
}

// address is the inverse of number.
func address(n uint64) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}
