package ipam

import "net/netip"

// NextPublic returns a free address of the pool of public addresses. It looks from hint upwards and wraps; a hint that is
// not in the pool means its first address. Of a pool with more than two addresses it never returns the first and the
// last, which a network of that range could not use. It returns false when inUse is true of every other address, or when
// pool is not an IPv4 prefix.
//
// What is in use are the records of public addresses, whose key is the address: a transaction that puts one for the
// address that it was given fails if another has done so meanwhile.
func NextPublic(pool netip.Prefix, inUse func(netip.Addr) bool, hint netip.Addr) (netip.Addr, bool) {
	first, last, ok := bounds(pool)
	if !ok {
		return netip.Addr{}, false
	}
	if last-first > 1 {
		first, last = first+1, last-1
	}
	return next(first, last, inUse, hint)
}

// Start is an address of the range, chosen by seed, and evenly if seeds are. It is a hint for [NextAddress] and
// [NextPublic]: a search that begins anywhere seldom finds the address that was given back last, which neighbours and
// resolvers may still take for its former holder, and two searches at once seldom find the same. It is the zero Addr when
// in is not an IPv4 prefix.
func Start(in netip.Prefix, seed uint64) netip.Addr {
	first, last, ok := bounds(in)
	if !ok {
		return netip.Addr{}
	}
	return address(first + seed%(last-first+1))
}

// bounds returns the first and the last address of an IPv4 prefix as numbers.
func bounds(p netip.Prefix) (first, last uint64, ok bool) {
	if !p.IsValid() || !p.Addr().Is4() {
		return 0, 0, false
	}
	first = number(p.Masked().Addr())
	return first, first + 1<<(32-p.Bits()) - 1, true
}
