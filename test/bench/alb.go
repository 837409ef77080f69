package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"berth.dev/berth/internal/agent/lb"
	"berth.dev/berth/internal/agent/network"
	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/model"
)

// What the load balancer's ways are measured with.
const (
	albRules       = 10
	albConnections = 64
	albWarmUp      = time.Second
	albRound       = 5 * time.Second

	markALBRate = 0.9
	markALBLate = 1.2
)

// albWay is one way to the target.
type albWay struct {
	name    string
	address string
	rates   []float64
	late    []time.Duration // the 99th percentile of each round
}

// alb measures requests through an application load balancer with ten rules, of
// which the last matches, beside a HAProxy and an nginx that were configured by
// hand to do no more than that, and beside no proxy at all.
func (b *bench) alb(ctx context.Context) (err error) {
	if _, err := exec.LookPath("haproxy"); err != nil {
		return errors.New("a load balancer needs haproxy")
	}
	lab, err := newALBLab(ctx, b)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.close()) }()
	ways := []*albWay{{name: "direct", address: lab.target}}
	berth, err := lab.berth(ctx)
	if err != nil {
		return err
	}
	ways = append(ways, &albWay{name: "Berth", address: berth})
	haproxy, err := lab.byHand(ctx, "haproxy", lab.haproxyConfig, "-db", "-f")
	if err != nil {
		return err
	}
	ways = append(ways, &albWay{name: "HAProxy", address: haproxy})
	if _, err := exec.LookPath("nginx"); err == nil {
		nginx, err := lab.byHand(ctx, "nginx", lab.nginxConfig, "-g", "daemon off;", "-c")
		if err != nil {
			return err
		}
		ways = append(ways, &albWay{name: "nginx", address: nginx})
	}
	rounds := 5
	if b.quick {
		rounds = 1
	}
	for round := range rounds {
		b.say("load balancer: round %d of %d", round+1, rounds)
		for _, w := range ways {
			for _, d := range []time.Duration{albWarmUp, albRound} {
				took, err := hammer(ctx, w.address, d)
				if err != nil {
					return fmt.Errorf("%s: %w", w.name, err)
				}
				if d == albRound {
					w.rates = append(w.rates, float64(len(took))/d.Seconds())
					w.late = append(w.late, quantile(took, 0.99))
				}
			}
		}
	}
	b.reportALB(ways, rounds)
	return nil
}

func (b *bench) reportALB(ways []*albWay, rounds int) {
	out := b.report.section("alb")
	fmt.Fprintf(out, "## Requests through a load balancer\n\n%d rules, of which the last matches; %d connections that are kept, in turns of %v; client, proxy and target share the machine. "+
		"HAProxy and nginx are configured by hand to choose by ten paths and to add X-Forwarded-For, -Proto and -Port; Berth's also adds X-Amzn-Trace-Id, watches the target's health and "+
		"reaches it from an interface in the VPC. Medians of %d rounds.\n\n", albRules, albConnections, albRound, rounds)
	var rows [][]string
	byName := map[string]*albWay{}
	for _, w := range ways {
		byName[w.name] = w
		rows = append(rows, []string{w.name, fmt.Sprintf("%.0f", medianOf(w.rates)), ms(median(w.late))})
	}
	table(out, []string{"way", "requests/s", "p99"}, rows)
	berth, haproxy := byName["Berth"], byName["HAProxy"]
	fmt.Fprintf(out, "- Berth / HAProxy, requests a second: %s\n", atLeast(medianOf(berth.rates)/medianOf(haproxy.rates), markALBRate))
	fmt.Fprintf(out, "- Berth / HAProxy, p99: %s\n", atMost(ratio(median(berth.late), median(haproxy.late)), markALBLate))
	if nginx := byName["nginx"]; nginx == nil {
		fmt.Fprintf(out, "- nginx: not measured, it is not installed\n")
	}
}

// hammer sends requests on all connections for a time, each after the answer to
// the one before, and returns how long each took.
func hammer(ctx context.Context, address string, d time.Duration) ([]time.Duration, error) {
	request := []byte("GET /last/page HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: bench\r\n\r\n")
	var mu sync.Mutex
	var all []time.Duration
	g, ctx := errgroup.WithContext(ctx)
	until := time.Now().Add(d)
	for range albConnections {
		g.Go(func() error {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp4", address)
			if err != nil {
				return err
			}
			defer conn.Close()
			conn.SetDeadline(until.Add(30 * time.Second))
			answer := bufio.NewReader(conn)
			var took []time.Duration
			for begun := time.Now(); begun.Before(until) && ctx.Err() == nil; {
				if _, err := conn.Write(request); err != nil {
					return err
				}
				if err := readAnswer(answer); err != nil {
					return err
				}
				now := time.Now()
				took = append(took, now.Sub(begun))
				begun = now
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
			return nil
		})
	}
	return all, g.Wait()
}

// albBody is what the target answers.
const albBody = "sixty-two bytes are what an answer of this bench's target has.."

// readAnswer reads a response, which must be the target's.
func readAnswer(r *bufio.Reader) error {
	status, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 200")) {
		return fmt.Errorf("answer: %s", bytes.TrimSpace(status))
	}
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) == 2 {
			break
		}
	}
	_, err = r.Discard(len(albBody))
	return err
}

// albLab is a VPC with a target in it.
type albLab struct {
	b        *bench
	networks *network.Manager
	vpc      network.VPC
	target   string
	undo     []func() error
}

func newALBLab(ctx context.Context, b *bench) (_ *albLab, err error) {
	l := &albLab{b: b}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	if l.networks, err = network.New(network.Config{Instance: "bench" + ident.Hex(6)}); err != nil {
		return nil, err
	}
	l.undo = append(l.undo, func() error { return l.networks.Purge(context.WithoutCancel(ctx)) })
	used, err := network.HostRoutes()
	if err != nil {
		return nil, err
	}
	for n := range 100 {
		cidr := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(100 + n), 0, 0}), 16)
		if !slices.ContainsFunc(used, cidr.Overlaps) {
			l.vpc = network.VPC{ID: "vpc-" + ident.Hex(8), CIDR: cidr}
			break
		}
	}
	eni := l.eni(10)
	path, err := l.Attach(ctx, eni)
	if err != nil {
		return nil, err
	}
	ln, err := network.ListenTCP(ctx, path, eni.Address+":80")
	if err != nil {
		return nil, err
	}
	l.undo = append(l.undo, ln.Close)
	l.target = ln.Addr().String()
	go serveALBTarget(ln)
	return l, nil
}

// serveALBTarget answers every request on every connection, as cheaply as can be.
func serveALBTarget(ln net.Listener) {
	answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(albBody), albBody)
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			r := bufio.NewReader(conn)
			for {
				line, err := r.ReadSlice('\n')
				if err != nil {
					return
				}
				if len(line) != 2 {
					continue
				}
				if _, err := conn.Write(answer); err != nil {
					return
				}
			}
		}()
	}
}

func (l *albLab) close() error {
	var errs []error
	for _, undo := range slices.Backward(l.undo) {
		errs = append(errs, undo())
	}
	return errors.Join(errs...)
}

func (l *albLab) eni(n int) model.AssignedNetwork {
	base := l.vpc.CIDR.Addr().As4()
	base[3] = byte(n)
	return model.AssignedNetwork{VPCCIDR: l.vpc.CIDR.String(), SubnetCIDR: l.vpc.CIDR.String(), NetworkInterface: model.NetworkInterface{
		ID: "eni-" + ident.Hex(17), VPCID: l.vpc.ID, Address: netip.AddrFrom4(base).String(), MAC: fmt.Sprintf("02:00:00:00:00:%02x", n),
	}}
}

// Attach, Detach and NetNSPath are lb.Network.

func (l *albLab) Attach(ctx context.Context, eni model.AssignedNetwork) (string, error) {
	mac, err := net.ParseMAC(eni.MAC)
	if err != nil {
		return "", err
	}
	a, err := l.networks.Attach(ctx, network.ENI{ID: eni.ID, OwnerID: "bench", VPC: l.vpc, Subnet: l.vpc.CIDR, Address: netip.MustParseAddr(eni.Address), MAC: mac})
	return a.NetNSPath, err
}

func (l *albLab) Detach(ctx context.Context, id string) error { return l.networks.Detach(ctx, id) }
func (l *albLab) NetNSPath(id string) string                  { return l.networks.NetNSPath(id) }

// berth serves the target by a load balancer and returns its address.
func (l *albLab) berth(ctx context.Context) (address string, err error) {
	healthy := make(chan struct{})
	seen := sync.OnceFunc(func() { close(healthy) })
	cfg := lb.Config{
		Instance: "bench", Dir: filepath.Join(l.b.dir, "lb"), RunDir: filepath.Join(l.b.dir, "lbrun"), Network: l,
		Report: func(_ string, o model.LoadBalancerObserved) {
			if len(o.Targets) == 1 && o.Targets[0].State == model.TargetHealthy {
				seen()
			}
		},
	}
	m, err := lb.New(cfg)
	if err != nil {
		return "", err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); m.Run(running) }()
	l.undo = append(l.undo, func() error {
		stop()
		<-ended
		return m.Purge(context.WithoutCancel(ctx))
	})
	doc := l.document()
	raw, err := json.Marshal(doc)
	if err != nil {
		return "", err
	}
	m.Apply(ctx, map[string]json.RawMessage{doc.LoadBalancer.ID: raw})
	select {
	case <-healthy:
		return doc.LoadBalancer.PublicAddress + ":80", nil
	case <-ctx.Done():
		return "", ctx.Err()
	case <-time.After(time.Minute):
		return "", errors.New("the load balancer's target is not healthy")
	}
}

func (l *albLab) document() *model.NodeLoadBalancer {
	const id, group = "app/bench/0123456789abcdef", "targetgroup/bench/0123456789abcdef"
	target := netip.MustParseAddrPort(l.target)
	doc := &model.NodeLoadBalancer{
		LoadBalancer: model.LoadBalancer{ID: id, Type: model.LoadBalancerApplication, PublicAddress: "127.64.200.1"},
		Interfaces:   []model.AssignedNetwork{l.eni(11)},
		TargetGroups: []model.NodeTargetGroup{{
			TargetGroup: model.TargetGroup{
				ID: group, ARN: group, Protocol: "HTTP", ProtocolVersion: "HTTP1", TargetType: "ip",
				HealthCheck: model.TargetHealthCheck{
					Enabled: true, Protocol: "HTTP", Port: "traffic-port", Path: "/", IntervalSeconds: 30, TimeoutSeconds: 5,
					HealthyThreshold: 5, UnhealthyThreshold: 2, HTTPCodes: "200",
				},
			},
			Targets: []model.NodeTarget{{Key: "target", Address: target.Addr().String(), Port: int32(target.Port()), RegisteredAt: time.Now()}},
		}},
	}
	refuse := []model.BalancerAction{{Type: "fixed-response", FixedResponse: &model.FixedResponseAction{StatusCode: "404"}}}
	forward := []model.BalancerAction{{Type: "forward", TargetGroups: []model.WeightedTarget{{TargetGroupARN: group, Weight: 1}}}}
	doc.Listeners = []model.Listener{{ID: id + "/80", Port: 80, Protocol: "HTTP", DefaultActions: refuse}}
	for n, path := range albPaths() {
		doc.Rules = append(doc.Rules, model.ListenerRule{
			ID: path, ListenerID: id + "/80", Priority: n + 1, Actions: forward,
			Conditions: []model.RuleCondition{{Field: "path-pattern", Values: []string{path + "*"}}},
		})
	}
	return doc
}

// albPaths are what the rules choose by; the last is asked for.
func albPaths() []string {
	paths := make([]string, albRules)
	for n := range paths {
		paths[n] = fmt.Sprintf("/service-%d/", n)
	}
	paths[albRules-1] = "/last/"
	return paths
}

func (l *albLab) haproxyConfig(address string) string {
	var rules strings.Builder
	for n, path := range albPaths() {
		fmt.Fprintf(&rules, "  use_backend b%d if { path_beg %s }\n", n, path)
	}
	for n := range albRules {
		fmt.Fprintf(&rules, "backend b%d\n  server s %s\n", n, l.target)
	}
	return fmt.Sprintf(`global
  maxconn 5000
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend f
  bind %s
  option forwardfor
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Port 80
%s`, address, rules.String())
}

func (l *albLab) nginxConfig(address string) string {
	var rules strings.Builder
	for _, path := range albPaths() {
		fmt.Fprintf(&rules, "    location %s { proxy_pass http://target; }\n", path)
	}
	return fmt.Sprintf(`worker_processes auto;
pid %[1]s/nginx.pid;
error_log /dev/null;
events { worker_connections 4096; }
http {
  access_log off;
  keepalive_requests 100000000;
  upstream target { server %[2]s; keepalive 128; keepalive_requests 100000000; }
  server {
    listen %[3]s;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto http;
    proxy_set_header X-Forwarded-Port 80;
%[4]s  }
}
`, l.b.dir, l.target, address, rules.String())
}

// byHand starts a proxy with a configuration and returns its address when it answers.
func (l *albLab) byHand(ctx context.Context, program string, config func(address string) string, args ...string) (address string, err error) {
	if address, err = freeAddress(); err != nil {
		return "", err
	}
	path := filepath.Join(l.b.dir, program+".conf")
	if err := os.WriteFile(path, []byte(config(address)), 0o600); err != nil {
		return "", err
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, program, append(args, path)...)
	cmd.Stdout, cmd.Stderr = io.Discard, &said
	if err := cmd.Start(); err != nil {
		return "", err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	l.undo = append(l.undo, func() error {
		err := cmd.Process.Signal(os.Interrupt)
		if errors.Is(err, os.ErrProcessDone) {
			err = nil
		}
		<-ended
		return err
	})
	for {
		if conn, err := new(net.Dialer).DialContext(ctx, "tcp4", address); err == nil {
			return address, conn.Close()
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case err := <-ended:
			ended <- nil
			return "", fmt.Errorf("%s ended: %w: %s", program, err, said.String())
		case <-time.After(10 * time.Millisecond):
		}
	}
}
