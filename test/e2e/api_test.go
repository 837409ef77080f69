package e2e_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// The account, its default cluster and its default network are there from the beginning.
func TestAccountIsFurnished(t *testing.T) {
	t.Parallel()
	b, ctx := shared, t.Context()
	who, err := b.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil || *who.Account != "123456789012" || *who.Arn != "arn:aws:iam::123456789012:root" {
		t.Errorf("%+v, %v", who, err)
	}
	clusters, err := b.ecs.DescribeClusters(ctx, &ecs.DescribeClustersInput{})
	if err != nil || len(clusters.Clusters) != 1 || *clusters.Clusters[0].ClusterName != "default" || *clusters.Clusters[0].Status != "ACTIVE" {
		t.Errorf("%+v, %v", clusters, err)
	}
	vpcs, err := b.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{})
	if err != nil || len(vpcs.Vpcs) != 1 || !*vpcs.Vpcs[0].IsDefault {
		t.Errorf("%+v, %v", vpcs, err)
	}
	zones, err := b.ec2.DescribeAvailabilityZones(ctx, &ec2.DescribeAvailabilityZonesInput{})
	if err != nil || len(zones.AvailabilityZones) != 3 {
		t.Errorf("%+v, %v", zones, err)
	}
	subnets, err := b.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{})
	if err != nil || len(subnets.Subnets) != 3 {
		t.Errorf("%+v, %v", subnets, err)
	}
	groups, err := b.ec2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: []ec2types.Filter{{Name: aws.String("group-name"), Values: []string{"default"}}}})
	if err != nil || len(groups.SecurityGroups) != 1 || len(groups.SecurityGroups[0].IpPermissions) != 1 ||
		*groups.SecurityGroups[0].IpPermissions[0].UserIdGroupPairs[0].GroupId != *groups.SecurityGroups[0].GroupId {
		t.Errorf("%+v, %v", groups, err) // only the group itself may enter
	}
	// And it is closed to others.
	stranger := ecs.New(b.ecs.Options(), func(o *ecs.Options) {
		o.Credentials = credentials.NewStaticCredentialsProvider("AKIASTRANGER00000000", "no", "")
	})
	if _, err := stranger.ListClusters(ctx, &ecs.ListClustersInput{}); !hasCode(err, "UnrecognizedClientException") {
		t.Errorf("a stranger: %v", err)
	}
}

// A cluster is made, tagged, used, emptied and deleted.
func TestClusterLivesAndDies(t *testing.T) {
	t.Parallel()
	b, ctx, name := shared, t.Context(), "c-"+random()
	made, err := b.ecs.CreateCluster(ctx, &ecs.CreateClusterInput{
		ClusterName: &name, Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("a")}},
		CapacityProviders: []string{"FARGATE", "FARGATE_SPOT"},
	})
	if err != nil {
		t.Fatal(err)
	}
	arn := made.Cluster.ClusterArn
	if _, err := b.ecs.TagResource(ctx, &ecs.TagResourceInput{ResourceArn: arn, Tags: []types.Tag{{Key: aws.String("stage"), Value: aws.String("test")}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.ecs.UntagResource(ctx, &ecs.UntagResourceInput{ResourceArn: arn, TagKeys: []string{"team"}}); err != nil {
		t.Fatal(err)
	}
	tags, err := b.ecs.ListTagsForResource(ctx, &ecs.ListTagsForResourceInput{ResourceArn: arn})
	if err != nil || len(tags.Tags) != 1 || *tags.Tags[0].Key != "stage" {
		t.Errorf("%+v, %v", tags, err)
	}
	in := b.request(t, fargate(container("app", "trap", "0")))
	in.Cluster = &name
	out, err := b.ecs.RunTask(ctx, in)
	if err != nil || len(out.Tasks) != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	if _, err := b.ecs.DeleteCluster(ctx, &ecs.DeleteClusterInput{Cluster: &name}); !isA[*types.ClusterContainsTasksException](err) {
		t.Errorf("deleting a cluster with a task: %v", err)
	}
	stop := &ecs.StopTaskInput{Cluster: &name, Task: out.Tasks[0].TaskArn}
	if _, err := b.ecs.StopTask(ctx, stop); err != nil {
		t.Fatal(err)
	}
	wait := ecs.NewTasksStoppedWaiter(b.ecs, func(o *ecs.TasksStoppedWaiterOptions) { o.MinDelay, o.MaxDelay = 50e6, 100e6 })
	if err := wait.Wait(ctx, &ecs.DescribeTasksInput{Cluster: &name, Tasks: []string{*stop.Task}}, patience); err != nil {
		t.Fatal(err)
	}
	if _, err := b.ecs.DeleteCluster(ctx, &ecs.DeleteClusterInput{Cluster: &name}); err != nil {
		t.Errorf("deleting an empty cluster: %v", err)
	}
	if _, err := b.ecs.RunTask(ctx, in); !isA[*types.ClusterNotFoundException](err) {
		t.Errorf("running in a deleted cluster: %v", err)
	}
}

// A task definition has revisions, of which tasks of the deregistered ones cannot be run.
func TestTaskDefinitionRevisions(t *testing.T) {
	t.Parallel()
	b, ctx := shared, t.Context()
	def := fargate(container("app", "trap", "0"))
	first := b.request(t, def)
	second := b.request(t, def)
	if !strings.HasSuffix(*first.TaskDefinition, ":1") || !strings.HasSuffix(*second.TaskDefinition, ":2") {
		t.Errorf("%s, %s", *first.TaskDefinition, *second.TaskDefinition)
	}
	if _, err := b.ecs.DeregisterTaskDefinition(ctx, &ecs.DeregisterTaskDefinitionInput{TaskDefinition: first.TaskDefinition}); err != nil {
		t.Fatal(err)
	}
	if out, err := b.ecs.RunTask(ctx, first); err == nil {
		t.Errorf("a deregistered revision runs: %+v", out.Tasks)
	}
	listed, err := b.ecs.ListTaskDefinitions(ctx, &ecs.ListTaskDefinitionsInput{FamilyPrefix: def.Family})
	if err != nil || !slices.Equal(listed.TaskDefinitionArns, []string{*second.TaskDefinition}) {
		t.Errorf("%+v, %v", listed, err)
	}
	files := fargate(with(container("app", "trap", "0"), func(c *types.ContainerDefinition) {
		c.EnvironmentFiles = []types.EnvironmentFile{{Type: types.EnvironmentFileTypeS3, Value: aws.String("arn:aws:s3:::bucket/app.env")}}
	}))
	if _, err := b.ecs.RegisterTaskDefinition(ctx, files); !isA[*types.ClientException](err) || !strings.Contains(err.Error(), "environmentFiles is not supported") {
		t.Errorf("environmentFiles: %v", err)
	}
}

// Account settings are kept, and tags reach tasks as they ask.
func TestTagsAndAccountSettings(t *testing.T) {
	t.Parallel()
	b, ctx := shared, t.Context()
	set, err := b.ecs.PutAccountSetting(ctx, &ecs.PutAccountSettingInput{Name: types.SettingNameContainerInsights, Value: aws.String("enabled")})
	if err != nil || *set.Setting.Value != "enabled" {
		t.Fatalf("%+v, %v", set, err)
	}
	settings, err := b.ecs.ListAccountSettings(ctx, &ecs.ListAccountSettingsInput{Name: types.SettingNameContainerInsights, EffectiveSettings: true})
	if err != nil || len(settings.Settings) != 1 || *settings.Settings[0].Value != "enabled" {
		t.Errorf("%+v, %v", settings, err)
	}
	def := fargate(container("app", "trap", "0"))
	def.Tags = []types.Tag{{Key: aws.String("team"), Value: aws.String("a")}}
	in := b.request(t, def)
	in.PropagateTags, in.StartedBy = types.PropagateTagsTaskDefinition, aws.String("e2e-"+random())
	out, err := b.ecs.RunTask(ctx, in)
	if err != nil || len(out.Tasks) != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	k := b.taskOf(out.Tasks[0])
	got, err := k.describe(ctx)
	if err != nil || len(got.Tags) != 1 || *got.Tags[0].Value != "a" {
		t.Errorf("%+v, %v", got.Tags, err)
	}
	listed, err := b.ecs.ListTasks(ctx, &ecs.ListTasksInput{StartedBy: in.StartedBy})
	if err != nil || !slices.Equal(listed.TaskArns, []string{k.arn}) {
		t.Errorf("%+v, %v", listed, err)
	}
	k.stop(t, "over")
	listed, err = b.ecs.ListTasks(ctx, &ecs.ListTasksInput{Family: def.Family, DesiredStatus: types.DesiredStatusStopped})
	if err != nil || !slices.Equal(listed.TaskArns, []string{k.arn}) {
		t.Errorf("stopped: %+v, %v", listed, err)
	}
}

// A client token makes RunTask happen once; the same token with another request is a conflict.
func TestRunTaskIsIdempotent(t *testing.T) {
	t.Parallel()
	b, ctx := shared, t.Context()
	in := b.request(t, fargate(container("app", "trap", "0")))
	in.ClientToken = aws.String(random())
	arns := map[string]bool{}
	for range 3 {
		out, err := b.ecs.RunTask(ctx, in)
		if err != nil || len(out.Tasks) != 1 {
			t.Fatalf("%+v, %v", out, err)
		}
		arns[*out.Tasks[0].TaskArn] = true
	}
	if len(arns) != 1 {
		t.Errorf("one token made %v", arns)
	}
	other := *in
	other.StartedBy = aws.String("another")
	if _, err := b.ecs.RunTask(ctx, &other); !isA[*types.ConflictException](err) {
		t.Errorf("the same token for another request: %v", err)
	}
	for arn := range arns {
		if _, err := b.ecs.StopTask(ctx, &ecs.StopTaskInput{Task: &arn}); err != nil {
			t.Error(err)
		}
	}
}

// What does not fit is refused with a failure, and nothing is left of it.
func TestNoCapacityIsAFailureOfRunTask(t *testing.T) {
	t.Parallel()
	for name, want := range map[types.LaunchType]string{
		types.LaunchTypeFargate: "Capacity is unavailable at this time. Please try again later or in a different availability zone",
		types.LaunchTypeEc2:     "RESOURCE:CPU",
	} {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			def := fargate(container("app", "trap", "0"))
			if name == types.LaunchTypeEc2 {
				def = onInstance(container("app", "trap", "0"))
			}
			def.Cpu, def.Memory = aws.String("16384"), aws.String("32768")
			out, err := shared.ecs.RunTask(t.Context(), shared.request(t, def))
			if err != nil || len(out.Tasks) != 0 || len(out.Failures) != 1 || *out.Failures[0].Reason != want {
				t.Fatalf("%+v, %v", out, err)
			}
			if arn := aws.ToString(out.Failures[0].Arn); (name == types.LaunchTypeEc2) != strings.Contains(arn, ":container-instance/") {
				t.Errorf("the failure is of %q", arn)
			}
			listed, err := shared.ecs.ListTasks(t.Context(), &ecs.ListTasksInput{Family: def.Family})
			if err != nil || len(listed.TaskArns) != 0 {
				t.Errorf("%+v, %v", listed, err)
			}
		})
	}
}

// Log groups are a user's to make, read and delete, and durable.
func TestLogGroupsOfTheUser(t *testing.T) {
	t.Parallel()
	b, ctx, group := shared, t.Context(), "/user/"+random()
	if _, err := b.logs.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: &group}); err != nil {
		t.Fatal(err)
	}
	k := b.run(t, intoGroup(fargate(container("app", "echo", "a", "line")), group))
	k.group = group
	k.logged(t, "app", "a line")
	if _, err := b.logs.DeleteLogGroup(ctx, &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: &group}); err != nil {
		t.Fatal(err)
	}
	if _, err := k.messages(ctx, "app"); !hasCode(err, "ResourceNotFoundException") {
		t.Errorf("reading a deleted group: %v", err)
	}
	// A container whose group does not exist, and may not be made, does not start.
	missing := b.run(t, intoGroup(fargate(container("app", "echo", "a", "line")), "/missing/"+random()))
	got := missing.awaitStatus(t, "STOPPED")
	if got.StopCode != types.TaskStopCodeTaskFailedToStart || !strings.Contains(*got.StoppedReason, "ResourceInitializationError: failed to validate logger args") ||
		!strings.Contains(*got.StoppedReason, "The specified log group does not exist") {
		t.Errorf("%s: %s", got.StopCode, *got.StoppedReason)
	}
}

// intoGroup makes the definition log into a group that it does not make.
func intoGroup(def *ecs.RegisterTaskDefinitionInput, group string) *ecs.RegisterTaskDefinitionInput {
	options := def.ContainerDefinitions[0].LogConfiguration.Options
	options["awslogs-group"] = group
	delete(options, "awslogs-create-group")
	return def
}

// The commands that people type work against the same Berth.
func TestCommandsOfPeople(t *testing.T) {
	t.Parallel()
	k := shared.run(t, fargate(container("app", "answer", "3000", "0")))
	k.awaitStatus(t, "RUNNING")
	k.hears(t, 3000, "/say", "line", "hello people")
	k.logged(t, "app", "hello people")
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"ps"}, []string{k.id[:8], "RUNNING", k.address}},
		{[]string{"logs", k.id}, []string{"hello people"}},
		{[]string{"why", k.id}, []string{k.id, "RUNNING", "hello people"}},
		{[]string{"env"}, []string{"AWS_ENDPOINT_URL='http://" + shared.listen + "'", "AWS_DISABLE_HOST_PREFIX_INJECTION='true'", "us-east-1"}},
		{[]string{"stop", k.id}, nil},
		{[]string{"why", k.id}, []string{"STOPPED", "UserInitiated"}},
	} {
		out, err := shared.command(context.WithoutCancel(t.Context()), c.args...)
		if err != nil {
			t.Error(err)
		}
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("berth %s does not say %q:\n%s", strings.Join(c.args, " "), want, out)
			}
		}
		if c.args[0] == "stop" {
			k.awaitStatus(t, "STOPPED")
		}
	}
}

func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
