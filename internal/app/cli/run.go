package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

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
	file, cluster, launchType, wait string
	subnets, groups, images         []string
	count                           int32
	detach, publicIP                bool
	timeout                         time.Duration
}

func newRun(e *environment) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use: "run [FAMILY[:REVISION] | ARN]", Short: "Run a task and follow it to RUNNING", Args: arguments(cobra.MaximumNArgs(1)),
		Long: `Run a task: of a task definition file, which is registered first, or of one that is
registered already. It is followed until it is RUNNING (or with --wait stopped, until
it has ended), and its id is printed.`,
		Example: `  berth run -f examples/my-app.json
  berth run -f app.json --image app=my-app:latest
  berth run my-app:3 --count 2 --detach
  berth run migrate --wait stopped`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(args); err != nil {
				return err
			}
			c, err := e.connect(cmd)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			if f.timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, f.timeout)
				defer cancel()
			}
			p := newPrinter(e.err)
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
	flags.StringVarP(&f.file, "file", "f", "", "task definition to register, - for standard input")
	clusterFlag(cmd, &f.cluster)
	flags.Int32Var(&f.count, "count", 1, "how many tasks, 1 to 10")
	flags.StringVar(&f.launchType, "launch-type", "", "FARGATE or EC2 (default: what the task definition requires)")
	flags.StringSliceVar(&f.subnets, "subnets", nil, "subnets, comma-separated (default: those of the default VPC)")
	flags.StringSliceVar(&f.groups, "security-groups", nil, "security groups, comma-separated (default: berth-open, which lets everybody in, else the VPC's own)")
	flags.BoolVar(&f.publicIP, "public-ip", false, "give the task a public address, which this host reaches")
	flags.SetNormalizeFunc(plural)
	flags.StringArrayVar(&f.images, "image", nil, "replace a container's image, CONTAINER=IMAGE; needs -f, may be repeated")
	flags.BoolVarP(&f.detach, "detach", "d", false, "do not follow")
	flags.StringVar(&f.wait, "wait", "running", "follow until running or stopped")
	flags.DurationVar(&f.timeout, "timeout", 0, "stop following after this long, with exit code 4 (default: never)")
	outputFlag(e, cmd)
	cmd.ValidArgsFunction = e.completeFamilies
	return cmd
}

func (f *runFlags) check(args []string) error {
	switch {
	case f.file == "" && len(args) == 0:
		return misuse("what shall run? Give a file with -f, or a family: berth run -f taskdef.json")
	case f.file != "" && len(args) > 0:
		return misuse("give either -f %s or %s, not both", f.file, args[0])
	case f.file == "" && len(f.images) > 0:
		return misuse("--image needs -f: the image of a registered task definition cannot be changed")
	case f.wait != "running" && f.wait != "stopped":
		return misuse("--wait %q is not running or stopped", f.wait)
	case f.launchType != "" && f.launchType != "FARGATE" && f.launchType != "EC2":
		return misuse("--launch-type %q is not FARGATE or EC2", f.launchType)
	case f.count < 1 || f.count > 10:
		return misuse("--count %d is not between 1 and 10", f.count)
	}
	return nil
}

// definition registers the file, or finds what is registered.
func (f *runFlags) definition(ctx context.Context, e *environment, c *clients, p *printer, args []string) (*types.TaskDefinition, error) {
	if f.file == "" {
		def, err := definitions{}.get(ctx, c, args[0])
		if err != nil {
			return nil, fmt.Errorf("task definition %s: %w (`aws ecs list-task-definition-families` lists what is registered; -f registers a file)", args[0], err)
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
	if err := f.show(e, p, def, tasks, out.Failures); err != nil {
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
