package deployment

import (
	"slices"
	"strings"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// wake puts the services in the queue whose decision a change may concern.
func (l *Loop) wake(before, after *store.Snapshot, changes []store.Change) {
	room := false
	for _, c := range changes {
		switch c.Table {
		case records.Services.Name():
			l.queue.add(c.Key, false)
		case records.Deployments.Name():
			id, _, _ := strings.Cut(c.Key, "/")
			l.queue.add(id, false)
		case records.Tasks.Name():
			room = l.wakeTask(before, after, c.Key) || room
		case records.Targets.Name():
			l.wakeTarget(before, after, c.Key)
		case records.Instances.Name():
			room = l.wakeInstance(before, after, c.Key) || room
		}
	}
	if room {
		l.wakeHomeless()
	}
}

// wakeTask reports whether the end of the task made room.
func (l *Loop) wakeTask(before, after *store.Snapshot, id string) (room bool) {
	was, existed := records.Tasks.Get(before, id)
	is, exists := records.Tasks.Get(after, id)
	if exists && is.ServiceID != "" && !(is.Settled && existed && was.Settled) {
		l.queue.add(is.ServiceID, false)
	}
	return exists && is.Stopped() && (!existed || !was.Stopped())
}

func (l *Loop) wakeTarget(before, after *store.Snapshot, key string) {
	for _, snap := range []*store.Snapshot{before, after} {
		target, ok := records.Targets.Get(snap, key)
		if !ok || target.TaskID == "" {
			continue
		}
		if task, ok := records.Tasks.Get(snap, target.TaskID); ok && task.ServiceID != "" {
			l.queue.add(task.ServiceID, false)
		}
	}
}

// wakeInstance reports whether the change made room. Most changes of an
// instance only count what was placed there and concern nobody.
func (l *Loop) wakeInstance(before, after *store.Snapshot, id string) (room bool) {
	was, existed := records.Instances.Get(before, id)
	is, exists := records.Instances.Get(after, id)
	if existed && exists && same(was, is) {
		return false
	}
	for t := range records.Tasks.By(after, records.LiveTasksByInstance, id) {
		if t.ServiceID != "" {
			l.queue.add(t.ServiceID, false)
		}
	}
	for _, i := range []*model.Instance{was, is} {
		if i == nil || i.ClusterName == "" {
			continue
		}
		for s := range records.Services.By(after, records.ServicesByCluster, i.ClusterName) {
			if s.SchedulingStrategy == model.SchedulingDaemon {
				l.queue.add(s.ID, false)
			}
		}
	}
	return exists
}

// same tells whether two states of an instance can take the same tasks.
func same(a, b *model.Instance) bool {
	return a.Status == b.Status && a.Connected == b.Connected && a.ClusterName == b.ClusterName && a.Zone == b.Zone &&
		a.CPU == b.CPU && a.Memory == b.Memory && slices.Equal(a.Attributes, b.Attributes)
}
