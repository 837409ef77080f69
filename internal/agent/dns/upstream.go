package dns

import (
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// upstreams are the host's resolvers.
type upstreams struct {
	file     string
	fallback []string
	own      string // where we answer the host: never one to ask
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
		return u.others(u.fallback, "53")
	}
	p := u.cached.Load()
	if p == nil || !p.changed.Equal(info.ModTime()) || p.size != info.Size() {
		p = &parsed{changed: info.ModTime(), size: info.Size()}
		if conf, err := dns.ClientConfigFromFile(u.file); err == nil {
			p.servers = u.others(conf.Servers, conf.Port)
		}
		u.cached.Store(p)
	}
	if len(p.servers) == 0 {
		return u.others(u.fallback, "53")
	}
	return p.servers
}

// others completes addresses and leaves out our own, which a host that uses us names.
func (u *upstreams) others(addresses []string, port string) []string {
	return slices.DeleteFunc(withPorts(addresses, port), func(a string) bool { return a == u.own })
}

// questions counts what is being asked.
type questions struct {
	mu    sync.Mutex
	count map[dns.Question]int
}

// begin notes that q is asked until done is called; false: it is already, too often.
func (qs *questions) begin(q dns.Question) (done func(), ok bool) {
	q.Name = canonical(q.Name)
	qs.mu.Lock()
	defer qs.mu.Unlock()
	if qs.count[q] >= sameQuestion {
		return nil, false
	}
	if qs.count == nil {
		qs.count = make(map[dns.Question]int)
	}
	qs.count[q]++
	return func() {
		qs.mu.Lock()
		defer qs.mu.Unlock()
		if qs.count[q]--; qs.count[q] == 0 {
			delete(qs.count, q)
		}
	}, true
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
