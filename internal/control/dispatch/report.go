package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

// reportsPerWrite keeps a transaction far from the store's limit: a report of
// a task's end writes the task, its interface, its address and index markers.
const reportsPerWrite = 10

var errSuperseded = errors.New("a newer session of the node has begun")

// absorb writes reports to the store, many in one transaction, and then
// acknowledges them.
func (d *Dispatcher) absorb(ctx context.Context, s *session) error {
	for {
		select {
		case <-s.arrived:
		case <-ctx.Done():
			return ctx.Err()
		}
		s.mu.Lock()
		reports := s.reports
		s.reports, s.reportBytes = map[string]*nodeapi.TaskReport{}, 0
		s.mu.Unlock()
		ids := slices.Sorted(maps.Keys(reports))
		for batch := range slices.Chunk(ids, reportsPerWrite) {
			acks, err := d.write(ctx, s, batch, reports)
			if err != nil {
				return fmt.Errorf("recording reports of node %s: %w", s.instanceID, err)
			}
			select {
			case s.acks <- acks:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

func (d *Dispatcher) write(ctx context.Context, s *session, ids []string, reports map[string]*nodeapi.TaskReport) ([]*nodeapi.ServerMessage, error) {
	observed := map[string]model.TaskObserved{}
	var acks []*nodeapi.ServerMessage
	for _, id := range ids {
		var o model.TaskObserved
		if err := json.Unmarshal(reports[id].GetObserved(), &o); err != nil {
			d.cfg.Log.ErrorContext(ctx, "a node's report cannot be read", telemetry.TaskID, id, telemetry.Error, err)
			continue
		}
		o.Seq = reports[id].GetSeq()
		observed[id] = o
		acks = append(acks, &nodeapi.ServerMessage{Message: &nodeapi.ServerMessage_Ack{
			Ack: &nodeapi.ReportAck{TaskId: id, Seq: o.Seq},
		}})
	}
	_, err := d.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		i, ok := records.Instances.Get(tx, s.instanceID)
		if !ok || i.Session != s.number {
			return errSuperseded
		}
		for _, id := range slices.Sorted(maps.Keys(observed)) {
			if err := observe(tx, s.instanceID, id, observed[id]); err != nil {
				return err
			}
		}
		return nil
	})
	return acks, err
}

// observe merges one report. A report about a task that is gone, or that is
// another node's, changes nothing; the node is told that it was heard, so
// that it can forget the task.
func observe(tx *store.Tx, instanceID, taskID string, o model.TaskObserved) error {
	t, ok := records.Tasks.Get(tx, taskID)
	if !ok || t.InstanceID != instanceID {
		return nil
	}
	confirmed := t.Lost && o.Status == model.TaskStopped
	known := o.Seq < t.Observed.Seq || o.Seq == t.Observed.Seq && !o.Pulling()
	if t.Stopped() && !confirmed || !t.Stopped() && known {
		return nil
	}
	err := records.Tasks.Edit(tx, taskID, func(t *model.Task) error {
		if confirmed {
			t.Confirm(o)
			return nil
		}
		t.Observe(tx.Now(), o)
		return nil
	})
	if err != nil {
		return err
	}
	if o.Status == model.TaskStopped {
		release(tx, t.ENIID)
	}
	return nil
}

// release frees a stopped task's interface and its addresses.
func release(tx *store.Tx, eniID string) {
	eni, ok := records.NetworkInterfaces.Get(tx, eniID)
	if !ok {
		return
	}
	records.NetworkInterfaces.Delete(tx, eniID)
	records.AddressClaims.Delete(tx, model.AddressClaimKey(eni.SubnetID, eni.Address))
	if public, ok := records.PublicAddresses.Get(tx, eni.PublicAddress); ok && public.AllocationID == "" {
		records.PublicAddresses.Delete(tx, eni.PublicAddress)
	}
}
