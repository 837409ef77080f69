package volume

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"berth.dev/berth/internal/model"
)

// logical keeps volumes in logical volumes of LVM.
type logical struct {
	group, prefix string
	run           func(ctx context.Context, name string, args ...string) (string, error)
}

// ready is the tag of a logical volume whose file system is made.
const ready = "berth-ready"

func (l *logical) name(id string) string { return l.group + "/" + l.prefix + id }

func (l *logical) ensure(ctx context.Context, v *model.TaskVolume, makeFS func(context.Context, string) error) (string, []string, error) {
	tags, found, err := l.find(ctx, v.VolumeID)
	if err != nil {
		return "", nil, err
	}
	device := "/dev/" + l.name(v.VolumeID)
	if slices.Contains(tags, ready) {
		return device, nil, l.lvm(ctx, "lvchange", "-ay", l.name(v.VolumeID)) // it may not be after a restart of the host
	}
	if !found {
		err := l.lvm(ctx, "lvcreate", "--yes", "--wipesignatures", "y", "--size", fmt.Sprintf("%dg", v.SizeGiB), "--name", l.prefix+v.VolumeID, l.group)
		if err != nil {
			return "", nil, err
		}
	}
	if err := makeFS(ctx, device); err != nil {
		return "", nil, err
	}
	return device, nil, l.lvm(ctx, "lvchange", "--addtag", ready, l.name(v.VolumeID))
}

func (l *logical) remove(ctx context.Context, id string) error {
	if _, found, err := l.find(ctx, id); err != nil || !found {
		return err
	}
	return l.lvm(ctx, "lvremove", "--yes", l.name(id))
}

func (l *logical) find(ctx context.Context, id string) (tags []string, found bool, err error) {
	all, err := l.all(ctx)
	tags, found = all[id]
	return tags, found, err
}

// all are the tags of the instance's volumes, by id.
func (l *logical) all(ctx context.Context) (map[string][]string, error) {
	out, err := l.run(ctx, "lvs", "--noheadings", "--separator", "|", "--options", "lv_name,lv_tags", l.group)
	if err != nil {
		return nil, fmt.Errorf("lvs: %w: %s", err, strings.TrimSpace(out))
	}
	all := map[string][]string{}
	for line := range strings.Lines(out) {
		name, tags, _ := strings.Cut(strings.TrimSpace(line), "|")
		if id, ours := strings.CutPrefix(name, l.prefix); ours && validVolumeID(id) {
			all[id] = strings.Split(tags, ",")
		}
	}
	return all, nil
}

func (l *logical) lvm(ctx context.Context, program string, args ...string) error {
	if out, err := l.run(ctx, program, args...); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, strings.TrimSpace(out))
	}
	return nil
}

// tidy does nothing: one whose file system was never finished is made ready by
// the next ensure, or removed with its task.
func (l *logical) tidy(context.Context) error { return nil }

func (l *logical) list(ctx context.Context) ([]string, error) {
	all, err := l.all(ctx)
	var ids []string
	for id := range all {
		ids = append(ids, id)
	}
	return ids, err
}
