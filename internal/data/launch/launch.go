package launch

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/placement"
	"berth.dev/berth/internal/rules/taskspec"
)

const (
	// MaxCount is the most tasks that fit into one transaction with everything
	// that comes with them.
	MaxCount = 20

	// FargateVersion is the platform version that LATEST means.
	FargateVersion = "1.4.0"

	defaultStorage = 20 // GiB of a Fargate task that asks for none
)

// Config is what a Launcher needs.
type Config struct {
	// Scope is the account and region that ARNs are made in.
	Scope arn.Scope
	// PublicAddresses are those that assignPublicIp gives; the zero Prefix has
	// none, and assignPublicIp is then refused.
	PublicAddresses netip.Prefix
	// Seed breaks ties of placement and says where the search for a free
	// address begins. Nil is random.
	Seed func() uint64
}

// Launcher makes tasks.
type Launcher struct{ cfg Config }

// New returns a Launcher. It holds no state.
func New(cfg Config) *Launcher {
	if cfg.Seed == nil {
		cfg.Seed = rand.Uint64
	}
	return &Launcher{cfg: cfg}
}

// Request asks for Count tasks of one kind.
type Request struct {
	Cluster    *model.Cluster
	Definition *model.TaskDefinition // as registered
	Overrides  model.TaskOverride
	LaunchType string // FARGATE or EC2
	// Providers are the capacity providers of each task; empty without a
	// strategy.
	Providers []string
	Network   *model.NetworkConfiguration
	// Volumes are of the definition's volumes that are configured at launch.
	Volumes []model.VolumeConfiguration
	Count   int // at most MaxCount

	Group                string // empty: family:<family>
	StartedBy            string
	Tags                 []model.Tag
	EnableExecuteCommand bool

	// Constraints and Strategy are the request's; the definition's constraints
	// are added. Only for EC2.
	Constraints []model.PlacementConstraint
	Strategy    []model.PlacementStrategy
	// Zones keeps the tasks to these of the subnets' zones; empty: all.
	Zones []string
	// InstanceIDs keeps the tasks to these instances, one task each, as the
	// tasks of a DAEMON service are placed.
	InstanceIDs []string

	// Service is set for a task of one.
	Service *model.Service
	// Revision is what the service's task is made of.
	Revision *model.ServiceRevision
}

// Outcome is what became of a request: the tasks that were made, and why the
// others were not.
type Outcome struct {
	Tasks []*model.Task
	// Failures explain the tasks that were not made as RunTask does; there may
	// be fewer or more than tasks are missing.
	Failures []model.TaskFailure
	// Rejections say of each instance why it did not take the next task;
	// placement.Closest finds the one that a service's event names. Empty when
	// only addresses are missing.
	Rejections []placement.Rejection
	// NoInstances is true when the cluster has no container instance.
	NoInstances bool
}

// plan is a request with what the checks found.
type plan struct {
	Request
	effective taskspec.Need
	def       model.TaskDefinition // with the overrides
	ports     []string
	network   *network // nil without a network interface
	orders    []placement.Order
	rules     []placement.Expression
	distinct  bool
}

// Check reports what is wrong with a request as far as that can be known
// before a place is looked for, as a *taskspec.Error; any other error is not
// the user's. It guards nothing.
func (l *Launcher) Check(r store.Reader, req Request) error {
	_, err := l.plan(r, req)
	return err
}

// Launch makes the tasks for which there is room. A request that is wrong is a
// *taskspec.Error, and nothing was written; a lack of room is not an error.
func (l *Launcher) Launch(tx *store.Tx, req Request) (Outcome, error) {
	p, err := l.plan(tx, req)
	if err != nil {
		return Outcome{}, err
	}
	p.guard(tx)
	request := p.request(tx, l)
	instances := p.candidates(tx, request)
	if req.LaunchType == model.LaunchEC2 && len(instances) == 0 && !records.Instances.HasBy(tx, records.InstancesByCluster, req.Cluster.Name) {
		return Outcome{NoInstances: true}, nil
	}
	decision := placement.Place(l.cfg.Seed(), instances, request)
	out := Outcome{Failures: l.failures(p, decision), Rejections: decision.Rejections}
	for n, place := range decision.Placements {
		task := l.newTask(tx, p, n, place)
		if reason := l.attach(tx, p, task, place.Zone); reason != "" {
			out.Failures = append(out.Failures, model.TaskFailure{Reason: placement.ReasonENI, Detail: reason})
			continue
		}
		p.makeVolume(tx, task)
		records.Tasks.Put(tx, task)
		out.Tasks = append(out.Tasks, task)
		i, found := records.Instances.Get(tx, place.InstanceID)
		if !found {
			return Outcome{}, fmt.Errorf("launch: instance %s was chosen and is gone: %w", place.InstanceID, store.ErrNotFound)
		}
		placed := *i
		placed.Placements++
		records.Instances.Put(tx, &placed)
	}
	return out, nil
}

func (l *Launcher) plan(r store.Reader, req Request) (*plan, error) {
	p := &plan{Request: req}
	var err error
	if p.def, err = taskspec.Apply(*req.Definition, req.Overrides); err != nil {
		return nil, err
	}
	if !slices.Contains(taskspec.Compatibilities(p.def), req.LaunchType) {
		return nil, parameter("Task definition does not support launch_type %s.", req.LaunchType)
	}
	if err := taskspec.CheckVolumeConfigurations(p.def, req.Volumes, req.Service != nil); err != nil {
		return nil, err
	}
	p.effective = taskspec.Size(p.def)
	p.ports = taskspec.HostPorts(p.def)
	if err := p.rulesOf(); err != nil {
		return nil, err
	}
	p.network, err = l.networkOf(r, p)
	return p, err
}

// rulesOf gathers constraints and strategy. Fargate has neither.
func (p *plan) rulesOf() error {
	p.distinct = len(p.InstanceIDs) > 0
	if p.Service != nil {
		p.orders = placement.ServiceOrder()
	}
	if p.LaunchType == model.LaunchFargate {
		return nil
	}
	if len(p.Strategy) > 0 {
		p.orders = placement.Orders(p.Strategy)
	}
	for _, c := range slices.Concat(p.def.PlacementConstraints, p.Constraints) {
		if c.Type == placement.DistinctInstance {
			p.distinct = true
			continue
		}
		e, err := placement.ParseExpression(c.Expression)
		if err != nil {
			return parameter("Invalid expression '%s': %s.", c.Expression, err)
		}
		p.rules = append(p.rules, e)
	}
	return nil
}

// guard makes the commit depend on what the tasks are made of: a cluster that
// is deleted, or a definition that is deregistered, must not get them.
func (p *plan) guard(tx *store.Tx) {
	records.Clusters.Guard(tx, p.Cluster.Key())
	records.TaskDefinitions.Guard(tx, p.Definition.Key())
	if p.network != nil {
		p.network.guard(tx)
	}
}

func (l *Launcher) newTask(tx *store.Tx, p *plan, n int, place placement.Placement) *model.Task {
	id := ident.Task()
	task := &model.Task{
		ID: id, ARN: l.cfg.Scope.Task(p.Cluster.Name, id), ClusterName: p.Cluster.Name, CreatedAt: tx.Now(),
		TaskDefinitionARN: p.Definition.ARN, Family: p.Definition.Family, Revision: p.Definition.Revision, LaunchType: p.LaunchType,
		CPU: strconv.FormatInt(p.effective.CPU, 10), Memory: strconv.FormatInt(p.effective.Memory, 10),
		Group: p.group(), StartedBy: p.StartedBy, Overrides: p.Overrides, Tags: p.Tags, EnableExecuteCommand: p.EnableExecuteCommand,
		InstanceID: place.InstanceID, AvailabilityZone: place.Zone, ReservedCPU: p.effective.CPU, ReservedMemory: p.effective.Memory,
		HostPorts: p.ports, CPUArchitecture: taskspec.Architecture(p.def),
		DesiredStatus: model.TaskRunning, Version: 1,
		Observed: model.TaskObserved{Status: model.TaskPending},
	}
	if p.network != nil {
		task.Observed.Status = model.TaskProvisioning // until its interface is attached
	}
	if n < len(p.Providers) {
		task.CapacityProviderName = p.Providers[n]
	}
	if p.LaunchType == model.LaunchFargate {
		task.PlatformVersion, task.EphemeralStorageGiB = FargateVersion, defaultStorage
		if s := p.def.EphemeralStorage; s != nil {
			task.EphemeralStorageGiB = s.SizeInGiB
		}
	}
	if p.Service != nil {
		task.ServiceID, task.ServiceName = p.Service.ID, p.Service.Name
		task.LoadBalancers, task.Registries = p.Revision.Spec.LoadBalancers, p.Revision.Spec.Registries
	}
	for i := range p.def.ContainerDefinitions {
		c := &p.def.ContainerDefinitions[i]
		task.Containers = append(task.Containers, model.TaskContainer{
			Name: c.Name, ID: ident.UUID(), Image: c.Image, ImageDigest: p.pinned(c), Essential: c.IsEssential(),
			RuntimeID: fmt.Sprintf("%s-%010d", id, rand.Uint64N(1e10)),
			CPU:       c.CPU, Memory: c.Memory, MemoryReservation: c.MemoryReservation,
		})
		task.Observed.Containers = append(task.Observed.Containers, model.ContainerObserved{Name: c.Name, Status: model.ContainerPending})
	}
	return task
}

// pinned is the digest that the container's image has in the service's
// revision, unless the definition wants the tag to be resolved each time.
func (p *plan) pinned(c *model.ContainerDefinition) string {
	if p.Revision == nil || c.VersionConsistency == "disabled" || strings.Contains(c.Image, "@") {
		return ""
	}
	for _, image := range p.Revision.Images {
		if image.ContainerName == c.Name && image.Image == c.Image {
			return image.ImageDigest
		}
	}
	return ""
}

func (p *plan) group() string { return cmp.Or(p.Group, "family:"+p.Definition.Family) }

// failures explains the tasks that have no place: for EC2 by instance; Fargate
// has none that a user knows, so the instances are the detail.
func (l *Launcher) failures(p *plan, d placement.Decision) []model.TaskFailure {
	if len(d.Placements) == p.Count {
		return nil
	}
	if p.LaunchType == model.LaunchFargate {
		return []model.TaskFailure{{Reason: placement.FargateUnavailable, Detail: nodesDetail(d.Rejections)}}
	}
	var failures []model.TaskFailure
	for _, r := range d.Rejections {
		failures = append(failures, model.TaskFailure{ARN: l.cfg.Scope.ContainerInstance(p.Cluster.Name, r.InstanceID), Reason: r.Reason})
	}
	return failures
}

func nodesDetail(rejections []placement.Rejection) string {
	const most = 10
	detail := ""
	for i, r := range rejections {
		if i == most {
			return detail + fmt.Sprintf("; and %d more", len(rejections)-i)
		}
		if i > 0 {
			detail += "; "
		}
		detail += "node " + r.InstanceID + ": " + r.Reason
	}
	return cmp.Or(detail, "no node is registered")
}

// parameter is a problem with the request, as its user is told.
func parameter(format string, args ...any) error {
	return &taskspec.Error{Class: taskspec.InvalidParameterException, Message: fmt.Sprintf(format, args...)}
}
