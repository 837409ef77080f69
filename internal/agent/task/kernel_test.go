package task_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	goruntime "runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"berth.dev/berth/internal/agent/credentials"
	"berth.dev/berth/internal/agent/metadata"
	"berth.dev/berth/internal/agent/network"
	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/agent/runtime/fake"
	"berth.dev/berth/internal/agent/task"
	"berth.dev/berth/internal/model"
)

// TestBridgeOnARealKernel runs a task in network mode bridge with real namespaces, ports and metadata; only its processes
// are invented.
func TestBridgeOnARealKernel(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	host := newNamespace(t) // plays the host: this machine's own is left alone
	manager, err := network.New(network.Config{Instance: strings.ToLower(rand.Text()[:8]), HostNetNS: host, MTU: 1500, Resync: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := manager.Purge(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	world := fake.NewWorld()
	world.AddImage(runtime.Image{Ref: "app:1", Cmd: []string{"/app"}})
	answers := &realEndpoints{}
	reports := make(chan model.TaskObserved, 100)
	engine := task.New(task.Config{
		Runtime: world.Connect(), Network: realNetwork{manager}, Bridge: manager, Logs: noLogs{}, Endpoints: answers,
		Journal: &memJournal{records: map[string]task.Record{}}, Report: func(_ string, o model.TaskObserved) { reports <- o },
		Dir: t.TempDir(), MaxOpenFiles: 65535, Limits: task.DefaultLimits(), Log: slog.New(slog.DiscardHandler),
	})
	answers.server = metadata.New(metadata.Config{Source: taskSource{engine}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- engine.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	await := func(status string) model.TaskObserved {
		t.Helper()
		for {
			select {
			case o := <-reports:
				if o.Status == status {
					return o
				}
				if o.Status == model.TaskStopped {
					t.Fatalf("it stopped: %+v", o)
				}
			case <-time.After(time.Minute):
				t.Fatalf("it is not %s", status)
			}
		}
	}
	<-engine.Loaded()
	a := inMode("bridge", assignment(strings.ToLower(rand.Text()), model.ContainerDefinition{
		Name: "app", Image: "app:1",
		PortMappings: []model.PortMapping{{ContainerPort: new(int32(8000)), HostPort: new(int32(0)), Protocol: "tcp"}},
	}))
	engine.Assign([]model.Assignment{a}, true)
	o := await(model.TaskRunning)

	spec, _ := world.Spec(a.Task.Containers[0].RuntimeID)
	listener, err := network.ListenTCP(t.Context(), spec.NetNSPath, "0.0.0.0:8000")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "the app") })} //nolint:gosec // a test's
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	if got := fetch(t, host, "127.0.0.1", int(o.Containers[0].Bindings[0].HostPort), "/"); got != "the app" {
		t.Errorf("the published port says %q", got)
	}
	if got := fetch(t, spec.NetNSPath, network.MetadataAddress, 80, "/v4/"+spec.ID); !strings.Contains(got, `"Name":"app"`) {
		t.Errorf("metadata in the container's namespace says %q", got)
	}
	server.Close()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
	engine.Assign([]model.Assignment{stopped(a)}, false)
	if o := await(model.TaskStopped); o.StopCode != "" {
		t.Errorf("got %+v", o)
	}
	if left, err := manager.List(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// newNamespace makes a named network namespace with its loopback up, and returns its path.
func newNamespace(t *testing.T) string {
	t.Helper()
	name := "lab-" + strings.ToLower(rand.Text()[:8])
	done := make(chan error)
	go func() {
		goruntime.LockOSThread() // for good: the thread ends with the goroutine
		_, err := netns.NewNamed(name)
		if err == nil {
			var lo netlink.Link
			if lo, err = netlink.LinkByName("lo"); err == nil {
				err = netlink.LinkSetUp(lo)
			}
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netns.DeleteNamed(name); err != nil {
			t.Error(err)
		}
	})
	return "/run/netns/" + name
}

// fetch asks by HTTP from a namespace and returns what is answered.
func fetch(t *testing.T, path, address string, port int, what string) string {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, protocol, to string) (conn net.Conn, err error) {
		err = network.In(path, func() (err error) {
			conn, err = new(net.Dialer).DialContext(ctx, protocol, to)
			return err
		})
		return conn, err
	}}
	response, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Get("http://" + net.JoinHostPort(address, strconv.Itoa(port)) + what)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error(err)
	}
	return string(body)
}

// realNetwork detaches what the bridge has made; nothing is attached here.
type realNetwork struct{ manager *network.Manager }

func (n realNetwork) NetNSPath(id string) string { return n.manager.NetNSPath(id) }
func (n realNetwork) Attach(context.Context, model.AssignedNetwork) (string, error) {
	return "", errors.New("no task here has an interface")
}

func (n realNetwork) Detach(ctx context.Context, id string) error { return n.manager.Detach(ctx, id) }
func (n realNetwork) List(ctx context.Context) ([]string, error)  { return nil, nil }

// realEndpoints answers metadata in the namespaces that it is given.
type realEndpoints struct{ server *metadata.Server }

func (e *realEndpoints) Serve(ctx context.Context, a *model.Assignment, path string, ready func()) error {
	endpoint, err := e.server.Open(ctx, path, a.Task.ID)
	if err != nil {
		return err
	}
	ready()
	return endpoint.Run(ctx)
}

// taskSource tells of tasks what this test asks for.
type taskSource struct{ engine *task.Engine }

func (s taskSource) Task(id string) (metadata.TaskView, bool) {
	v, ok := s.engine.Task(id)
	if !ok {
		return metadata.TaskView{}, false
	}
	var out metadata.TaskView
	for _, c := range v.Assignment.Task.Containers {
		out.Containers = append(out.Containers, metadata.ContainerView{ID: c.RuntimeID, Name: c.Name})
	}
	return out, true
}

func (s taskSource) Credentials(string, string) (*credentials.Credentials, bool) { return nil, false }

func (s taskSource) Stats(context.Context, string) (metadata.Stats, error) {
	return metadata.Stats{}, errors.New("there are none")
}
