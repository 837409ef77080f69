package deployment

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"berth.dev/berth/internal/data/launch"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/placement"
	"berth.dev/berth/internal/rules/rollout"
	"berth.dev/berth/internal/rules/taskspec"
)

// input gathers what rollout.Plan is to know of a service.
func input(r store.Reader, id string, healthyAfter time.Duration, room bool) (rollout.Input, bool) {
	service, found := records.Services.Get(r, id)
	if !found {
		return rollout.Input{}, false
	}
	in := rollout.Input{
		Service: service, HealthyAfter: healthyAfter, RetryPlacement: room,
		Deployments: slices.Collect(records.Deployments.Prefix(r, id+"/")),
		Tasks:       slices.Collect(records.Tasks.By(r, records.OpenTasksByService, id)),
		Targets:     map[string][]rollout.Target{},
		Checked:     map[string][]string{},
		Instances:   map[string]rollout.Instance{},
	}
	for _, t := range in.Tasks {
		if _, known := in.Checked[t.TaskDefinitionARN]; !known {
			in.Checked[t.TaskDefinitionARN] = checked(r, t)
		}
		if _, known := in.Instances[t.InstanceID]; !known {
			if i, ok := records.Instances.Get(r, t.InstanceID); ok {
				in.Instances[i.ID] = rollout.Instance{Active: i.Status == model.InstanceActive, Zone: i.Zone}
			}
		}
		if len(t.LoadBalancers) > 0 && !t.Stopped() {
			in.Targets[t.ID] = targets(r, t)
		}
	}
	if service.Status != model.ServiceActive {
		return in, true
	}
	switch spec, ok := newest(r, in.Deployments); {
	case !ok:
	case service.SchedulingStrategy == model.SchedulingDaemon:
		eligible(r, &in, spec)
	case service.ZoneRebalancing == "ENABLED" && service.Progress.Steady:
		in.Zones = zones(r, service, spec)
	}
	return in, true
}

// newest is what the newest deployment runs.
func newest(r store.Reader, deployments []*model.Deployment) (model.RevisionSpec, bool) {
	for _, d := range slices.Backward(deployments) {
		if d.Status == model.DeploymentPrimary {
			revision, ok := records.ServiceRevisions.Get(r, d.RevisionID)
			if !ok {
				break
			}
			return revision.Spec, true
		}
	}
	return model.RevisionSpec{}, false
}

// checked names the essential containers of a task that have a health check.
func checked(r store.Reader, t *model.Task) []string {
	def, ok := records.TaskDefinitions.Get(r, model.TaskDefinitionKey(t.Family, t.Revision))
	if !ok {
		return nil
	}
	var names []string
	for i := range def.ContainerDefinitions {
		c := &def.ContainerDefinitions[i]
		if c.IsEssential() && c.HealthCheck != nil && len(c.HealthCheck.Command) > 0 && c.HealthCheck.Command[0] != "NONE" {
			names = append(names, c.Name)
		}
	}
	return names
}

func targets(r store.Reader, t *model.Task) []rollout.Target {
	var list []rollout.Target
	for target := range records.Targets.By(r, records.TargetsByTask, t.ID) {
		v := rollout.Target{Port: target.Port, State: target.Health.State, Reason: target.Health.Description}
		if target.DeregisteredAt != nil {
			v.State = model.TargetDraining
		}
		if strings.HasPrefix(target.TargetID, "i-") {
			v.EC2InstanceID = target.TargetID
		}
		for _, lb := range t.LoadBalancers {
			if strings.HasSuffix(lb.TargetGroupARN, ":"+target.TargetGroupID) {
				v.GroupARN = lb.TargetGroupARN
			}
		}
		list = append(list, v)
	}
	return list
}

// eligible adds the instances that a DAEMON service wants a task on: those of
// its cluster that fulfil its constraints, whatever room they have. One that is
// out of reach keeps the task it has and gets none.
func eligible(r store.Reader, in *rollout.Input, spec model.RevisionSpec) {
	request, ok := constraints(r, in.Service, spec)
	if !ok {
		return
	}
	has := map[string]bool{}
	for _, t := range in.Tasks {
		if !t.Stopped() {
			has[t.InstanceID] = true
		}
	}
	for i := range records.Instances.By(r, records.InstancesByCluster, in.Service.ClusterName) {
		candidate := placement.Instance{
			ID: i.ID, Zone: i.Zone, Active: i.Status == model.InstanceActive, Connected: i.Connected || has[i.ID],
			Attributes: i.Attributes, EC2InstanceID: i.EC2InstanceID, AgentVersion: i.Version, RegisteredAt: i.RegisteredAt,
		}
		_, fits := placement.Fits(candidate, request)
		in.Instances[i.ID] = rollout.Instance{Active: i.Status == model.InstanceActive, Zone: i.Zone, Eligible: fits}
	}
}

// constraints is a request for nothing but what a constraint asks for.
func constraints(r store.Reader, s *model.Service, spec model.RevisionSpec) (placement.Request, bool) {
	family, number, _ := strings.Cut(spec.TaskDefinitionARN[strings.LastIndexByte(spec.TaskDefinitionARN, '/')+1:], ":")
	revision, err := strconv.Atoi(number)
	if err != nil {
		return placement.Request{}, false
	}
	def, ok := records.TaskDefinitions.Get(r, model.TaskDefinitionKey(family, revision))
	if !ok {
		return placement.Request{}, false
	}
	request := placement.Request{Count: 1, Zones: subnetZones(r, spec)}
	for _, c := range slices.Concat(def.PlacementConstraints, s.PlacementConstraints) {
		if c.Type != placement.MemberOf {
			continue
		}
		e, err := placement.ParseExpression(c.Expression)
		if err != nil {
			continue // refused when the service was made
		}
		request.Constraints = append(request.Constraints, e)
	}
	request.Architecture = taskspec.Architecture(*def)
	return request, true
}

// zones are those of the service's subnets in which there are instances.
func zones(r store.Reader, s *model.Service, spec model.RevisionSpec) []string {
	wanted := subnetZones(r, spec)
	var found []string
	add := func(i *model.Instance) {
		switch {
		case i.Status != model.InstanceActive || !i.Connected:
		case i.Zone == "":
			found = append(found, wanted...)
		case len(wanted) == 0 || slices.Contains(wanted, i.Zone):
			found = append(found, i.Zone)
		}
	}
	if launch.LaunchType(spec) == model.LaunchEC2 {
		for i := range records.Instances.By(r, records.InstancesByCluster, s.ClusterName) {
			add(i)
		}
	} else {
		for i := range records.Instances.All(r) {
			add(i)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func subnetZones(r store.Reader, spec model.RevisionSpec) []string {
	if spec.Network == nil {
		return nil
	}
	var zones []string
	for _, id := range spec.Network.Subnets {
		if subnet, ok := records.Subnets.Get(r, id); ok && !slices.Contains(zones, subnet.AvailabilityZone) {
			zones = append(zones, subnet.AvailabilityZone)
		}
	}
	return zones
}
