package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/spf13/cobra"

	"berth.dev/berth/internal/base/ident"
)

// deployFlags are the options of `berth deploy`.
type deployFlags struct {
	followFlags
	files, images, env    []string
	taskDefinition        string
	expose, as            string
	healthPath            string
	healthInterval, drain time.Duration
	count                 int32
	force, execute        bool
	// matcher is the codes that a new target group takes for healthy; empty
	// is AWS's default.
	matcher string

	changed map[string]bool // flags that were typed
}

func newDeploy(e *environment) *cobra.Command {
	var f deployFlags
	cmd := &cobra.Command{
		Use: "deploy [SERVICE]", Short: "Create or update a service and follow its deployment", Args: arguments(cobra.MaximumNArgs(1)),
		Long: `Create a service, or bring it to a new revision, and follow the deployment: old and new
tasks, their health, what each waits for and how long that still takes.

Files are a task definition, as aws ecs register-task-definition --cli-input-json takes it,
which is registered first, and a service, as create-service takes it. A service that exists
is updated. With --image and --env a new revision of what the service runs is registered.

--expose puts an application load balancer before the service, and --as gives it a name
inside the VPC. What that needs and is not there yet (security groups, load balancer,
target group, listener; Cloud Map namespace and service) is made by plain AWS calls, which
-v prints. An exposed service that names no security groups gets two: one for the load
balancer, open to everybody, and one for its tasks, open to the load balancer and the VPC.

Where the service answers is printed. The exit code is 3 when the deployment failed or was
rolled back.`,
		Example: `  berth deploy -f my-app.json -f my-service.json --expose http --as my-service.my-apps.local
  berth deploy web -f web.json --count 3 --expose http:8080 --health-path /health
  berth deploy web --image app=web:2
  berth deploy web --env app:LOG_LEVEL=debug --detach
  berth deploy web --task-definition web:7
  berth deploy web --enable-execute-command`,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.changed = map[string]bool{}
			for _, name := range []string{"count", "health-path", "health-interval", "deregistration-delay", executeFlag} {
				f.changed[name] = cmd.Flags().Changed(name)
			}
			order, err := f.read(e, args)
			if err != nil {
				return err
			}
			c, err := e.connect(cmd)
			if err != nil {
				return err
			}
			ctx, cancel := f.bounded(cmd.Context())
			defer cancel()
			return (&deployer{e: e, clients: c, p: newPrinter(e.err), flags: &f, order: order}).run(ctx)
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.files, "file", "f", nil, "task definition or service, - for standard input; may be repeated")
	flags.StringVar(&f.taskDefinition, "task-definition", "", "registered task definition: family, family:revision or ARN")
	flags.StringArrayVar(&f.images, "image", nil, "replace a container's image, CONTAINER=IMAGE; may be repeated")
	flags.StringArrayVar(&f.env, "env", nil, "set an environment variable, [CONTAINER:]NAME=VALUE; may be repeated")
	flags.Int32Var(&f.count, "count", 1, "how many tasks (default: as the service has them; 1 for a new one)")
	flags.BoolVar(&f.force, "force", false, "replace all tasks even if nothing changes")
	flags.StringVar(&f.expose, "expose", "", "put a load balancer before it: http[:PORT][=CONTAINER:PORT]")
	flags.StringVar(&f.as, "as", "", "name inside the VPC, such as my-service.my-apps.local")
	flags.StringVar(&f.healthPath, "health-path", "/", "path that the load balancer asks for health")
	flags.DurationVar(&f.healthInterval, "health-interval", 30*time.Second, "how often the load balancer asks for health, 5s to 300s")
	flags.DurationVar(&f.drain, "deregistration-delay", 300*time.Second, "how long a task goes on after the load balancer has let it go")
	flags.BoolVar(&f.execute, executeFlag, false, "let people into the tasks: berth exec, port-forward, cp, debug; =false ends it (default: as the service has it)")
	f.register(e, cmd)
	cmd.ValidArgsFunction = e.completeServices
	return cmd
}

// executeFlag lets people into tasks, and is called as AWS calls it.
const executeFlag = "enable-execute-command"

// order is what the command's files and arguments ask for.
type order struct {
	service string
	spec    *ecs.CreateServiceInput          // nil without a service file
	def     *ecs.RegisterTaskDefinitionInput // nil without a task definition file
	exposed *exposure                        // nil without --expose
	name    *discoveryName                   // nil without --as
}

// read reads the files and puts together what is asked for.
func (f *deployFlags) read(e *environment, args []string) (*order, error) {
	o := &order{}
	for _, name := range f.files {
		if err := o.add(e, name); err != nil {
			return nil, err
		}
	}
	if len(args) > 0 {
		o.service = args[0]
	}
	if o.spec != nil {
		named := aws.ToString(o.spec.ServiceName)
		if o.service != "" && o.service != named {
			return nil, misuse("the file is about service %s, not %s", named, o.service)
		}
		o.service = named
	}
	switch {
	case o.service == "":
		return nil, misuse("which service? Name it, or give its file: berth deploy -f service.json")
	case o.def != nil && f.taskDefinition != "":
		return nil, misuse("give either a task definition file or --task-definition %s, not both", f.taskDefinition)
	case f.changed["count"] && f.count < 0:
		return nil, misuse("--count %d is less than nothing", f.count)
	case f.expose == "" && (f.changed["health-path"] || f.changed["health-interval"] || f.changed["deregistration-delay"]):
		return nil, misuse("--health-path, --health-interval and --deregistration-delay are for the load balancer of --expose")
	}
	var err error
	if o.exposed, err = parseExposure(f.expose); err != nil {
		return nil, err
	}
	o.name, err = parseDiscoveryName(f.as)
	return o, err
}

// deployer carries out an order.
type deployer struct {
	e       *environment
	clients *clients
	p       *printer
	flags   *deployFlags
	order   *order

	existing *types.Service
	def      *types.TaskDefinition
}

func (d *deployer) step(phase, format string, args ...any) {
	if d.e.output != formJSON {
		d.p.say("%s", step{true, phase, fmt.Sprintf(format, args...), 0}.line(d.p, ""))
	}
}

func (d *deployer) run(ctx context.Context) error {
	u, err := d.clients.pursue(ctx, d.e, d.p, &d.flags.followFlags, d.order.service)
	if err != nil {
		return err
	}
	d.existing, err = d.clients.service(ctx, d.flags.cluster, d.order.service)
	if _, none := errors.AsType[*noService](err); err != nil && !none {
		return err
	}
	if err := d.definition(ctx); err != nil {
		return err
	}
	change, err := d.surroundings(ctx)
	if err != nil {
		return err
	}
	var s *types.Service
	if d.existing == nil {
		s, err = d.create(ctx, change)
	} else {
		s, err = d.update(ctx, change)
	}
	if err != nil {
		return err
	}
	if d.flags.detach {
		return d.detached(s)
	}
	end, g, err := u.follow(ctx, s)
	if err != nil {
		return err
	}
	return u.conclude(ctx, end, g)
}

func (d *deployer) detached(s *types.Service) error {
	if d.e.output == formJSON {
		return d.e.writeJSON(map[string]any{"service": awsShape(s)})
	}
	d.p.hint("berth services %s%s", serviceName(s), d.e.dataDirHint())
	return nil
}

// definition finds or registers the task definition that the service shall
// run.
func (d *deployer) definition(ctx context.Context) error {
	name := d.flags.taskDefinition
	if name == "" && d.order.spec != nil {
		name = aws.ToString(d.order.spec.TaskDefinition)
	}
	if name == "" && d.existing != nil {
		name = aws.ToString(d.existing.TaskDefinition)
	}
	in := d.order.def
	edited := len(d.flags.images)+len(d.flags.env) > 0
	switch {
	case in == nil && name == "":
		return misuse("there is no service %s yet: say what it shall run with -f taskdef.json or --task-definition", d.order.service)
	case in == nil && !edited:
		def, err := definitions{}.get(ctx, d.clients, name)
		if err != nil {
			return fmt.Errorf("task definition %s: %w (-f registers a file)", name, err)
		}
		if def.TaskRoleArn != nil || !d.flags.execute {
			d.def = def
			return nil
		}
	}
	if in == nil {
		var err error
		if in, err = d.clients.registration(ctx, name); err != nil {
			return err
		}
	}
	if in.TaskRoleArn == nil && d.flags.execute {
		role, err := d.clients.ensureExecRole(ctx, d.p)
		if err != nil {
			return err
		}
		in.TaskRoleArn = role.Arn
	}
	if err := replaceImages(in, d.flags.images); err != nil {
		return err
	}
	if err := setEnvironment(in, d.flags.env); err != nil {
		return err
	}
	if err := d.clients.ensureExecutionRole(ctx, d.p, in); err != nil {
		return err
	}
	out, err := d.clients.ecs.RegisterTaskDefinition(ctx, in)
	if err != nil {
		return fmt.Errorf("registering %s: %w", aws.ToString(in.Family), explained(err))
	}
	d.def = out.TaskDefinition
	d.step("Definition", "%s%s", registered(d.def), d.difference(ctx))
	return nil
}

// difference says what is new in the definition since the one that runs.
func (d *deployer) difference(ctx context.Context) string {
	if d.existing == nil {
		return ""
	}
	old, err := definitions{}.get(ctx, d.clients, aws.ToString(d.existing.TaskDefinition))
	if err != nil {
		return ""
	}
	if text := differences(old, d.def); text != "" {
		return "  " + text
	}
	return ""
}

// create makes the service: that of the file, or else one with a circuit
// breaker that rolls back.
func (d *deployer) create(ctx context.Context, change *surroundings) (*types.Service, error) {
	in := d.order.spec
	if in == nil {
		in = &ecs.CreateServiceInput{
			ServiceName: &d.order.service, DesiredCount: aws.Int32(1),
			DeploymentConfiguration: &types.DeploymentConfiguration{
				DeploymentCircuitBreaker: &types.DeploymentCircuitBreaker{Enable: true, Rollback: true},
			},
		}
	}
	in.Cluster, in.TaskDefinition, in.ClientToken = &d.flags.cluster, d.def.TaskDefinitionArn, aws.String(ident.UUID())
	if d.flags.changed["count"] {
		in.DesiredCount = &d.flags.count
	}
	if in.LaunchType == "" && len(in.CapacityProviderStrategy) == 0 && slices.Contains(d.def.RequiresCompatibilities, types.CompatibilityFargate) {
		in.LaunchType = types.LaunchTypeFargate
	}
	if d.flags.changed[executeFlag] {
		in.EnableExecuteCommand = d.flags.execute
	}
	in.NetworkConfiguration = change.network
	in.LoadBalancers, in.ServiceRegistries = change.balancers(in.LoadBalancers, nil), change.registries(in.ServiceRegistries, nil)
	out, err := d.clients.ecs.CreateService(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("creating service %s: %w", d.order.service, explained(err))
	}
	d.step("Service", "%s created, %d × %s", d.order.service, out.Service.DesiredCount, definitionName(d.def.TaskDefinitionArn))
	return out.Service, nil
}

// update brings the service to what is asked for. Members that stay as they
// are are not sent: they could start a deployment that nobody wanted.
func (d *deployer) update(ctx context.Context, change *surroundings) (*types.Service, error) {
	in := &ecs.UpdateServiceInput{}
	if d.order.spec != nil {
		var err error
		if in, err = updateOf(d.order.spec, d.existing); err != nil {
			return nil, err
		}
	}
	in.Cluster, in.Service, in.ForceNewDeployment = &d.flags.cluster, &d.order.service, d.flags.force
	if aws.ToString(d.existing.TaskDefinition) != aws.ToString(d.def.TaskDefinitionArn) {
		in.TaskDefinition = d.def.TaskDefinitionArn
	}
	if d.flags.changed["count"] {
		in.DesiredCount = &d.flags.count
	}
	if d.flags.changed[executeFlag] {
		// Tasks that run are as they were started: those that are let into are new.
		in.EnableExecuteCommand, in.ForceNewDeployment = &d.flags.execute, true
	}
	in.NetworkConfiguration = change.network
	in.LoadBalancers = change.balancers(in.LoadBalancers, d.existing.LoadBalancers)
	in.ServiceRegistries = change.registries(in.ServiceRegistries, d.existing.ServiceRegistries)
	asked := d.order.spec != nil || d.order.def != nil || d.order.exposed != nil || d.order.name != nil
	if !asked && in.TaskDefinition == nil && in.DesiredCount == nil && !in.ForceNewDeployment {
		return nil, misuse("%s runs %s already: change something with --image, --env, -f or --task-definition, or replace its tasks with --force", d.order.service, definitionName(d.def.TaskDefinitionArn))
	}
	out, err := d.clients.ecs.UpdateService(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("updating service %s: %w", d.order.service, explained(err))
	}
	return out.Service, nil
}
