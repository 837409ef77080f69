package compose

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/compose-spec/compose-go/v2/types"
)

// Tags by which a project's things are found again; the first two are those of
// Docker's former ECS integration.
const (
	TagProject = "com.docker.compose.project"
	TagService = "com.docker.compose.service"
	// TagFingerprint is of the input that made a task definition or service.
	TagFingerprint = "com.docker.compose.config-hash"
)

// Options are what a conversion needs to know of where it will run.
type Options struct {
	Region           string
	ExecutionRoleARN string
	// TaskRoleARN lets people into tasks (ECS Exec), with Exec. Empty is no role.
	TaskRoleARN string
	Exec        bool
	// SecretARN is what a secret of Secrets Manager is called.
	SecretARN func(name string) string
}

// Conversion is a project as ECS takes it.
type Conversion struct {
	Project   string
	Namespace string // of Cloud Map, private
	Services  []Service
	Secrets   []Secret   // in the order of their names
	Unmapped  []Unmapped // in the order of their paths
}

// Service is one service of the project.
type Service struct {
	Name string // in the compose file
	// Level is 0 for services that wait for nobody, and more than that of every
	// service that is waited for. Services of one level may be deployed together.
	Level int
	After []Dependency
	// Definition is complete.
	Definition *ecs.RegisterTaskDefinitionInput
	// Create has everything but what has an id only when it is made:
	// taskDefinition is the family, and there are no subnets, load balancers and
	// registries unless x-ecs names some. It is nil for a service that runs once.
	Create *ecs.CreateServiceInput
	Ports  []Port
	// Built says that the file says how to build the image.
	Built bool
}

// Full is the name of the ECS service, and the family.
func (s *Service) Full() string { return aws.ToString(s.Definition.Family) }

// Job reports whether it runs once.
func (s *Service) Job() bool { return s.Create == nil }

// Dependency is a service that must be so far.
type Dependency struct {
	Service string
	// Condition is one of Compose: service_started, service_healthy,
	// service_completed_successfully.
	Condition string
}

// Port is a port of a load balancer that leads to the service.
type Port struct {
	Published, Target int32
	// HTTP says that it speaks HTTP: the program that answers is known, or the
	// file says app_protocol: http. Else it is TCP.
	HTTP bool
}

// Fingerprint tells whether an input to ECS is the same as another.
func Fingerprint(input any) (string, error) {
	data, err := json.Marshal(input)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])[:32], nil
}

// converter converts one project.
type converter struct {
	project *types.Project
	options Options
	out     *Conversion
	common  overlay
	jobs    map[string]bool
}

// Convert makes the documents of a project. Errors are for what cannot be
// deployed at all, such as a service without an image.
func Convert(project *types.Project, options Options) (*Conversion, error) {
	if options.SecretARN == nil {
		options.SecretARN = func(name string) string {
			return fmt.Sprintf("arn:aws:secretsmanager:%s:123456789012:secret:%s", options.Region, name)
		}
	}
	c := &converter{project: project, options: options, jobs: jobsOf(project), out: &Conversion{
		Project: project.Name, Namespace: project.Name + ".local", Unmapped: listed(project),
	}}
	var err error
	if c.common, err = overlayOf("", project.Extensions); err != nil {
		return nil, err
	}
	levels := levelsOf(project)
	for _, name := range slices.Sorted(maps.Keys(project.Services)) {
		s := project.Services[name]
		one, err := c.service(&s)
		if err != nil {
			return nil, err
		}
		one.Level = levels[name]
		c.out.Services = append(c.out.Services, *one)
	}
	slices.SortStableFunc(c.out.Services, func(a, b Service) int { return a.Level - b.Level })
	slices.SortFunc(c.out.Secrets, func(a, b Secret) int { return strings.Compare(a.Name, b.Name) })
	c.out.Secrets = slices.CompactFunc(c.out.Secrets, func(a, b Secret) bool { return a.Name == b.Name })
	c.networks()
	c.out.Unmapped = sorted(c.out.Unmapped)
	return c.out, nil
}

// not lists something that ECS gets not, or not as it is written.
func (c *converter) not(at, format string, args ...any) {
	c.out.Unmapped = append(c.out.Unmapped, Unmapped{at, fmt.Sprintf(format, args...)})
}

// networks says what becomes of them: nothing separates them.
func (c *converter) networks() {
	for name, n := range c.project.Networks {
		at := "networks." + name
		if name != "default" && len(c.project.Networks) > 1 {
			c.not(at, "services of all networks are in one VPC and reach each other; security groups of x-ecs: {service: {networkConfiguration: ...}} separate them")
		}
		if aws.ToBool(n.EnableIPv6) {
			c.not(at+".enable_ipv6", "Berth's VPCs are IPv4 only")
		}
		if n.EnableIPv4 != nil && !*n.EnableIPv4 {
			c.not(at+".enable_ipv4", "Berth's VPCs are IPv4 only")
		}
	}
	if len(c.out.Services) > 1 {
		c.not("networks", "services find each other as SERVICE.%s; the short name works in images with glibc (LOCALDOMAIN is set), and not in those with musl (Alpine) and in static Go programs, which need the whole name", c.out.Namespace)
	}
}

// namePattern is what families and ECS services may be called.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)

// service converts one service.
func (c *converter) service(s *types.ServiceConfig) (*Service, error) {
	at, full := "services."+s.Name, c.project.Name+"-"+s.Name
	if !namePattern.MatchString(full) {
		return nil, fmt.Errorf("%s: ECS names have letters, digits, - and _, at most 255: %q is none", at, full)
	}
	own, err := overlayOf(at, s.Extensions)
	if err != nil {
		return nil, err
	}
	w := &work{converter: c, s: s, at: at, full: full}
	out := &Service{Name: s.Name, Built: s.Build != nil}
	if out.Definition, err = w.definition(); err != nil {
		return nil, err
	}
	if err := mergeAll(out.Definition, "taskDefinition", at, c.common.definition, own.definition); err != nil {
		return nil, err
	}
	if out.Ports, err = w.publishedPorts(); err != nil {
		return nil, err
	}
	out.After = w.dependencies()
	if c.jobs[s.Name] {
		if len(own.service) > 0 {
			c.not(at+"."+extension+".service", "it runs once, as a task: there is no service")
		}
		for i := range out.Ports {
			c.not(at+".ports", "port %d: it runs once, and gets no load balancer", out.Ports[i].Published)
		}
		out.Ports = nil
		return out, nil
	}
	out.Create = w.create(out.Definition)
	return out, mergeAll(out.Create, "service", at, c.common.service, own.service)
}

// mergeAll merges what the whole file says, and then what the service says.
func mergeAll(into any, part, at string, common, own map[string]any) error {
	v := reflect.ValueOf(into).Elem()
	if err := merge(extension+"."+part, v, common); err != nil {
		return err
	}
	return merge(at+"."+extension+"."+part, v, own)
}

// work is one service while it is converted.
type work struct {
	*converter
	s        *types.ServiceConfig
	at, full string

	ec2 []string // members that need the host
	// keeps says that it has data that two tasks must not write at once.
	keeps   bool
	volumes []ecstypes.Volume
}

// host notes that a member needs EC2.
func (w *work) host(member string) { w.ec2 = append(w.ec2, member) }

// definition is the service's task definition.
func (w *work) definition() (*ecs.RegisterTaskDefinitionInput, error) {
	container, err := w.container()
	if err != nil {
		return nil, err
	}
	in := &ecs.RegisterTaskDefinitionInput{
		Family: &w.full, NetworkMode: ecstypes.NetworkModeAwsvpc, Volumes: w.volumes,
		Tags: w.tags(nil),
	}
	if w.options.ExecutionRoleARN != "" {
		in.ExecutionRoleArn = &w.options.ExecutionRoleARN
	}
	if w.options.TaskRoleARN != "" {
		in.TaskRoleArn = &w.options.TaskRoleARN
	}
	if w.mode() == "global" {
		w.host("deploy.mode")
	}
	need := needOf(w.s)
	if len(w.ec2) > 0 {
		in.RequiresCompatibilities = []ecstypes.Compatibility{ecstypes.CompatibilityEc2}
		cpu, memory := size{max(leastEC2Units, cmp.Or(need.cpu, defaultUnits)), cmp.Or(need.memory, defaultMemory)}.strings()
		in.Cpu, in.Memory = &cpu, &memory
	} else {
		in.RequiresCompatibilities = []ecstypes.Compatibility{ecstypes.CompatibilityFargate}
		fits, ok := fargateSize(need)
		if !ok {
			return nil, fmt.Errorf("%s.deploy.resources: no size of Fargate holds %d CPU units and %d MiB", w.at, need.cpu, need.memory)
		}
		cpu, memory := fits.strings()
		in.Cpu, in.Memory = &cpu, &memory
		if need != (size{}) && (need.cpu != 0 && fits.cpu != need.cpu || need.memory != 0 && fits.memory != need.memory) {
			w.not(w.at+".deploy.resources", "the task has %s CPU units and %s MiB, the smallest size of Fargate that holds %d and %d", cpu, memory, need.cpu, need.memory)
		}
	}
	if reserved := reservedOf(w.s); reserved > 0 && reserved < need.memory {
		container.MemoryReservation = aws.Int32(int32(reserved)) //nolint:gosec // less than a size
	}
	w.platform(in)
	in.ContainerDefinitions = []ecstypes.ContainerDefinition{*container}
	return in, nil
}

// tags are those of everything that the project makes, and more.
func (w *work) tags(more map[string]string) []ecstypes.Tag {
	all := map[string]string{TagProject: w.project.Name, TagService: w.s.Name}
	maps.Copy(all, more)
	var tags []ecstypes.Tag
	for _, name := range slices.Sorted(maps.Keys(all)) {
		tags = append(tags, ecstypes.Tag{Key: aws.String(name), Value: aws.String(all[name])})
	}
	return tags
}

func (w *work) platform(in *ecs.RegisterTaskDefinitionInput) {
	switch system, architecture, _ := strings.Cut(w.s.Platform, "/"); {
	case w.s.Platform == "":
	case system != "linux":
		w.not(w.at+".platform", "Berth runs Linux containers")
	case architecture == "amd64" || architecture == "x86_64":
		in.RuntimePlatform = &ecstypes.RuntimePlatform{CpuArchitecture: ecstypes.CPUArchitectureX8664, OperatingSystemFamily: ecstypes.OSFamilyLinux}
	case architecture == "arm64" || strings.HasPrefix(architecture, "arm64/"):
		in.RuntimePlatform = &ecstypes.RuntimePlatform{CpuArchitecture: ecstypes.CPUArchitectureArm64, OperatingSystemFamily: ecstypes.OSFamilyLinux}
	case architecture != "":
		w.not(w.at+".platform", "ECS has linux/amd64 and linux/arm64")
	}
}

// mode is deploy.mode; empty is Compose's default, replicated.
func (w *work) mode() string {
	if w.s.Deploy == nil {
		return ""
	}
	return w.s.Deploy.Mode
}

// dependencies are what the service waits for, in the order of their names.
func (w *work) dependencies() []Dependency {
	var all []Dependency
	for _, name := range slices.Sorted(maps.Keys(w.s.DependsOn)) {
		d, at := w.s.DependsOn[name], w.at+".depends_on."+name
		other, ok := w.project.Services[name]
		if !ok {
			w.not(at, "that service is not part of what is deployed (profiles)")
			continue
		}
		if d.Condition == types.ServiceConditionHealthy && (other.HealthCheck == nil || other.HealthCheck.Disable) {
			w.not(at+".condition", "%s has no healthcheck, and ECS does not read the image's: it is waited for until its deployment is complete", name)
		}
		if d.Condition != types.ServiceConditionCompletedSuccessfully && w.jobs[name] {
			w.not(at+".condition", "%s runs once: it is waited for until it has succeeded", name)
		}
		if !d.Required {
			w.not(at+".required", "%s is deployed before, and a failure ends the deployment", name)
		}
		all = append(all, Dependency{name, d.Condition})
	}
	return all
}

// jobsOf are the services that run once. That does not depend on which services
// of the file are chosen.
func jobsOf(p *types.Project) map[string]bool {
	jobs, everything := map[string]bool{}, maps.Clone(p.DisabledServices)
	if everything == nil {
		everything = types.Services{}
	}
	maps.Copy(everything, p.Services)
	for name, s := range everything {
		if s.Restart == types.RestartPolicyNo {
			jobs[name] = true
		}
		if d := s.Deploy; d != nil {
			if d.Mode == "replicated-job" || d.Mode == "global-job" || d.RestartPolicy != nil && d.RestartPolicy.Condition == "none" {
				jobs[name] = true
			}
		}
		for other, how := range s.DependsOn {
			if how.Condition == types.ServiceConditionCompletedSuccessfully {
				jobs[other] = true
			}
		}
	}
	return jobs
}

// levelsOf orders services; compose-go has refused cycles.
func levelsOf(p *types.Project) map[string]int {
	levels := map[string]int{}
	var of func(name string, trail []string) int
	of = func(name string, trail []string) int {
		if level, known := levels[name]; known || slices.Contains(trail, name) {
			return level
		}
		level := 0
		for other := range p.Services[name].DependsOn {
			if _, there := p.Services[other]; there {
				level = max(level, of(other, append(trail, name))+1)
			}
		}
		levels[name] = level
		return level
	}
	for name := range p.Services {
		of(name, nil)
	}
	return levels
}

// secretsDir is where Compose has secrets.
const secretsDir = "/run/secrets"

// inSecretsDir is the name of a file right below secretsDir.
func inSecretsDir(target string) (string, bool) {
	if !path.IsAbs(target) {
		target = path.Join(secretsDir, target)
	}
	return path.Base(target), path.Dir(target) == secretsDir
}
