package volume

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"

	"berth.dev/berth/internal/base/atomicfile"
	"berth.dev/berth/internal/model"
)

// EBSConfig says where EBS volumes are made.
type EBSConfig struct {
	// Dir is where sparse files are; empty: in the agent's own directory.
	Dir string
	// VolumeGroup is an LVM volume group to make logical volumes in instead.
	VolumeGroup string
	// Overcommit lets sparse files promise more than the disk has left. What is
	// written to a volume beyond that fails like a disk that fails.
	Overcommit bool
}

// gib is a GiB.
const gib = 1 << 30

var volumeID = regexp.MustCompile(`^vol-[0-9a-f]{8,40}$`)

func validVolumeID(id string) bool { return volumeID.MatchString(id) }

// blocks makes the devices that EBS volumes are on.
type blocks interface {
	// ensure returns a device, or a file, of that size with a file system on it,
	// and what to mount it with. It is idempotent: a volume is there with its
	// file system or not at all.
	ensure(ctx context.Context, v *model.TaskVolume, makeFS func(ctx context.Context, device string) error) (device string, options []string, err error)
	// remove takes the device away; removing what is not there succeeds. Nothing
	// may be mounted from it.
	remove(ctx context.Context, id string) error
	// tidy removes what an agent that was killed had half made.
	tidy(ctx context.Context) error
	// list names the volumes that are there.
	list(ctx context.Context) ([]string, error)
}

// openBlocks chooses the kind of devices, and remembers the choice for a purge,
// which is not told.
func (m *Manager) openBlocks() (blocks, error) {
	c := m.cfg.EBS
	data, err := json.Marshal(c)
	if err == nil {
		err = atomicfile.WriteSecret(filepath.Join(m.cfg.Dir, "ebs.json"), data)
	}
	if err != nil {
		return nil, err
	}
	if c.VolumeGroup != "" {
		return &logical{group: c.VolumeGroup, prefix: "berth-" + m.cfg.Instance + "-", run: m.cfg.Command}, nil
	}
	dir := filepath.Join(m.cfg.Dir, "ebs")
	if c.Dir != "" {
		// Another Berth of this host may have been given the same.
		dir = filepath.Join(c.Dir, m.cfg.Instance)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &sparse{dir: dir, overcommit: c.Overcommit}, nil
}

// failEBS is how a task ends whose volume cannot be made.
func failEBS(err error) error {
	return fmt.Errorf("TaskFailedToStart: Unexpected EC2 error while attempting to Create Volume: %w", err)
}

func (m *Manager) prepareEBS(ctx context.Context, a *model.Assignment, v *model.Volume) error {
	volume := a.Task.Volume
	target := m.mountPoint(a.Task.ID, v.Name)
	if there, err := mounted(target); err != nil || there {
		return err
	}
	kind, program, err := m.fileSystem(volume.FilesystemType)
	if err != nil {
		return failEBS(err)
	}
	device, options, err := m.ebs.ensure(ctx, volume, func(ctx context.Context, device string) error {
		return m.format(ctx, kind, program, device)
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return failEBS(err)
	}
	if kind, err = probe(device); err != nil {
		return failEBS(err)
	}
	if err := makeMountPoint(target); err != nil {
		return failEBS(err)
	}
	if err := m.cfg.Mount(mount.Mount{Type: kind, Source: device, Options: append(options, "nodev")}, target); err != nil {
		return failEBS(fmt.Errorf("mounting its %s: %w", kind, err))
	}
	return nil
}

// fileSystem chooses the kind of file system: the one that was asked for, else
// ECS's default, xfs, or ext4 on a node that cannot make it.
func (m *Manager) fileSystem(wanted string) (kind, program string, err error) {
	kinds := []string{wanted}
	if wanted == "" {
		kinds = []string{"xfs", "ext4"}
	}
	for _, kind := range kinds {
		if program, err := exec.LookPath("mkfs." + kind); err == nil {
			return kind, program, nil
		}
	}
	packages := map[string]string{"xfs": "xfsprogs", "": "e2fsprogs"}
	name, ok := packages[wanted]
	if !ok {
		name = packages[""]
	}
	return "", "", fmt.Errorf("this node has no mkfs.%s: install %s on it, or ask for another filesystemType", kinds[len(kinds)-1], name)
}

// format makes a file system. Nothing is discarded and tables are not written
// out: that would fill sparse files.
func (m *Manager) format(ctx context.Context, kind, program, device string) error {
	args := []string{"-q", "-F", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1"}
	if kind == "xfs" {
		args = []string{"-q", "-f", "-K"}
	}
	out, err := m.cfg.Command(ctx, program, append(args, device)...)
	if err != nil {
		return fmt.Errorf("mkfs.%s: %w: %s", kind, err, strings.TrimSpace(out))
	}
	return nil
}

// probe looks which file system is on a device: an agent that comes back may
// find one that it would not have chosen.
func probe(device string) (string, error) {
	f, err := os.Open(device)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	head := make([]byte, 2048)
	if _, err := f.ReadAt(head, 0); err != nil {
		return "", err
	}
	switch {
	case string(head[:4]) == "XFSB":
		return "xfs", nil
	case head[1024+56] != 0x53 || head[1024+57] != 0xEF:
		return "", fmt.Errorf("%s has no file system", device)
	}
	// ext4 has features that ext3 does not know; extents are one.
	if head[1024+96]&0x40 != 0 {
		return "ext4", nil
	}
	return "ext3", nil
}

// Apply deletes the EBS volumes that documents of kind model.DocumentVolume
// name, and reports them. One that a task of this node uses stays until the
// task has released it.
func (m *Manager) Apply(ctx context.Context, docs map[string]json.RawMessage) error {
	var errs []error
	for id := range docs {
		if !validVolumeID(id) {
			m.cfg.Log.ErrorContext(ctx, "a document names no volume", "volume", id)
			continue
		}
		inUse, err := m.others("", func(u used) bool { return u.VolumeID == id })
		if err == nil && inUse {
			err = fmt.Errorf("volume %s is in use", id)
		}
		if err == nil {
			err = m.ebs.remove(ctx, id)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		m.mu.Lock()
		m.deleted[id] = true
		m.mu.Unlock()
		m.cfg.Report(id, true)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for id := range m.deleted {
		if _, still := docs[id]; !still {
			delete(m.deleted, id)
			m.cfg.Report(id, false)
		}
	}
	return errors.Join(errs...)
}
