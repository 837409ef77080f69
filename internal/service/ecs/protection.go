package ecs

import (
	"context"
	"time"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

const (
	maxTasksProtected = 10
	maxProtectionRead = 100

	defaultProtection = 120 // minutes
	maxProtection     = 2880
)

// UpdateTaskProtection implements ecsapi.Service. Every call begins the time
// anew; nothing needs to end it, because it is the deployment loop that asks
// whether it is over.
func (p *Provider) UpdateTaskProtection(ctx context.Context, in *ecsapi.UpdateTaskProtectionInput) (*ecsapi.UpdateTaskProtectionOutput, error) {
	minutes := int32(defaultProtection)
	if in.ExpiresInMinutes != nil {
		minutes = *in.ExpiresInMinutes
	}
	switch n := len(in.Tasks); {
	case n == 0:
		return nil, parameterError("Tasks cannot be empty.")
	case n > maxTasksProtected:
		return nil, parameterError("tasks can have at most %d items.", maxTasksProtected)
	case minutes < 1 || minutes > maxProtection:
		return nil, parameterError("expiresInMinutes must be between 1 and %d.", maxProtection)
	}
	protect := value(in.ProtectionEnabled)
	var out *ecsapi.UpdateTaskProtectionOutput
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		out = &ecsapi.UpdateTaskProtectionOutput{ProtectedTasks: []ecsapi.ProtectedTask{}, Failures: []ecsapi.Failure{}}
		cluster, err := p.activeCluster(tx, in.Cluster)
		if err != nil {
			return err
		}
		for _, ref := range in.Tasks {
			t, failure, err := p.protectable(tx, cluster, ref)
			if err != nil {
				return err
			}
			if failure == nil && protect && blocksDeployment(tx, t) {
				failure = &ecsapi.Failure{Arn: &t.ARN, Reason: new("DEPLOYMENT_BLOCKED")}
			}
			if failure != nil {
				out.Failures = append(out.Failures, *failure)
				continue
			}
			var until *time.Time
			if protect {
				until = new(tx.Now().Add(time.Duration(minutes) * time.Minute))
			}
			if err := records.Tasks.Edit(tx, t.ID, func(t *model.Task) error { t.ProtectedUntil = until; return nil }); err != nil {
				return err
			}
			out.ProtectedTasks = append(out.ProtectedTasks, ecsapi.ProtectedTask{TaskArn: &t.ARN, ProtectionEnabled: &protect, ExpirationDate: until})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// protectable finds a task that can be protected: one of a service that has
// not stopped.
func (p *Provider) protectable(r store.Reader, cluster *model.Cluster, ref string) (*model.Task, *ecsapi.Failure, error) {
	id, err := p.taskID(cluster.Name, ref)
	if err != nil {
		return nil, nil, err
	}
	t, found := records.Tasks.Get(r, id)
	if !found || t.ClusterName != cluster.Name || t.Stopped() {
		return nil, new(missing(p.scope.Task(cluster.Name, id))), nil
	}
	if t.ServiceID == "" {
		return nil, &ecsapi.Failure{Arn: &t.ARN, Reason: new("TASK_NOT_VALID")}, nil
	}
	return t, nil, nil
}

// blocksDeployment: a service that has more protected tasks than it wants
// cannot scale in, and gets no more of them.
func blocksDeployment(tx *store.Tx, t *model.Task) bool {
	s, found := records.Services.Get(tx, t.ServiceID)
	if !found || s.SchedulingStrategy == model.SchedulingDaemon {
		return false
	}
	protected := 0
	for other := range records.Tasks.By(tx, records.TasksByService, t.ServiceID) {
		if !other.Stopped() && protectedAt(other, tx.Now()) {
			protected++
		}
	}
	return protected > s.DesiredCount
}

func protectedAt(t *model.Task, now time.Time) bool {
	return t.ProtectedUntil != nil && now.Before(*t.ProtectedUntil)
}

// GetTaskProtection implements ecsapi.Service. Without tasks it shows those of
// the cluster that are protected.
func (p *Provider) GetTaskProtection(ctx context.Context, in *ecsapi.GetTaskProtectionInput) (*ecsapi.GetTaskProtectionOutput, error) {
	if len(in.Tasks) > maxProtectionRead {
		return nil, parameterError("tasks can have at most %d items.", maxProtectionRead)
	}
	var out *ecsapi.GetTaskProtectionOutput
	// It writes nothing: what it needs of a transaction is the store's time.
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		cluster, err := p.activeCluster(tx, in.Cluster)
		if err != nil {
			return err
		}
		out, err = p.protection(tx, cluster, in.Tasks)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (p *Provider) protection(tx *store.Tx, cluster *model.Cluster, refs []string) (*ecsapi.GetTaskProtectionOutput, error) {
	out := &ecsapi.GetTaskProtectionOutput{ProtectedTasks: []ecsapi.ProtectedTask{}, Failures: []ecsapi.Failure{}}
	show := func(t *model.Task) {
		shown := ecsapi.ProtectedTask{TaskArn: &t.ARN, ProtectionEnabled: new(protectedAt(t, tx.Now()))}
		if *shown.ProtectionEnabled {
			shown.ExpirationDate = t.ProtectedUntil
		}
		out.ProtectedTasks = append(out.ProtectedTasks, shown)
	}
	if len(refs) == 0 {
		for t := range records.Tasks.By(tx, records.TasksByCluster, cluster.Name) {
			if !t.Stopped() && protectedAt(t, tx.Now()) && len(out.ProtectedTasks) < maxProtectionRead {
				show(t)
			}
		}
		return out, nil
	}
	for _, ref := range refs {
		t, failure, err := p.protectable(tx, cluster, ref)
		switch {
		case err != nil:
			return nil, err
		case failure != nil:
			out.Failures = append(out.Failures, *failure)
		default:
			show(t)
		}
	}
	return out, nil
}
