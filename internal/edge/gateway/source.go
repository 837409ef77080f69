package gateway

import (
	"context"
	"net/http"
	"net/netip"
)

// Source is where a request comes from when its connection does not tell: a
// connection from inside a task reaches the gateway through its node.
type Source struct {
	// Address is the sender's IP address without a port.
	Address string
	// VPC is the id of the VPC that the address belongs to.
	VPC string
}

type sourceKey struct{}

// WithSource returns a context whose requests come from s. It is for the
// ConnContext of an http.Server whose connections are tunnels; who makes the
// tunnel vouches for the source.
func WithSource(ctx context.Context, s Source) context.Context {
	return context.WithValue(ctx, sourceKey{}, s)
}

// sourceOf is where r comes from. Headers that proxies add can be written by
// anybody, so they say nothing.
func sourceOf(r *http.Request) Source {
	if s, ok := r.Context().Value(sourceKey{}).(Source); ok {
		return s
	}
	return Source{Address: sourceIP(r)}
}

// sourceIP is the peer's address, without port, zone and IPv4-in-IPv6 form.
func sourceIP(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr // a unix socket has no address
	}
	return peer.Addr().Unmap().WithZone("").String()
}
