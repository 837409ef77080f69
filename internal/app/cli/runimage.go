package cli

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/distribution/reference"
	"github.com/spf13/cobra"
)

// imageOptions are what `berth run IMAGE` has besides.
type imageOptions struct {
	name, cpu, memory, healthPath string
	port                          int32
	env                           []string
	once, execute                 bool
}

func (f *imageOptions) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.once, "once", false, "run the image as a task that ends, not as a service")
	flags.StringVar(&f.name, "name", "", "name of the service and of its task definition (default: the image's)")
	flags.Int32Var(&f.port, "port", 0, "port that the load balancer leads to; 0 for no load balancer (default: the image's EXPOSE)")
	flags.StringArrayVarP(&f.env, "env", "e", nil, "set an environment variable, NAME=VALUE; may be repeated")
	flags.StringVar(&f.cpu, "cpu", "256", "CPU units, 1024 a core")
	flags.StringVar(&f.memory, "memory", "512", "memory in MiB")
	flags.StringVar(&f.healthPath, "health-path", "/", "path that the load balancer asks for health")
	flags.BoolVar(&f.execute, executeFlag, true, "let people into the tasks: berth exec, port-forward, cp, debug")
}

// names are what services, families and containers may be called.
var names = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)

func (f *imageOptions) check() error {
	switch {
	case f.name != "" && !names.MatchString(f.name):
		return misuse("--name %q is not letters, digits, - and _", f.name)
	case f.port < 0 || f.port > 65535:
		return misuse("--port %d is no port", f.port)
	}
	return nil
}

const (
	// soon is how often the load balancer of `berth run` asks for health, and
	// how long it drains: who tries something out waits for it.
	soon = 5 * time.Second
	// answersAtAll takes pages that are not there, and those that want a login,
	// for healthy: that the program answers is all that is known of it.
	answersAtAll = "200-499"
)

// nameOf is the service's name: the last part of the image's.
func (f *imageOptions) nameOf(image string) (string, error) {
	if f.name != "" {
		return f.name, nil
	}
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return "", misuse("%s is not the name of an image: %w", image, err)
	}
	name := strings.ReplaceAll(lastPart(reference.Path(named)), ".", "-")
	if !names.MatchString(name) {
		return "", misuse("%w", errNoName)
	}
	return name, nil
}

// serve runs an image as a service: a new one, or a deployment of the one that
// has its name.
func (f *runFlags) serve(ctx context.Context, e *environment, c *clients, p *printer, image string, command []string) error {
	name, err := f.nameOf(image)
	if err != nil {
		return err
	}
	d := &deployer{e: e, clients: c, p: p, order: &order{service: name}, flags: &deployFlags{
		followFlags: f.followFlags, count: f.count, env: f.env, healthPath: f.healthPath, execute: f.execute,
		changed: map[string]bool{"count": f.changed["count"], executeFlag: f.changed[executeFlag], "health-path": f.changed["health-path"]},
	}}
	existing, err := c.service(ctx, f.cluster, name)
	if _, none := errors.AsType[*noService](err); err != nil && !none {
		return err
	}
	if existing == nil {
		err = f.begin(ctx, d, image, command)
	} else {
		err = f.again(ctx, d, existing, image, command)
	}
	if err != nil {
		return err
	}
	if err := d.run(ctx); err != nil {
		return err
	}
	f.next(e, p, name)
	return nil
}

// begin orders a new service.
func (f *runFlags) begin(ctx context.Context, d *deployer, image string, command []string) error {
	port, err := f.portOf(ctx, d.e, d.clients, d.p, image)
	if err != nil {
		return err
	}
	d.order.def, err = f.definitionFor(ctx, d.clients, d.p, d.order.service, image, port, command)
	if err != nil {
		return err
	}
	changed := d.flags.changed
	changed[executeFlag] = true
	if port > 0 {
		d.order.exposed = &exposure{port: 80, container: d.order.service, containerPort: port}
		d.flags.matcher, d.flags.healthInterval, d.flags.drain = answersAtAll, soon, soon
		changed["health-interval"], changed["deregistration-delay"] = true, true
	}
	return nil
}

// portOf is the port that the load balancer leads to; 0 is none.
func (f *runFlags) portOf(ctx context.Context, e *environment, c *clients, p *printer, image string) (int32, error) {
	if f.changed["port"] {
		return f.port, nil
	}
	config, err := e.lookInto(ctx, c, image)
	if err != nil {
		return 0, err
	}
	port, text := webPort(config.ports), fmt.Sprintf("%s from %s", image, config.from)
	switch {
	case len(config.ports) > 1:
		text += fmt.Sprintf(", port %d of %s (another with --port)", port, portList(config.ports))
	case port > 0:
		text += fmt.Sprintf(", port %d", port)
	default:
		text += ", which exposes no port: no load balancer (--port gives it one)"
	}
	if e.output != formJSON {
		p.say("%s", step{true, "Image", text, 0}.line(p, ""))
	}
	return port, nil
}

// definitionFor is a task definition of one container.
func (f *runFlags) definitionFor(ctx context.Context, c *clients, p *printer, name, image string, port int32, command []string) (*ecs.RegisterTaskDefinitionInput, error) {
	container := types.ContainerDefinition{
		Name: &name, Image: &image, Essential: aws.Bool(true), Command: command,
		LogConfiguration: &types.LogConfiguration{LogDriver: types.LogDriverAwslogs, Options: map[string]string{
			"awslogs-group": "/ecs/" + name, "awslogs-region": c.region, "awslogs-stream-prefix": "ecs", "awslogs-create-group": "true",
		}},
	}
	if port > 0 {
		container.PortMappings = []types.PortMapping{{ContainerPort: &port, Protocol: types.TransportProtocolTcp}}
	}
	in := &ecs.RegisterTaskDefinitionInput{
		Family: &name, NetworkMode: types.NetworkModeAwsvpc, RequiresCompatibilities: []types.Compatibility{types.CompatibilityFargate},
		Cpu: &f.cpu, Memory: &f.memory, ContainerDefinitions: []types.ContainerDefinition{container},
	}
	role, err := c.executionRoleFor(ctx, p, in)
	if err != nil {
		return nil, err
	}
	in.ExecutionRoleArn = role.Arn
	return in, nil
}

// again orders a deployment of a service that is there. Without anything to
// change its tasks are replaced: what the tag means may be new.
func (f *runFlags) again(ctx context.Context, d *deployer, s *types.Service, image string, command []string) error {
	in, err := d.clients.registration(ctx, aws.ToString(s.TaskDefinition))
	if err != nil {
		return err
	}
	container, err := containerFor(in, serviceName(s))
	if err != nil {
		return err
	}
	if has := aws.ToString(container.Image); !f.changed["name"] && repositoryOf(has) != repositoryOf(image) {
		return misuse("service %s runs %s already: choose another --name, or say --name %s to deploy %s there", serviceName(s), has, serviceName(s), image)
	}
	edited := aws.ToString(container.Image) != image || len(command) > 0 || len(f.env) > 0
	container.Image = &image
	if len(command) > 0 {
		container.Command = command
	}
	for flag, to := range map[string]**string{"cpu": &in.Cpu, "memory": &in.Memory} {
		if f.changed[flag] {
			value := map[string]string{"cpu": f.cpu, "memory": f.memory}[flag]
			*to, edited = &value, true
		}
	}
	if f.changed["port"] && f.port > 0 {
		listens := slices.ContainsFunc(container.PortMappings, func(m types.PortMapping) bool { return aws.ToInt32(m.ContainerPort) == f.port })
		if !listens {
			container.PortMappings, edited = append(container.PortMappings, types.PortMapping{ContainerPort: &f.port, Protocol: types.TransportProtocolTcp}), true
		}
		if len(s.LoadBalancers) == 0 {
			d.order.exposed = &exposure{port: 80, container: aws.ToString(container.Name), containerPort: f.port}
		} else if aws.ToInt32(s.LoadBalancers[0].ContainerPort) != f.port {
			return misuse("the load balancer of %s leads to port %d: change that with berth deploy and a service file, or give it another --name", serviceName(s), aws.ToInt32(s.LoadBalancers[0].ContainerPort))
		}
	}
	if edited {
		d.order.def = in
	} else {
		d.flags.force = true
	}
	d.flags.execute = f.changed[executeFlag] && f.execute
	return nil
}

// containerFor is the container of a service's definition that an image is
// for: the only one, else that of the service's name.
func containerFor(in *ecs.RegisterTaskDefinitionInput, service string) (*types.ContainerDefinition, error) {
	if len(in.ContainerDefinitions) == 1 {
		return &in.ContainerDefinitions[0], nil
	}
	for i := range in.ContainerDefinitions {
		if aws.ToString(in.ContainerDefinitions[i].Name) == service {
			return &in.ContainerDefinitions[i], nil
		}
	}
	return nil, misuse("service %s has several containers: use berth deploy %s --image CONTAINER=IMAGE", service, service)
}

// repositoryOf is an image's full name without tag and digest.
func repositoryOf(image string) string {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return withoutTag(image)
	}
	return named.Name()
}

// next says what people do next.
func (f *runFlags) next(e *environment, p *printer, name string) {
	if e.output == formJSON || f.detach {
		return
	}
	cluster := ""
	if f.changed["cluster"] {
		cluster = " --cluster " + f.cluster
	}
	p.say("")
	for _, one := range [][2]string{
		{"berth ps", "its tasks; berth logs TASK shows what one says"},
		{"berth exec " + name, "a shell inside"},
		{"berth open " + name, "its page"},
		{"berth run IMAGE --name " + name, "deploy another image"},
		{"berth scale " + name + " 0", "stop it"},
	} {
		p.say("  %s  %s", p.paint("36", fmt.Sprintf("%-34s", one[0]+cluster+e.dataDirHint())), p.paint("2", one[1]))
	}
}

// definitionOf registers a definition for a task of an image that ends.
func (f *runFlags) definitionOf(ctx context.Context, e *environment, c *clients, p *printer, image string, command []string) (*types.TaskDefinition, error) {
	name, err := f.nameOf(image)
	if err != nil {
		return nil, err
	}
	in, err := f.definitionFor(ctx, c, p, name, image, f.port, command)
	if err != nil {
		return nil, err
	}
	if err := setEnvironment(in, f.env); err != nil {
		return nil, err
	}
	if f.execute {
		role, err := c.ensureExecRole(ctx, p)
		if err != nil {
			return nil, err
		}
		in.TaskRoleArn = role.Arn
	}
	out, err := c.ecs.RegisterTaskDefinition(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("registering %s: %w", name, explained(err))
	}
	if e.output == formTable {
		p.say("%s", step{true, "Definition", registered(out.TaskDefinition), 0}.line(p, ""))
	}
	return out.TaskDefinition, nil
}

// showOutput prints what tasks that have ended said.
func (f *runFlags) showOutput(ctx context.Context, e *environment, c *clients, tasks []types.Task) error {
	for i := range tasks {
		source, err := c.taskLogs(ctx, f.cluster, aws.ToString(tasks[i].TaskArn), "", time.Time{}, 0)
		if err != nil {
			return err
		}
		lines, err := source.next(ctx)
		if err != nil {
			return explained(err)
		}
		for _, l := range lines {
			if _, err := fmt.Fprintln(e.out, strings.TrimRight(l.Message, "\n")); err != nil {
				return err
			}
		}
	}
	return nil
}
