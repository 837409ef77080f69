package e2e_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// A service of four tasks behind a load balancer is updated, scaled in, loses a task to StopTask, and is updated again while
// the control plane is killed: under a steady load, no request fails.
func TestServiceChangesLoseNoRequest(t *testing.T) {
	t.Parallel()
	b := start(t, "--cpu-units", "12288", "--memory-mib", "65536")
	s := b.balance(t)
	s.create(t, s.define(t, answering("one")), 4, nil)
	s.completed(t) // stable would not wait for healthy targets
	before := s.tasks(t)
	l := s.rush(t)
	l.heard(t, 50)

	t.Run("rolling update", func(t *testing.T) {
		two := s.define(t, answering("two"))
		s.update(t, &ecs.UpdateServiceInput{TaskDefinition: &two})
		svc := s.completed(t)
		if svc.RunningCount != 4 || *svc.TaskDefinition != two {
			t.Error(summary(svc))
		}
		for _, arn := range s.tasks(t) {
			if slices.Contains(before, arn) {
				t.Errorf("%s is there from before the update", arn)
			}
		}
	})
	t.Run("scale in", func(t *testing.T) {
		s.update(t, &ecs.UpdateServiceInput{DesiredCount: aws.Int32(2)})
		s.await(t, "two tasks", func(svc types.Service) bool { return svc.RunningCount == 2 })
	})
	t.Run("StopTask", func(t *testing.T) {
		// The other task answers until there is a new one.
		victim := s.tasks(t)[0]
		must(b.ecs.StopTask(t.Context(), &ecs.StopTaskInput{Task: &victim, Reason: aws.String("a test")}))(t)
		s.await(t, "a replacement", func(svc types.Service) bool {
			tasks := s.tasks(t)
			return svc.RunningCount == 2 && len(tasks) == 2 && !slices.Contains(tasks, victim)
		})
		s.stable(t)
	})
	t.Run("the server is killed in the middle of an update", func(t *testing.T) {
		three := s.define(t, answering("three"))
		s.update(t, &ecs.UpdateServiceInput{TaskDefinition: &three})
		s.await(t, "new tasks", func(svc types.Service) bool {
			return len(svc.Deployments) == 2 && svc.Deployments[0].RunningCount+svc.Deployments[0].PendingCount > 0
		})
		pid := must(b.pid("server"))(t)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		l.heard(t, 50) // the load balancer does not notice
		b.ready(t)
		svc := s.completed(t)
		if *svc.TaskDefinition != three {
			t.Error(summary(svc))
		}
	})
	l.settle(t)
	for _, version := range []string{"one", "two", "three"} {
		if l.versions[version] == 0 {
			t.Errorf("nobody was answered by version %s", version)
		}
	}
	eventsAreAWSs(t, s)
}

// eventsAreAWSs compares the first events with those of real services, with what varies left out.
func eventsAreAWSs(t *testing.T, s *site) {
	t.Helper()
	var got []string
	for _, e := range s.events(t) {
		got = append(got, strings.TrimPrefix(e, "(service "+s.name+") "))
	}
	all := strings.Join(got, "\n")
	for _, want := range []string{
		"has started 4 tasks: (task ", "registered ", " targets in (target-group " + s.group + ")", "deployment completed.", "has reached a steady state.",
		"has stopped ", " running tasks: (task ", "deregistered ", "(service " + s.name + ", taskSet ecs-svc/", ") has begun draining connections on ",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no event says %q in\n%s", want, all)
		}
	}
}

// While the agent is dead the load balancer serves on, a target that dies leaves it by its health check, and the next agent
// puts everything right. A WebSocket stays open over all of it and over a change of rules.
func TestLoadBalancerServesOnWithoutTheAgent(t *testing.T) {
	t.Parallel()
	b := start(t, "--cpu-units", "12288", "--memory-mib", "65536")
	s := b.balance(t)
	s.create(t, s.define(t, answering("one")), 2, nil)
	s.completed(t) // stable would not wait for healthy targets
	ws := dialWebSocket(t, s.url)
	ws.echo(t, "before")

	l := s.rush(t)
	l.heard(t, 50)
	must(b.elb.CreateRule(t.Context(), &elasticloadbalancingv2.CreateRuleInput{
		ListenerArn: &s.listener, Priority: aws.Int32(1),
		Conditions: []elbtypes.RuleCondition{{Field: aws.String("path-pattern"), Values: []string{"/fixed"}}},
		Actions: []elbtypes.Action{{Type: elbtypes.ActionTypeEnumFixedResponse, FixedResponseConfig: &elbtypes.FixedResponseActionConfig{
			StatusCode: aws.String("418"), ContentType: aws.String("text/plain"), MessageBody: aws.String("short and stout"),
		}}},
	}))(t)
	eventually(t, "the rule's answer", func() error {
		reply, err := http.Get(s.url + "/fixed") //nolint:noctx // it answers at once or not at all
		if err != nil {
			return err
		}
		defer reply.Body.Close() //nolint:errcheck // nothing of it is needed
		if reply.StatusCode != http.StatusTeapot {
			return fmt.Errorf("got %s", reply.Status)
		}
		return nil
	})
	ws.echo(t, "over a change of rules")

	// The agent is away for as long as the test wants.
	b.apart(t)
	l.heard(t, 50)
	b.end(t, "agent", syscall.SIGKILL)
	l.heard(t, 50)
	ws.echo(t, "without an agent")
	l.settle(t)

	// One of the two dies. Until the checks have noticed, requests to it may fail; afterwards none does.
	victim := s.otherThan(t, ws)
	for _, process := range must(pidsIn(b, victim.eni))(t) {
		pid, _, _ := strings.Cut(process, "@")
		n := must(strconv.Atoi(pid))(t)
		if err := syscall.Kill(n, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err) // one that ended with another is no matter
		}
	}
	eventually(t, "the dead target to leave", func() error {
		client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		for range 20 {
			if _, err := fetchVersion(client, s.url); err != nil {
				return err
			}
		}
		return nil
	})
	ws.echo(t, "with one target")

	b.role(t, "agent")
	s.await(t, "a replacement", func(svc types.Service) bool { return svc.RunningCount == 2 && !slices.Contains(s.tasks(t), victim.arn) })
	s.stable(t)
	ws.echo(t, "after everything")
}

// otherThan is the task that does not hold the WebSocket.
func (s *site) otherThan(t *testing.T, ws *webSocket) *task {
	t.Helper()
	for _, arn := range s.tasks(t) {
		k := &task{b: s.b, arn: arn, id: last(arn)}
		must(k.describe(t.Context()))(t)
		if k.address != ws.server {
			return k
		}
	}
	t.Fatal("every task holds the WebSocket")
	return nil
}

// webSocket is a connection to the probe's echo over HTTP's Upgrade.
type webSocket struct {
	conn   net.Conn
	in     *bufio.Reader
	server string // the task's address
}

func dialWebSocket(t *testing.T, url string) *webSocket {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://")+":80") //nolint:noctx // on this host
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() }) //nolint:errcheck // the test is over
	fmt.Fprintf(conn, "GET /websocket HTTP/1.1\r\nHost: e2e\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	in := bufio.NewReader(conn)
	reply, err := http.ReadResponse(in, nil) //nolint:bodyclose // there is none
	if err != nil || reply.StatusCode != http.StatusSwitchingProtocols || reply.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("no WebSocket: %v %v", reply, err)
	}
	return &webSocket{conn: conn, in: in, server: reply.Header.Get("X-Address")}
}

// echo says something and expects to hear it.
func (w *webSocket) echo(t *testing.T, text string) {
	t.Helper()
	if err := w.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintln(w.conn, text); err != nil {
		t.Fatalf("the WebSocket is broken %s: %v", text, err)
	}
	heard, err := w.in.ReadString('\n')
	if err != nil || heard != text+"\n" {
		t.Fatalf("the WebSocket is broken %s: heard %q, %v", text, heard, err)
	}
}
