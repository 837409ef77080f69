package records

import (
	"maps"

	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// PutDiscoveryInstance registers an instance with its service, or replaces the
// one of its id. The service's revision grows when the instance is new or has
// other attributes; as on AWS it does not when only its health changed. Nothing
// is written when nothing changes, so that a loop may repeat it.
//
// Every writer of instances goes through it: DiscoverInstancesRevision tells
// clients by that number alone whether what they remember is still true.
// It returns store.ErrNotFound if there is no such service.
func PutDiscoveryInstance(tx *store.Tx, instance *model.DiscoveryInstance) error {
	before, ok := DiscoveryInstances.Get(tx, instance.Key())
	same := ok && maps.Equal(before.Attributes, instance.Attributes)
	if same && before.Healthy == instance.Healthy && before.TaskID == instance.TaskID &&
		before.CreatorRequestID == instance.CreatorRequestID && before.RegisteredAt.Equal(instance.RegisteredAt) {
		// What was seen decides that nothing is written.
		DiscoveryInstances.Guard(tx, instance.Key())
		return nil
	}
	DiscoveryServices.Guard(tx, instance.ServiceID) // it is not deleted meanwhile
	if !same {
		if err := reviseInstances(tx, instance.ServiceID); err != nil {
			return err
		}
	}
	DiscoveryInstances.Put(tx, instance)
	return nil
}

// DeleteDiscoveryInstance deregisters an instance and reports whether there was
// one. The service's revision grows if there was.
func DeleteDiscoveryInstance(tx *store.Tx, serviceID, instanceID string) (bool, error) {
	key := (&model.DiscoveryInstance{ServiceID: serviceID, InstanceID: instanceID}).Key()
	existed := DiscoveryInstances.Has(tx, key)
	DiscoveryInstances.Delete(tx, key) // depends on it staying absent if there is none
	if !existed {
		return false, nil
	}
	return true, reviseInstances(tx, serviceID)
}

func reviseInstances(tx *store.Tx, serviceID string) error {
	return DiscoveryServices.Edit(tx, serviceID, func(s *model.DiscoveryService) error {
		s.Revision++
		return nil
	})
}
