package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/model"
)

// failEFS is how a task ends whose file system cannot be mounted
// (behaviour/task-lifecycle.md §4): what EFS's mount helper would have said,
// and what helps here.
func failEFS(code int, stderr, hint string, args ...any) error {
	return fmt.Errorf("ResourceInitializationError: failed to invoke EFS utils commands to set up EFS volumes: stderr: %s : unsuccessful EFS utils command execution; code: %d. %s",
		stderr, code, fmt.Sprintf(hint, args...))
}

func (m *Manager) prepareEFS(a *model.Assignment, v *model.Volume) error {
	c := v.EFSVolumeConfiguration
	target := m.mountPoint(a.Task.ID, v.Name)
	if there, err := mounted(target); err != nil || there {
		return err
	}
	system, known := m.cfg.FileSystems.byID[c.FileSystemID]
	if !known {
		return failEFS(1, fmt.Sprintf("Failed to resolve \"%s.efs.%s.amazonaws.com\" - check that your file system ID is correct, and ensure that the VPC has an EFS mount target for this file system ID.", c.FileSystemID, a.Region),
			"This node knows no file system %s: start its agent with --efs %s=/directory, or with --efs %s=nfs://server/export.", c.FileSystemID, c.FileSystemID, c.FileSystemID)
	}
	if c.TransitEncryption == "ENABLED" && system.server != "" && !system.encrypted() {
		return failEFS(1, "Failed to initialize TLS tunnel for "+c.FileSystemID,
			"transitEncryption is ENABLED, and this node reaches the file system by NFS in the clear: give it ?xprtsec=tls or ?sec=krb5p in --efs, or leave transitEncryption out.")
	}
	root := c.RootDirectory
	if auth := c.AuthorizationConfig; auth != nil && auth.AccessPointID != "" {
		point, known := m.cfg.FileSystems.points[auth.AccessPointID]
		if !known || point.fileSystem != c.FileSystemID {
			return failEFS(32, fmt.Sprintf("b'mount.nfs4: access denied by server while mounting 127.0.0.1:/' (access point %s)", auth.AccessPointID),
				"This node knows no access point %s of %s: start its agent with --efs-access-point %s=%s:/directory.", auth.AccessPointID, c.FileSystemID, auth.AccessPointID, c.FileSystemID)
		}
		root = point.root
		if err := m.within(system, func(base string) error { return makePoint(base, point) }); err != nil {
			return failEFS(32, fmt.Sprintf("b'mount.nfs4: mounting access point %s failed: %v'", point.id, err), "Its directory is %s of %s.", point.root, where(system))
		}
	}
	err := m.within(system, func(base string) error {
		dir, err := openBelow(base, root)
		if err != nil {
			return err
		}
		defer dir.Close() //nolint:errcheck // nothing was written
		if err := makeMountPoint(target); err != nil {
			return err
		}
		return m.cfg.Mount(mount.Mount{Type: "bind", Source: descriptor(dir), Options: []string{"bind"}}, target)
	})
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return failEFS(32, fmt.Sprintf("b'mount.nfs4: mounting %s:%s failed, reason given by server: No such file or directory'", c.FileSystemID, root),
			"Make the directory: the file system is %s.", where(system))
	case err != nil:
		return failEFS(32, fmt.Sprintf("b'mount.nfs4: mounting %s:%s failed: %v'", c.FileSystemID, root, err), "The file system is %s.", where(system))
	}
	return nil
}

func where(f fileSystem) string {
	if f.server == "" {
		return f.dir
	}
	return "nfs://" + f.server + f.dir
}

// within shows the file system to f. An NFS export is mounted first, once for
// all tasks that use it.
func (m *Manager) within(system fileSystem, f func(base string) error) error {
	if system.server == "" {
		return f(system.dir)
	}
	base := m.exportDir(system.id)
	defer m.share(base)()
	there, err := mounted(base)
	if err != nil {
		return err
	}
	if !there {
		source, options, err := system.source(net.LookupHost)
		if err != nil {
			return err
		}
		if err := makeMountPoint(base); err != nil {
			return err
		}
		if err := m.cfg.Mount(mount.Mount{Type: "nfs4", Source: source, Options: options}, base); err != nil {
			if errors.Is(err, unix.ENODEV) {
				err = fmt.Errorf("this node's kernel has no NFS client (modprobe nfsv4): %w", err)
			}
			return err
		}
	}
	return f(base)
}

func (m *Manager) exportDir(id string) string { return filepath.Join(m.cfg.Dir, "efs", id) }

// releaseFileSystem unmounts an export that no other task uses.
func (m *Manager) releaseFileSystem(taskID, id string) error {
	defer m.share(m.exportDir(id))()
	busy, err := m.others(taskID, func(o used) bool { return o.FileSystem == id })
	if err != nil || busy {
		return err
	}
	return m.unmount(m.exportDir(id))
}

// makePoint makes the directory of an access point, as EFS does when a client
// first comes, with its owner and permissions. What is there stays as it is.
func makePoint(base string, p accessPoint) error {
	at := "/"
	for part := range strings.SplitSeq(strings.Trim(p.root, "/"), "/") {
		if part == "" {
			continue
		}
		parent, err := openBelow(base, at)
		if err != nil {
			return err
		}
		at = path.Join(at, part)
		err = makeBelow(parent, part, at == p.root, p)
		_ = parent.Close() // nothing was written
		if err != nil {
			return &os.PathError{Op: "mkdir", Path: at, Err: err}
		}
	}
	return nil
}

// makeBelow makes one directory. Its owner is set before it has its name, so
// that nobody meets it half made.
func makeBelow(parent *os.File, name string, last bool, p accessPoint) error {
	fd := int(parent.Fd())
	var stat unix.Stat_t
	if err := unix.Fstatat(fd, name, &stat, 0); err == nil {
		return nil
	}
	partial := ".berth-" + p.id + "-" + name
	if err := unix.Mkdirat(fd, partial, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	if last {
		if err := unix.Fchownat(fd, partial, p.uid, p.gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if err := unix.Fchmodat(fd, partial, p.mode, 0); err != nil {
			return err
		}
	}
	if err := unix.Renameat2(fd, partial, fd, name, unix.RENAME_NOREPLACE); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	_ = unix.Unlinkat(fd, partial, unix.AT_REMOVEDIR) // there when somebody else was first
	return nil
}

// mountOf reads what a volume's options say of a mount, as mount(8) would.
func mountOf(kind, device, options string) (*mount.Mount, error) {
	out := &mount.Mount{Type: kind, Source: device}
	if options != "" {
		out.Options = strings.Split(options, ",")
	}
	if kind != "nfs" && kind != "nfs4" && kind != "cifs" {
		return out, nil
	}
	// The kernel has no resolver: as Docker does it, addr=name becomes an
	// address.
	for i, o := range out.Options {
		name, found := strings.CutPrefix(o, "addr=")
		if !found {
			continue
		}
		addresses, err := net.LookupHost(name)
		if err != nil || len(addresses) == 0 {
			return nil, fmt.Errorf("error resolving passed in network volume address: %w", err)
		}
		out.Options[i] = "addr=" + addresses[0]
	}
	return out, nil
}
