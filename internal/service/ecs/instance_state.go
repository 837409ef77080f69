package ecs

import (
	"context"
	"slices"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

const maxInstancesChanged = 10

// forcedStop is why the tasks of an instance that is deregistered end.
const forcedStop = "Container instance deregistration forced by user"

// UpdateContainerInstancesState implements ecsapi.Service. What becomes of the
// tasks of a DRAINING instance is the services' to decide; others stay.
func (p *Provider) UpdateContainerInstancesState(ctx context.Context, in *ecsapi.UpdateContainerInstancesStateInput) (*ecsapi.UpdateContainerInstancesStateOutput, error) {
	status := string(in.Status)
	switch n := len(in.ContainerInstances); {
	case n == 0:
		return nil, parameterError("Container instances cannot be empty.")
	case n > maxInstancesChanged:
		return nil, parameterError("containerInstances can have at most %d items.", maxInstancesChanged)
	case status != model.InstanceActive && status != model.InstanceDraining:
		return nil, parameterError("Container instance status should be one of [ACTIVE, DRAINING]")
	}
	var changed []string
	var failures []ecsapi.Failure
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		changed, failures = nil, []ecsapi.Failure{}
		cluster, err := p.activeCluster(tx, in.Cluster)
		if err != nil {
			return err
		}
		for _, ref := range in.ContainerInstances {
			i, id, err := p.containerInstance(tx, cluster, ref)
			switch {
			case err != nil:
				return err
			case i == nil:
				failures = append(failures, missing(p.scope.ContainerInstance(cluster.Name, id)))
				continue
			case i.Status == model.InstanceInactive:
				failures = append(failures, ecsapi.Failure{Arn: new(p.scope.ContainerInstance(cluster.Name, id)), Reason: new("INACTIVE")})
				continue
			}
			changed = append(changed, id)
			if i.Status == status {
				continue
			}
			if err := records.Instances.Edit(tx, id, func(i *model.Instance) error { i.Status = status; return nil }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	snap := p.store.Snapshot()
	out := &ecsapi.UpdateContainerInstancesStateOutput{ContainerInstances: []ecsapi.ContainerInstance{}, Failures: failures}
	for _, id := range slices.Compact(changed) {
		if i, found := records.Instances.Get(snap, id); found {
			out.ContainerInstances = append(out.ContainerInstances, p.instanceOut(snap, i, nil))
		}
	}
	return out, nil
}

// containerInstance finds an instance of a cluster; nil when there is none of
// that id.
func (p *Provider) containerInstance(r store.Reader, cluster *model.Cluster, ref string) (*model.Instance, string, error) {
	id, err := p.memberID("container-instance", cluster.Name, ref)
	if err != nil {
		return nil, "", err
	}
	i, found := records.Instances.Get(r, id)
	if !found || i.ClusterName != cluster.Name {
		return nil, id, nil
	}
	return i, id, nil
}

// DeregisterContainerInstance implements ecsapi.Service. The instance takes no
// tasks any more, and when forced, those it has are to end: on AWS they go on
// without anybody knowing of them, which helps nobody whose agent is still
// there to end them. There may be more of them than one transaction holds; none
// joins them, because the instance is INACTIVE first.
func (p *Provider) DeregisterContainerInstance(ctx context.Context, in *ecsapi.DeregisterContainerInstanceInput) (*ecsapi.DeregisterContainerInstanceOutput, error) {
	var id string
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		cluster, err := p.activeCluster(tx, in.Cluster)
		if err != nil {
			return err
		}
		i, found, err := p.containerInstance(tx, cluster, value(in.ContainerInstance))
		switch {
		case err != nil:
			return err
		case i == nil || i.Status == model.InstanceInactive:
			return parameterError("The referenced container instance was not found.")
		}
		id = found
		if !value(in.Force) && len(tasksOn(tx, id)) > 0 {
			return parameterError("Found running tasks on the instance.")
		}
		// The write also refuses a task that is placed here meanwhile.
		return records.Instances.Edit(tx, id, func(i *model.Instance) error { i.Status = model.InstanceInactive; return nil })
	})
	if err != nil {
		return nil, err
	}
	if _, err := store.Batch(ctx, p.store, tasksOn(p.store.Snapshot(), id), func(tx *store.Tx, taskID string) error {
		if t, found := records.Tasks.Get(tx, taskID); !found || t.DesiredStatus == model.TaskStopped {
			return nil
		}
		return records.Tasks.Edit(tx, taskID, func(t *model.Task) error {
			t.DecideStop(tx.Now(), model.StopUserInitiated, forcedStop)
			return nil
		})
	}); err != nil {
		return nil, err
	}
	snap := p.store.Snapshot()
	i, found := records.Instances.Get(snap, id)
	if !found {
		return nil, parameterError("The referenced container instance was not found.")
	}
	return &ecsapi.DeregisterContainerInstanceOutput{ContainerInstance: new(p.instanceOut(snap, i, nil))}, nil
}

// tasksOn names the tasks of a container instance that have not stopped.
// Fargate's only use its room.
func tasksOn(r store.Reader, instanceID string) []string {
	var ids []string
	for t := range records.Tasks.By(r, records.LiveTasksByInstance, instanceID) {
		if t.LaunchType != model.LaunchFargate {
			ids = append(ids, t.ID)
		}
	}
	return ids
}
