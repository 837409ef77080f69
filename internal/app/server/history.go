package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"berth.dev/berth/internal/control/reaper"
	"berth.dev/berth/internal/data/logstore"
	"berth.dev/berth/internal/model"
)

const (
	// HistoryGroup is the log group that stopped tasks go to when DescribeTasks
	// no longer shows them: one JSON object a task, one stream a cluster. It is
	// searched as any other, such as with the filter pattern
	// { $.serviceName = "web" && $.stopCode = "TaskFailedToStart" }.
	HistoryGroup = "/berth/tasks"
	// historyDays is the group's retention when it is made. PutRetentionPolicy
	// changes it.
	historyDays = 7
)

// history keeps stopped tasks in a log group: etcd holds what is, not what was.
type history struct{ logs *logstore.Store }

var _ reaper.History = history{}

func (h history) Keep(ctx context.Context, tasks []*model.Task) error {
	err := h.logs.CreateGroup(ctx, HistoryGroup, logstore.GroupSettings{RetentionDays: historyDays})
	if err != nil && !errors.Is(err, logstore.ErrGroupExists) {
		return err
	}
	events := map[string][]logstore.Event{}
	for _, t := range tasks {
		message, err := json.Marshal(t)
		if err != nil {
			return fmt.Errorf("encoding task %s: %w", t.ARN, err)
		}
		stopped := t.CreatedAt
		if at := t.Observed.StoppedAt; at != nil {
			stopped = *at
		}
		events[t.ClusterName] = append(events[t.ClusterName], logstore.Event{Timestamp: stopped.UnixMilli(), Message: string(message)})
	}
	for cluster, batch := range events {
		if err := h.logs.EnsureStream(ctx, HistoryGroup, cluster, true); err != nil {
			return err
		}
		if _, err := h.logs.Append(ctx, HistoryGroup, cluster, "", 0, batch); err != nil {
			return err
		}
	}
	return nil
}
