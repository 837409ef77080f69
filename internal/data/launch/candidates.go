package launch

import (
	"math/rand/v2"
	"slices"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/placement"
	"berth.dev/berth/internal/rules/taskspec"
)

// enoughCandidates is how many instances with room are compared for tasks that
// may go anywhere. In a larger fleet they are chosen by lot: looking at more
// improves the spread little. Each has room for a task, so they have room for
// all of a request, and when fewer have room, all were looked at, so that
// every failure is explained. Where a strategy, a constraint or a service's
// balance decides, every instance is looked at.
const enoughCandidates = 100

// reservedPorts are those that ECS never gives to tasks of an instance.
var reservedPorts = [...]string{"22/tcp", "2375/tcp", "2376/tcp", "51678/tcp", "51679/tcp", "51680/tcp"}

// request is what placement is asked.
func (p *plan) request(r store.Reader, l *Launcher) placement.Request {
	q := placement.Request{
		Count: p.Count, CPU: p.effective.CPU, Memory: p.effective.Memory, Architecture: taskspec.Architecture(p.def),
		Ports: len(p.ports) > 0, Constraints: p.rules, Distinct: p.distinct, Strategy: p.orders,
		ZoneTasks: map[string]int{}, Attributes: p.fileSystems(r),
	}
	if p.network != nil {
		q.Zones = p.network.zones(r, l, p.Zones)
	} else {
		q.Zones = p.Zones
	}
	if p.balances() {
		for place, sum := range records.Tasks.Sums(r, records.TasksOfGroup, records.GroupPlaces(p.Cluster.Name, p.group())) {
			_, zone := records.PlaceOf(place)
			q.ZoneTasks[zone] += int(sum[0])
		}
	}
	return q
}

// balances tells whether it matters what the group has already and where.
func (p *plan) balances() bool {
	return p.Service != nil || p.distinct || len(p.orders) > 0
}

// candidates are the instances that may run the tasks: every node for
// Fargate, the cluster's container instances for EC2.
func (p *plan) candidates(r store.Reader, request placement.Request) []placement.Instance {
	nodes := p.nodes(r)
	chosen := p.balances() || len(p.rules) > 0
	if !chosen && len(nodes) > enoughCandidates {
		rand.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	}
	here, groups, held := p.tasksHere(r), p.groupsOn(r), p.held(r, chosen)
	candidates := make([]placement.Instance, 0, len(nodes))
	withRoom := 0
	for _, n := range nodes {
		if n.Status == model.InstanceInactive {
			continue
		}
		candidates = append(candidates, instance(n, held(n.ID)))
		c := &candidates[len(candidates)-1]
		c.GroupTasks, c.Groups = here[n.ID], groups[n.ID]
		c.PortTaken = p.portTaken(r, n.ID)
		if chosen {
			continue
		}
		if _, ok := placement.Fits(*c, request); ok {
			withRoom++
		}
		if withRoom == enoughCandidates {
			break
		}
	}
	return candidates
}

// held tells what tasks hold of an instance. When all instances are asked for,
// in their order, the sums are read along with them, which is a fraction of
// the work of looking for each.
func (p *plan) held(r store.Reader, all bool) func(instanceID string) store.Amounts {
	if !all || len(p.InstanceIDs) > 0 {
		return func(id string) store.Amounts { return records.Tasks.Sum(r, records.TasksOnInstance, id) }
	}
	type held struct {
		id      string
		amounts store.Amounts
	}
	var sums []held
	for id, amounts := range records.Tasks.Sums(r, records.TasksOnInstance, "") {
		sums = append(sums, held{id, amounts})
	}
	return func(id string) store.Amounts {
		for len(sums) > 0 && sums[0].id < id {
			sums = sums[1:]
		}
		if len(sums) > 0 && sums[0].id == id {
			return sums[0].amounts
		}
		return store.Amounts{}
	}
}

func (p *plan) nodes(r store.Reader) []*model.Instance {
	var nodes []*model.Instance
	if len(p.InstanceIDs) > 0 {
		for _, id := range p.InstanceIDs {
			if i, found := records.Instances.Get(r, id); found {
				nodes = append(nodes, i)
			}
		}
		return nodes
	}
	// Walking over all is cheaper than the index, which names most of them.
	nodes = make([]*model.Instance, 0, records.Instances.Len(r))
	for i := range records.Instances.All(r) {
		if p.LaunchType != model.LaunchEC2 || i.ClusterName == p.Cluster.Name {
			nodes = append(nodes, i)
		}
	}
	return nodes
}

func instance(i *model.Instance, held store.Amounts) placement.Instance {
	c := placement.Instance{
		ID: i.ID, Zone: i.Zone, Active: i.Status == model.InstanceActive, Connected: i.Connected,
		CPU: i.CPU, Memory: i.Memory, FreeCPU: i.CPU - held[0], FreeMemory: i.Memory - held[1],
		Attributes: i.Attributes, EC2InstanceID: i.EC2InstanceID, AgentVersion: i.Version, RegisteredAt: i.RegisteredAt, Running: held[2],
	}
	for _, a := range i.Attributes {
		if a.Name == "ecs.cpu-architecture" {
			c.Architecture = a.Value
		}
	}
	return c
}

// tasksHere counts the group's tasks that shall run, by instance.
func (p *plan) tasksHere(r store.Reader) map[string]int {
	if !p.balances() {
		return nil
	}
	here := map[string]int{}
	for place, sum := range records.Tasks.Sums(r, records.TasksOfGroup, records.GroupPlaces(p.Cluster.Name, p.group())) {
		id, _ := records.PlaceOf(place)
		here[id] += int(sum[0])
	}
	return here
}

// groupsOn says of the groups that expressions ask for where they have tasks.
func (p *plan) groupsOn(r store.Reader) map[string][]string {
	on := map[string][]string{}
	for _, e := range p.rules {
		for _, group := range e.Groups() {
			for place := range records.Tasks.Sums(r, records.TasksOfGroup, records.GroupPlaces(p.Cluster.Name, group)) {
				id, _ := records.PlaceOf(place)
				on[id] = append(on[id], group)
			}
		}
	}
	return on
}

// portTaken tells whether another task holds a port that the tasks need, or
// ECS keeps it.
func (p *plan) portTaken(r store.Reader, instanceID string) bool {
	for _, port := range p.ports {
		if slices.Contains(reservedPorts[:], port) || records.Tasks.HasBy(r, records.LiveTasksByHostPort, records.HostPort(instanceID, port)) {
			return true
		}
	}
	return false
}

// Eligible names the instances on which a DAEMON service runs a task: those of
// its cluster that are ACTIVE and that no constraint excludes, whether they
// have room or not.
func (l *Launcher) Eligible(r store.Reader, req Request) ([]string, error) {
	p, err := l.plan(r, req)
	if err != nil {
		return nil, err
	}
	p.InstanceIDs, p.distinct = nil, false
	request := placement.Request{Architecture: taskspec.Architecture(p.def), Constraints: p.rules, Attributes: p.fileSystems(r)}
	if p.network != nil {
		request.Zones = p.network.zones(r, l, nil)
	}
	groups := p.groupsOn(r)
	var ids []string
	for _, n := range p.nodes(r) {
		c := instance(n, store.Amounts{})
		c.Groups = groups[n.ID]
		c.Running = records.Tasks.Sum(r, records.TasksOnInstance, n.ID)[2]
		c.Connected = true // a node that is away for a moment keeps its task
		if _, ok := placement.Fits(c, request); ok {
			ids = append(ids, n.ID)
		}
	}
	return ids, nil
}

// Matcher returns a test of whether an expression is true of a container
// instance of a cluster.
func Matcher(r store.Reader, cluster string, e placement.Expression) func(*model.Instance) bool {
	p := &plan{Request: Request{Cluster: &model.Cluster{Name: cluster}}, rules: []placement.Expression{e}}
	groups := p.groupsOn(r)
	return func(i *model.Instance) bool {
		c := instance(i, records.Tasks.Sum(r, records.TasksOnInstance, i.ID))
		c.Groups = groups[i.ID]
		return e.Matches(&c)
	}
}
