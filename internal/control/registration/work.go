package registration

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/rollout"
	"berth.dev/berth/internal/rules/taskspec"
)

// work is what one transaction does for tasks of a service, and counts for the
// service's events.
type work struct {
	tx        *store.Tx
	scope     arn.Scope
	serviceID string
	waits     map[string]time.Time

	name                     string
	registered, deregistered map[string]int // targets by target group
	draining                 map[string]int // tasks by deployment
}

// join makes a running task known. It is complete when everything could be
// done; until then, such as while ports of the host are unknown or a container
// is not HEALTHY, the task is looked at again when it changes.
func (w *work) join(t *model.Task) error {
	w.name = t.ServiceName
	if t.Registered {
		_, err := w.joinNames(t) // how healthy it is
		return err
	}
	targets, known := w.targets(t)
	if !known {
		return nil
	}
	for _, target := range targets {
		if old, found := records.Targets.Get(w.tx, target.Key()); found && old.TaskID == t.ID {
			continue
		}
		records.TargetGroups.Guard(w.tx, target.TargetGroupID)
		records.Targets.Put(w.tx, target)
		if g, found := records.TargetGroups.Get(w.tx, target.TargetGroupID); found {
			w.registered[g.ARN]++
		}
	}
	named, err := w.joinNames(t)
	if err != nil || !named {
		return err
	}
	return w.edit(t, func(t *model.Task) { t.Registered = true })
}

// targets are those that a task is to be. known is false while an address or
// a port is not known yet. Target groups that are gone are left out.
func (w *work) targets(t *model.Task) (targets []*model.Target, known bool) {
	for _, lb := range t.LoadBalancers {
		g, found := records.TargetGroups.Get(w.tx, groupID(lb.TargetGroupARN))
		if !found {
			continue
		}
		address, port, ok := endpoint(w.tx, t, lb.ContainerName, lb.ContainerPort)
		if !ok {
			return nil, false
		}
		target := &model.Target{
			TargetGroupID: g.ID, TargetID: address, Port: port, Address: address,
			AvailabilityZone: t.AvailabilityZone, RegisteredAt: w.tx.Now(), TaskID: t.ID,
		}
		if g.TargetType == "instance" {
			i, found := records.Instances.Get(w.tx, t.InstanceID)
			if !found || i.EC2InstanceID == "" {
				return nil, false
			}
			target.TargetID = i.EC2InstanceID
		}
		targets = append(targets, target)
	}
	return targets, true
}

// endpoint is where a port of a container is reached: at the task's own
// address, or at its instance's.
func endpoint(r store.Reader, t *model.Task, container string, port int32) (address string, at int32, ok bool) {
	if n := t.NetworkInterface; n != nil {
		return n.Address, port, true
	}
	i, found := records.Instances.Get(r, t.InstanceID)
	if !found || i.Address == "" {
		return "", 0, false
	}
	if o, found := t.Observed.Container(container); found {
		for _, b := range o.Bindings {
			if b.ContainerPort == port {
				return i.Address, b.HostPort, true
			}
		}
	}
	if def, found := definition(r, t); found && def.NetworkMode == taskspec.NetworkHost {
		return i.Address, port, true // the host's ports are the container's
	}
	return "", 0, false
}

func definition(r store.Reader, t *model.Task) (*model.TaskDefinition, bool) {
	return records.TaskDefinitions.Get(r, model.TaskDefinitionKey(t.Family, t.Revision))
}

// checksHealth reports whether a container's health check says how healthy a
// task is.
func checksHealth(r store.Reader, t *model.Task) bool {
	def, found := definition(r, t)
	return found && slices.ContainsFunc(def.ContainerDefinitions, func(c model.ContainerDefinition) bool {
		return c.IsEssential() && c.HealthCheck != nil
	})
}

// joinNames registers a task with Cloud Map, and says later how healthy it is.
func (w *work) joinNames(t *model.Task) (complete bool, err error) {
	checked, health := checksHealth(w.tx, t), t.Health()
	for _, reg := range t.Registries {
		s, found := records.DiscoveryServices.Get(w.tx, discoveryServiceID(reg.RegistryARN))
		if !found {
			continue
		}
		key := (&model.DiscoveryInstance{ServiceID: s.ID, InstanceID: t.ID}).Key()
		instance, exists := records.DiscoveryInstances.Get(w.tx, key)
		switch {
		case t.Registered && !exists:
			continue // a user took it out
		case exists && checked && health != model.HealthUnknown:
			told := *instance
			told.Healthy = health == model.HealthHealthy
			instance = &told
		case exists:
			continue
		case checked && health != model.HealthHealthy:
			return false, nil
		default:
			attributes, known := w.attributes(t, s, reg)
			if !known {
				return false, nil
			}
			instance = &model.DiscoveryInstance{
				ServiceID: s.ID, InstanceID: t.ID, TaskID: t.ID, Attributes: attributes, Healthy: true, RegisteredAt: w.tx.Now(),
			}
		}
		if err := records.PutDiscoveryInstance(w.tx, instance); err != nil {
			return false, err
		}
	}
	return true, nil
}

// attributes are what ECS tells of a task in Cloud Map.
func (w *work) attributes(t *model.Task, s *model.DiscoveryService, reg model.ServiceRegistry) (map[string]string, bool) {
	a := map[string]string{
		"AVAILABILITY_ZONE": t.AvailabilityZone, "REGION": w.scope.Region,
		"ECS_CLUSTER_NAME": t.ClusterName, "ECS_SERVICE_NAME": t.ServiceName, "ECS_TASK_DEFINITION_FAMILY": t.Family,
		"AWS_INIT_HEALTH_STATUS": model.HealthHealthy,
	}
	srv := slices.ContainsFunc(s.Records, func(r model.DNSRecord) bool { return r.Type == "SRV" })
	if t.NetworkInterface != nil {
		a["AWS_INSTANCE_IPV4"] = t.NetworkInterface.Address
		if port := max(reg.Port, reg.ContainerPort); port != 0 {
			a["AWS_INSTANCE_PORT"] = strconv.Itoa(int(port))
		}
		return a, true
	}
	address, port, known := endpoint(w.tx, t, reg.ContainerName, reg.ContainerPort)
	if !known {
		return nil, false
	}
	a["AWS_INSTANCE_IPV4"] = address
	if srv || reg.ContainerPort != 0 {
		a["AWS_INSTANCE_PORT"] = strconv.Itoa(int(port))
	}
	if i, found := records.Instances.Get(w.tx, t.InstanceID); found && i.EC2InstanceID != "" {
		a["EC2_INSTANCE_ID"] = i.EC2InstanceID
	}
	return a, true
}

// leave takes a task out, and releases it when nothing leads to it any more.
func (w *work) leave(t *model.Task) error {
	w.name = t.ServiceName
	now := w.tx.Now()
	targets := slices.Collect(records.Targets.By(w.tx, records.TargetsByTask, t.ID))
	names := slices.Collect(records.DiscoveryInstances.By(w.tx, records.DiscoveryInstancesByTask, t.ID))
	began := t.DeregisteredAt
	if began == nil && (len(targets) > 0 || len(names) > 0) {
		began = &now
	}
	drains := false
	for _, target := range targets {
		if target.DeregisteredAt != nil {
			continue
		}
		ended := *target
		ended.DeregisteredAt = &now
		records.Targets.Put(w.tx, &ended)
		if g, found := records.TargetGroups.Get(w.tx, target.TargetGroupID); found {
			w.deregistered[g.ARN]++
			drains = true
		}
	}
	if drains && !t.Stopped() {
		w.draining[t.StartedBy]++
	}
	for _, name := range names {
		_, err := records.DeleteDiscoveryInstance(w.tx, name.ServiceID, name.InstanceID)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	until, waits := w.wait(t, targets, began)
	if waits && !t.Stopped() {
		w.waits[t.ID] = until
		if t.DeregisteredAt != nil {
			return nil
		}
		return w.edit(t, func(t *model.Task) { t.DeregisteredAt = began })
	}
	return w.edit(t, func(t *model.Task) { t.DeregisteredAt, t.Released = began, true })
}

// wait reports whether something may still lead to a task that was taken out
// at a time, and until when; zero: until a target goes.
func (w *work) wait(t *model.Task, targets []*model.Target, began *time.Time) (until time.Time, waits bool) {
	if began == nil {
		return time.Time{}, false
	}
	until = began.Add(w.forgotten(t))
	waits = w.tx.Now().Before(until)
	if !waits {
		until = time.Time{}
	}
	for _, target := range targets {
		if records.TargetGroups.Has(w.tx, target.TargetGroupID) {
			waits = true // control/balancing deletes it when its delay is over
		}
	}
	return until, waits
}

// forgotten is how long resolvers may remember the names of a task.
func (w *work) forgotten(t *model.Task) time.Duration {
	var longest time.Duration
	if !t.Registered {
		return 0
	}
	for _, reg := range t.Registries {
		s, found := records.DiscoveryServices.Get(w.tx, discoveryServiceID(reg.RegistryARN))
		if !found {
			continue
		}
		for _, r := range s.Records {
			longest = max(longest, time.Duration(r.TTL)*time.Second)
		}
	}
	return min(longest, resolversForget)
}

func (w *work) edit(t *model.Task, change func(*model.Task)) error {
	return records.Tasks.Edit(w.tx, t.ID, func(t *model.Task) error {
		change(t)
		if !t.Stopped() {
			t.Version++
		}
		return nil
	})
}

// say adds to the service's events what was done. A service that is gone has
// none.
func (w *work) say() error {
	var lines []string
	for _, deployment := range slices.Sorted(maps.Keys(w.draining)) {
		lines = append(lines, rollout.DrainingConnections(w.name, deployment, w.draining[deployment]))
	}
	for _, group := range slices.Sorted(maps.Keys(w.deregistered)) {
		lines = append(lines, rollout.DeregisteredTargets(w.name, w.deregistered[group], group))
	}
	for _, group := range slices.Sorted(maps.Keys(w.registered)) {
		lines = append(lines, rollout.RegisteredTargets(w.name, w.registered[group], group))
	}
	for _, line := range lines {
		if err := records.AppendServiceEvent(w.tx, w.serviceID, line); err != nil {
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			return err
		}
	}
	return nil
}

// groupID is the end of a target group's ARN, which is its key.
func groupID(ref string) string {
	parsed, err := arn.Parse(ref)
	if err != nil {
		return ""
	}
	return parsed.Resource
}

// discoveryServiceID is the end of a Cloud Map service's ARN, which is its key.
func discoveryServiceID(ref string) string { return ref[strings.LastIndexByte(ref, '/')+1:] }
