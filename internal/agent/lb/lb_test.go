package lb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/routing"
)

const publicURL = "http://" + publicAddress + ":80/"

func TestForwards(t *testing.T) {
	l := newLab(t)
	one, two := l.site("one"), l.site("two")
	doc := l.balancer(one, two)
	l.apply(l.start(), doc)
	l.healthy(doc.LoadBalancer.ID, one, two)
	for _, from := range []struct{ path, url string }{
		{l.host, publicURL}, {one.path, "http://" + doc.Interfaces[0].Address + ":80/"},
	} {
		seen := map[string]int{}
		for range 10 {
			seen[get(t, l.client(from.path), from.url).body]++
		}
		// Every target sees the load balancer's own address, whichever slot it has.
		for range 4 {
			echo := get(t, l.client(from.path), from.url+"echo").body
			if peer, _, _ := strings.Cut(after(echo, "Peer: "), ":"); peer != doc.Interfaces[0].Address {
				t.Errorf("connection from %s, want the load balancer's interface", peer)
			}
		}
		if len(seen) != 2 || seen["one"] != 5 || seen["two"] != 5 {
			t.Errorf("from %s: %v, want one and two in turns", from.path, seen)
		}
	}
}

// load sends requests without end until stopped, on connections that are kept and on new ones, and counts failures.
type load struct {
	each   [4]atomic.Int64 // done, by client
	failed atomic.Int64
	done   atomic.Int64
	last   atomic.Value
	stop   func()
}

func (l *lab) load(url string) *load {
	ld := new(load)
	ctx, cancel := context.WithCancel(l.t.Context())
	var wg sync.WaitGroup
	for i := range ld.each {
		c := l.client(l.host)
		if i%2 == 1 {
			c.Transport = onceOnly(c)
		}
		wg.Go(func() {
			for ctx.Err() == nil {
				req, _ := http.NewRequestWithContext(ctx, "POST", url, strings.NewReader("body")) // not repeated by the client
				resp, err := c.Do(req)
				if err == nil {
					_, err = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					if resp.StatusCode != 200 {
						err = errors.New(resp.Status)
					}
				}
				if ctx.Err() != nil {
					return
				}
				ld.each[i].Add(1)
				ld.done.Add(1)
				if err != nil {
					ld.failed.Add(1)
					ld.last.Store(err.Error())
				}
			}
		})
	}
	ld.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	l.t.Cleanup(ld.stop)
	return ld
}

// passed reports whether every client has had two answers since it was first asked.
func (ld *load) passed() func() bool {
	var begun [len(ld.each)]int64
	for i := range ld.each {
		begun[i] = ld.each[i].Load()
	}
	return func() bool {
		for i := range ld.each {
			if ld.each[i].Load() < begun[i]+2 {
				return false
			}
		}
		return true
	}
}

func (ld *load) check(t *testing.T) {
	t.Helper()
	ld.stop()
	if ld.failed.Load() > 0 || ld.done.Load() == 0 {
		t.Errorf("%d of %d requests failed, the last with %v", ld.failed.Load(), ld.done.Load(), ld.last.Load())
	}
}

// TestReplacesTargetsUnderLoad is a rolling update, with reloads in between, because slots and rules change.
func TestReplacesTargetsUnderLoad(t *testing.T) {
	l := newLab(t)
	sites := []*site{l.site("s0"), l.site("s1")}
	doc := l.balancer(sites...)
	a := l.start()
	l.apply(a, doc)
	key := doc.LoadBalancer.ID
	l.healthy(key, sites...)
	ld := l.load(publicURL)
	for n := 2; n < 8; n++ {
		next := l.site(fmt.Sprint("s", n))
		doc = copyOf(doc)
		doc.TargetGroups[0].Targets = append(doc.TargetGroups[0].Targets, next.target())
		if n%2 == 0 { // a rule change at the same time
			doc.Rules = []model.ListenerRule{rule(&doc.Listeners[0], n, fixed("200", "text/plain", "x"), model.RuleCondition{Field: "path-pattern", Values: []string{"/x"}})}
		}
		l.apply(a, doc)
		l.healthy(key, append(sites, next)...)
		doc = copyOf(doc)
		doc.TargetGroups[0].Targets[0].Draining = true
		l.apply(a, doc)
		gone := sites[0]
		sites = append(sites[1:], next)
		l.eventually("the target drains", func() bool {
			seen := map[string]bool{}
			for range 2 * len(sites) {
				seen[get(t, l.client(l.host), publicURL).body] = true
			}
			return !seen[gone.name]
		})
		// An older process knows nothing of that. It gives every client one more answer, from where it will, and ends the
		// connection: all are the newest's by then.
		l.eventually("the older process has lost its clients", ld.passed())
		must(t, gone.server.Shutdown(t.Context()))
		doc = copyOf(doc)
		doc.TargetGroups[0].Targets = doc.TargetGroups[0].Targets[1:]
		l.apply(a, doc)
	}
	ld.check(t)
}

// TestSlotsGrow: more targets than slots; then the configuration grows, and no request fails meanwhile.
func TestSlotsGrow(t *testing.T) {
	l := newLab(t)
	one := l.site("one")
	doc := l.balancer(one)
	a := l.start()
	l.apply(a, doc)
	l.healthy(doc.LoadBalancer.ID, one)
	first := l.pids(doc)
	ld := l.load(publicURL)
	grown := copyOf(doc)
	all := []*site{one}
	for i := range 20 { // the same server at other ports
		s := &site{name: "one", eni: one.eni, path: one.path, port: 9000 + i, at: one.at, handler: one.handler}
		s.serve(t)
		all = append(all, s)
		grown.TargetGroups[0].Targets = append(grown.TargetGroups[0].Targets, s.target())
	}
	l.apply(a, grown)
	l.healthy(doc.LoadBalancer.ID, all...)
	if now := l.pids(doc); slices.Equal(now, first) {
		t.Errorf("processes %v did not change: 16 slots cannot hold 21 targets", now)
	}
	ld.check(t)
	second := l.pids(doc)
	fewer := copyOf(grown)
	fewer.TargetGroups[0].Targets = fewer.TargetGroups[0].Targets[15:]
	l.apply(a, fewer)
	l.healthy(doc.LoadBalancer.ID, all[15:]...)
	if now := l.pids(doc); now[len(now)-1] != second[len(second)-1] {
		t.Errorf("processes %v became %v though targets only left", second, now)
	}
}

func TestHealth(t *testing.T) {
	l := newLab(t)
	one, two := l.site("one"), l.site("two")
	var code atomic.Int64
	code.Store(404)
	var checks atomic.Int64
	two.handle(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" {
			if r.UserAgent() != "ELB-HealthChecker/2.0" {
				t.Errorf("health check by %q", r.UserAgent())
			}
			checks.Add(1)
			w.WriteHeader(int(code.Load()))
			return
		}
		io.WriteString(w, "two")
	})
	doc := l.balancer(one, two)
	a := l.start()
	l.apply(a, doc)
	key := doc.LoadBalancer.ID
	state := func(s *site, want, reason, description string) {
		t.Helper()
		l.await(key, s.name+" "+want+" "+reason, func(o model.LoadBalancerObserved) bool {
			i := slices.IndexFunc(o.Targets, func(t model.TargetObserved) bool { return t.Key == s.key() })
			return i >= 0 && o.Targets[i].State == want && o.Targets[i].Reason == reason && o.Targets[i].Description == description && o.Targets[i].Registered.Equal(s.at)
		})
	}
	bodies := func(n int) map[string]int {
		seen := map[string]int{}
		for range n {
			seen[get(t, l.client(l.host), publicURL).body]++
		}
		return seen
	}
	state(one, "healthy", "", "")
	state(two, "unhealthy", "Target.ResponseCodeMismatch", "Health checks failed with these codes: [404]")
	if seen := bodies(10); seen["two"] > 0 {
		t.Errorf("an unhealthy target got %v", seen)
	}
	code.Store(200)
	before := checks.Load()
	state(two, "healthy", "", "")
	if n := checks.Load() - before; n < 2 {
		t.Errorf("healthy again after %d checks, want 2", n)
	}
	two.stop()
	state(two, "unhealthy", "Target.FailedHealthChecks", "Health checks failed")
	one.handle(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" {
			<-r.Context().Done()
			return
		}
		io.WriteString(w, "one")
	})
	state(one, "unhealthy", "Target.Timeout", "Request timed out")
	// Nobody is healthy: all that are registered are used, one of which can answer.
	l.eventually("fail open", func() bool { return bodies(4)["one"] > 0 })

	// A new target gets nothing before it has passed a check.
	three := l.site("three")
	three.handle(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" {
			w.WriteHeader(500)
			return
		}
		t.Error("a target got a request before it was healthy")
	})
	fresh := copyOf(doc)
	fresh.TargetGroups[0].HealthCheck.IntervalSeconds = 60
	fresh.TargetGroups[0].Targets = append(fresh.TargetGroups[0].Targets, three.target())
	l.apply(a, fresh)
	state(three, "initial", "Elb.InitialHealthChecking", "Initial health checks in progress")
	bodies(10)
	three.handle(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "three") })
	state(three, "healthy", "", "") // long before the interval is over
	l.eventually("it serves", func() bool { return bodies(4)["three"] == 4 })
}

// TestDraining: a target that drains gets no new request, and finishes what it has.
func TestDraining(t *testing.T) {
	l := newLab(t)
	one, two := l.site("one"), l.site("two")
	begun, release := make(chan struct{}), make(chan struct{})
	one.handle(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(begun)
			<-release
		}
		io.WriteString(w, "one")
	})
	doc := l.balancer(one)
	a := l.start()
	l.apply(a, doc)
	l.healthy(doc.LoadBalancer.ID, one)
	type result struct {
		answer
		err error
	}
	slow := make(chan result, 1)
	go func() {
		a, err := try(t, l.client(l.host), publicURL+"slow")
		slow <- result{a, err}
	}()
	<-begun
	doc.TargetGroups[0].Targets = append(doc.TargetGroups[0].Targets, two.target())
	doc.TargetGroups[0].Targets[0].Draining = true
	l.apply(a, doc)
	l.eventually("two alone", func() bool {
		for range 4 {
			if get(t, l.client(l.host), publicURL).body != "two" {
				return false
			}
		}
		return true
	})
	close(release)
	if got := <-slow; got.err != nil || got.status != 200 || got.body != "one" {
		t.Errorf("the request in flight got %+v", got)
	}
	alone := copyOf(doc)
	alone.TargetGroups[0].Targets = alone.TargetGroups[0].Targets[:1]
	l.apply(a, alone)
	l.eventually("503 with nothing but a draining target", func() bool {
		got, err := try(t, l.client(l.host), publicURL) // a request that the other has when it goes is cut off
		return err == nil && got.status == 503
	})
}

// TestAgentDies: HAProxy serves on, checks on, and the next agent goes on with it.
func TestAgentDies(t *testing.T) {
	l := newLab(t)
	one, two := l.site("one"), l.site("two")
	doc := l.balancer(one, two)
	a := l.start()
	l.apply(a, doc)
	l.healthy(doc.LoadBalancer.ID, one, two)
	// HAProxy binds, forks and leaves: what answers is the process that stays, and soon the only one.
	get(t, l.client(l.host), publicURL)
	var pids []int
	l.eventually("one process", func() bool { pids = l.pids(doc); return len(pids) == 1 })
	a.stop()
	two.stop()
	isUp := func(s *site) bool {
		for n, server := range l.slots(doc) {
			if server.endpoint == s.key() && !strings.HasSuffix(n.backend, "-open") {
				return server.up()
			}
		}
		t.Fatalf("%s has no slot", s.name)
		return false
	}
	ld := l.load(publicURL)
	l.eventually("the dead target leaves by health check", func() bool { return !isUp(two) })
	two.serve(t)
	l.eventually("the target comes back by health check", func() bool { return isUp(two) })
	ld.check(t)
	three := l.site("three")
	doc.TargetGroups[0].Targets = []model.NodeTarget{two.target(), three.target()}
	a = l.start()
	l.apply(a, doc)
	l.healthy(doc.LoadBalancer.ID, two, three)
	if now := l.pids(doc); !slices.Equal(now, pids) {
		t.Errorf("processes %v became %v", pids, now)
	}
	l.eventually("one is gone", func() bool { return get(t, l.client(l.host), publicURL).body != "one" })
}

// TestProxyCrashes: a process that dies is started again, with the targets of now.
func TestProxyCrashes(t *testing.T) {
	l := newLab(t)
	one := l.site("one")
	doc := l.balancer(one)
	a := l.start()
	l.apply(a, doc)
	l.healthy(doc.LoadBalancer.ID, one)
	for _, pid := range l.pids(doc) {
		must(t, unix.Kill(pid, unix.SIGKILL))
	}
	l.eventually("it serves again", func() bool {
		got, err := try(t, l.client(l.host), publicURL)
		return err == nil && got.body == "one"
	})
	// The same while no agent runs: the next one starts it.
	a.stop()
	for _, pid := range l.pids(doc) {
		must(t, unix.Kill(pid, unix.SIGKILL))
	}
	l.apply(l.start(), doc)
	l.eventually("it serves again", func() bool {
		got, err := try(t, l.client(l.host), publicURL)
		return err == nil && got.body == "one"
	})
}

// TestDeleted: nothing is left of a load balancer that has no document any more, whoever made it.
func TestDeleted(t *testing.T) {
	l := newLab(t)
	one := l.site("one")
	doc, other := l.balancer(one), l.balancer(one)
	other.LoadBalancer.PublicAddress = "127.64.0.10"
	a := l.start()
	l.apply(a, doc, other)
	l.healthy(doc.LoadBalancer.ID, one)
	l.healthy(other.LoadBalancer.ID, one)
	gone := func(doc *model.NodeLoadBalancer) func() bool {
		return func() bool {
			_, dir := os.Stat(filepath.Join(l.dir, short(doc.LoadBalancer.ID)))
			_, ns := os.Stat(l.NetNSPath(doc.Interfaces[0].ID))
			return len(l.pids(doc)) == 0 && errors.Is(dir, os.ErrNotExist) && errors.Is(ns, os.ErrNotExist)
		}
	}
	l.apply(a, doc)
	l.eventually("the other is gone", gone(other))
	a.stop()
	l.apply(l.start())
	l.eventually("the first is gone too", gone(doc))
}

// TestNamespaceIsAnother: after a restart of the host, or a detach, a namespace of the same name is another.
func TestNamespaceIsAnother(t *testing.T) {
	l := newLab(t)
	one := l.site("one")
	doc := l.balancer(one)
	a := l.start()
	l.apply(a, doc)
	l.healthy(doc.LoadBalancer.ID, one)
	must(t, l.Detach(t.Context(), doc.Interfaces[0].ID))
	l.eventually("it serves in the new namespace", func() bool {
		got, err := try(t, l.client(one.path), "http://"+doc.Interfaces[0].Address+":80/")
		return err == nil && got.body == "one"
	})
}

// TestCannotStart: what keeps a load balancer from serving is reported, and no other suffers.
func TestCannotStart(t *testing.T) {
	l := newLab(t)
	one := l.site("one")
	doc, rival := l.balancer(one), l.balancer(one)
	a := l.start()
	l.apply(a, doc)
	l.healthy(doc.LoadBalancer.ID, one)
	l.apply(a, doc, rival) // at the same public address
	o := l.await(rival.LoadBalancer.ID, "failed", func(o model.LoadBalancerObserved) bool { return o.State == model.LoadBalancerFailed })
	if !strings.Contains(o.Reason, publicAddress+":80") {
		t.Errorf("reason %q does not name the address", o.Reason)
	}
	if got := get(t, l.client(l.host), publicURL).body; got != "one" {
		t.Errorf("the first answers %q", got)
	}
	moved := copyOf(rival)
	moved.LoadBalancer.PublicAddress = "127.64.0.11"
	l.apply(a, doc, moved)
	l.healthy(rival.LoadBalancer.ID, one)
}

func TestNoProgram(t *testing.T) {
	l := newLab(t)
	one := l.site("one")
	doc := l.balancer(one)
	path := os.Getenv("PATH")
	t.Setenv("PATH", t.TempDir())
	a := l.start()
	l.apply(a, doc)
	o := l.await(doc.LoadBalancer.ID, "failed", func(o model.LoadBalancerObserved) bool { return o.State == model.LoadBalancerFailed })
	if !strings.Contains(o.Reason, "haproxy is not installed") {
		t.Errorf("reason %q", o.Reason)
	}
	t.Setenv("PATH", path)
	l.healthy(doc.LoadBalancer.ID, one)
}

// TestRefusedConfiguration: a reload that fails leaves the old process serving.
func TestRefusedConfiguration(t *testing.T) {
	l := newLab(t)
	one := l.site("one")
	doc := l.balancer(one)
	a := l.start()
	l.apply(a, doc)
	l.healthy(doc.LoadBalancer.ID, one)
	taken := copyOf(doc)
	squatter := &site{eni: model.AssignedNetwork{NetworkInterface: model.NetworkInterface{Address: publicAddress}}, path: l.host, port: 81, handler: http.NotFoundHandler()}
	squatter.serve(t)
	second := taken.Listeners[0]
	second.ID, second.Port = "second", 81
	taken.Listeners = append(taken.Listeners, second)
	l.apply(a, taken)
	l.await(doc.LoadBalancer.ID, "a reason", func(o model.LoadBalancerObserved) bool { return strings.Contains(o.Reason, publicAddress+":81") })
	ld := l.load(publicURL)
	l.eventually("some requests", func() bool { return ld.done.Load() > 50 })
	ld.check(t)
	squatter.stop()
	l.healthy(doc.LoadBalancer.ID, one)
	l.eventually("the second listener", func() bool {
		got, err := try(t, l.client(l.host), "http://"+publicAddress+":81/")
		return err == nil && got.body == "one"
	})
}

// A slot's last check may be that of the target which it had before: it says nothing of one that is new.
func TestAdmit_BelievesNoOldCheck(t *testing.T) {
	fresh := &target{Slot: 1, Address: "10.0.0.1", Port: 80, Health: routing.Registered()}
	slot := server{endpoint: fresh.endpoint(), check: "L7OK", code: 200, status: "DOWN"}
	if commands := admit(serverName{"a", "s1"}, slot, fresh); len(commands) > 0 || fresh.Health.State != model.TargetInitial {
		t.Errorf("with an old passed check it is %+v, and HAProxy is told %q", fresh.Health, commands)
	}
	slot.status = "UP"
	admit(serverName{"a", "s1"}, slot, fresh)
	if fresh.Health.State != model.TargetHealthy || !fresh.Admitted {
		t.Errorf("HAProxy has it up, and it is %+v", fresh)
	}
}
