package ecs

import (
	"cmp"
	"context"
	"iter"
	"slices"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

const (
	maxTasksDescribed = 100
	// defaultStopReason is what a task shows that was stopped without a reason.
	defaultStopReason = "Task stopped by user"
)

// StopTask implements ecsapi.Service. Stopping a task that stops or has
// stopped returns it unchanged.
func (p *Provider) StopTask(ctx context.Context, in *ecsapi.StopTaskInput) (*ecsapi.StopTaskOutput, error) {
	var id string
	if _, err := p.store.Update(ctx, func(tx *store.Tx) error {
		cluster, err := p.activeCluster(tx, in.Cluster)
		if err != nil {
			return err
		}
		if id, err = p.taskID(cluster.Name, value(in.Task)); err != nil {
			return err
		}
		task, found := records.Tasks.Get(tx, id)
		if !found || task.ClusterName != cluster.Name {
			return parameterError("The referenced task was not found.")
		}
		if task.DesiredStatus == model.TaskStopped {
			return nil
		}
		return records.Tasks.Edit(tx, id, func(t *model.Task) error {
			t.DecideStop(tx.Now(), model.StopUserInitiated, cmp.Or(value(in.Reason), defaultStopReason))
			return nil
		})
	}); err != nil {
		return nil, err
	}
	snap := p.store.Snapshot()
	task, found := records.Tasks.Get(snap, id)
	if !found { // it was stopped long ago and has been forgotten since
		return nil, parameterError("The referenced task was not found.")
	}
	return &ecsapi.StopTaskOutput{Task: new(p.taskOut(snap, task, true))}, nil
}

// DescribeTasks implements ecsapi.Service. Tasks of a deleted cluster can
// still be seen.
func (p *Provider) DescribeTasks(_ context.Context, in *ecsapi.DescribeTasksInput) (*ecsapi.DescribeTasksOutput, error) {
	snap := p.store.Snapshot()
	cluster, err := p.cluster(snap, in.Cluster)
	if err != nil {
		return nil, err
	}
	if len(in.Tasks) == 0 {
		return nil, parameterError("Tasks cannot be empty.")
	}
	if len(in.Tasks) > maxTasksDescribed {
		return nil, parameterError("tasks can have at most %d items.", maxTasksDescribed)
	}
	withTags := slices.Contains(in.Include, ecsapi.TaskFieldTags)
	out := &ecsapi.DescribeTasksOutput{Tasks: []ecsapi.Task{}, Failures: []ecsapi.Failure{}}
	for _, ref := range in.Tasks {
		id, err := p.taskID(cluster.Name, ref)
		if err != nil {
			return nil, err
		}
		task, found := records.Tasks.Get(snap, id)
		if !found || task.ClusterName != cluster.Name {
			out.Failures = append(out.Failures, missing(p.scope.Task(cluster.Name, id)))
			continue
		}
		out.Tasks = append(out.Tasks, p.taskOut(snap, task, withTags))
	}
	return out, nil
}

// ListTasks implements ecsapi.Service. Without a status it lists the tasks
// that shall run.
func (p *Provider) ListTasks(_ context.Context, in *ecsapi.ListTasksInput) (*ecsapi.ListTasksOutput, error) {
	limit, err := pageSize(in.MaxResults, 100, 100)
	if err != nil {
		return nil, err
	}
	desired := cmp.Or(string(in.DesiredStatus), model.TaskRunning)
	if !slices.Contains([]string{model.TaskRunning, model.TaskPending, model.TaskStopped}, desired) {
		return nil, parameterError("Invalid value for desiredStatus: '%s'. Valid values: RUNNING, PENDING, STOPPED.", desired)
	}
	snap := p.store.Snapshot()
	cluster, err := p.activeCluster(snap, in.Cluster)
	if err != nil {
		return nil, err
	}
	filter, err := p.taskFilter(snap, cluster, in)
	if err != nil {
		return nil, err
	}
	var last string
	if token := value(in.NextToken); token != "" {
		if last, err = openToken("ListTasks", token); err != nil {
			return nil, err
		}
	}
	out := &ecsapi.ListTasksOutput{TaskArns: []string{}}
	var end string
	for t := range filter.tasks {
		if t.ID <= last || t.DesiredStatus != desired || !filter.match(t) {
			continue
		}
		if len(out.TaskArns) == limit {
			out.NextToken = new(sealToken("ListTasks", end))
			break
		}
		out.TaskArns = append(out.TaskArns, t.ARN)
		end = t.ID
	}
	return out, nil
}

// taskFilter is the index that serves a list best, and what is left to check.
// Every index yields tasks by id, which is what a page is continued by.
type taskFilter struct {
	tasks iter.Seq[*model.Task]
	match func(*model.Task) bool
}

func (p *Provider) taskFilter(r store.Reader, cluster *model.Cluster, in *ecsapi.ListTasksInput) (taskFilter, error) {
	startedBy, family, instance, service := value(in.StartedBy), value(in.Family), value(in.ContainerInstance), value(in.ServiceName)
	switch {
	case value(in.DaemonName) != "":
		return taskFilter{}, parameterError("The referenced daemon was not found.")
	case startedBy != "" && (family != "" || instance != "" || service != "" || in.LaunchType != ""):
		return taskFilter{}, parameterError("startedBy cannot be combined with other filters.")
	}
	if instance != "" {
		id, err := p.memberID("container-instance", cluster.Name, instance)
		if err != nil {
			return taskFilter{}, err
		}
		if i, found := records.Instances.Get(r, id); !found || i.ClusterName != cluster.Name {
			return taskFilter{}, parameterError("The referenced container instance was not found.")
		}
		instance = id
	}
	if service != "" {
		name, err := p.serviceName(cluster.Name, service)
		if err != nil {
			return taskFilter{}, err
		}
		s, found := anyService(r, cluster.Name, name)
		if !found {
			return taskFilter{}, serviceNotFound()
		}
		service = s.ID
	}
	f := taskFilter{
		tasks: records.Tasks.By(r, records.TasksByCluster, cluster.Name),
		match: func(t *model.Task) bool {
			return t.ClusterName == cluster.Name && (family == "" || t.Family == family) &&
				(service == "" || t.ServiceID == service) &&
				(instance == "" || t.InstanceID == instance && t.LaunchType != model.LaunchFargate) &&
				(in.LaunchType == "" || t.LaunchType == string(in.LaunchType))
		},
	}
	switch {
	case startedBy != "":
		f.tasks = records.Tasks.By(r, records.TasksByStartedBy, records.InCluster(cluster.Name, startedBy))
	case service != "":
		f.tasks = records.Tasks.By(r, records.TasksByService, service)
	case instance != "":
		f.tasks = records.Tasks.By(r, records.TasksByInstance, instance)
	case family != "":
		f.tasks = records.Tasks.By(r, records.TasksByFamily, records.InCluster(cluster.Name, family))
	}
	return f, nil
}
