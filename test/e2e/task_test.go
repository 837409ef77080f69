package e2e_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

func random() string { return strings.ToLower(rand.Text()[:12]) }

// container is a container of the probe image.
func container(name string, command ...string) types.ContainerDefinition {
	return types.ContainerDefinition{Name: &name, Image: aws.String(probeImage), Command: command}
}

// optional makes a container non-essential.
func optional(c types.ContainerDefinition) types.ContainerDefinition {
	c.Essential = aws.Bool(false)
	return c
}

// after makes a container depend on another.
func after(c types.ContainerDefinition, name string, condition types.ContainerCondition) types.ContainerDefinition {
	c.DependsOn = append(c.DependsOn, types.ContainerDependency{ContainerName: &name, Condition: condition})
	return c
}

// with changes a container.
func with(c types.ContainerDefinition, change func(*types.ContainerDefinition)) types.ContainerDefinition {
	change(&c)
	return c
}

// fargate is a task definition of the smallest size, with each container's output in CloudWatch Logs.
func fargate(containers ...types.ContainerDefinition) *ecs.RegisterTaskDefinitionInput {
	family := "e2e-" + random()
	for i := range containers {
		containers[i].LogConfiguration = &types.LogConfiguration{LogDriver: types.LogDriverAwslogs, Options: map[string]string{
			"awslogs-group": "/e2e/" + family, "awslogs-region": "us-east-1", "awslogs-stream-prefix": "ecs", "awslogs-create-group": "true",
		}}
	}
	return &ecs.RegisterTaskDefinitionInput{
		Family: &family, NetworkMode: types.NetworkModeAwsvpc, RequiresCompatibilities: []types.Compatibility{types.CompatibilityFargate},
		Cpu: aws.String("256"), Memory: aws.String("512"), ContainerDefinitions: containers,
		ExecutionRoleArn: aws.String("arn:aws:iam::123456789012:role/ecsTaskExecutionRole"),
	}
}

// onInstance is the same for launch type EC2.
func onInstance(containers ...types.ContainerDefinition) *ecs.RegisterTaskDefinitionInput {
	def := fargate(containers...)
	def.RequiresCompatibilities = []types.Compatibility{types.CompatibilityEc2}
	return def
}

// task is a task that a test runs.
type task struct {
	b            *berth
	arn, id      string
	eni, address string // known once it was described with them
	family       string
	group        string // of its logs
}

// network is what RunTask needs to know for awsvpc: all subnets of the default VPC, and the group that lets everything in, so
// that tests reach their tasks.
func (b *berth) network(ctx context.Context) (*types.NetworkConfiguration, error) {
	out, err := b.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: []ec2types.Filter{{Name: aws.String("default-for-az"), Values: []string{"true"}}}})
	if err != nil {
		return nil, err
	}
	var subnets []string
	for _, s := range out.Subnets {
		subnets = append(subnets, *s.SubnetId)
	}
	open, err := b.ec2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: []ec2types.Filter{{Name: aws.String("group-name"), Values: []string{"berth-open"}}}})
	if err != nil {
		return nil, err
	}
	if len(open.SecurityGroups) != 1 {
		return nil, fmt.Errorf("%d groups are named berth-open", len(open.SecurityGroups))
	}
	return &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: subnets, SecurityGroups: []string{*open.SecurityGroups[0].GroupId}}}, nil
}

// request registers a definition and returns what runs a task of it.
func (b *berth) request(t *testing.T, def *ecs.RegisterTaskDefinitionInput) *ecs.RunTaskInput {
	t.Helper()
	registered, err := b.ecs.RegisterTaskDefinition(t.Context(), def)
	if err != nil {
		t.Fatal(err)
	}
	network, err := b.network(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	in := &ecs.RunTaskInput{TaskDefinition: registered.TaskDefinition.TaskDefinitionArn, NetworkConfiguration: network, LaunchType: types.LaunchTypeFargate}
	if slices.Contains(def.RequiresCompatibilities, types.CompatibilityEc2) {
		in.LaunchType = types.LaunchTypeEc2
	}
	return in
}

// run runs a task, which is stopped when the test ends.
func (b *berth) run(t *testing.T, def *ecs.RegisterTaskDefinitionInput) *task {
	t.Helper()
	in := b.request(t, def)
	out, err := b.ecs.RunTask(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Tasks) != 1 || len(out.Failures) != 0 {
		t.Fatalf("RunTask: %d tasks, failures %+v", len(out.Tasks), out.Failures)
	}
	k := b.taskOf(out.Tasks[0])
	k.group = def.ContainerDefinitions[0].LogConfiguration.Options["awslogs-group"]
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if t.Failed() {
			why, err := b.command(ctx, "why", k.id)
			t.Logf("berth why %s: %v\n%s", k.id, err, why)
		}
		// The test may have purged its Berth, or left its server dead.
		b.ecs.StopTask(ctx, &ecs.StopTaskInput{Task: &k.arn, Reason: aws.String("the test is over")}) //nolint:errcheck,gosec // purge is what cleans up
	})
	return k
}

func (b *berth) taskOf(described types.Task) *task {
	k := &task{b: b, arn: *described.TaskArn, family: strings.TrimPrefix(*described.Group, "family:")}
	k.id = k.arn[strings.LastIndexByte(k.arn, '/')+1:]
	return k
}

// attachment is the details of a task's network interface.
func attachment(described types.Task) map[string]string {
	out := map[string]string{}
	for _, a := range described.Attachments {
		for _, d := range a.Details {
			out[*d.Name] = aws.ToString(d.Value)
		}
	}
	return out
}

func (k *task) describe(ctx context.Context) (types.Task, error) {
	out, err := k.b.ecs.DescribeTasks(ctx, &ecs.DescribeTasksInput{Tasks: []string{k.arn}, Include: []types.TaskField{types.TaskFieldTags}})
	if err != nil {
		return types.Task{}, err
	}
	if len(out.Tasks) != 1 {
		return types.Task{}, fmt.Errorf("task %s: %+v", k.id, out.Failures)
	}
	details := attachment(out.Tasks[0])
	k.eni, k.address = details["networkInterfaceId"], details["privateIPv4Address"]
	return out.Tasks[0], nil
}

// await returns the task once what is asked of it is so.
func (k *task) await(t *testing.T, what string, holds func(types.Task) bool) types.Task {
	t.Helper()
	var found types.Task
	var over error // it has stopped and nothing will change any more
	eventually(t, what, func() error {
		var err error
		if found, err = k.describe(t.Context()); err != nil {
			return err
		}
		switch stopped := *found.LastStatus == "STOPPED"; {
		case holds(found):
			return nil
		case stopped:
			over = fmt.Errorf("%s: the task is STOPPED: %s: %s; %s", what, found.StopCode, aws.ToString(found.StoppedReason), containers(found))
			return nil
		}
		return fmt.Errorf("the task is %s, %s", *found.LastStatus, containers(found))
	})
	if over != nil {
		t.Fatal(over)
	}
	return found
}

func (k *task) awaitStatus(t *testing.T, status string) types.Task {
	t.Helper()
	return k.await(t, "task "+status, func(found types.Task) bool { return *found.LastStatus == status })
}

func (k *task) stop(t *testing.T, reason string) types.Task {
	t.Helper()
	if _, err := k.b.ecs.StopTask(t.Context(), &ecs.StopTaskInput{Task: &k.arn, Reason: &reason}); err != nil {
		t.Fatal(err)
	}
	return k.awaitStatus(t, "STOPPED")
}

// containers says how a task's containers are.
func containers(described types.Task) string {
	var out []string
	for _, c := range described.Containers {
		text := *c.Name + " " + aws.ToString(c.LastStatus)
		if c.ExitCode != nil {
			text += fmt.Sprintf(" exit %d", *c.ExitCode)
		}
		if c.Reason != nil {
			text += " (" + *c.Reason + ")"
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func find(t *testing.T, described types.Task, name string) types.Container {
	t.Helper()
	i := slices.IndexFunc(described.Containers, func(c types.Container) bool { return *c.Name == name })
	if i < 0 {
		t.Fatalf("the task has no container %s: %s", name, containers(described))
	}
	return described.Containers[i]
}

// ask asks a container that runs `probe answer PORT`. An answer other than 200 is an error with its text.
func (k *task) ask(ctx context.Context, port int, path string, query ...string) (string, error) {
	values := url.Values{}
	for i := 0; i < len(query); i += 2 {
		values.Set(query[i], query[i+1])
	}
	where := fmt.Sprintf("http://%s:%d%s?%s", k.address, port, path, values.Encode())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, where, nil)
	if err != nil {
		return "", err
	}
	request.Close = true // another container may have the port next time
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer reply.Body.Close() //nolint:errcheck // it is read to its end
	body, err := io.ReadAll(reply.Body)
	if err == nil && reply.StatusCode != http.StatusOK {
		err = errors.New(strings.TrimSpace(string(body)))
	}
	return string(body), err
}

// reachable waits for the task's address.
func (k *task) reachable(t *testing.T) {
	t.Helper()
	if k.address == "" {
		k.await(t, "the task's address", func(types.Task) bool { return k.address != "" })
	}
}

// hears is ask when it must be answered; it waits until the program listens.
func (k *task) hears(t *testing.T, port int, path string, query ...string) string {
	t.Helper()
	var body string
	k.reachable(t)
	eventually(t, path, func() (err error) {
		body, err = k.ask(t.Context(), port, path, query...)
		return err
	})
	return body
}

// exit makes the program at a port end with a code.
func (k *task) exit(t *testing.T, port, code int) {
	t.Helper()
	k.hears(t, port, "/")
	if _, err := k.ask(t.Context(), port, "/exit", "code", fmt.Sprint(code)); err != nil {
		t.Logf("the answer to exit: %v", err) // it may end before it has answered
	}
}

// messages are the lines of a container in CloudWatch Logs.
func (k *task) messages(ctx context.Context, container string) ([]string, error) {
	var out []string
	pages := cloudwatchlogs.NewFilterLogEventsPaginator(k.b.logs, &cloudwatchlogs.FilterLogEventsInput{
		LogGroupName: &k.group, LogStreamNames: []string{"ecs/" + container + "/" + k.id},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, e := range page.Events {
			out = append(out, *e.Message)
		}
	}
	return out, nil
}

// logged waits for a line that has the text.
func (k *task) logged(t *testing.T, container, text string) {
	t.Helper()
	eventually(t, "the line "+text, func() error {
		all, err := k.messages(t.Context(), container)
		if err == nil && !slices.ContainsFunc(all, func(line string) bool { return strings.Contains(line, text) }) {
			err = fmt.Errorf("lines %q", all)
		}
		return err
	})
}

// conversation is a connection to a task that is held open.
type conversation struct {
	conn net.Conn
	in   *bufio.Reader
}

func (k *task) converse(t *testing.T, port int) *conversation {
	t.Helper()
	k.reachable(t)
	var conn net.Conn
	eventually(t, "connecting", func() (err error) {
		conn, err = new(net.Dialer).DialContext(t.Context(), "tcp", fmt.Sprintf("%s:%d", k.address, port))
		return err
	})
	t.Cleanup(func() { conn.Close() }) //nolint:errcheck,gosec // it is over
	return &conversation{conn, bufio.NewReader(conn)}
}

// echo says a word and hears it.
func (c *conversation) echo(t *testing.T) {
	t.Helper()
	word := random() + "\n"
	if _, err := io.WriteString(c.conn, word); err != nil {
		t.Fatalf("a held connection: %v", err)
	}
	if heard, err := c.in.ReadString('\n'); err != nil || heard != word {
		t.Fatalf("a held connection: said %q, heard %q, %v", word, heard, err)
	}
}
