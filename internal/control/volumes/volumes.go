package volumes

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// retryAfter is the pause after a write that failed.
const retryAfter = time.Second

// Loop is the control loop of volumes. It is also the sink of what nodes
// observe of them.
type Loop struct {
	store *store.Store
	log   *slog.Logger
}

// New returns a Loop.
func New(s *store.Store, log *slog.Logger) *Loop { return &Loop{store: s, log: log} }

// Run keeps the package's promises until ctx ends.
func (l *Loop) Run(ctx context.Context) error {
	watch := l.store.Watch(ctx, records.Tasks, records.EBSVolumes, records.Instances)
	before := watch.Snapshot()
	dirty := map[string]bool{}
	for v := range records.EBSVolumes.All(before) {
		dirty[v.ID] = true
	}
	for {
		var timer <-chan time.Time
		if err := l.settle(ctx, dirty); err != nil && ctx.Err() == nil {
			l.log.WarnContext(ctx, "records of volumes were not written; trying again", telemetry.Error, err)
			timer = time.After(retryAfter)
		}
		select {
		case <-watch.Changed():
			snap, changes := watch.Take()
			note(dirty, before, snap, changes)
			before = snap
		case <-timer:
		case <-ctx.Done():
			return nil
		}
	}
}

// note adds the volumes that changes concern.
func note(dirty map[string]bool, before, snap *store.Snapshot, changes []store.Change) {
	for _, c := range changes {
		switch c.Table {
		case records.EBSVolumes.Name():
			dirty[c.Key] = true
		case records.Tasks.Name():
			for v := range records.EBSVolumes.By(snap, records.EBSVolumesByTask, c.Key) {
				dirty[v.ID] = true
			}
		default:
			// Only an instance that is gone matters; they change all the time.
			if records.Instances.Has(before, c.Key) && !records.Instances.Has(snap, c.Key) {
				for v := range records.EBSVolumes.By(snap, records.EBSVolumesByInstance, c.Key) {
					dirty[v.ID] = true
				}
			}
		}
	}
}

// settle looks at volumes, and forgets which ones when that was written.
func (l *Loop) settle(ctx context.Context, dirty map[string]bool) error {
	snap := l.store.Snapshot()
	var due []string
	for _, id := range slices.Sorted(maps.Keys(dirty)) {
		if v, found := records.EBSVolumes.Get(snap, id); found && next(snap, v) != v.State {
			due = append(due, id)
		}
	}
	if len(due) > 0 {
		if _, err := store.Batch(ctx, l.store, due, settleOne); err != nil {
			return err
		}
	}
	clear(dirty)
	return nil
}

// gone is what next says of a volume of which nothing is left.
const gone = ""

// next is the state that a volume should have.
func next(r store.Reader, v *model.EBSVolume) string {
	if !records.Instances.Has(r, v.InstanceID) && ended(r, v) {
		return gone // with its node
	}
	switch {
	case v.State != model.EBSInUse || !ended(r, v):
		return v.State
	case v.KeepOnTermination:
		return model.EBSAvailable
	}
	return gone
}

// ended reports whether a volume's task has ended, and its node says so.
func ended(r store.Reader, v *model.EBSVolume) bool {
	t, found := records.Tasks.Get(r, v.TaskID)
	return !found || t.Stopped() && !t.Lost
}

func settleOne(tx *store.Tx, id string) error {
	v, found := records.EBSVolumes.Get(tx, id)
	if !found {
		return nil
	}
	switch state := next(tx, v); state {
	case v.State:
		return nil
	case gone:
		records.EBSVolumes.Delete(tx, id)
		return nil
	default:
		return records.EBSVolumes.Edit(tx, id, func(v *model.EBSVolume) error {
			v.State = state
			return nil
		})
	}
}

// Observed takes what a node says of a volume that it was to delete.
func (l *Loop) Observed(ctx context.Context, instanceID, id string, body []byte) error {
	var observed model.VolumeObserved
	if err := json.Unmarshal(body, &observed); err != nil {
		return fmt.Errorf("reading what node %s says of volume %s: %w", instanceID, id, err)
	}
	_, err := l.store.Update(ctx, func(tx *store.Tx) error {
		v, found := records.EBSVolumes.Get(tx, id)
		if found && observed.Deleted && v.State == model.EBSDeleting && v.InstanceID == instanceID {
			records.EBSVolumes.Delete(tx, id)
		}
		return nil
	})
	return err
}

// Source is the source of model.NodeVolume: the volumes that a node shall
// delete. It holds no state.
type Source struct{}

// Kind is model.DocumentVolume.
func (Source) Kind() string { return model.DocumentVolume }

// Tables are those that the documents are derived from.
func (Source) Tables() []store.AnyTable { return []store.AnyTable{records.EBSVolumes} }

// Keys are the ids of the volumes that the node shall delete.
func (Source) Keys(r store.Reader, instanceID string) []string {
	var ids []string
	for v := range records.EBSVolumes.By(r, records.EBSVolumesByInstance, instanceID) {
		if v.State == model.EBSDeleting {
			ids = append(ids, v.ID)
		}
	}
	return ids
}

// Document is the model.NodeVolume of the id.
func (Source) Document(r store.Reader, instanceID, id string) (any, bool) {
	v, found := records.EBSVolumes.Get(r, id)
	if !found || v.InstanceID != instanceID || v.State != model.EBSDeleting {
		return nil, false
	}
	return model.NodeVolume{ID: id}, true
}

// Affected names the volume, to its node.
func (Source) Affected(before, after store.Reader, change store.Change) map[string][]string {
	v, found := records.EBSVolumes.Get(after, change.Key)
	if !found {
		v, found = records.EBSVolumes.Get(before, change.Key)
	}
	if !found {
		return nil
	}
	return map[string][]string{v.InstanceID: {v.ID}}
}
