package volume_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	helpers "github.com/docker/go-plugins-helpers/volume"

	"berth.dev/berth/internal/model"
)

// driver is a volume driver that keeps volumes in directories, and is as strict
// as the protocol allows: what is not there is an error, and what is mounted
// cannot be removed.
type driver struct {
	dir string

	mu       sync.Mutex
	calls    []string
	volumes  map[string]map[string]string // options
	mounts   map[string][]string
	stubborn bool // removing fails
}

func (d *driver) say(words ...string) func() {
	d.mu.Lock()
	d.calls = append(d.calls, strings.Join(words, " "))
	return d.mu.Unlock
}

// heard returns what was asked since the last time, but for questions.
func (d *driver) heard() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := strings.Join(d.calls, ", ")
	d.calls = nil
	return out
}

func (d *driver) Create(r *helpers.CreateRequest) error {
	defer d.say("create", r.Name)()
	if _, found := d.volumes[r.Name]; found {
		return errors.New("it exists already")
	}
	if r.Options["bad"] != "" {
		return errors.New("bad is not an option")
	}
	d.volumes[r.Name] = r.Options
	return os.MkdirAll(filepath.Join(d.dir, r.Name), 0o755)
}

func (d *driver) Get(r *helpers.GetRequest) (*helpers.GetResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, found := d.volumes[r.Name]; !found {
		return nil, errors.New("no such volume")
	}
	return &helpers.GetResponse{Volume: &helpers.Volume{Name: r.Name}}, nil
}

func (d *driver) Remove(r *helpers.RemoveRequest) error {
	defer d.say("remove", r.Name)()
	if _, found := d.volumes[r.Name]; !found || len(d.mounts[r.Name]) > 0 || d.stubborn {
		return errors.New("it is in use, or not there")
	}
	delete(d.volumes, r.Name)
	return os.RemoveAll(filepath.Join(d.dir, r.Name))
}

func (d *driver) Mount(r *helpers.MountRequest) (*helpers.MountResponse, error) {
	defer d.say("mount", r.Name, r.ID)()
	if slices.Contains(d.mounts[r.Name], r.ID) {
		return nil, errors.New("it is mounted already for that id")
	}
	d.mounts[r.Name] = append(d.mounts[r.Name], r.ID)
	return &helpers.MountResponse{Mountpoint: filepath.Join(d.dir, r.Name)}, nil
}

func (d *driver) Unmount(r *helpers.UnmountRequest) error {
	defer d.say("unmount", r.Name, r.ID)()
	at := slices.Index(d.mounts[r.Name], r.ID)
	if at < 0 {
		return errors.New("it is not mounted for that id")
	}
	d.mounts[r.Name] = slices.Delete(d.mounts[r.Name], at, at+1)
	return nil
}

func (d *driver) Path(*helpers.PathRequest) (*helpers.PathResponse, error) {
	return &helpers.PathResponse{}, nil
}
func (d *driver) List() (*helpers.ListResponse, error) { return &helpers.ListResponse{}, nil }
func (d *driver) Capabilities() *helpers.CapabilitiesResponse {
	return &helpers.CapabilitiesResponse{Capabilities: helpers.Capability{Scope: "local"}}
}

// serve answers for the driver under a name, as a plugin on this node.
func (n *node) serve(name string) *driver {
	n.t.Helper()
	d := &driver{dir: n.t.TempDir(), volumes: map[string]map[string]string{}, mounts: map[string][]string{}}
	if err := os.MkdirAll(n.cfg.Plugins[0], 0o755); err != nil {
		n.t.Fatal(err)
	}
	// The path of a socket must be short.
	short, err := os.MkdirTemp("", "vp")
	if err != nil {
		n.t.Fatal(err)
	}
	listener, err := net.Listen("unix", short+"/s")
	if err != nil {
		n.t.Fatal(err)
	}
	handler := helpers.NewHandler(d)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = handler.Serve(listener) // ends with the listener
	}()
	n.t.Cleanup(func() {
		_ = listener.Close()
		<-done
		_ = os.RemoveAll(short)
	})
	n.write(filepath.Join(n.cfg.Plugins[0], name+".spec"), "unix://"+short+"/s\n")
	return d
}

func TestDriver(t *testing.T) {
	n := newNode(t, nil)
	d := n.serve("rexray")
	m := n.manager()
	a := assignment("a", dockerVolume("v", model.DockerVolumeConfiguration{Driver: "rexray", DriverOpts: map[string]string{"size": "5"}}))
	n.prepare(m, a)
	heard := d.heard()
	name, _, _ := strings.Cut(strings.TrimPrefix(heard, "create "), ",")
	if !strings.HasPrefix(name, "ecs-web-3-v-") || heard != "create "+name+", mount "+name+" a" || d.volumes[name]["size"] != "5" {
		t.Errorf("the driver was asked: %s, with %v", heard, d.volumes)
	}
	n.write(n.path(m, a, "v")+"/file", "driven")
	n.reads(filepath.Join(d.dir, name, "file"), "driven")
	n.prepare(n.manager(), a) // the next agent asks for nothing
	if heard := d.heard(); heard != "" {
		t.Errorf("the next agent asked: %s", heard)
	}
	n.release(m, "a")
	n.release(m, "a")
	if heard := d.heard(); heard != "unmount "+name+" a, remove "+name {
		t.Errorf("the driver was asked: %s", heard)
	}
	n.left("after the task")
}

func TestDriver_Shared(t *testing.T) {
	n := newNode(t, nil)
	d := n.serve("rexray")
	m := n.manager()
	shared := model.DockerVolumeConfiguration{Driver: "rexray", Scope: "shared"}
	n.fails(m, assignment("x", dockerVolume("v", shared)), "volume 'v' does not exist and autoprovision is set to false")
	shared.Autoprovision = new(true)
	a, b := assignment("a", dockerVolume("v", shared)), assignment("b", dockerVolume("v", shared))
	n.prepare(m, a)
	n.prepare(m, b)
	n.release(m, "a")
	n.release(m, "b")
	if heard, want := d.heard(), "create v, mount v a, mount v b, unmount v a, unmount v b"; heard != want {
		t.Errorf("the driver was asked: %s; want %s", heard, want)
	}
}

func TestDriver_Errors(t *testing.T) {
	n := newNode(t, nil)
	d := n.serve("rexray")
	m := n.manager()
	for want, c := range map[string]model.DockerVolumeConfiguration{
		`plugin "convoy" not found: this node has no such socket in ` + n.cfg.Plugins[0]: {Driver: "convoy"},
		`plugin "vieux/sshfs:latest" not found`:                                          {Driver: "vieux/sshfs:latest"},
		`plugin "../rexray" not found`:                                                   {Driver: "../rexray"},
		"VolumeDriver.Create: bad is not an option":                                      {Driver: "rexray", DriverOpts: map[string]string{"bad": "1"}},
	} {
		n.fails(m, assignment("a", dockerVolume("v", c)), "CannotCreateVolumeError: ", want)
	}
	d.heard()

	// One that cannot be removed keeps no task, and is removed by a later agent.
	a := assignment("a", dockerVolume("v", model.DockerVolumeConfiguration{Driver: "rexray"}))
	n.prepare(m, a)
	d.stubborn = true
	n.release(m, "a")
	if len(d.volumes) != 1 || len(n.mounts()) != 0 {
		t.Errorf("volumes %v, mounts %v", d.volumes, n.mounts())
	}
	d.stubborn = false
	if err := n.manager().Sweep(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if len(d.volumes) != 0 {
		t.Errorf("volumes %v are left", d.volumes)
	}
	n.left("after a sweep")
}
