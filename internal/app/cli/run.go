package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"berth.dev/berth/internal/base/ident"
)

// runFlags are the options of `berth run`.
type runFlags struct {
	followFlags
	imageOptions
	file, taskDefinition, launchType, wait string
	subnets, groups, images                []string
	count                                  int32
	publicIP                               bool

	changed map[string]bool // flags that were typed
}

func newRun(e *environment) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use: "run IMAGE [COMMAND [ARGUMENT...]]", Short: "Run an image as a service, or a task definition as a task", Args: cobra.ArbitraryArgs,
		Long: `Run an image as a service that keeps running: a task definition, the service, and when the
image has a port (EXPOSE, or --port) a load balancer before it. It is followed until it is
steady, and its URL is printed. Again with another image, or the same one built anew, it is
deployed, as berth deploy does; what no flag says stays as it is.

The image is what docker build just made when a local Docker engine has it, else what this
host's node has, else pulled. One of Berth's registry is named as AWS names it, see berth
push; docker push works, too.

What is made is plain ECS: -v prints the calls. The load balancer asks for health every 5
seconds, takes any answer below 500 for healthy, and drains for 5 seconds; berth deploy and
the AWS API change all of it. berth exec works, unless --enable-execute-command=false.

With --once the image runs as a task that ends: it is followed to its end, and its output
is printed. With -f or --task-definition a task runs as the definition says; it is followed
until it is RUNNING (or with --wait stopped, until it has ended), and its id is printed.`,
		Example: `  berth run nginx
  berth run my-app:latest --port 3000 --env LOG_LEVEL=debug --count 2
  berth run 123456789012.dkr.ecr.us-east-1.amazonaws.com/my-app:latest
  berth run my-worker --name mailer -- ./work --queue mail
  berth run --once my-app -- ./migrate.sh
  berth run -f examples/my-app.json --image app=my-app:latest
  berth run --task-definition my-app:3 --count 2 --detach`,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.changed = map[string]bool{}
			cmd.Flags().Visit(func(flag *pflag.Flag) { f.changed[flag.Name] = true })
			if len(args) == 1 && isDefinitionARN(args[0]) {
				f.taskDefinition, args = args[0], nil
			}
			if err := f.check(args); err != nil {
				return err
			}
			c, err := e.connect(cmd)
			if err != nil {
				return err
			}
			ctx, cancel := f.bounded(cmd.Context())
			defer cancel()
			p := newPrinter(e.err)
			if len(args) > 0 {
				if args[0], err = e.fullName(ctx, c, args[0]); err != nil {
					return err
				}
			}
			if len(args) > 0 && !f.once {
				return f.serve(ctx, e, c, p, args[0], args[1:])
			}
			def, err := f.definition(ctx, e, c, p, args)
			if err != nil {
				return err
			}
			err = f.run(ctx, e, c, p, def)
			if errors.Is(err, context.DeadlineExceeded) {
				return &failure{exitTimed, fmt.Errorf("it took longer than %s; the task goes on, `berth ps` shows it", f.timeout)}
			}
			return err
		},
	}
	flags := cmd.Flags()
	f.imageOptions.register(cmd)
	flags.StringVarP(&f.file, "file", "f", "", "task definition to register, - for standard input")
	flags.StringVar(&f.taskDefinition, "task-definition", "", "registered task definition: family, family:revision or ARN")
	flags.Int32Var(&f.count, "count", 1, "how many tasks")
	flags.StringVar(&f.launchType, "launch-type", "", "of a task: FARGATE or EC2 (default: what the task definition requires)")
	flags.StringSliceVar(&f.subnets, "subnets", nil, "of a task: subnets, comma-separated (default: those of the default VPC)")
	flags.StringSliceVar(&f.groups, "security-groups", nil, "of a task: security groups, comma-separated (default: berth-open, which lets everybody in, else the VPC's own)")
	flags.BoolVar(&f.publicIP, "public-ip", false, "of a task: a public address, which this host reaches")
	flags.SetNormalizeFunc(plural)
	flags.StringArrayVar(&f.images, "image", nil, "replace a container's image, CONTAINER=IMAGE; needs -f, may be repeated")
	flags.StringVar(&f.wait, "wait", "running", "of a task: follow until running or stopped (default with --once: stopped)")
	f.followFlags.register(e, cmd)
	cmd.ValidArgsFunction = completeDockerImages
	cmd.RegisterFlagCompletionFunc("task-definition", func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) { //nolint:errcheck,gosec // the flag was made above
		return e.completeFamilies(cmd, nil, typed)
	})
	return cmd
}

// isDefinitionARN tells the ARN of a task definition from an image.
func isDefinitionARN(s string) bool {
	return strings.HasPrefix(s, "arn:") && strings.Contains(s, ":task-definition/")
}

// ofTasks are flags that make no sense for a service, and ofImages those that
// make none for a task definition.
var (
	ofTasks  = []string{"launch-type", "subnets", "security-groups", "public-ip", "wait"}           //nolint:gochecknoglobals // a constant list
	ofImages = []string{"once", "name", "port", "env", "cpu", "memory", "health-path", executeFlag} //nolint:gochecknoglobals // a constant list
)

func (f *runFlags) check(args []string) error {
	typed := func(names []string) string {
		for _, name := range names {
			if f.changed[name] {
				return name
			}
		}
		return ""
	}
	image := len(args) > 0
	switch {
	case f.file == "" && f.taskDefinition == "" && !image:
		return misuse("what shall run? Give an image, or a file with -f: berth run nginx, berth run -f taskdef.json")
	case f.file != "" && (image || f.taskDefinition != ""):
		return misuse("give either -f %s or %s, not both", f.file, strings.Join(append(args, f.taskDefinition), ""))
	case f.taskDefinition != "" && image:
		return misuse("give either --task-definition %s or an image, not both", f.taskDefinition)
	case f.file == "" && len(f.images) > 0:
		return misuse("--image needs -f: the image of a registered task definition cannot be changed")
	case image && !f.once && typed(ofTasks) != "":
		return misuse("--%s is for a task: -f, --task-definition or --once", typed(ofTasks))
	case !image && typed(ofImages) != "":
		return misuse("--%s is for an image: berth run IMAGE", typed(ofImages))
	case f.wait != "running" && f.wait != "stopped":
		return misuse("--wait %q is not running or stopped", f.wait)
	case f.launchType != "" && f.launchType != "FARGATE" && f.launchType != "EC2":
		return misuse("--launch-type %q is not FARGATE or EC2", f.launchType)
	case f.count < 0, f.count < 1 && (!image || f.once):
		return misuse("--count %d is too few", f.count)
	case f.count > tasksLimit && (!image || f.once):
		return misuse("--count %d is not between 1 and %d", f.count, tasksLimit)
	}
	if f.once && !f.changed["wait"] {
		f.wait = "stopped"
	}
	return f.imageOptions.check()
}

// tasksLimit is how many tasks one RunTask starts.
const tasksLimit = 10

// definition registers the file, or finds what is registered.
func (f *runFlags) definition(ctx context.Context, e *environment, c *clients, p *printer, args []string) (*types.TaskDefinition, error) {
	if len(args) > 0 {
		return f.definitionOf(ctx, e, c, p, args[0], args[1:])
	}
	if f.file == "" {
		def, err := definitions{}.get(ctx, c, f.taskDefinition)
		if err != nil {
			return nil, fmt.Errorf("task definition %s: %w (`aws ecs list-task-definition-families` lists what is registered; -f registers a file)", f.taskDefinition, err)
		}
		return def, nil
	}
	file, err := e.open(f.file)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // only read
	in, err := readDefinition(file, f.file)
	if err != nil {
		return nil, err
	}
	if err := replaceImages(in, f.images); err != nil {
		return nil, err
	}
	if err := c.ensureExecutionRole(ctx, p, in); err != nil {
		return nil, err
	}
	out, err := c.ecs.RegisterTaskDefinition(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("registering %s: %w", f.file, explained(err))
	}
	if e.output == formTable {
		p.say("%s", step{true, "Definition", registered(out.TaskDefinition), 0}.line(p, ""))
	}
	return out.TaskDefinition, nil
}

func registered(def *types.TaskDefinition) string {
	text := fmt.Sprintf("%s:%d", aws.ToString(def.Family), def.Revision)
	if def.Cpu != nil && def.Memory != nil {
		text += fmt.Sprintf("  %s CPU, %s MiB", *def.Cpu, *def.Memory)
	}
	return text
}

// run starts the tasks, follows them, and says how to go on.
func (f *runFlags) run(ctx context.Context, e *environment, c *clients, p *printer, def *types.TaskDefinition) error {
	in, err := f.request(ctx, c, def)
	if err != nil {
		return err
	}
	in.EnableExecuteCommand = f.once && f.execute
	out, err := c.ecs.RunTask(ctx, in)
	if err != nil {
		return fmt.Errorf("running %s: %w", lastPart(aws.ToString(def.TaskDefinitionArn)), explained(err))
	}
	tasks := out.Tasks
	if !f.detach && len(tasks) > 0 {
		var arns []string
		for _, t := range tasks {
			arns = append(arns, aws.ToString(t.TaskArn))
		}
		defs := definitions{aws.ToString(def.TaskDefinitionArn): def}
		if tasks, err = newFollower(c, p, e.output == formJSON, f.cluster, defs).follow(ctx, arns, f.reached); err != nil {
			return err
		}
	}
	if f.once && !f.detach && f.wait == "stopped" && e.output != formJSON {
		if err := f.showOutput(ctx, e, c, tasks); err != nil {
			return err
		}
	} else if err := f.show(e, p, def, tasks, out.Failures); err != nil {
		return err
	}
	return f.verdict(e, p, def, tasks, out.Failures)
}

func (f *runFlags) reached(t *types.Task) bool {
	status := aws.ToString(t.LastStatus)
	return status == stopped || status == running && f.wait == "running"
}

func (f *runFlags) request(ctx context.Context, c *clients, def *types.TaskDefinition) (*ecs.RunTaskInput, error) {
	in := &ecs.RunTaskInput{
		Cluster: &f.cluster, TaskDefinition: def.TaskDefinitionArn, Count: &f.count,
		LaunchType: types.LaunchType(f.launchType),
		// With a token, a request that the SDK sends twice starts one set of tasks.
		ClientToken: aws.String(ident.UUID()),
	}
	if in.LaunchType == "" {
		in.LaunchType = types.LaunchTypeEc2
		if slices.Contains(def.RequiresCompatibilities, types.CompatibilityFargate) {
			in.LaunchType = types.LaunchTypeFargate
		}
	}
	if def.NetworkMode != types.NetworkModeAwsvpc {
		return in, nil
	}
	subnets := f.subnets
	if len(subnets) == 0 {
		var err error
		if subnets, err = c.defaultSubnets(ctx); err != nil {
			return nil, err
		}
	}
	groups := f.groups
	if len(groups) == 0 {
		at, err := c.place(ctx, subnets)
		if err != nil {
			return nil, err
		}
		if groups, err = c.openGroups(ctx, at.vpc); err != nil {
			return nil, err
		}
	}
	network := &types.AwsVpcConfiguration{Subnets: subnets, SecurityGroups: groups}
	if f.publicIP {
		network.AssignPublicIp = types.AssignPublicIpEnabled
	}
	in.NetworkConfiguration = &types.NetworkConfiguration{AwsvpcConfiguration: network}
	return in, nil
}

// plural lets people name flags that take several values in the singular.
func plural(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	switch name {
	case "subnet", "security-group":
		name += "s"
	case "replicas": // what Compose and Kubernetes call it
		name = "count"
	}
	return pflag.NormalizedName(name)
}

// defaultSubnets are those that a zone uses when nobody says which.
func (c *clients) defaultSubnets(ctx context.Context) ([]string, error) {
	var ids []string
	for pages := ec2.NewDescribeSubnetsPaginator(c.ec2, &ec2.DescribeSubnetsInput{}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("looking for the default subnets: %w", explained(err))
		}
		for _, s := range page.Subnets {
			if aws.ToBool(s.DefaultForAz) {
				ids = append(ids, aws.ToString(s.SubnetId))
			}
		}
	}
	if len(ids) == 0 {
		return nil, errors.New("there are no default subnets; name some with --subnets")
	}
	slices.Sort(ids)
	return ids, nil
}

// show prints the data: the tasks' ids, or everything in JSON.
func (f *runFlags) show(e *environment, p *printer, def *types.TaskDefinition, tasks []types.Task, failures []types.Failure) error {
	if e.output == formJSON {
		return e.writeJSON(map[string]any{"tasks": awsShape(tasks), "failures": awsShape(failures)})
	}
	for i := range tasks {
		if aws.ToString(tasks[i].LastStatus) == running {
			for _, url := range urls(&tasks[i], def) {
				p.say(" %s %s", p.paint("36", "→"), url)
			}
		}
		if _, err := fmt.Fprintln(e.out, taskID(&tasks[i])); err != nil {
			return err
		}
	}
	return nil
}

// verdict is the exit code: whether every task was placed, and started, and
// when its end was waited for, did what it should.
func (f *runFlags) verdict(e *environment, p *printer, def *types.TaskDefinition, tasks []types.Task, failures []types.Failure) error {
	for _, failed := range failures {
		a := explain(aws.ToString(failed.Reason))
		p.failed("not placed: %s", strings.TrimSuffix(aws.ToString(failed.Reason)+" ("+aws.ToString(failed.Detail)+")", " ()"))
		p.advise(a)
	}
	if len(failures) > 0 {
		return fmt.Errorf("%d of %d tasks could not be placed", len(failures), f.count)
	}
	bad := 0
	for i := range tasks {
		if t := &tasks[i]; aws.ToString(t.LastStatus) == stopped && !succeeded(t, def) {
			bad++
			p.hint("berth why %s%s", short(taskID(t)), e.dataDirHint())
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d tasks failed", bad, len(tasks))
	}
	return nil
}
