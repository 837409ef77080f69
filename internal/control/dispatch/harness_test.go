package dispatch_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/test/bufconn"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/control/balancing"
	"berth.dev/berth/internal/control/dispatch"
	"berth.dev/berth/internal/control/nodeca"
	"berth.dev/berth/internal/data/kv"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

var (
	scope = arn.Scope{Region: "us-east-1", AccountID: "123456789012"}
	// Two nodes. Their names are what certificates prove.
	nodeA = fmt.Sprintf("%032x", 0xa)
	nodeB = fmt.Sprintf("%032x", 0xb)
)

// plane is a control plane over a kv that outlives it.
type plane struct {
	t    *testing.T
	kv   *gatedKV
	ca   *nodeca.Authority
	logs *sink
	// observed is what nodes reported besides tasks: "node key body".
	observed observations
	roles    *roles // nil: a control plane without roles

	store    *store.Store
	listener *bufconn.Listener
	stop     func()

	dispatcher *dispatch.Dispatcher
}

func newPlane(t *testing.T, r *roles) *plane {
	ca, err := nodeca.Open(filepath.Join(t.TempDir(), "pki"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	p := &plane{t: t, kv: &gatedKV{KV: memkv.New(1000)}, ca: ca, logs: &sink{}, roles: r}
	p.begin()
	t.Cleanup(func() { p.stop() })
	p.update(func(tx *store.Tx) error {
		records.VPCs.Put(tx, &model.VPC{ID: "vpc-1", CIDR: "172.31.0.0/16"})
		records.Subnets.Put(tx, &model.Subnet{ID: "subnet-1", VPCID: "vpc-1", CIDR: "172.31.0.0/20"})
		records.TaskDefinitions.Put(tx, &model.TaskDefinition{
			Family: "web", Revision: 1, ContainerDefinitions: []model.ContainerDefinition{{Name: "app", Image: "app:1"}},
		})
		return nil
	})
	return p
}

// begin starts a control plane; stop ends it as a signal does.
func (p *plane) begin() {
	ctx, cancel := context.WithCancel(context.Background())
	log := slog.New(slog.DiscardHandler)
	s, err := store.Open(p.kv, "/berth/", store.Options{CheckMutation: true}, records.All()...)
	if err != nil {
		p.t.Fatal(err)
	}
	cfg := dispatch.Config{
		Store: s, Logs: p.logs, Authority: p.ca, Scope: scope, Log: log,
		Sources: []dispatch.Source{subnetNames{}}, Sinks: map[string]dispatch.Sink{"thing": &p.observed},
	}
	if p.roles != nil {
		cfg.Execution, cfg.Delivered, cfg.Serve = p.roles, p.logs.delivered, p.roles.serve
		cfg.ServeRegistry, cfg.RegistryHosts = p.roles.serveRegistry, []string{"registry.internal"}
		balancers := balancing.New(balancing.Config{Store: s, NodeLostAfter: time.Minute, Log: log})
		cfg.Sinks[model.ObservedLoadBalancer] = balancers
	}
	d := dispatch.New(cfg)
	server, err := d.Server(time.Now())
	if err != nil {
		p.t.Fatal(err)
	}
	listener := bufconn.Listen(1 << 20)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Run(ctx) })
	<-s.Ready()
	g.Go(func() error { return d.Run(ctx) })
	g.Go(func() error { return server.Serve(listener) })
	p.store, p.listener, p.dispatcher = s, listener, d
	p.stop = sync.OnceFunc(func() {
		server.Stop()
		cancel()
		if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			p.t.Errorf("the control plane ended with %v", err)
		}
	})
	synctest.Wait()
}

func (p *plane) update(f func(tx *store.Tx) error) {
	p.t.Helper()
	if _, err := p.store.Update(p.t.Context(), f); err != nil {
		p.t.Fatal(err)
	}
	synctest.Wait()
}

// place puts a task on a node, with a network interface.
func (p *plane) place(id, node string) {
	p.t.Helper()
	p.update(func(tx *store.Tx) error {
		eni := &model.NetworkInterface{ID: "eni-" + id, VPCID: "vpc-1", SubnetID: "subnet-1", Address: "172.31.0." + id}
		records.NetworkInterfaces.Put(tx, eni)
		records.AddressClaims.Put(tx, &model.AddressClaim{SubnetID: eni.SubnetID, Address: eni.Address, ENIID: eni.ID})
		records.Tasks.Put(tx, &model.Task{
			ID: id, ARN: "arn:task/" + id, ClusterName: "default", Family: "web", Revision: 1, InstanceID: node, ENIID: eni.ID, NetworkInterface: eni,
			DesiredStatus: model.TaskRunning, Observed: model.TaskObserved{Status: model.TaskProvisioning}, Version: 1,
			Containers: []model.TaskContainer{{Name: "app", Image: "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/app:v2"}},
		})
		return nil
	})
}

func (p *plane) task(id string) model.Task {
	p.t.Helper()
	synctest.Wait()
	t, ok := records.Tasks.Get(p.store.Snapshot(), id)
	if !ok {
		p.t.Fatalf("task %s is gone", id)
	}
	return *t
}

func (p *plane) edit(id string, f func(t *model.Task)) {
	p.t.Helper()
	p.update(func(tx *store.Tx) error {
		return records.Tasks.Edit(tx, id, func(t *model.Task) error { f(t); return nil })
	})
}

func (p *plane) instance(id string) model.Instance {
	p.t.Helper()
	synctest.Wait()
	i, ok := records.Instances.Get(p.store.Snapshot(), id)
	if !ok {
		p.t.Fatalf("instance %s is not registered", id)
	}
	return *i
}

// hasInterface tells whether a task still holds its interface and address;
// they come and go together.
func (p *plane) hasInterface(id string) bool {
	p.t.Helper()
	synctest.Wait()
	snap := p.store.Snapshot()
	eni := records.NetworkInterfaces.Has(snap, "eni-"+id)
	if claim := records.AddressClaims.Has(snap, model.AddressClaimKey("subnet-1", "172.31.0."+id)); claim != eni {
		p.t.Errorf("task %s: interface %t, claim on its address %t", id, eni, claim)
	}
	return eni
}

func (p *plane) dial(ctx context.Context, _ string) (net.Conn, error) {
	return p.listener.DialContext(ctx)
}

// client connects with the certificate of a node that ca signed, or with none
// for an empty name.
func (p *plane) client(name string, ca *nodeca.Authority) nodeapi.NodeClient {
	p.t.Helper()
	if name == "" {
		return p.clientWith(nil)
	}
	return p.clientWith(new(certificate(p.t, ca, name, time.Now())))
}

// clientWith connects with a certificate, or with none for nil.
func (p *plane) clientWith(cert *tls.Certificate) nodeapi.NodeClient {
	p.t.Helper()
	roots := x509.NewCertPool()
	own, err := x509.ParseCertificate(p.ca.CertificateDER())
	if err != nil {
		p.t.Fatal(err)
	}
	roots.AddCert(own)
	config := &tls.Config{ServerName: nodeapi.ServerName, RootCAs: roots}
	if cert != nil {
		// Shown even when the server says that it would not accept it.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	conn, err := grpc.NewClient("passthrough:///server", grpc.WithContextDialer(p.dial), grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { conn.Close() }) //nolint:errcheck // the test is over
	return nodeapi.NewNodeClient(conn)
}

func certificate(t *testing.T, ca *nodeca.Authority, name string, now time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.SignNode(ca.Token().Secret, der, now)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{cert}, PrivateKey: key}
}

// node is a session spoken by hand.
type node struct {
	t      *testing.T
	stream grpc.BidiStreamingClient[nodeapi.NodeMessage, nodeapi.ServerMessage]
	leave  context.CancelFunc

	mu    sync.Mutex
	heard []string // what the control plane said, in short
	ended error    // why it said no more
}

// connect opens a session with a hello.
func (p *plane) connect(id string) *node {
	p.t.Helper()
	return p.connectWith(p.client(id, p.ca))
}

func (p *plane) connectWith(client nodeapi.NodeClient) *node {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p.t.Cleanup(cancel)
	stream, err := client.Session(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	n := &node{t: p.t, stream: stream, leave: cancel}
	n.send(&nodeapi.NodeMessage{Message: &nodeapi.NodeMessage_Hello{Hello: &nodeapi.Hello{
		Name: "host", Cluster: "default", AvailabilityZone: "us-east-1a", CpuUnits: 2048, MemoryMib: 4096,
		AgentVersion: "1", Runtime: "fake", Attributes: map[string]string{"ecs.os-type": "linux", "a": "b"},
	}}})
	go n.listen()
	synctest.Wait()
	return n
}

func (n *node) listen() {
	for {
		m, err := n.stream.Recv()
		n.mu.Lock()
		if err != nil {
			n.ended = err
			n.mu.Unlock()
			return
		}
		n.heard = append(n.heard, inShort(m)...)
		n.mu.Unlock()
	}
}

func inShort(m *nodeapi.ServerMessage) []string {
	switch {
	case m.GetWelcome() != nil:
		return []string{"welcome " + m.GetWelcome().GetInstanceArn()}
	case m.GetAck() != nil:
		return []string{fmt.Sprintf("ack %s %d", m.GetAck().GetTaskId(), m.GetAck().GetSeq())}
	}
	if open := m.GetOpen(); open != nil {
		return []string{fmt.Sprintf("open %s %s", open.GetStreamId(), open.GetRequest())}
	}
	if docs := m.GetDocuments(); docs != nil {
		return []string{describeDocuments(docs)}
	}
	kind := "changed"
	if m.GetAssignments().GetComplete() {
		kind = "complete"
	}
	for _, a := range m.GetAssignments().GetAssignments() {
		var as model.Assignment
		if err := json.Unmarshal(a.GetAssignment(), &as); err != nil {
			return []string{err.Error()}
		}
		address := "no address"
		if as.NetworkInterface != nil {
			address = as.NetworkInterface.Address + " in " + as.NetworkInterface.SubnetCIDR + " of " + as.NetworkInterface.VPCCIDR
		}
		kind += fmt.Sprintf("; %s %s at %s", a.GetTaskId(), as.Task.DesiredStatus, address)
	}
	return []string{kind}
}

func (n *node) send(m *nodeapi.NodeMessage) {
	n.t.Helper()
	if err := n.stream.Send(m); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) report(id string, o model.TaskObserved) {
	n.t.Helper()
	data, err := json.Marshal(o)
	if err != nil {
		n.t.Fatal(err)
	}
	n.send(&nodeapi.NodeMessage{Message: &nodeapi.NodeMessage_Report{Report: &nodeapi.TaskReport{TaskId: id, Seq: o.Seq, Observed: data}}})
	synctest.Wait()
}

// said returns what the control plane has said since it was asked last.
func (n *node) said() []string {
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	out := n.heard
	n.heard = nil
	return out
}

func (n *node) end() error {
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ended
}

// gatedKV holds transactions up while its gate is closed.
type gatedKV struct {
	kv.KV
	mu   sync.Mutex
	gate chan struct{}
}

func (g *gatedKV) hold() (release func()) {
	gate := make(chan struct{})
	g.mu.Lock()
	g.gate = gate
	g.mu.Unlock()
	return func() {
		g.mu.Lock()
		g.gate = nil
		g.mu.Unlock()
		close(gate)
	}
}

func (g *gatedKV) Txn(ctx context.Context, t kv.Txn) (kv.TxnResult, error) {
	g.mu.Lock()
	gate := g.gate
	g.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return kv.TxnResult{}, ctx.Err()
		}
	}
	return g.KV.Txn(ctx, t)
}

// sink is where logs go: it answers err and remembers sources.
type sink struct {
	err     error
	sources []string
	// without a group EnsureStream refuses, unless it may make it.
	groupMissing bool
	ensured      []string
}

func (s *sink) EnsureStream(_ context.Context, group, stream string, create bool) error {
	s.ensured = append(s.ensured, fmt.Sprintf("%s %s %t", group, stream, create))
	if s.groupMissing && !create {
		return &dispatch.Refusal{Text: "ResourceNotFoundException: The specified log group does not exist."}
	}
	return s.err
}

func (s *sink) delivered(_ context.Context, _, _, source string) (bool, error) {
	return slices.ContainsFunc(s.sources, func(have string) bool { return strings.HasPrefix(have, source+" ") }), nil
}

func (s *sink) Deliver(_ context.Context, _, _, source string, events []dispatch.LogEvent) error {
	for _, e := range events {
		s.sources = append(s.sources, fmt.Sprintf("%s %d %d %s", source, e.Seq, e.TimestampMS, e.Message))
	}
	return s.err
}

// subnetNames is a source: every node has a document with the tags of each
// subnet whose zone is the node's id.
type subnetNames struct{}

func (subnetNames) Kind() string             { return "subnet" }
func (subnetNames) Tables() []store.AnyTable { return []store.AnyTable{records.Subnets} }

func (subnetNames) Keys(r store.Reader, instanceID string) []string {
	var keys []string
	for s := range records.Subnets.All(r) {
		if s.AvailabilityZone == instanceID {
			keys = append(keys, s.ID)
		}
	}
	return keys
}

func (subnetNames) Affected(before, after store.Reader, change store.Change) map[string][]string {
	affected := map[string][]string{}
	for _, r := range []store.Reader{before, after} {
		if s, ok := records.Subnets.Get(r, change.Key); ok {
			affected[s.AvailabilityZone] = []string{s.ID}
		}
	}
	return affected
}

func (subnetNames) Document(r store.Reader, instanceID, key string) (any, bool) {
	s, ok := records.Subnets.Get(r, key)
	if !ok || s.AvailabilityZone != instanceID {
		return nil, false
	}
	return s.CIDR, true
}

func describeDocuments(docs *nodeapi.Documents) string {
	said := "documents"
	if docs.GetComplete() {
		said = "all documents"
	}
	for _, d := range docs.GetDocuments() {
		said += fmt.Sprintf("; %s %s=%s", d.GetKind(), d.GetKey(), d.GetBody())
	}
	return said
}

type observations struct {
	mu   sync.Mutex
	said []string
}

func (o *observations) Observed(_ context.Context, instanceID, key string, body []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.said = append(o.said, fmt.Sprintf("%s %s %s", instanceID, key, body))
	return nil
}

func newAuthority(t *testing.T) *nodeca.Authority {
	t.Helper()
	ca, err := nodeca.Open(filepath.Join(t.TempDir(), "pki"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// request is a certificate request in a node's name.
func request(t *testing.T, name string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
