package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"berth.dev/berth/internal/agent/dns"
	"berth.dev/berth/internal/agent/documents"
	"berth.dev/berth/internal/agent/firewall"
	"berth.dev/berth/internal/agent/lb"
	"berth.dev/berth/internal/agent/logdriver"
	"berth.dev/berth/internal/agent/network"
	"berth.dev/berth/internal/agent/seal"
	"berth.dev/berth/internal/agent/session"
	"berth.dev/berth/internal/app/instance"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/model"
)

// dataPlane is what a node makes true besides its tasks: the rules of its
// interfaces, its load balancers, the zones it answers from.
type dataPlane struct {
	firewall  *firewall.Firewall
	balancers *lb.Manager
	resolver  *dns.Resolver
	documents *documents.Keeper
	// report takes what the node observes of its load balancers, accessLogs
	// what they log; connect sets both.
	report     func(kind, key string, body []byte)
	accessLogs sink
	log        *slog.Logger
}

// connect closes the circle: the session hands documents to the data plane,
// which reports through the session.
func (p *dataPlane) connect(client *session.Client) {
	p.report, p.accessLogs.client = client.Observe, client
}

func newDataPlane(cfg Config, manager *network.Manager, key *seal.Key, roles *roles, volumes *volumes) (*dataPlane, error) {
	p := &dataPlane{log: room(cfg.Log, "app/node")}
	p.firewall = firewall.New(firewall.Config{Network: manager, Log: room(cfg.Log, "agent/firewall")})
	p.resolver = dns.New(dns.Config{Region: cfg.Region, HostAddress: cfg.hostResolver(p.log), Log: room(cfg.Log, "agent/dns")})
	var err error
	p.balancers, err = newBalancers(cfg.Instance, networks{manager, p.firewall}, p.observe, &p.accessLogs, cfg.Log)
	if err != nil {
		return nil, err
	}
	p.documents, err = documents.Open(documents.Config{
		Dir: cfg.Instance.Path("agent", "documents"), Key: key, Log: room(cfg.Log, "agent/documents"),
		Consumers: map[string]documents.Consumer{
			model.DocumentVPC:           p.resolver.ApplyVPCs,
			model.DocumentInterface:     p.firewall.ApplyInterfaces,
			model.DocumentSecurityGroup: p.firewall.ApplyGroups,
			model.DocumentZone:          p.resolver.Apply,
			model.DocumentSecrets:       roles.applySecrets,
			model.DocumentVolume:        volumes.Apply,
			model.DocumentLoadBalancer: func(ctx context.Context, docs map[string]json.RawMessage) error {
				p.balancers.Apply(ctx, docs)
				return p.firewall.ApplyLoadBalancers(ctx, docs)
			},
		},
	})
	return p, err
}

// newBalancers makes the part of a node that serves load balancers, for an
// agent and for a purge.
func newBalancers(i instance.Instance, interfaces lb.Network, report func(string, model.LoadBalancerObserved), logs logdriver.Sink, log *slog.Logger) (*lb.Manager, error) {
	manager, err := lb.New(lb.Config{
		Instance: i.ID, Dir: i.Path("agent", "lb"), RunDir: i.RunDir() + "/lb", KeyDir: keysDir(i),
		Network: interfaces, Report: report, Logs: logs, Log: room(log, "agent/lb"),
	})
	if err != nil {
		return nil, fmt.Errorf("making load balancers: %w", err)
	}
	return manager, nil
}

// observe tells the control plane what became of a load balancer.
func (p *dataPlane) observe(key string, observed model.LoadBalancerObserved) {
	body, err := json.Marshal(observed)
	if err != nil {
		p.log.Error("a load balancer's state cannot be encoded", "load_balancer", key, telemetry.Error, err)
		return
	}
	p.report(model.ObservedLoadBalancer, key, body)
}

// serveHost answers the host's questions for names, where that is possible: a
// node whose address for it is taken runs tasks all the same.
func (p *dataPlane) serveHost(ctx context.Context) error {
	endpoint, err := p.resolver.OpenHost(ctx)
	if err != nil {
		p.log.WarnContext(ctx, "public names are not answered on this host", telemetry.Error, err)
		<-ctx.Done()
		return nil
	}
	p.log.InfoContext(ctx, "public names are answered on this host", telemetry.Address, endpoint.Addr())
	return endpoint.Run(ctx)
}

// hostResolver is the address on which the host asks for public names: one of
// the loopback range that no other Berth of this host has.
func (c *Config) hostResolver(log *slog.Logger) string {
	var candidates []netip.Prefix
	for second := byte(128); second < 192; second++ {
		candidates = append(candidates, netip.PrefixFrom(netip.AddrFrom4([4]byte{127, second, 0, 53}), 32))
	}
	got, err := network.ClaimRange(instance.ResolverClaims, c.Instance.DataDir, candidates, nil)
	if err != nil {
		log.Warn("no address is free for the host's resolver", telemetry.Error, err)
		return "127.0.0.1:0"
	}
	return net.JoinHostPort(got.Addr().String(), "53")
}

// hostAddress is the host's own address as other hosts know it: that from
// which it reaches the internet, else any that is not of the loopback range.
func hostAddress() (string, error) {
	// Nothing is sent: connecting a datagram socket looks up a route. The
	// address is one for documentation.
	if conn, err := net.Dial("udp4", "192.0.2.1:9"); err == nil {
		defer conn.Close() //nolint:errcheck // nothing was sent
		return netip.MustParseAddrPort(conn.LocalAddr().String()).Addr().String(), nil
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return "", err
	}
	for _, a := range addresses {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Is4() && !prefix.Addr().IsLoopback() {
			return prefix.Addr().String(), nil
		}
	}
	return "", errors.New("the host has no address but that of its loopback")
}
