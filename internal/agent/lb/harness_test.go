package lb

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"

	"berth.dev/berth/internal/agent/network"
	"berth.dev/berth/internal/model"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const publicAddress = "127.64.0.9"

// A lab is a namespace that plays a host, with a VPC in it. Nothing of the real host is touched.
type lab struct {
	t        *testing.T
	instance string
	host     string // path of the namespace
	networks *network.Manager
	dir, run string

	mu       sync.Mutex
	next     int
	observed map[string]model.LoadBalancerObserved
	news     chan struct{} // closed and replaced at each report
}

func random() string { return strings.ToLower(rand.Text()[:8]) }

func newLab(t *testing.T) *lab {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	if _, err := exec.LookPath("haproxy"); err != nil {
		t.Skip("needs haproxy on PATH")
	}
	l := &lab{t: t, instance: random(), host: newHost(t), dir: t.TempDir(), observed: map[string]model.LoadBalancerObserved{}, news: make(chan struct{}), next: 20}
	var err error
	if l.run, err = os.MkdirTemp("", "lb"); err != nil { //nolint:usetesting // short: the path of a socket has 107 characters at most
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(l.run) })
	l.networks, err = network.New(network.Config{Instance: l.instance, HostNetNS: l.host, Resync: time.Hour})
	must(t, err)
	t.Cleanup(func() { must(t, l.networks.Purge(context.WithoutCancel(t.Context()))) })
	t.Cleanup(func() {
		m, err := New(l.config())
		must(t, err, m.Purge(context.WithoutCancel(t.Context())))
		entries, err := os.ReadDir(l.run)
		if must(t, err); len(entries) > 0 {
			t.Errorf("left behind: %v", entries)
		}
	})
	return l
}

// newHost makes a namespace with a loopback interface.
func newHost(t *testing.T) string {
	t.Helper()
	name := "lb-host-" + random()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, wherever it is
		ns, err := netns.NewNamed(name)
		if err == nil {
			var lo netlink.Link
			if lo, err = netlink.LinkByName("lo"); err == nil {
				err = netlink.LinkSetUp(lo)
			}
			ns.Close()
		}
		done <- err
	}()
	must(t, <-done)
	t.Cleanup(func() { must(t, netns.DeleteNamed(name)) })
	return "/run/netns/" + name
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// Lab as Network.

func (l *lab) NetNSPath(id string) string { return l.networks.NetNSPath(id) }

func (l *lab) Detach(ctx context.Context, id string) error { return l.networks.Detach(ctx, id) }

func (l *lab) Attach(ctx context.Context, n model.AssignedNetwork) (string, error) {
	mac, err := net.ParseMAC(n.MAC)
	if err != nil {
		return "", err
	}
	a, err := l.networks.Attach(ctx, network.ENI{
		ID: n.ID, OwnerID: "app/web/0", VPC: network.VPC{ID: n.VPCID, CIDR: netip.MustParsePrefix(n.VPCCIDR)},
		Subnet: netip.MustParsePrefix(n.SubnetCIDR), Address: netip.MustParseAddr(n.Address), MAC: mac,
	})
	return a.NetNSPath, err
}

// eni allocates an interface.
func (l *lab) eni() model.AssignedNetwork {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	return model.AssignedNetwork{VPCCIDR: "10.9.0.0/16", SubnetCIDR: "10.9.0.0/24", NetworkInterface: model.NetworkInterface{
		ID: fmt.Sprintf("eni-%s%d", random(), l.next), VPCID: "vpc-" + l.instance, SubnetID: "subnet-1", Address: fmt.Sprintf("10.9.0.%d", l.next),
		MAC: fmt.Sprintf("02:00:00:00:00:%02x", l.next),
	}}
}

func (l *lab) config() Config {
	var log *slog.Logger
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(l.t.Output(), nil))
	}
	return Config{
		Instance: l.instance, Dir: l.dir, RunDir: l.run, HostNetNS: l.host, Network: l, Threads: 1, Log: log,
		Report: func(key string, o model.LoadBalancerObserved) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.observed[key] = o
			close(l.news)
			l.news = make(chan struct{})
		},
	}
}

// An agent is a running Manager.
type agent struct {
	*Manager
	stop func()
}

// start starts an agent; the test's end stops it.
func (l *lab) start(change ...func(*Config)) *agent {
	l.t.Helper()
	cfg := l.config()
	for _, c := range change {
		c(&cfg)
	}
	m, err := New(cfg)
	must(l.t, err)
	ctx, cancel := context.WithCancel(l.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Run(ctx)
	}()
	a := &agent{Manager: m, stop: sync.OnceFunc(func() { cancel(); <-done })}
	l.t.Cleanup(a.stop)
	return a
}

func (l *lab) apply(a *agent, docs ...*model.NodeLoadBalancer) {
	l.t.Helper()
	set := map[string]json.RawMessage{}
	for _, d := range docs {
		raw, err := json.Marshal(d)
		must(l.t, err)
		set[d.LoadBalancer.ID] = raw
	}
	a.Apply(l.t.Context(), set)
}

// await waits until what is reported of a load balancer is as ok wants it.
func (l *lab) await(key string, what string, ok func(model.LoadBalancerObserved) bool) model.LoadBalancerObserved {
	l.t.Helper()
	late := time.After(30 * time.Second)
	for {
		l.mu.Lock()
		o, news := l.observed[key], l.news
		l.mu.Unlock()
		if ok(o) {
			return o
		}
		select {
		case <-news:
		case <-late:
			l.t.Fatalf("never %s; last: %+v", what, o)
		}
	}
}

// healthy waits until exactly these targets are healthy.
func (l *lab) healthy(key string, targets ...*site) {
	l.t.Helper()
	var want []string
	for _, s := range targets {
		want = append(want, s.key())
	}
	slices.Sort(want)
	l.await(key, fmt.Sprint("healthy: ", want), func(o model.LoadBalancerObserved) bool {
		var have []string
		for _, t := range o.Targets {
			if t.State == model.TargetHealthy {
				have = append(have, t.Key)
			}
		}
		return o.State == model.LoadBalancerActive && slices.Equal(have, want)
	})
}

// A site is a server in a task's namespace.
type site struct {
	name string
	eni  model.AssignedNetwork
	path string // of the namespace
	port int
	at   time.Time
	// handler may be replaced while it serves.
	mu      sync.Mutex
	handler http.Handler
	server  *http.Server
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	h := s.handler
	s.mu.Unlock()
	h.ServeHTTP(w, r)
}

func (s *site) handle(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handler = h
}

func (s *site) key() string { return fmt.Sprintf("%s:%d", s.eni.Address, s.port) }

func (s *site) target() model.NodeTarget {
	return model.NodeTarget{Key: s.key(), Address: s.eni.Address, Port: int32(s.port), RegisteredAt: s.at}
}

// site makes a server that answers with its name, and with the request at /echo.
func (l *lab) site(name string, protocols ...func(*http.Server)) *site {
	l.t.Helper()
	s := &site{name: name, eni: l.eni(), port: 8080, at: time.Now().Truncate(time.Millisecond)}
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/echo" {
			fmt.Fprintf(w, "Host: %s\nPeer: %s\nProto: %s\n", r.Host, r.RemoteAddr, r.Proto)
			r.Header.Write(w)
			return
		}
		io.WriteString(w, name)
	})
	var err error
	s.path, err = l.Attach(l.t.Context(), s.eni)
	must(l.t, err)
	s.serve(l.t, protocols...)
	return s
}

func (s *site) serve(t *testing.T, protocols ...func(*http.Server)) {
	t.Helper()
	ln, err := network.ListenTCP(t.Context(), s.path, fmt.Sprintf("%s:%d", s.eni.Address, s.port))
	must(t, err)
	s.server = &http.Server{Handler: s, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	for _, p := range protocols {
		p(s.server)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if s.server.TLSConfig != nil {
			s.server.ServeTLS(ln, "", "")
		} else {
			s.server.Serve(ln)
		}
	}()
	server := s.server
	t.Cleanup(func() { server.Close(); <-done })
}

// stop ends the server: connections to it are refused from now on.
func (s *site) stop() { s.server.Close() }

// balancer is a load balancer with one HTTP listener on port 80 that forwards to one group with the sites.
func (l *lab) balancer(sites ...*site) *model.NodeLoadBalancer {
	id := "app/web/" + random()
	doc := &model.NodeLoadBalancer{
		LoadBalancer: model.LoadBalancer{
			ID: id, ARN: "arn:aws:elasticloadbalancing:us-east-1:1:loadbalancer/" + id, Name: "web",
			Type: model.LoadBalancerApplication, PublicAddress: publicAddress,
		},
		Interfaces:   []model.AssignedNetwork{l.eni()},
		TargetGroups: []model.NodeTargetGroup{targetGroup("web", sites...)},
	}
	doc.Listeners = []model.Listener{{ID: id + "/80", ARN: "arn:listener", LoadBalancerID: id, Port: 80, Protocol: "HTTP", DefaultActions: forward(&doc.TargetGroups[0])}}
	return doc
}

func targetGroup(name string, sites ...*site) model.NodeTargetGroup {
	id := "targetgroup/" + name + "/0123456789abcdef"
	g := model.NodeTargetGroup{TargetGroup: model.TargetGroup{
		ID: id, ARN: "arn:aws:elasticloadbalancing:us-east-1:1:" + id, Name: name,
		Protocol: "HTTP", ProtocolVersion: "HTTP1", TargetType: "ip", Attributes: map[string]string{"stickiness.enabled": "false"}, HealthCheck: model.TargetHealthCheck{
			Enabled: true, Protocol: "HTTP", Port: "traffic-port", Path: "/health", IntervalSeconds: 1, TimeoutSeconds: 1,
			HealthyThreshold: 2, UnhealthyThreshold: 2, HTTPCodes: "200",
		},
	}}
	for _, s := range sites {
		g.Targets = append(g.Targets, s.target())
	}
	return g
}

func forward(groups ...*model.NodeTargetGroup) []model.BalancerAction {
	a := model.BalancerAction{Type: "forward"}
	for _, g := range groups {
		a.TargetGroups = append(a.TargetGroups, model.WeightedTarget{TargetGroupARN: g.ARN, Weight: 1})
	}
	return []model.BalancerAction{a}
}

// copyOf is a document that can be changed without the first one.
func copyOf(doc *model.NodeLoadBalancer) *model.NodeLoadBalancer {
	raw, _ := json.Marshal(doc)
	c := new(model.NodeLoadBalancer)
	json.Unmarshal(raw, c)
	return c
}

// client connects from the namespace at path.
func (l *lab) client(path string) *http.Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
		return dial(ctx, path, netip.MustParseAddrPort(address))
	}}
	l.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport: transport, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// An answer is a response that was read.
type answer struct {
	status int
	header http.Header
	body   string
}

func get(t *testing.T, c *http.Client, url string, headers ...string) answer {
	t.Helper()
	a, err := try(t, c, url, headers...)
	must(t, err)
	return a
}

func try(t *testing.T, c *http.Client, url string, headers ...string) (answer, error) {
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(body)}, err
}

// pids are those of the load balancer's processes.
func (l *lab) pids(doc *model.NodeLoadBalancer) []int {
	l.t.Helper()
	running, err := processes(filepath.Join(l.dir, short(doc.LoadBalancer.ID)))
	must(l.t, err)
	var pids []int
	for _, p := range running {
		pids = append(pids, p.pid)
	}
	return pids
}

// eventually waits until ok, looking again after each report and after a moment: for what is seen on packets only.
func (l *lab) eventually(what string, ok func() bool) {
	l.t.Helper()
	late := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-late:
			l.t.Fatalf("never: %s", what)
		}
	}
}

// onceOnly is c's transport with a new connection for each request.
func onceOnly(c *http.Client) *http.Transport {
	t := c.Transport.(*http.Transport)
	t.DisableKeepAlives = true
	return t
}

// after is the line of text behind prefix.
func after(text, prefix string) string {
	_, rest, _ := strings.Cut(text, prefix)
	line, _, _ := strings.Cut(rest, "\n")
	return line
}

// keyPair makes a self-signed certificate for a name.
func keyPair(t *testing.T, host string) model.NodeTLSKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{host}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	must(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	return model.NodeTLSKey{
		Certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		PrivateKey:  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})),
	}
}
