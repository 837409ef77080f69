package volume_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/agent/volume"
)

const gib = 1 << 30

func TestEBS(t *testing.T) {
	for _, kind := range []string{"ext4", "ext3", "xfs", ""} {
		t.Run("filesystem "+kind, func(t *testing.T) {
			if _, err := exec.LookPath("mkfs." + kind); err != nil && kind != "" {
				t.Skip(err)
			}
			n := newNode(t, nil)
			m := n.manager()
			a := ebsTask("a", volumeID(1), 1, kind, false)
			n.prepare(m, a)
			path := n.path(m, a, "data")
			var size unix.Statfs_t
			if err := unix.Statfs(path, &size); err != nil {
				t.Fatal(err)
			}
			if total := int64(size.Blocks) * size.Bsize; total > gib || total < gib*8/10 {
				t.Errorf("the file system has %d bytes, want nearly a GiB", total)
			}
			var stat unix.Stat_t
			if err := unix.Stat(path, &stat); err != nil || stat.Uid != 0 || stat.Mode&0o777 != 0o755 {
				t.Errorf("its root has owner %d, mode %o, %v", stat.Uid, stat.Mode&0o777, err)
			}
			n.write(path+"/file", "durable")
			n.prepare(n.manager(), a) // the next agent
			n.reads(path+"/file", "durable")
			if got := len(n.mounts()); got != 1 {
				t.Errorf("%d mounts", got)
			}
			n.release(m, "a")
			n.gone(filepath.Join(n.cfg.Dir, "ebs", volumeID(1)+".img"))
			n.left("after the task")
		})
	}
}

// The size is a limit: what does not fit is refused while it is written.
func TestEBS_Full(t *testing.T) {
	n := newNode(t, nil)
	m := n.manager()
	a := ebsTask("a", volumeID(1), 1, "ext4", false)
	n.prepare(m, a)
	f, err := os.Create(n.path(m, a, "data") + "/big")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// Reserving blocks is to the file system as writing them, without the I/O.
	if err := unix.Fallocate(int(f.Fd()), 0, 0, gib/2); err != nil {
		t.Errorf("half of it: %v", err)
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 0, gib); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("all of it: %v, want %v", err, unix.ENOSPC)
	}
	if _, err := f.WriteAt(make([]byte, 1<<20), 0); err != nil {
		t.Errorf("what fits: %v", err)
	}
}

// A volume that is kept waits for a document to say that it shall go.
func TestEBS_Kept(t *testing.T) {
	reports := map[string]bool{}
	n := newNode(t, func(c *volume.Config) { c.Report = func(id string, deleted bool) { reports[id] = deleted } })
	m := n.manager()
	a := ebsTask("a", volumeID(1), 1, "ext4", true)
	n.prepare(m, a)
	n.write(n.path(m, a, "data")+"/file", "kept")
	file := filepath.Join(n.cfg.Dir, "ebs", volumeID(1)+".img")
	docs := map[string]json.RawMessage{volumeID(1): json.RawMessage(`{}`), volumeID(2): json.RawMessage(`{}`), "vol-../x": nil}
	if err := m.Apply(t.Context(), docs); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a volume in use: %v", err)
	}
	if !reports[volumeID(2)] || len(reports) != 1 {
		t.Errorf("reports %v, want that the one that is not there is gone", reports)
	}
	n.release(m, "a")
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	n.left("after the task")
	if err := n.manager().Sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := m.Apply(t.Context(), nil); err != nil { // no document: it is kept
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := m.Apply(t.Context(), docs); err != nil {
			t.Fatal(err)
		}
	}
	n.gone(file)
	if !reports[volumeID(1)] {
		t.Errorf("reports %v", reports)
	}
	if err := m.Apply(t.Context(), map[string]json.RawMessage{}); err != nil || reports[volumeID(1)] {
		t.Errorf("reports %v, %v; want that nothing is reported of what no document names", reports, err)
	}
}

func TestEBS_Errors(t *testing.T) {
	n := newNode(t, func(c *volume.Config) {
		c.EBS.Overcommit = false
		c.Command = func(context.Context, string, ...string) (string, error) {
			return "mkfs: no luck", errors.New("exit status 1")
		}
	})
	m := n.manager()
	n.fails(m, ebsTask("a", volumeID(1), 16384, "ext4", false), "TaskFailedToStart: Unexpected EC2 error while attempting to Create Volume: InsufficientVolumeCapacity", "--ebs-overcommit")
	n.fails(m, ebsTask("a", volumeID(1), 1, "ext4", false), "mkfs.ext4: exit status 1: mkfs: no luck")
	n.fails(m, ebsTask("a", "vol-../../x", 1, "ext4", false), "the task has no configuration for the volume data")
	if entries, err := os.ReadDir(filepath.Join(n.cfg.Dir, "ebs")); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v are left", entries, err)
	}
	t.Setenv("PATH", t.TempDir())
	n.fails(m, ebsTask("a", volumeID(1), 1, "xfs", false), "this node has no mkfs.xfs: install xfsprogs")
	n.fails(m, ebsTask("a", volumeID(1), 1, "", false), "this node has no mkfs.ext4: install e2fsprogs")
	n.left("after failures")
}

// A full disk of the node ends the making of a volume, and leaves nothing.
func TestEBS_FullDisk(t *testing.T) {
	n := newNode(t, nil)
	small := t.TempDir()
	if err := unix.Mount("none", small, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(small, 0); err != nil {
			t.Error(err)
		}
	})
	n.cfg.EBS.Dir = small
	m := n.manager()
	n.fails(m, ebsTask("a", volumeID(1), 1, "ext4", false), "mkfs.ext4")
	if entries, err := os.ReadDir(filepath.Join(small, n.cfg.Instance)); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v are left", entries, err)
	}
	if err := volume.Purge(t.Context(), n.cfg); err != nil {
		t.Error(err)
	}
}

// An agent that is killed between any two steps leaves nothing that the next
// one does not find: here it dies in the making, and after each mount.
func TestEBS_Killed(t *testing.T) {
	n := newNode(t, nil)
	a := ebsTask("a", volumeID(1), 1, "ext4", false)
	mkfs := n.cfg.Command
	n.cfg.Command = func(_ context.Context, _ string, args ...string) (string, error) {
		panic("killed in mkfs with " + args[len(args)-1])
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("it did not die")
			}
		}()
		_ = n.manager().Prepare(t.Context(), a)
	}()
	partial := filepath.Join(n.cfg.Dir, "ebs", volumeID(1)+".img.new")
	if _, err := os.Stat(partial); err != nil {
		t.Error(err)
	}
	n.cfg.Command = mkfs
	m := n.manager()
	if m.Resume(a) {
		t.Error("half a volume is taken for one")
	}
	if err := m.Sweep(t.Context(), map[string]bool{"a": true}); err != nil {
		t.Fatal(err)
	}
	n.gone(partial)
	n.prepare(m, a)
	if err := n.manager().Sweep(t.Context(), nil); err != nil { // killed before its journal knew the task
		t.Fatal(err)
	}
	n.left("after a sweep")
	n.gone(filepath.Join(n.cfg.Dir, "ebs", volumeID(1)+".img"))
}

// TestEBS_LVM has the programs of LVM played: what is asked of them is all that
// there is to it.
func TestEBS_LVM(t *testing.T) {
	volumes := map[string]string{"other": ""}
	var asked []string
	fail := ""
	n := newNode(t, func(c *volume.Config) {
		c.EBS.VolumeGroup = "vg"
		c.Command = func(_ context.Context, name string, args ...string) (string, error) {
			name = filepath.Base(name)
			if name != "lvs" {
				asked = append(asked, name)
			}
			last := strings.TrimPrefix(args[len(args)-1], "vg/")
			switch {
			case name == fail:
				return name + " fails", errors.New("exit status 5")
			case name == "lvs":
				var b strings.Builder
				for v, tags := range volumes {
					fmt.Fprintf(&b, "  %s|%s\n", v, tags)
				}
				return b.String(), nil
			case name == "lvcreate":
				volumes[args[slices.Index(args, "--name")+1]] = ""
			case name == "lvchange" && args[0] == "--addtag":
				volumes[last] = args[1]
			case name == "lvremove":
				delete(volumes, last)
			}
			return "", nil
		}
	})
	m := n.manager()
	a := ebsTask("a", volumeID(1), 7, "ext4", false)
	want := []string{"lvcreate", "mkfs.ext4", "lvchange"}
	// There is no such device, so that mounting it fails, in the end.
	if err := m.Prepare(t.Context(), a); err == nil || !strings.Contains(err.Error(), "/dev/vg/berth-"+n.cfg.Instance+"-"+volumeID(1)) || !slices.Equal(asked, want) {
		t.Errorf("asked %v, want %v: %v", asked, want, err)
	}
	asked = nil
	if err := m.Prepare(t.Context(), a); err == nil || !slices.Equal(asked, []string{"lvchange"}) {
		t.Errorf("again: asked %v: %v", asked, err)
	}
	n.release(m, "a")
	n.release(m, "a")
	if len(volumes) != 1 {
		t.Errorf("volumes %v", volumes)
	}
	// Killed, or failing, before the file system is there: it is made again.
	fail = "mkfs.ext4"
	n.fails(m, ebsTask("b", volumeID(2), 7, "ext4", true), "mkfs.ext4 fails")
	fail, asked = "", nil
	if err := m.Prepare(t.Context(), ebsTask("b", volumeID(2), 7, "ext4", true)); err == nil || !slices.Equal(asked, want[1:]) {
		t.Errorf("the second time: asked %v: %v", asked, err)
	}
}
