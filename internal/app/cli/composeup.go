package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	composetypes "github.com/compose-spec/compose-go/v2/types"
	"github.com/spf13/cobra"

	"berth.dev/berth/internal/app/compose"
)

// composeUpFlags are the options of `berth compose up`.
type composeUpFlags struct {
	followFlags
	build, orphans, recreate, execute bool
}

func newComposeUp(e *environment, project *projectFlags) *cobra.Command {
	var f composeUpFlags
	cmd := &cobra.Command{
		Use: "up [SERVICE...]", Short: "Create or update a project's services", Args: cobra.ArbitraryArgs,
		Long: `Create or update a project's services, in the order of depends_on, and follow them until
they are steady. Services are named PROJECT-SERVICE. Published ports get a load balancer, whose
URLs are printed: one for HTTP when all ports of the service are well known for it or say
app_protocol: http, else one for TCP. Inside the VPC a service is SERVICE.PROJECT.local.

Again, only what changed is changed: a definition that is as before is not registered, a
service that is as before is left alone, a task that ran with success does not run again.
Services that left the file are listed, and removed with --remove-orphans.

Images are expected to exist; --build builds those that have build: with docker compose.
A new image of an old name is no change: --force-recreate deploys it.

What ECS does not have is listed. The exit code is 3 when a deployment failed or was rolled
back.`,
		Example: `  berth compose up
  berth compose -f compose.yaml -f production.yaml -p shop up --remove-orphans
  berth compose up web --build`,
		RunE: func(cmd *cobra.Command, args []string) error {
			e.output = formTable
			loaded, known, err := project.load(cmd.Context(), args)
			if err != nil {
				return err
			}
			c, err := e.connect(cmd)
			if err != nil {
				return err
			}
			ctx, cancel := f.bounded(cmd.Context())
			defer cancel()
			u := &composition{
				e: e, c: c, p: newPrinter(e.err), flags: &f, project: loaded, known: known,
				open: map[string]*opened{}, services: map[string]*compose.Service{},
			}
			err = u.run(ctx)
			if _, said := errors.AsType[*failure](err); !said && errors.Is(err, context.DeadlineExceeded) {
				err = &failure{exitTimed, fmt.Errorf("it took longer than %s; what was begun goes on: %w", f.timeout, err)}
			}
			return err
		},
	}
	flags := cmd.Flags()
	clusterFlag(cmd, &f.cluster)
	flags.BoolVarP(&f.detach, "detach", "d", false, "do not follow services that no other one waits for")
	flags.DurationVar(&f.timeout, "timeout", 0, "stop following after this long, with exit code 4 (default: never)")
	flags.BoolVar(&f.build, "build", false, "build images with docker compose before")
	flags.BoolVar(&f.orphans, "remove-orphans", false, "remove services of the project that are not in the file")
	flags.BoolVar(&f.recreate, "force-recreate", false, "replace all tasks even if nothing changes, and run again what runs once")
	flags.BoolVar(&f.execute, executeFlag, true, "let people into the tasks: berth exec, port-forward, cp, debug")
	verboseFlag(e, cmd)
	return cmd
}

// composition is one `berth compose up`.
type composition struct {
	e       *environment
	c       *clients
	p       *printer
	flags   *composeUpFlags
	project *composetypes.Project
	known   map[string]bool

	conversion *compose.Conversion
	services   map[string]*compose.Service
	open       map[string]*opened // deployments that nobody has seen the end of
}

// opened is a deployment that was begun.
type opened struct {
	pursuit *pursuit
	service *types.Service
}

func (u *composition) run(ctx context.Context) error {
	if err := u.prepare(ctx); err != nil {
		return err
	}
	tellUnmapped(u.p, u.conversion.Unmapped)
	if err := u.orphaned(ctx); err != nil {
		return err
	}
	for i := range u.conversion.Services {
		s := &u.conversion.Services[i]
		u.services[s.Name] = s
		for _, d := range s.After {
			if err := u.await(ctx, d); err != nil {
				return fmt.Errorf("%s waits for %s: %w", s.Name, d.Service, err)
			}
		}
		if err := u.deploy(ctx, s); err != nil {
			return err
		}
	}
	if u.flags.detach {
		u.p.hint("berth services%s", u.e.dataDirHint())
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(u.open)) {
		if err := u.finish(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// prepare builds images, puts secrets and makes roles, so that the documents
// are complete. A file that cannot be converted has changed nothing.
func (u *composition) prepare(ctx context.Context) error {
	options := compose.Options{Region: u.c.region, Exec: u.flags.execute}
	first, err := compose.Convert(u.project, options)
	if err != nil {
		return err
	}
	if u.flags.build {
		if err := u.build(ctx); err != nil {
			return err
		}
	}
	arns, err := u.putSecrets(ctx, first.Secrets)
	if err != nil {
		return err
	}
	options.SecretARN = func(name string) string { return arns[name] }
	if u.flags.execute {
		role, err := u.c.ensureExecRole(ctx, u.p)
		if err != nil {
			return err
		}
		options.TaskRoleARN = aws.ToString(role.Arn)
	}
	second, err := compose.Convert(u.project, options)
	if err != nil {
		return err
	}
	if options.ExecutionRoleARN, err = u.executionRole(ctx, second); err != nil {
		return err
	}
	u.conversion, err = compose.Convert(u.project, options)
	return err
}

// build has docker compose build the images.
func (u *composition) build(ctx context.Context) error {
	args := []string{"compose", "-p", u.project.Name}
	for _, file := range u.project.ComposeFiles {
		args = append(args, "-f", file)
	}
	cmd := exec.CommandContext(ctx, "docker", append(append(args, "build"), u.project.ServiceNames()...)...) //nolint:gosec // the user's files and names
	cmd.Dir, cmd.Stdout, cmd.Stderr = u.project.WorkingDir, u.e.err, u.e.err
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("docker compose build: %w", err)
	}
	return nil
}

// await waits until a service is as far as another one wants it.
func (u *composition) await(ctx context.Context, d compose.Dependency) error {
	o := u.open[d.Service]
	if o == nil {
		return nil // it is unchanged, has been followed, or has run
	}
	if d.Condition != composetypes.ServiceConditionStarted {
		return u.finish(ctx, d.Service)
	}
	ticker := time.NewTicker(rolloutPause)
	defer ticker.Stop()
	for {
		s, err := u.c.service(ctx, u.flags.cluster, serviceName(o.service))
		if err != nil {
			return o.pursuit.interrupted(ctx, err)
		}
		now := primaryOf(s)
		switch {
		case s.DesiredCount == 0, now != nil && now.RunningCount > 0 && aws.ToString(now.TaskDefinition) == aws.ToString(o.service.TaskDefinition):
			return nil
		case now == nil, now.RolloutState == types.DeploymentRolloutStateFailed,
			aws.ToString(now.TaskDefinition) != aws.ToString(o.service.TaskDefinition):
			return u.finish(ctx, d.Service) // which says why
		}
		u.p.live(" … %s starts", serviceName(s))
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return o.pursuit.interrupted(ctx, ctx.Err())
		}
	}
}

// finish follows a deployment to its end.
func (u *composition) finish(ctx context.Context, name string) error {
	o := u.open[name]
	if o == nil {
		return nil
	}
	delete(u.open, name)
	end, g, err := o.pursuit.follow(ctx, o.service)
	if err != nil {
		return err
	}
	return o.pursuit.conclude(ctx, end, g)
}

// deploy registers a service's definition, and creates or updates the service,
// or runs the task. What is as it shall be is left alone.
func (u *composition) deploy(ctx context.Context, s *compose.Service) error {
	var existing *types.Service
	if !s.Job() {
		var err error
		if existing, err = u.existing(ctx, s); err != nil {
			return err
		}
	}
	def, done, err := u.register(ctx, s)
	if err != nil {
		return err
	}
	if s.Job() {
		if done && !u.flags.recreate {
			u.p.done("%s  %s has run with success", s.Full(), definitionName(def.TaskDefinitionArn))
			return nil
		}
		return u.runOnce(ctx, s, def)
	}
	mark, err := compose.Fingerprint([]any{s.Create, s.Ports})
	if err != nil {
		return err
	}
	if existing == nil || u.flags.recreate || !unchanged(existing, s, def, mark) {
		return u.begin(ctx, s, def, existing, mark)
	}
	u.p.done("%s  %s, unchanged", s.Full(), definitionName(def.TaskDefinitionArn))
	if d := primaryOf(existing); d == nil || d.RolloutState != types.DeploymentRolloutStateInProgress {
		return u.e.showURLs(ctx, u.c, u.p, existing)
	}
	followed, err := u.c.pursue(ctx, u.e, u.p, &u.flags.followFlags, s.Full())
	u.open[s.Name] = &opened{followed, existing}
	return err
}

// unchanged reports whether a service is as the file says.
func unchanged(existing *types.Service, s *compose.Service, def *types.TaskDefinition, mark string) bool {
	return aws.ToString(existing.TaskDefinition) == aws.ToString(def.TaskDefinitionArn) &&
		tagOf(existing.Tags, compose.TagFingerprint) == mark &&
		(s.Create.DesiredCount == nil || existing.DesiredCount == *s.Create.DesiredCount)
}

func tagOf(tags []types.Tag, key string) string {
	for _, t := range tags {
		if aws.ToString(t.Key) == key {
			return aws.ToString(t.Value)
		}
	}
	return ""
}

// tagCompleted is of a definition whose task has run with success.
const tagCompleted = "com.docker.compose.completed"

// register registers a definition unless the newest of its family is the same.
// Done says that its task has run with success.
func (u *composition) register(ctx context.Context, s *compose.Service) (def *types.TaskDefinition, done bool, err error) {
	mark, err := compose.Fingerprint(s.Definition)
	if err != nil {
		return nil, false, err
	}
	out, err := u.c.ecs.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{
		TaskDefinition: s.Definition.Family, Include: []types.TaskDefinitionField{types.TaskDefinitionFieldTags},
	})
	if _, none := errors.AsType[*types.ClientException](err); err != nil && !none {
		return nil, false, fmt.Errorf("looking for task definition %s: %w", s.Full(), explained(err))
	}
	if err == nil && tagOf(out.Tags, compose.TagFingerprint) == mark {
		return out.TaskDefinition, tagOf(out.Tags, tagCompleted) != "", nil
	}
	in := *s.Definition
	in.Tags = append(slices.Clone(in.Tags), types.Tag{Key: aws.String(compose.TagFingerprint), Value: &mark})
	made, err := u.c.ecs.RegisterTaskDefinition(ctx, &in)
	if err != nil {
		return nil, false, fmt.Errorf("registering %s: %w", s.Full(), explained(err))
	}
	text := registered(made.TaskDefinition)
	if out != nil && out.TaskDefinition != nil {
		if news := differences(out.TaskDefinition, made.TaskDefinition); news != "" {
			text += "  " + news
		}
	}
	u.p.say("%s", step{true, "Definition", text, 0}.line(u.p, ""))
	return made.TaskDefinition, false, nil
}

// existing finds a service. One that is being removed is waited for: its name
// is free only then. One that no update can make what it shall be is removed
// when --force-recreate allows that.
func (u *composition) existing(ctx context.Context, s *compose.Service) (*types.Service, error) {
	var found *types.Service
	err := eventually(ctx, func() (bool, error) {
		now, err := u.c.service(ctx, u.flags.cluster, s.Full())
		if _, none := errors.AsType[*noService](err); none {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		if aws.ToString(now.Status) == "ACTIVE" {
			found = now
			return true, nil
		}
		u.p.live(" … %s of before is being removed", s.Full())
		return false, nil
	})
	u.p.clear()
	if err != nil || found == nil {
		return nil, err
	}
	if fixed := fixedDifference(found, s.Create); fixed != "" {
		if !u.flags.recreate {
			return nil, fmt.Errorf("service %s has %s, which no update changes: --force-recreate removes it and makes it anew", s.Full(), fixed)
		}
		return nil, u.c.removeServices(ctx, u.p, u.flags.cluster, []types.Service{*found})
	}
	return found, nil
}

// fixedDifference says in what a service differs for good from what it shall
// be.
func fixedDifference(s *types.Service, want *ecs.CreateServiceInput) string {
	switch {
	case want.LaunchType != "" && s.LaunchType != want.LaunchType:
		return fmt.Sprintf("launch type %s instead of %s", s.LaunchType, want.LaunchType)
	case want.SchedulingStrategy != "" && s.SchedulingStrategy != "" && s.SchedulingStrategy != want.SchedulingStrategy:
		return fmt.Sprintf("scheduling strategy %s instead of %s", s.SchedulingStrategy, want.SchedulingStrategy)
	}
	return ""
}

// runOnce runs a task to its end, and remembers that it succeeded.
func (u *composition) runOnce(ctx context.Context, s *compose.Service, def *types.TaskDefinition) error {
	f := &runFlags{followFlags: u.flags.followFlags, count: 1, wait: "stopped", imageOptions: imageOptions{once: true, execute: u.flags.execute}}
	f.detach = false
	if err := f.run(ctx, u.e, u.c, u.p, def); err != nil {
		return fmt.Errorf("%s: %w", s.Full(), err)
	}
	return u.tag(ctx, aws.ToString(def.TaskDefinitionArn), tagCompleted, time.Now().UTC().Format(time.RFC3339))
}

func (u *composition) tag(ctx context.Context, arn, key, value string) error {
	_, err := u.c.ecs.TagResource(ctx, &ecs.TagResourceInput{ResourceArn: &arn, Tags: []types.Tag{{Key: &key, Value: &value}}})
	if err != nil {
		return fmt.Errorf("tagging %s: %w", lastPart(arn), explained(err))
	}
	return nil
}
