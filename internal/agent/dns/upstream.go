package dns

import (
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// upstreams are the host's resolvers.
type upstreams struct {
	file     string
	fallback []string
	cached   atomic.Pointer[parsed]
	last     atomic.Int32 // which answered last
}

// parsed is what a resolv.conf said, and which state of the file that was.
type parsed struct {
	changed time.Time
	size    int64
	servers []string
}

// servers returns the host's resolvers as host:port, or nothing. The file is read again when it has changed.
func (u *upstreams) servers() []string {
	info, err := os.Stat(u.file)
	if err != nil {
		return withPorts(u.fallback, "53")
	}
	p := u.cached.Load()
	if p == nil || !p.changed.Equal(info.ModTime()) || p.size != info.Size() {
		p = &parsed{changed: info.ModTime(), size: info.Size()}
		if conf, err := dns.ClientConfigFromFile(u.file); err == nil {
			p.servers = withPorts(conf.Servers, conf.Port)
		}
		u.cached.Store(p)
	}
	if len(p.servers) == 0 {
		return withPorts(u.fallback, "53")
	}
	return p.servers
}

// withPorts completes addresses that have no port.
func withPorts(addresses []string, port string) []string {
	completed := make([]string, len(addresses))
	for i, a := range addresses {
		if _, _, err := net.SplitHostPort(a); err != nil {
			a = net.JoinHostPort(a, port)
		}
		completed[i] = a
	}
	return completed
}
