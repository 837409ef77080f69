package volume_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"

	"berth.dev/berth/internal/agent/volume"
	"berth.dev/berth/internal/model"
)

// node is a directory of a node, and managers on it one after the other, as an
// agent that is killed and comes back.
type node struct {
	t   *testing.T
	cfg volume.Config
}

func newNode(t *testing.T, edit func(*volume.Config)) *node {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts")
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, cfg: volume.Config{
		Instance: strings.ToLower(rand.Text()[:8]), Dir: filepath.Join(dir, "volumes"),
		EBS:     volume.EBSConfig{Overcommit: true},
		Plugins: []string{filepath.Join(dir, "plugins")}, Log: slog.New(slog.DiscardHandler),
	}}
	if edit != nil {
		edit(&n.cfg)
	}
	t.Cleanup(func() {
		if err := volume.Purge(context.WithoutCancel(t.Context()), n.cfg); err != nil {
			t.Error(err)
		}
		n.left("after a purge")
	})
	return n
}

// manager is that of the next agent.
func (n *node) manager() *volume.Manager {
	n.t.Helper()
	m, err := volume.New(n.cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	return m
}

// mounts are the mount points below the node's directory.
func (n *node) mounts() []string {
	n.t.Helper()
	infos, err := mountinfo.GetMounts(mountinfo.PrefixFilter(n.cfg.Dir))
	if err != nil {
		n.t.Fatal(err)
	}
	var out []string
	for _, i := range infos {
		out = append(out, strings.TrimPrefix(i.Mountpoint, n.cfg.Dir))
	}
	return out
}

// left fails if there is a mount, a record, or a loop device.
func (n *node) left(when string) {
	n.t.Helper()
	if m := n.mounts(); len(m) > 0 {
		n.t.Errorf("%s there are mounts: %v", when, m)
	}
	if e, err := os.ReadDir(filepath.Join(n.cfg.Dir, "tasks")); err == nil && len(e) > 0 {
		n.t.Errorf("%s there are records: %v", when, e)
	}
	if e, err := os.ReadDir(filepath.Join(n.cfg.Dir, "mounts")); err == nil && len(e) > 0 {
		n.t.Errorf("%s there are mount points: %v", when, e)
	}
	if l := n.loops(); len(l) > 0 {
		n.t.Errorf("%s there are loop devices: %v", when, l)
	}
}

// loops are the loop devices on files of the node.
func (n *node) loops() []string {
	n.t.Helper()
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		n.t.Fatal(err)
	}
	var out []string
	for _, f := range files {
		if data, err := os.ReadFile(f); err == nil && strings.HasPrefix(string(data), n.cfg.Dir) {
			out = append(out, strings.TrimSpace(string(data)))
		}
	}
	return out
}

const fsID = "fs-0123456789abcdef0"

func assignment(task string, volumes ...model.Volume) *model.Assignment {
	return &model.Assignment{
		Region: "us-east-1", Task: model.Task{ID: task},
		TaskDefinition: model.TaskDefinition{Family: "web", Revision: 3, Volumes: volumes},
	}
}

func dockerVolume(name string, c model.DockerVolumeConfiguration) model.Volume {
	return model.Volume{Name: name, DockerVolumeConfiguration: &c}
}

func efsVolume(name string, c model.EFSVolumeConfiguration) model.Volume {
	if c.FileSystemID == "" {
		c.FileSystemID = fsID
	}
	if c.RootDirectory == "" {
		c.RootDirectory = "/"
	}
	return model.Volume{Name: name, EFSVolumeConfiguration: &c}
}

func ebsTask(task, id string, gib int32, kind string, keep bool) *model.Assignment {
	a := assignment(task, model.Volume{Name: "data", ConfiguredAtLaunch: new(true)})
	a.Task.Volume = &model.TaskVolume{Name: "data", VolumeID: id, SizeGiB: gib, FilesystemType: kind, KeepOnTermination: keep}
	return a
}

func (n *node) prepare(m *volume.Manager, a *model.Assignment) {
	n.t.Helper()
	if m.Prepare(n.t.Context(), a); !m.Resume(a) {
		n.t.Fatalf("task %s: %v", a.Task.ID, m.Prepare(n.t.Context(), a))
	}
}

func (n *node) release(m *volume.Manager, task string) {
	n.t.Helper()
	if err := m.Release(n.t.Context(), task); err != nil {
		n.t.Fatal(err)
	}
}

// path is where the task's volume is.
func (n *node) path(m *volume.Manager, a *model.Assignment, name string) string {
	n.t.Helper()
	for i := range a.TaskDefinition.Volumes {
		if v := &a.TaskDefinition.Volumes[i]; v.Name == name {
			if path, ok := m.Path(a, v); ok {
				return path
			}
		}
	}
	n.t.Fatalf("volume %s has no path", name)
	return ""
}

func (n *node) write(path, content string) {
	n.t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) reads(path, want string) {
	n.t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		n.t.Errorf("%s has %q, %v; want %q", path, got, err, want)
	}
}

func (n *node) gone(path string) {
	n.t.Helper()
	if _, err := os.Lstat(path); err == nil {
		n.t.Errorf("%s is still there", path)
	}
}

func (n *node) fails(m *volume.Manager, a *model.Assignment, want ...string) {
	n.t.Helper()
	err := m.Prepare(n.t.Context(), a)
	for _, w := range want {
		if err == nil || !strings.Contains(err.Error(), w) {
			n.t.Errorf("got %v, want it to say %q", err, w)
		}
	}
	n.release(m, a.Task.ID)
}

func fileSystems(t *testing.T, systems, points []string) volume.FileSystems {
	t.Helper()
	f, err := volume.ParseFileSystems(systems, points)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func volumeID(n int) string { return fmt.Sprintf("vol-%017x", n) }
