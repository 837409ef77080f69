package volume_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/agent/volume"
	"berth.dev/berth/internal/model"
)

const pointID = "fsap-0123456789abcdef0"

func throughPoint(id string) model.EFSVolumeConfiguration {
	return model.EFSVolumeConfiguration{TransitEncryption: "ENABLED", AuthorizationConfig: &model.EFSAuthorizationConfig{AccessPointID: id, IAM: "ENABLED"}}
}

func TestEFS_Directory(t *testing.T) {
	shared := t.TempDir()
	n := newNode(t, func(c *volume.Config) {
		c.FileSystems = fileSystems(t, []string{fsID + "=" + shared}, []string{pointID + "=" + fsID + ":/apps/web,uid=1000,gid=1001,mode=0750"})
	})
	if err := os.MkdirAll(shared+"/a/b", 0o755); err != nil {
		t.Fatal(err)
	}
	m := n.manager()
	a := assignment("a", efsVolume("root", model.EFSVolumeConfiguration{TransitEncryption: "ENABLED"}),
		efsVolume("sub", model.EFSVolumeConfiguration{RootDirectory: "/a/b/"}), efsVolume("point", throughPoint(pointID)))
	n.prepare(m, a)
	n.prepare(n.manager(), a) // nothing is mounted twice
	if got := len(n.mounts()); got != 3 {
		t.Errorf("%d mounts, want 3", got)
	}
	n.write(n.path(m, a, "sub")+"/file", "below")
	n.reads(shared+"/a/b/file", "below")
	n.reads(n.path(m, a, "root")+"/a/b/file", "below")
	var stat unix.Stat_t
	if err := unix.Stat(shared+"/apps/web", &stat); err != nil || stat.Uid != 1000 || stat.Gid != 1001 || stat.Mode&0o7777 != 0o750 {
		t.Errorf("the access point's directory has owner %d:%d, mode %o, %v", stat.Uid, stat.Gid, stat.Mode&0o7777, err)
	}
	n.write(n.path(m, a, "point")+"/file", "point")
	n.reads(shared+"/apps/web/file", "point")
	n.release(m, "a")
	n.reads(shared+"/a/b/file", "below")
	n.left("after the task")
	if entries, err := os.ReadDir(shared + "/apps"); err != nil || len(entries) != 1 {
		t.Errorf("beside the access point's directory: %v, %v", entries, err)
	}
}

// No path leads out of the file system, whatever a task has written into it.
func TestEFS_StaysInside(t *testing.T) {
	outside := t.TempDir()
	shared := filepath.Join(outside, "shared")
	if err := os.MkdirAll(shared+"/in/secret", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(outside+"/secret", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"up": "..", "absolute": outside, "chain": "in/../../secret", "inside": "/in", "proc": "/proc/self/root"} {
		if err := os.Symlink(to, filepath.Join(shared, name)); err != nil {
			t.Fatal(err)
		}
	}
	n := newNode(t, func(c *volume.Config) {
		c.FileSystems = fileSystems(t, []string{fsID + "=" + shared}, []string{pointID + "=" + fsID + ":/up/point"})
	})
	n.write(outside+"/secret/file", "out of reach")
	n.write(shared+"/in/secret/file", "inside")
	m := n.manager()
	for _, root := range []string{"/absolute", "/chain", "/proc", "/up/secret", "/../secret", "/up/../secret"} {
		a := assignment("a", efsVolume("v", model.EFSVolumeConfiguration{RootDirectory: root}))
		err := m.Prepare(t.Context(), a)
		if _, statErr := os.Stat(n.path(m, a, "v") + "/file"); err == nil && statErr == nil {
			t.Errorf("%s leads out of the file system", root)
		}
		n.release(m, "a")
	}
	// A link that begins with / begins at the file system's root, as on a server.
	a := assignment("a", efsVolume("v", model.EFSVolumeConfiguration{RootDirectory: "/inside/secret"}), efsVolume("p", throughPoint(pointID)))
	n.prepare(m, a)
	n.reads(n.path(m, a, "v")+"/file", "inside")
	if _, err := os.Stat(outside + "/point"); err == nil {
		t.Error("an access point was made outside")
	}
	if _, err := os.Stat(shared + "/point"); err != nil {
		t.Error(err)
	}
	n.release(m, "a")
}

func TestEFS_Errors(t *testing.T) {
	shared := t.TempDir()
	n := newNode(t, func(c *volume.Config) {
		c.FileSystems = fileSystems(t, []string{fsID + "=" + shared, "fs-00000001=" + shared + "/gone", "fs-00000002=nfs://127.0.0.1/x"}, nil)
		c.Mount = func(m mount.Mount, target string) error {
			if m.Type == "nfs4" {
				return unix.ENODEV
			}
			return m.Mount(target)
		}
	})
	m := n.manager()
	for _, tc := range []struct {
		c    model.EFSVolumeConfiguration
		want []string
	}{
		{model.EFSVolumeConfiguration{FileSystemID: "fs-99999999"}, []string{
			`ResourceInitializationError: failed to invoke EFS utils commands to set up EFS volumes: stderr: Failed to resolve "fs-99999999.efs.us-east-1.amazonaws.com"`,
			"unsuccessful EFS utils command execution; code: 1", "--efs fs-99999999=/directory",
		}},
		{model.EFSVolumeConfiguration{RootDirectory: "/missing"}, []string{"No such file or directory", "code: 32", "Make the directory", shared}},
		{model.EFSVolumeConfiguration{FileSystemID: "fs-00000001"}, []string{"No such file or directory", shared + "/gone"}},
		{throughPoint("fsap-00000009"), []string{"access denied", "--efs-access-point fsap-00000009=" + fsID}},
		{model.EFSVolumeConfiguration{FileSystemID: "fs-00000002"}, []string{"no NFS client", "code: 32"}},
		{model.EFSVolumeConfiguration{FileSystemID: "fs-00000002", TransitEncryption: "ENABLED"}, []string{"TLS", "xprtsec=tls"}},
	} {
		n.fails(m, assignment("a", efsVolume("v", tc.c)), tc.want...)
	}
	n.left("after failures")
}

// An export is mounted once for all tasks that use it. The kernel's NFS is
// played by a directory.
func TestEFS_NFS(t *testing.T) {
	export := t.TempDir()
	if err := os.Mkdir(export+"/sub", 0o755); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var asked []mount.Mount
	n := newNode(t, func(c *volume.Config) {
		c.FileSystems = fileSystems(t, []string{fsID + "=nfs://localhost:2050/export?xprtsec=tls&vers=4.2&noac"}, nil)
		c.Mount = func(m mount.Mount, target string) error {
			if m.Type != "nfs4" {
				return m.Mount(target)
			}
			mu.Lock()
			asked = append(asked, m)
			mu.Unlock()
			return unix.Mount(export, target, "", unix.MS_BIND, "")
		}
	})
	m := n.manager()
	var wg sync.WaitGroup
	tasks := []string{"a", "b", "c"}
	for _, id := range tasks {
		wg.Go(func() {
			a := assignment(id, efsVolume("v", model.EFSVolumeConfiguration{RootDirectory: "/sub", TransitEncryption: "ENABLED"}))
			if err := m.Prepare(t.Context(), a); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(asked) != 1 {
		t.Fatalf("the export was mounted %d times", len(asked))
	}
	want := "localhost:/export rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport,noac,vers=4.2,xprtsec=tls,port=2050,addr="
	if got := asked[0].Source + " " + strings.Join(asked[0].Options, ","); !strings.HasPrefix(got, want) {
		t.Errorf("got %s, want %s…", got, want)
	}
	n.write(export+"/sub/file", "exported")
	for i, id := range tasks {
		a := assignment(id, efsVolume("v", model.EFSVolumeConfiguration{RootDirectory: "/sub"}))
		n.reads(n.path(m, a, "v")+"/file", "exported")
		n.release(m, id)
		if still := slices.Contains(n.mounts(), "/efs/"+fsID); still != (i < len(tasks)-1) {
			t.Errorf("after %d tasks the export is mounted: %v", i+1, still)
		}
	}
	n.reads(export+"/sub/file", "exported")
	n.left("after the tasks")
}

func TestParseFileSystems(t *testing.T) {
	f, err := volume.ParseFileSystems([]string{fsID + "=/srv/", "fs-00000001=nfs://10.0.0.1/"}, []string{pointID + "=fs-00000001:/"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"berth.efs." + fsID: "directory", "berth.efs.fs-00000001": "nfs", "berth.efs." + pointID: "nfs"}
	if got := f.Attributes(); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, tc := range []struct{ system, point string }{
		{"/srv", ""},
		{"srv=/srv", ""},
		{fsID + "=srv", ""},
		{fsID + "=http://x/y", ""},
		{fsID + "=nfs:///y", ""},
		{fsID + "=nfs://user@x/y", ""},
		{fsID + "=nfs://x/y?a=b,c", ""},
		{fsID + "=nfs://x/y?%zz", ""},
		{fsID + "=/again", ""},
		{"", "fsap-1"},
		{"", pointID + "=/x"},
		{"", pointID + "=" + fsID + ":x"},
		{"", pointID + "=" + fsID + ":/a/../b"},
		{"", pointID + "=fs-00000009:/x"},
		{"", pointID + "=" + fsID + ":/x,uid=-1"},
		{"", pointID + "=" + fsID + ":/x,mode=9"},
		{"", pointID + "=" + fsID + ":/x,color=red"},
	} {
		systems, points := []string{fsID + "=/srv"}, []string(nil)
		if tc.system != "" {
			systems = append(systems, tc.system)
		}
		if tc.point != "" {
			points = append(points, tc.point)
		}
		if _, err := volume.ParseFileSystems(systems, points); err == nil {
			t.Errorf("%q %q was accepted", tc.system, tc.point)
		}
	}
}

// A task that stops while its volumes are made ends the making.
func TestPrepare_Cancelled(t *testing.T) {
	n := newNode(t, nil)
	m := n.manager()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Prepare(ctx, assignment("a", dockerVolume("v", model.DockerVolumeConfiguration{}))); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	n.release(m, "a")
	n.left("after a release")
}
