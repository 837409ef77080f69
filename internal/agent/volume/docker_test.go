package volume_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/model"
)

func TestDocker_ScopeTask(t *testing.T) {
	n := newNode(t, nil)
	m := n.manager()
	a := assignment("a", dockerVolume("v", model.DockerVolumeConfiguration{}), model.Volume{Name: "host", Host: &model.HostVolumeProperties{}})
	b := assignment("b", dockerVolume("v", model.DockerVolumeConfiguration{Scope: "task", Labels: map[string]string{"x": "y"}}))
	n.prepare(m, a)
	n.prepare(m, b)
	if _, ours := m.Path(a, &a.TaskDefinition.Volumes[1]); ours {
		t.Error("a host volume is taken for one of this package")
	}
	n.write(n.path(m, a, "v")+"/file", "of a")
	if _, err := os.Stat(n.path(m, b, "v") + "/file"); err == nil {
		t.Error("two tasks share a volume of scope task")
	}
	// Another agent, which is killed before it releases anything.
	m = n.manager()
	if !m.Resume(a) {
		t.Error("a volume is not there for the next agent")
	}
	n.prepare(m, a)
	n.reads(n.path(m, a, "v")+"/file", "of a")
	path := n.path(m, a, "v")
	n.release(m, "a")
	n.release(m, "a")
	n.gone(filepath.Dir(path))
	if m.Resume(a) {
		t.Error("a volume that was released is there")
	}
	// The task b is forgotten with its journal.
	if err := n.manager().Sweep(t.Context(), map[string]bool{"a": true}); err != nil {
		t.Fatal(err)
	}
	n.left("after a sweep")
}

func TestDocker_ScopeShared(t *testing.T) {
	n := newNode(t, nil)
	m := n.manager()
	auto := model.DockerVolumeConfiguration{Scope: "shared", Autoprovision: new(true), Labels: map[string]string{"a": "b"}}
	n.fails(m, assignment("early", dockerVolume("v", model.DockerVolumeConfiguration{Scope: "shared"})),
		"CannotCreateVolumeError: initialize volume: volume detection failed, volume 'v' does not exist and autoprovision is set to false")
	a := assignment("a", dockerVolume("v", auto))
	n.prepare(m, a)
	n.write(n.path(m, a, "v")+"/file", "kept")
	n.release(m, "a")
	b := assignment("b", dockerVolume("v", model.DockerVolumeConfiguration{Scope: "shared"}))
	n.prepare(m, b)
	n.reads(n.path(m, b, "v")+"/file", "kept")
	other := auto
	other.Labels = map[string]string{"a": "c"}
	n.fails(m, assignment("c", dockerVolume("v", other)), "does not match existing volume labels: existing: map[a:b], expected: map[a:c]")
	other.Labels, other.DriverOpts = auto.Labels, map[string]string{"type": "tmpfs", "device": "tmpfs"}
	n.fails(m, assignment("c", dockerVolume("v", other)), "does not match existing volume options")
	n.release(m, "b")
	n.reads(n.path(m, b, "v")+"/file", "kept")
}

func TestDocker_LocalDriver(t *testing.T) {
	n := newNode(t, nil)
	m := n.manager()
	source := t.TempDir()
	tmpfs := model.DockerVolumeConfiguration{Scope: "shared", Autoprovision: new(true), Driver: "local", DriverOpts: map[string]string{"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=1000,mode=0750,noexec"}}
	a := assignment("a", dockerVolume("t", tmpfs), dockerVolume("b", model.DockerVolumeConfiguration{DriverOpts: map[string]string{"type": "none", "device": source, "o": "bind"}}))
	b := assignment("b", dockerVolume("t", tmpfs))
	n.prepare(m, a)
	n.prepare(m, b)
	path := n.path(m, a, "t")
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil || stat.Uid != 1000 || stat.Mode&0o777 != 0o750 {
		t.Errorf("owner %d, mode %o, %v", stat.Uid, stat.Mode&0o777, err)
	}
	if err := os.WriteFile(path+"/big", make([]byte, 2<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("2 MiB in 1 MiB: %v", err)
	}
	if err := os.Remove(path + "/big"); err != nil {
		t.Fatal(err)
	}
	n.write(path+"/file", "shared")
	n.reads(n.path(m, b, "t")+"/file", "shared")
	n.write(n.path(m, a, "b")+"/file", "bound")
	n.reads(source+"/file", "bound")
	n.release(m, "a")
	n.reads(source+"/file", "bound") // removing the volume removed nothing of what it was bound to
	n.reads(n.path(m, b, "t")+"/file", "shared")
	n.release(m, "b")
	n.left("after both tasks")
	n.gone(path + "/file") // it was on a tmpfs
}

func TestDocker_LocalDriverErrors(t *testing.T) {
	n := newNode(t, nil)
	m := n.manager()
	for want, opts := range map[string]map[string]string{
		`invalid option: "foo"`:                            {"foo": "bar"},
		`missing required option: "device"`:                {"type": "tmpfs"},
		`missing required option: "type"`:                  {"device": "/dev/null", "o": "ro"},
		`quota size requested but no quota support`:        {"size": "1g"},
		`failed to mount local volume`:                     {"type": "ext4", "device": "/nonexistent"},
		`error resolving passed in network volume address`: {"type": "nfs", "device": ":/x", "o": "addr=nobody.invalid,rw"},
	} {
		n.fails(m, assignment("a", dockerVolume("v", model.DockerVolumeConfiguration{DriverOpts: opts})), "CannotCreateVolumeError: ", want)
	}
	n.left("after failures")
}

// A mount that somebody still uses goes all the same.
func TestDocker_Busy(t *testing.T) {
	n := newNode(t, nil)
	m := n.manager()
	a := assignment("a", dockerVolume("v", model.DockerVolumeConfiguration{DriverOpts: map[string]string{"type": "tmpfs", "device": "tmpfs"}}))
	n.prepare(m, a)
	f, err := os.Create(n.path(m, a, "v") + "/open")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n.release(m, "a")
	n.left("with a file open")
}

// What is mounted below a volume is not deleted through.
func TestDocker_MountBelow(t *testing.T) {
	n := newNode(t, nil)
	m := n.manager()
	a := assignment("a", dockerVolume("v", model.DockerVolumeConfiguration{}))
	n.prepare(m, a)
	outside := t.TempDir()
	n.write(outside+"/file", "precious")
	below := n.path(m, a, "v") + "/below"
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(outside, below, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	if err := m.Release(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "still mounted") {
		t.Errorf("got %v", err)
	}
	n.reads(outside+"/file", "precious")
	if err := unix.Unmount(below, 0); err != nil {
		t.Fatal(err)
	}
	n.release(m, "a")
	n.reads(outside+"/file", "precious")
}
