package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"berth.dev/berth/internal/agent/network"
)

const (
	// tryFor is how long one resolver may take. Two of them fit in the five seconds that C libraries wait by default.
	tryFor = 2 * time.Second
	// inFlight is how many queries of one task are asked of the host's resolvers at once; the rest is answered SERVFAIL, so
	// that one task cannot use up the agent's sockets.
	inFlight = 256
	// ttl, in seconds, is that of Amazon's resolver for private names.
	ttl = 60
	// ednsSize is the longest message that we offer to take by UDP: one that needs no fragments.
	ednsSize = 1232
	// sameQuestion is how often the host's resolver asks the same of others at once. If one of those sends what it does
	// not know to us, a query would go round until everybody had given up.
	sameQuestion = 8
)

// Config is what a Resolver needs to know.
type Config struct {
	Region string
	Log    *slog.Logger
	// ResolvConf is the file that names the host's resolvers; empty means /etc/resolv.conf.
	ResolvConf string
	// Fallback are resolvers, as addresses with or without port, for when that file is missing or names none.
	Fallback []string
	// Address is where tasks find their resolver; empty means 169.254.169.253:53.
	Address string
	// HostAddress is where the host finds what is public, with port 53 if none is given, for [Resolver.OpenHost].
	HostAddress string
}

// A Resolver answers for all tasks of a host.
type Resolver struct {
	cfg       Config
	log       *slog.Logger
	upstreams upstreams
	table     atomic.Pointer[table]
	silent    atomic.Pointer[map[string]bool] // ids of VPCs without a resolver

	applying sync.Mutex       // held by Apply
	zones    map[string]*zone // of the newest table by the keys of their documents
}

// VPC is the network that a task is in.
type VPC struct {
	ID   string
	CIDR netip.Prefix
}

// New returns a Resolver for tasks in cfg.Region.
func New(cfg Config) *Resolver {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.ResolvConf == "" {
		cfg.ResolvConf = "/etc/resolv.conf"
	}
	if cfg.Address == "" {
		cfg.Address = net.JoinHostPort(network.ResolverAddress, "53")
	}
	if cfg.HostAddress != "" {
		cfg.HostAddress = withPorts([]string{cfg.HostAddress}, "53")[0]
	}
	r := &Resolver{
		cfg: cfg, log: cfg.Log.With("component", "dns"),
		upstreams: upstreams{file: cfg.ResolvConf, fallback: cfg.Fallback, own: cfg.HostAddress},
	}
	r.table.Store(new(table))
	r.silent.Store(new(map[string]bool))
	return r
}

// An Endpoint is one task's resolver, or the host's: sockets that are open, and Run, which answers on them.
type Endpoint struct {
	resolver *Resolver
	viewer   viewer
	vpc      netip.Prefix // invalid for the host's
	udp      net.PacketConn
	tcp      net.Listener
	slots    chan struct{}
	asking   questions // the host's only
}

// Open opens the sockets in the task's network namespace. From then on queries wait in them, so containers may start.
// The caller must call Run, which closes them, or Close.
func (r *Resolver) Open(ctx context.Context, netnsPath string, vpc VPC) (*Endpoint, error) {
	return r.open(ctx, netnsPath, r.cfg.Address, viewer{vpcID: vpc.ID}, vpc.CIDR)
}

// OpenHost opens the sockets of the host's resolver, which tells what is public: the names of public namespaces and of
// load balancers with an address outside their VPC. Names of private namespaces it does not know.
func (r *Resolver) OpenHost(ctx context.Context) (*Endpoint, error) {
	return r.open(ctx, "", r.cfg.HostAddress, viewer{host: true}, netip.Prefix{})
}

func (r *Resolver) open(ctx context.Context, netnsPath, address string, v viewer, vpc netip.Prefix) (*Endpoint, error) {
	udp, tcp, err := listen(ctx, netnsPath, address)
	if err != nil {
		return nil, fmt.Errorf("open resolver in %s: %w", place(netnsPath), err)
	}
	return &Endpoint{resolver: r, viewer: v, vpc: vpc, udp: udp, tcp: tcp, slots: make(chan struct{}, inFlight)}, nil
}

// listen opens both sockets. Port 53 of a task's namespace stays free for the task.
func listen(ctx context.Context, netnsPath, address string) (udp net.PacketConn, tcp net.Listener, err error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, nil, err
	}
	if netnsPath == "" || at.Port() == 0 {
		if udp, err = network.ListenUDP(ctx, netnsPath, address); err != nil {
			return nil, nil, err
		}
		// The same port as UDP's, which a test leaves to the kernel.
		tcp, err = network.ListenTCP(ctx, netnsPath, udp.LocalAddr().String())
	} else {
		if udp, err = network.ListenEndpointUDP(ctx, netnsPath, at); err != nil {
			return nil, nil, err
		}
		tcp, err = network.ListenEndpointTCP(ctx, netnsPath, at)
	}
	if err != nil {
		return nil, nil, errors.Join(err, udp.Close())
	}
	return udp, tcp, nil
}

func place(netnsPath string) string {
	if netnsPath == "" {
		return "the host's namespace"
	}
	return netnsPath
}

// Addr is the address on which the Endpoint answers, by UDP and by TCP.
func (e *Endpoint) Addr() string { return e.udp.LocalAddr().String() }

// Close closes the sockets of an Endpoint that is not running.
func (e *Endpoint) Close() {
	e.udp.Close()
	e.tcp.Close()
}

// Run answers queries until ctx ends, then closes the sockets and returns ctx's error. Queries that are being asked then
// are given up: the namespace must be free when Run returns.
func (e *Endpoint) Run(ctx context.Context) error {
	defer e.Close()
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, query *dns.Msg) { e.serve(running, w, query) })
	servers := []*dns.Server{{PacketConn: e.udp, Handler: handler}, {Listener: e.tcp, Handler: handler}}
	failed := make(chan error, len(servers))
	for _, s := range servers {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		done := make(chan struct{})
		go func() {
			defer close(done)
			failed <- s.ActivateAndServe()
		}()
		defer func() {
			select { // a server that has not started cannot be shut down
			case <-started:
			case <-done:
			}
			// It fails only if the server has ended by itself.
			_ = s.Shutdown()
			<-done
		}()
	}
	defer cancel() // before the servers wait for their handlers
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-failed:
		return fmt.Errorf("serve DNS: %w", err)
	}
}

// serve answers one query.
func (e *Endpoint) serve(ctx context.Context, w dns.ResponseWriter, query *dns.Msg) {
	transport := w.RemoteAddr().Network()
	answer := e.answer(ctx, query, transport)
	size := dns.MinMsgSize
	if opt := query.IsEdns0(); opt != nil {
		size = max(size, int(opt.UDPSize()))
		if answer.IsEdns0() == nil { // a forwarded answer has the resolver's
			answer.SetEdns0(ednsSize, opt.Do())
		}
	}
	if transport == "udp" {
		answer.Truncate(size)
	}
	if err := w.WriteMsg(answer); err != nil && ctx.Err() == nil {
		e.resolver.log.DebugContext(ctx, "answer was not sent", "error", err)
	}
}

func (e *Endpoint) answer(ctx context.Context, query *dns.Msg, transport string) *dns.Msg {
	if query.Opcode != dns.OpcodeQuery {
		return new(dns.Msg).SetRcode(query, dns.RcodeNotImplemented)
	}
	if len(query.Question) != 1 {
		return new(dns.Msg).SetRcode(query, dns.RcodeFormatError)
	}
	if opt := query.IsEdns0(); opt != nil && opt.Version() != 0 {
		return new(dns.Msg).SetRcode(query, dns.RcodeBadVers)
	}
	if !e.viewer.host {
		if (*e.resolver.silent.Load())[e.viewer.vpcID] {
			return new(dns.Msg).SetRcode(query, dns.RcodeRefused)
		}
		if answer, ours := private(query, e.vpc, e.resolver.cfg.Region); ours {
			return answer
		}
	}
	if answer, ours := e.answerFromZones(ctx, query, transport); ours {
		return answer
	}
	return e.forward(ctx, query, transport)
}

// forward asks the host's resolvers, unless this endpoint asks too much of them already.
func (e *Endpoint) forward(ctx context.Context, query *dns.Msg, transport string) *dns.Msg {
	select {
	case e.slots <- struct{}{}:
		defer func() { <-e.slots }()
	default:
		return new(dns.Msg).SetRcode(query, dns.RcodeServerFailure)
	}
	if e.viewer.host {
		done, ok := e.asking.begin(query.Question[0])
		if !ok {
			return new(dns.Msg).SetRcode(query, dns.RcodeServerFailure)
		}
		defer done()
	}
	return e.resolver.forward(ctx, query, transport)
}

// forward asks the host's resolvers one after the other, beginning with the one that answered last. An answer that says
// that a resolver cannot help is kept while others are asked.
func (r *Resolver) forward(ctx context.Context, query *dns.Msg, transport string) *dns.Msg {
	refusal := new(dns.Msg).SetRcode(query, dns.RcodeServerFailure)
	servers := r.upstreams.servers()
	first := int(r.upstreams.last.Load())
	for i := range servers {
		n := (first + i) % len(servers)
		answer, err := exchange(ctx, query, transport, servers[n])
		switch {
		case ctx.Err() != nil:
			return refusal
		case err != nil:
			r.log.DebugContext(ctx, "resolver did not answer", "resolver", servers[n], "error", err)
		case answer.Rcode == dns.RcodeServerFailure || answer.Rcode == dns.RcodeRefused:
			refusal = answer
		default:
			r.upstreams.last.Store(int32(n))
			return answer
		}
	}
	return refusal
}

// exchange asks one resolver. It ends with ctx, for which the library does not look while it waits for an answer.
func exchange(ctx context.Context, query *dns.Msg, transport, server string) (*dns.Msg, error) {
	client := dns.Client{Net: transport, Timeout: tryFor, UDPSize: 4096} // some send more than was asked for
	conn, err := client.DialContext(ctx, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	answer, _, err := client.ExchangeWithConnContext(ctx, query.Copy(), conn)
	return answer, err
}
