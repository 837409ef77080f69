package records

import (
	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// ServiceEventsKept is how many events of a service AWS shows, and therefore
// how many are kept.
const ServiceEventsKept = 100

// AppendServiceEvent adds a line to the events of a service, dated with the
// transaction's time, and forgets the oldest beyond the newest
// ServiceEventsKept. It numbers the event in the service's record, so lines of
// one service never overtake each other. It returns store.ErrNotFound if there
// is no such service.
func AppendServiceEvent(tx *store.Tx, serviceID, message string) error {
	var seq uint64
	if err := Services.Edit(tx, serviceID, func(s *model.Service) error {
		s.EventSeq++
		seq = s.EventSeq
		return nil
	}); err != nil {
		return err
	}
	ServiceEvents.Put(tx, &model.ServiceEvent{
		ServiceID: serviceID, Seq: seq, ID: ident.UUID(), CreatedAt: tx.Now(), Message: message,
	})
	if seq > ServiceEventsKept {
		if old := model.ServiceEventKey(serviceID, seq-ServiceEventsKept); ServiceEvents.Has(tx, old) {
			ServiceEvents.Delete(tx, old)
		}
	}
	return nil
}
