package dispatch_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/control/dispatch"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

// roles is an Execution that answers err, or refuses, and remembers what it was
// asked; its API answers every request with who it comes from.
type roles struct {
	mu      sync.Mutex
	asked   []string
	err     error
	refusal string
	refuses string // the action that is refused with it; empty: all
	origin  dispatch.Origin
	open    int      // connections that are being served
	pulled  []string // repositories for which the registry was reached
}

func (r *roles) ask(format string, args ...any) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, fmt.Sprintf(format, args...))
	return r.refusal, r.err
}

func (r *roles) TaskCredentials(_ context.Context, t *model.Task) (*nodeapi.TaskCredentialsResponse, error) {
	refusal, err := r.ask("credentials %s", t.ID)
	return &nodeapi.TaskCredentialsResponse{Refusal: refusal, AccessKeyId: "ASIA" + t.ID}, err
}

func (r *roles) TaskSecrets(_ context.Context, t *model.Task) (*nodeapi.TaskSecretsResponse, error) {
	refusal, err := r.ask("secrets %s", t.ID)
	return &nodeapi.TaskSecretsResponse{Refusal: refusal, Containers: []*nodeapi.ContainerSecrets{{Name: "app"}}}, err
}

func (r *roles) AuthorizePull(_ context.Context, t *model.Task, container string) (string, error) {
	return r.ask("pull %s %s", t.ID, container)
}

func (r *roles) AuthorizeLogs(_ context.Context, t *model.Task, container, group, stream, action string) (string, error) {
	refusal, err := r.ask("%s %s %s %s %s", action, t.ID, container, group, stream)
	if r.refuses != "" && r.refuses != action {
		refusal = ""
	}
	return refusal, err
}

func (r *roles) serve(ctx context.Context, conn net.Conn, from dispatch.Origin) {
	r.mu.Lock()
	r.origin = from
	r.open++
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.open--
		r.mu.Unlock()
	}()
	one := &oneListener{conn: conn, ctx: ctx}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		fmt.Fprintf(w, "%s sent %d bytes, %v", request.RemoteAddr, len(body), err)
	})}
	server.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			one.end()
		}
	}
	server.Serve(one) //nolint:errcheck,gosec // it ends with the connection
}

// serveRegistry answers every request with as much as its path says.
func (r *roles) serveRegistry(ctx context.Context, conn net.Conn, repository string) {
	r.mu.Lock()
	r.pulled = append(r.pulled, repository)
	r.open++
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.open--
		r.mu.Unlock()
	}()
	one := &oneListener{conn: conn, ctx: ctx}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		n, _ := strconv.Atoi(strings.TrimPrefix(request.URL.Path, "/"))
		w.Header().Set("Content-Length", strconv.Itoa(n))
		_, _ = io.CopyN(w, strings.NewReader(strings.Repeat("x", n)), int64(n))
	})}
	server.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			one.end()
		}
	}
	server.Serve(one) //nolint:errcheck,gosec // it ends with the connection
}

// oneListener accepts one connection and then waits for its end.
type oneListener struct {
	conn net.Conn
	ctx  context.Context
	once sync.Once
	mu   sync.Mutex
	over chan struct{}
}

func (l *oneListener) done() chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over == nil {
		l.over = make(chan struct{})
	}
	return l.over
}

func (l *oneListener) end() { l.once.Do(func() { close(l.done()) }) }

func (l *oneListener) Accept() (net.Conn, error) {
	l.mu.Lock()
	conn := l.conn
	l.conn = nil
	l.mu.Unlock()
	if conn != nil {
		return conn, nil
	}
	select {
	case <-l.done():
	case <-l.ctx.Done():
	}
	return nil, net.ErrClosed
}

func (l *oneListener) Close() error   { return nil }
func (l *oneListener) Addr() net.Addr { return &net.TCPAddr{} }

func withRoles(t *testing.T, f func(t *testing.T, p *plane)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newPlane(t, &roles{})) })
}

func (p *plane) expectAsked(want ...string) {
	p.t.Helper()
	p.roles.mu.Lock()
	defer p.roles.mu.Unlock()
	if !slices.Equal(p.roles.asked, want) {
		p.t.Errorf("asked %q, want %q", p.roles.asked, want)
	}
	p.roles.asked = nil
}

// balancer gives a node a load balancer with an access log.
func (p *plane) balancer(id, node string) {
	p.t.Helper()
	p.update(func(tx *store.Tx) error {
		records.LoadBalancers.Put(tx, &model.LoadBalancer{
			ID: id, InstanceID: node, State: model.LoadBalancerActive, Attributes: map[string]string{model.AttributeAccessLogGroup: "/alb"},
		})
		return nil
	})
}

// call is one thing that a node may ask for in the name of a task, as its
// status and what it got.
type call struct {
	name string
	do   func(ctx context.Context, c nodeapi.NodeClient, task string) (got string, err error)
}

func calls() []call {
	return []call{
		{"TaskCredentials", func(ctx context.Context, c nodeapi.NodeClient, task string) (string, error) {
			out, err := c.TaskCredentials(ctx, &nodeapi.TaskCredentialsRequest{TaskId: task})
			return out.GetAccessKeyId() + out.GetRefusal(), err
		}},
		{"TaskSecrets", func(ctx context.Context, c nodeapi.NodeClient, task string) (string, error) {
			out, err := c.TaskSecrets(ctx, &nodeapi.TaskSecretsRequest{TaskId: task})
			return fmt.Sprint(len(out.GetContainers())) + out.GetRefusal(), err
		}},
		{"AuthorizePull", func(ctx context.Context, c nodeapi.NodeClient, task string) (string, error) {
			out, err := c.AuthorizePull(ctx, &nodeapi.AuthorizePullRequest{TaskId: task, Container: "app"})
			return out.GetRefusal(), err
		}},
		{"EnsureLogStream", func(ctx context.Context, c nodeapi.NodeClient, task string) (string, error) {
			out, err := c.EnsureLogStream(ctx, &nodeapi.EnsureLogStreamRequest{Group: "g", Stream: "s", TaskId: task, Container: "app"})
			return out.GetRefusal(), err
		}},
		{"DeliverLogs", func(ctx context.Context, c nodeapi.NodeClient, task string) (string, error) {
			out, err := c.DeliverLogs(ctx, &nodeapi.DeliverLogsRequest{Group: "g", Stream: "s", Source: "c1", TaskId: task, Container: "app", Events: []*nodeapi.LogEvent{{Seq: 1}}})
			return out.GetRefusal(), err
		}},
		{"DialAPI", func(ctx context.Context, c nodeapi.NodeClient, task string) (string, error) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			stream, err := c.DialAPI(ctx)
			if err != nil {
				return "", err
			}
			for _, data := range []string{"", "GET / HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\r\n"} {
				if err := stream.Send(&nodeapi.Chunk{TaskId: task, Data: []byte(data)}); err != nil && !errors.Is(err, io.EOF) {
					return "", err
				}
			}
			out, err := stream.Recv()
			return string(out.GetData()), err
		}},
		{"DialRegistry", func(ctx context.Context, c nodeapi.NodeClient, task string) (string, error) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			return pull(ctx, c, task, "app", 1)
		}},
	}
}

// pull asks the registry for so many bytes in the name of a container.
func pull(ctx context.Context, c nodeapi.NodeClient, task, container string, n int) (string, error) {
	stream, err := c.DialRegistry(ctx)
	if err != nil {
		return "", err
	}
	request := fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n", n)
	for _, m := range []*nodeapi.Chunk{{TaskId: task, Container: container}, {Data: []byte(request)}} {
		if err := stream.Send(m); err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
	}
	var out strings.Builder
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out.String(), nil
		}
		if err != nil {
			return out.String(), err
		}
		out.Write(chunk.GetData())
	}
}

// A rogue node speaks in the name of another node's task, in every call there
// is. It gets nothing, learns nothing, and changes nothing.
func TestRogueNode(t *testing.T) {
	withRoles(t, func(t *testing.T, p *plane) {
		p.place("1", nodeA)
		p.balancer("lb", nodeA)
		p.connect(nodeA)
		rogue := p.connect(nodeB)
		rogue.said()
		client := p.client(nodeB, p.ca)
		for _, c := range calls() {
			_, err := c.do(t.Context(), client, "1")
			_, unknown := c.do(t.Context(), client, "nine")
			if status.Code(err) != codes.PermissionDenied && c.name != "DeliverLogs" {
				t.Errorf("%s of another's task: %v", c.name, err)
			}
			if c.name != "DeliverLogs" && strings.ReplaceAll(err.Error(), `"1"`, `"nine"`) != unknown.Error() {
				t.Errorf("%s tells whether there is such a task: %v, %v", c.name, err, unknown)
			}
		}
		for _, in := range []*nodeapi.EnsureLogStreamRequest{{Group: "/alb", Stream: "lb"}, {Group: "g", Stream: "s"}, {Group: "g", Stream: "s", TaskId: "1", Container: "app", CreateGroup: true}} {
			if _, err := client.EnsureLogStream(t.Context(), in); status.Code(err) != codes.PermissionDenied {
				t.Errorf("EnsureLogStream %v: %v", in, err)
			}
		}
		for _, in := range []*nodeapi.DeliverLogsRequest{
			{Group: "/alb", Stream: "lb"},
			{Group: "g", Stream: "s"},
			{Group: "g", Stream: "s", TaskId: "1", Container: "app"},
			{Group: "g", Stream: "s", TaskId: "nine", Container: "app"},
			{Group: "g", Stream: "s", Source: "../" + nodeA + "/c1"},
		} {
			in.Events = []*nodeapi.LogEvent{{Seq: 1, Message: "forged"}}
			if out, err := client.DeliverLogs(t.Context(), in); out.GetRefusal() == "" && status.Code(err) != codes.PermissionDenied {
				t.Errorf("DeliverLogs %v: %v", in, err)
			}
		}
		// In its session.
		rogue.report("1", model.TaskObserved{Seq: 99, Status: model.TaskStopped})
		rogue.observe(model.ObservedLoadBalancer, "lb", `{"state":"failed","reason":"forged"}`)
		rogue.observe(model.ObservedLoadBalancer, "lb", `{"state":"deleted"}`)
		expectSaid(t, rogue, "ack 1 99") // so that a node forgets a task that it should not have
		// And as a node of another name.
		_, err := client.Join(t.Context(), &nodeapi.JoinRequest{CertificateRequest: request(t, nodeA)})
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("a certificate in another's name: %v", err)
		}
		p.expectAsked()
		if len(p.logs.ensured)+len(p.logs.sources) > 0 {
			t.Errorf("logs have %q, %q", p.logs.ensured, p.logs.sources)
		}
		if o := p.task("1").Observed; o.Seq != 0 || !p.hasInterface("1") {
			t.Errorf("the task has %+v", o)
		}
		lb, ok := records.LoadBalancers.Get(p.store.Snapshot(), "lb")
		if !ok || lb.State != model.LoadBalancerActive || lb.StateReason != "" {
			t.Errorf("the load balancer has %+v", lb)
		}
		if i := p.instance(nodeA); i.Session != 1 || !i.Connected {
			t.Errorf("the other node has %+v", i)
		}
	})
}

// The node that has the task is answered, in every call.
func TestCalls(t *testing.T) {
	withRoles(t, func(t *testing.T, p *plane) {
		p.place("1", nodeA)
		p.balancer("lb", nodeA)
		p.connect(nodeA)
		client := p.client(nodeA, p.ca)
		want := map[string]string{"TaskCredentials": "ASIA1", "TaskSecrets": "1"}
		for _, c := range calls() {
			got, err := c.do(t.Context(), client, "1")
			if err != nil || !strings.HasPrefix(c.name, "Dial") && got != want[c.name] {
				t.Errorf("%s: %q, %v", c.name, got, err)
			}
		}
		p.expectAsked("credentials 1", "secrets 1", "pull 1 app", "logs:CreateLogStream 1 app g s", "logs:PutLogEvents 1 app g s", "pull 1 app")
		for _, err := range []error{
			second(client.EnsureLogStream(t.Context(), &nodeapi.EnsureLogStreamRequest{Group: "/alb", Stream: "lb"})),
			second(client.DeliverLogs(t.Context(), &nodeapi.DeliverLogsRequest{Group: "/alb", Stream: "lb", Source: "alb", Events: []*nodeapi.LogEvent{{Seq: 1}}})),
		} {
			if err != nil {
				t.Errorf("the log of a load balancer: %v", err)
			}
		}
		if len(p.logs.sources) != 2 {
			t.Errorf("stored %q", p.logs.sources)
		}
		// What the roles say reaches the node as it is.
		for _, test := range []struct {
			err  error
			want codes.Code
		}{
			{fault.New(fault.Denied, "no"), codes.PermissionDenied},
			{fault.New(fault.Invalid, "no"), codes.InvalidArgument},
			{errors.New("not now"), codes.Unavailable},
		} {
			p.roles.err = test.err
			for _, c := range calls()[:5] {
				if _, err := c.do(t.Context(), client, "1"); status.Code(err) != test.want {
					t.Errorf("%s after %v: %v", c.name, test.err, err)
				}
			}
		}
		p.roles.err, p.roles.refusal = nil, "because"
		for _, c := range calls()[:5] {
			if got, err := c.do(t.Context(), client, "1"); err != nil || !strings.HasSuffix(got, "because") {
				t.Errorf("%s refused: %q, %v", c.name, got, err)
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }

// Nobody is answered without a certificate that counts: not without one, with
// another authority's, an expired one, or as a node that was deregistered; and
// not for a task that has ended.
func TestCalls_WhoIsNotAnswered(t *testing.T) {
	withRoles(t, func(t *testing.T, p *plane) {
		p.place("1", nodeA)
		p.place("2", nodeA)
		p.connect(nodeA)
		none := func(name string, client nodeapi.NodeClient, task string, want codes.Code) {
			t.Helper()
			for _, c := range calls() {
				if got, err := c.do(t.Context(), client, task); status.Code(err) != want || got != "" && got != "0" {
					t.Errorf("%s: %s answers %q, %v", name, c.name, got, err)
				}
			}
			p.expectAsked()
		}
		none("no certificate", p.client("", nil), "1", codes.Unauthenticated)
		none("another authority's", p.client(nodeA, newAuthority(t)), "1", codes.Unavailable) // no connection at all
		client := p.client(nodeA, p.ca)
		p.edit("2", func(t *model.Task) { t.Observed.Status = model.TaskStopped })
		for _, c := range calls() {
			if _, err := c.do(t.Context(), client, "2"); status.Code(err) != codes.PermissionDenied && c.name != "DeliverLogs" {
				t.Errorf("%s of a task that has ended: %v", c.name, err)
			}
		}
		p.expectAsked("logs:PutLogEvents 2 app g s") // its last lines
		p.update(func(tx *store.Tx) error {
			return records.Instances.Edit(tx, nodeA, func(i *model.Instance) error { i.Status = model.InstanceInactive; return nil })
		})
		for _, c := range calls() {
			if _, err := c.do(t.Context(), client, "1"); status.Code(err) != codes.PermissionDenied && c.name != "DeliverLogs" {
				t.Errorf("%s of a node that was deregistered: %v", c.name, err)
			}
		}
		p.expectAsked("logs:PutLogEvents 1 app g s")
		if _, err := client.Join(t.Context(), &nodeapi.JoinRequest{CertificateRequest: request(t, nodeA)}); status.Code(err) != codes.PermissionDenied {
			t.Errorf("a new certificate of a node that was deregistered: %v", err)
		}
	})
}

// A connection does not outlive its certificate, and neither does a session.
func TestCertificate_Expires(t *testing.T) {
	withRoles(t, func(t *testing.T, p *plane) {
		p.place("1", nodeA)
		leaf, err := x509.ParseCertificate(certificate(t, p.ca, nodeA, time.Now()).Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		// One that was given when it was so long ago that a minute is left.
		client := p.clientWith(new(certificate(t, p.ca, nodeA, time.Now().Add(-time.Until(leaf.NotAfter)+time.Minute))))
		n := p.connectWith(client)
		if _, err := client.TaskCredentials(t.Context(), &nodeapi.TaskCredentialsRequest{TaskId: "1"}); err != nil {
			t.Fatal(err)
		}
		fresh, err := client.Join(t.Context(), &nodeapi.JoinRequest{CertificateRequest: request(t, nodeA)})
		if err != nil || len(fresh.GetCertificate()) == 0 {
			t.Errorf("renewing: %v", err)
		}
		time.Sleep(2 * time.Minute)
		if status.Code(n.end()) != codes.Unavailable {
			t.Errorf("the session goes on: %v", n.end())
		}
		for _, c := range calls() {
			if _, err := c.do(t.Context(), client, "1"); err == nil {
				t.Errorf("%s is answered", c.name)
			}
		}
	})
}

// The permission to make a group is asked for only when one is made.
func TestEnsureLogStream_MakesTheGroup(t *testing.T) {
	const missing = "ResourceNotFoundException: The specified log group does not exist."
	for _, test := range []struct {
		name            string
		missing, create bool
		refuses         string
		asked, ensured  []string
		want            string
	}{
		{"there", false, true, "", []string{"logs:CreateLogStream"}, []string{"false"}, ""},
		{"made", true, true, "", []string{"logs:CreateLogStream", "logs:CreateLogGroup"}, []string{"false", "true"}, ""},
		{"not to be made", true, false, "", []string{"logs:CreateLogStream"}, []string{"false"}, missing},
		{"stream not allowed", false, true, "logs:CreateLogStream", []string{"logs:CreateLogStream"}, nil, "AccessDeniedException: no"},
		{"group not allowed", true, true, "logs:CreateLogGroup", []string{"logs:CreateLogStream", "logs:CreateLogGroup"}, []string{"false"}, "AccessDeniedException: no"},
	} {
		t.Run(test.name, func(t *testing.T) {
			withRoles(t, func(t *testing.T, p *plane) {
				p.place("1", nodeA)
				p.connect(nodeA)
				p.logs.groupMissing = test.missing
				if test.refuses != "" {
					p.roles.refusal, p.roles.refuses = "AccessDeniedException: no", test.refuses
				}
				out, err := p.client(nodeA, p.ca).EnsureLogStream(t.Context(), &nodeapi.EnsureLogStreamRequest{Group: "g", Stream: "s", TaskId: "1", Container: "app", CreateGroup: test.create})
				if err != nil || out.GetRefusal() != test.want {
					t.Errorf("got %v, %v", out, err)
				}
				var asked, ensured []string
				for _, action := range test.asked {
					asked = append(asked, action+" 1 app g s")
				}
				for _, create := range test.ensured {
					ensured = append(ensured, "g s "+create)
				}
				p.expectAsked(asked...)
				if !slices.Equal(p.logs.ensured, ensured) {
					t.Errorf("made %q, want %q", p.logs.ensured, ensured)
				}
			})
		})
	}
}

// The last lines of a task that is forgotten arrive, when its first ones did.
func TestDeliverLogs_OfAForgottenTask(t *testing.T) {
	withRoles(t, func(t *testing.T, p *plane) {
		p.place("1", nodeA)
		p.connect(nodeA)
		client := p.client(nodeA, p.ca)
		deliver := func(source string) string {
			t.Helper()
			out, err := client.DeliverLogs(t.Context(), &nodeapi.DeliverLogsRequest{Group: "g", Stream: "s", Source: source, TaskId: "1", Container: "app", Events: []*nodeapi.LogEvent{{Seq: 1}}})
			if err != nil {
				t.Fatal(err)
			}
			return out.GetRefusal()
		}
		if refusal := deliver("c1"); refusal != "" {
			t.Error(refusal)
		}
		for _, forget := range []func(tx *store.Tx) error{
			func(tx *store.Tx) error {
				records.TaskDefinitions.Delete(tx, model.TaskDefinitionKey("web", 1))
				return nil
			},
			func(tx *store.Tx) error { records.Tasks.Delete(tx, "1"); return nil },
		} {
			p.update(forget)
			p.roles.err = fault.New(fault.NotFound, "the task definition is gone")
			if refusal := deliver("c1"); refusal != "" {
				t.Errorf("the last lines: %s", refusal)
			}
			if refusal := deliver("c2"); !strings.HasPrefix(refusal, "AccessDeniedException: ") {
				t.Errorf("another source: %q", refusal)
			}
		}
	})
}
