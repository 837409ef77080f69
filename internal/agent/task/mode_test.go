package task_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/agent/network"
	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/model"
)

// inMode gives a task another network mode than awsvpc.
func inMode(mode string, a model.Assignment) model.Assignment {
	a.NetworkInterface, a.TaskDefinition.NetworkMode = nil, mode
	a.Task.LaunchType, a.Task.Observed.Status = model.LaunchEC2, model.TaskPending
	return a
}

// linked is a task of two containers, the second of which links to the first.
func linked(mode string) model.Assignment {
	return inMode(mode, assignment("t1",
		model.ContainerDefinition{
			Name: "db", Image: "app:1", PortMappings: []model.PortMapping{{ContainerPort: new(int32(5432)), HostPort: new(int32(0)), Protocol: "tcp"}},
			Environment: []model.KeyValuePair{{Name: "USER", Value: "me"}},
		},
		model.ContainerDefinition{
			Name: "app", Image: "app:1", Links: []string{"db:my-db"}, ExtraHosts: []model.HostEntry{{Hostname: "other", IPAddress: "192.0.2.7"}},
			DNSServers: []string{"192.0.2.53"}, DNSSearchDomains: []string{"corp.example"},
			PortMappings: []model.PortMapping{{ContainerPort: new(int32(80)), HostPort: new(int32(8080))}, {ContainerPortRange: "9000-9002", Protocol: "udp"}},
		},
	))
}

// file reads a file of /etc of a container, as its specification mounts it.
func (h *host) file(id, target string) string {
	h.t.Helper()
	spec, ok := h.world.Spec(id)
	if !ok {
		h.t.Fatalf("there is no container %s", id)
	}
	i := slices.IndexFunc(spec.Mounts, func(m runtime.Mount) bool { return m.Target == target })
	if i < 0 {
		h.t.Fatalf("%s has no %s: %+v", id, target, spec.Mounts)
	}
	content, err := os.ReadFile(spec.Mounts[i].Source)
	if err != nil {
		h.t.Fatal(err)
	}
	return string(content)
}

func TestEngine_Bridge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		served := &countingEndpoints{open: map[string]int{}}
		h.endpoints = served
		h.restart()
		a := linked("") // the default
		h.engine.Assign([]model.Assignment{a}, true)
		o := h.last("t1")
		if o.Status != model.TaskRunning || o.ENIAttached {
			t.Fatalf("got %+v", o)
		}
		want := [][]model.NetworkBinding{
			{{BindIP: "0.0.0.0", ContainerPort: 5432, HostPort: 32768, Protocol: "tcp"}},
			{{BindIP: "0.0.0.0", ContainerPort: 80, HostPort: 8080, Protocol: "tcp"}, {BindIP: "0.0.0.0", Protocol: "udp", ContainerPortRange: "9000-9002", HostPortRange: "32779-32781"}},
		}
		got := [][]model.NetworkBinding{o.Containers[0].Bindings, o.Containers[1].Bindings}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("bindings (-want +got):\n%s", diff)
		}
		db, _ := h.world.Spec("t1-0")
		app, _ := h.world.Spec("t1-1")
		if db.NetNSPath == app.NetNSPath || !strings.HasPrefix(db.NetNSPath, "/run/netns/eni-") || len(app.Hostname) != 12 {
			t.Errorf("namespaces %s and %s, name %s", db.NetNSPath, app.NetNSPath, app.Hostname)
		}
		for _, env := range []string{
			"MY_DB_PORT=tcp://172.17.0.4:5432", "MY_DB_PORT_5432_TCP_ADDR=172.17.0.4", "MY_DB_NAME=/app/my-db", "MY_DB_ENV_USER=me",
			"ECS_CONTAINER_METADATA_URI_V4=http://169.254.170.2/v4/t1-1",
		} {
			if !slices.Contains(app.Env, env) {
				t.Errorf("the environment lacks %s: %v", env, app.Env)
			}
		}
		hosts := "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n172.17.0.4 my-db db\n192.0.2.7 other\n172.17.0.5 " + app.Hostname + "\n"
		if diff := cmp.Diff(hosts, h.file("t1-1", "/etc/hosts")); diff != "" {
			t.Errorf("hosts (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff("search corp.example\nnameserver 192.0.2.53\noptions timeout:2 attempts:5\n", h.file("t1-1", "/etc/resolv.conf")); diff != "" {
			t.Errorf("resolv.conf (-want +got):\n%s", diff)
		}
		if !strings.Contains(h.file("t1-0", "/etc/resolv.conf"), "nameserver "+network.ResolverAddress) {
			t.Errorf("resolv.conf is %s", h.file("t1-0", "/etc/resolv.conf"))
		}
		answers := func() {
			t.Helper()
			synctest.Wait()
			if diff := cmp.Diff(map[string]int{db.NetNSPath: 1, app.NetNSPath: 1}, served.now()); diff != "" {
				t.Errorf("answered in (-want +got):\n%s", diff)
			}
		}
		answers()
		// Another agent answers again, and asks for nothing anew.
		connects := h.network.connects
		h.restart(a)
		answers()
		if diff := cmp.Diff(o.Containers, h.last("t1").Containers); diff != "" || h.network.connects != connects {
			t.Errorf("%d connections more, (-before +after):\n%s", h.network.connects-connects, diff)
		}
		h.engine.Assign([]model.Assignment{stopped(a)}, false)
		time.Sleep(time.Minute)
		if o := h.last("t1"); o.Status != model.TaskStopped || len(o.Containers[0].Bindings) != 1 {
			t.Errorf("got %+v", o)
		}
		if left := served.now(); len(left) > 0 {
			t.Errorf("it is still answered in %v", left)
		}
		h.checkGone()
		h.stop()
	})
}

// A host that was restarted has no networks any more; a container that was made and never ran gets its own again.
func TestEngine_BridgeAfterARestartOfTheHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		a := inMode("bridge", assignment("t1",
			model.ContainerDefinition{Name: "first", Image: "app:1", HealthCheck: &model.HealthCheck{Command: []string{"CMD", "false"}}},
			model.ContainerDefinition{Name: "app", Image: "app:1", DependsOn: []model.ContainerDependency{{ContainerName: "first", Condition: model.ConditionHealthy}}}))
		h.engine.Assign([]model.Assignment{a}, true)
		synctest.Wait()
		h.stop()
		h.world.Reboot()
		h.network.mu.Lock()
		clear(h.network.attached)
		h.network.mu.Unlock()
		h.begin()
		h.engine.Assign([]model.Assignment{a}, true)
		time.Sleep(time.Minute)
		if o := h.last("t1"); o.Status != model.TaskStopped || o.StopCode != model.StopEssentialContainerExited {
			t.Errorf("got %+v", o)
		}
		h.checkGone()
		h.stop()
	})
}

func TestEngine_Host(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.endpoints = brokenEndpoints{} // nobody asks it
		h.restart()
		a := inMode("host", assignment("t1", model.ContainerDefinition{
			Name: "app", Image: "app:1",
			PortMappings: []model.PortMapping{{ContainerPort: new(int32(80)), HostPort: new(int32(80)), Protocol: "tcp"}},
			ExtraHosts:   []model.HostEntry{{Hostname: "other", IPAddress: "192.0.2.7"}},
		}))
		h.engine.Assign([]model.Assignment{a}, true)
		o := h.last("t1")
		if o.Status != model.TaskRunning || len(o.Containers[0].Bindings) != 1 || o.Containers[0].Bindings[0].HostPort != 80 {
			t.Fatalf("got %+v", o)
		}
		spec, _ := h.world.Spec("t1-0")
		if spec.NetNSPath != h.network.HostNetNSPath() || !h.network.hostName || spec.Hostname != "" {
			t.Errorf("got %+v", spec)
		}
		if !slices.Contains(spec.Env, "ECS_CONTAINER_METADATA_URI_V4=http://127.170.0.1/v4/t1-0") {
			t.Errorf("environment %v", spec.Env)
		}
		h.engine.Assign([]model.Assignment{inMode("bridge", one("t2"))}, false)
		synctest.Wait()
		if id, ok := h.engine.HostTask("t1-0"); id != "t1" || !ok {
			t.Errorf("the container is of %q", id)
		}
		for _, other := range []string{"t2-0", "t1", ""} {
			if id, ok := h.engine.HostTask(other); ok {
				t.Errorf("%q is of %q", other, id)
			}
		}
		if hosts := h.file("t1-0", "/etc/hosts"); !strings.HasSuffix(hosts, "192.0.2.7 other\n") {
			t.Errorf("hosts is %s", hosts)
		}
		h.engine.Assign([]model.Assignment{stopped(a), stopped(inMode("bridge", one("t2")))}, false)
		time.Sleep(time.Minute)
		h.checkGone()
		h.stop()
	})
}

func TestEngine_None(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.endpoints = brokenEndpoints{} // nobody asks it
		h.restart()
		a := inMode("none", assignment("t1", model.ContainerDefinition{Name: "app", Image: "app:1"}))
		h.engine.Assign([]model.Assignment{a}, true)
		o := h.last("t1")
		spec, _ := h.world.Spec("t1-0")
		if o.Status != model.TaskRunning || spec.NetNSPath != "" || len(spec.Hostname) != 12 || len(o.Containers[0].Bindings) != 0 || h.network.connects > 0 {
			t.Errorf("got %+v, %+v", o, spec)
		}
		if hosts := h.file("t1-0", "/etc/hosts"); hosts != "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n" {
			t.Errorf("hosts is %s", hosts)
		}
		if _, err := os.Stat(filepath.Join(h.dir, "tasks", "t1", "etc", "hosts")); err == nil {
			t.Error("the task has files of its own")
		}
		h.engine.Assign([]model.Assignment{stopped(a)}, false)
		time.Sleep(time.Minute)
		h.checkGone()
		h.stop()
	})
}

// disableNetworking takes one container of a task off the bridge.
func TestEngine_DisableNetworking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		a := linked("bridge")
		yes := true
		a.TaskDefinition.ContainerDefinitions[1].DisableNetworking = &yes
		h.engine.Assign([]model.Assignment{a}, true)
		o := h.last("t1")
		with, _ := h.world.Spec("t1-0")
		without, _ := h.world.Spec("t1-1")
		if o.Status != model.TaskRunning || with.NetNSPath == "" || without.NetNSPath != "" || len(o.Containers[1].Bindings) > 0 || h.network.connects != 1 {
			t.Errorf("got %+v, %+v, %+v", o, with, without)
		}
		if hosts := h.file("t1-1", "/etc/hosts"); strings.Contains(hosts, "my-db") || !strings.Contains(hosts, "other") {
			t.Errorf("hosts is %s", hosts)
		}
		h.engine.Assign([]model.Assignment{stopped(a)}, false)
		time.Sleep(time.Minute)
		h.checkGone()
		h.stop()
	})
}

func TestEngine_APortThatIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.network.err = fmt.Errorf("bind for 0.0.0.0:80 failed: %w", network.ErrPortTaken)
		h.engine.Assign([]model.Assignment{inMode("bridge", one("t1"))}, true)
		time.Sleep(time.Minute)
		o := h.last("t1")
		want := "CannotStartContainerError: bind for 0.0.0.0:80 failed: port is already allocated"
		if o.Status != model.TaskStopped || o.StopCode != model.StopTaskFailedToStart || o.StoppedReason != want || o.Containers[0].Reason != want {
			t.Errorf("got %+v", o)
		}
		h.checkGone()
		h.stop()
	})
}

// A task that is to stop while its interface waits for its security groups does not wait with it.
func TestEngine_StopsDuringAttach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.network.silent = true
		a := one("t1")
		h.engine.Assign([]model.Assignment{a}, true)
		time.Sleep(time.Minute)
		if o := h.last("t1"); o.Status != model.TaskProvisioning {
			t.Fatalf("got %+v", o)
		}
		h.engine.Assign([]model.Assignment{stopped(a)}, false)
		time.Sleep(time.Minute)
		if o := h.last("t1"); o.Status != model.TaskStopped || o.StopCode != "" {
			t.Errorf("got %+v", o)
		}
		h.checkGone()
		h.stop()
	})
}

func TestEngine_WithoutABridge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, mode := range []string{"bridge", "host"} {
			h := newHost(t)
			h.network.err = errors.New("this is asked for nothing")
			h.noBridge = true
			h.restart()
			h.engine.Assign([]model.Assignment{inMode(mode, one("t1"))}, true)
			time.Sleep(time.Minute)
			if o := h.last("t1"); o.Status != model.TaskStopped || !strings.Contains(o.StoppedReason, "awsvpc only") {
				t.Errorf("%s: got %+v", mode, o)
			}
			h.checkGone()
			h.stop()
		}
	})
}

// countingEndpoints knows in how many ways each namespace is answered in.
type countingEndpoints struct {
	mu   sync.Mutex
	open map[string]int
}

func (e *countingEndpoints) Serve(ctx context.Context, _ *model.Assignment, path string, ready func()) error {
	e.count(path, 1)
	defer e.count(path, -1)
	ready()
	<-ctx.Done()
	return ctx.Err()
}

func (e *countingEndpoints) count(path string, n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.open[path] += n; e.open[path] == 0 {
		delete(e.open, path)
	}
}

func (e *countingEndpoints) now() map[string]int {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := map[string]int{}
	maps.Copy(out, e.open)
	return out
}
