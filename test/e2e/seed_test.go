package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// The task definition that every new user begins with runs, and the task has every field that AWS gives to a task.
func TestSeedTaskRunsLikeOnFargate(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../examples/my-app.json")
	if err != nil {
		t.Fatal(err)
	}
	var def ecs.RegisterTaskDefinitionInput
	if err := json.Unmarshal(data, &def); err != nil {
		t.Fatal(err)
	}
	b := shared
	if out, err := b.command(t.Context(), "push", archive, "--as", "my-app"); err != nil {
		t.Fatal(err, out)
	}
	if err := b.ensureRole(t.Context(), "ecsTaskRole", taskTrust, allow("*", "s3:GetObject")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("db-password"), SecretString: aws.String("x")}); err != nil && !hasCode(err, "ResourceExistsException") {
		t.Fatal(err)
	}
	k := b.run(t, &def)
	running := k.awaitStatus(t, "RUNNING")

	init := find(t, running, "init")
	if *init.LastStatus != "STOPPED" || aws.ToInt32(init.ExitCode) != 0 || init.ExitCode == nil {
		t.Errorf("init should have been COMPLETE before app: %s", containers(running))
	}
	fieldsOfARunningTask(t, running, *def.ContainerDefinitions[0].Image)
	timesAreInOrder(t, running)
	interfaceOfTheTask(t, k, running)

	page := ""
	eventually(t, "the page", func() error {
		reply, err := http.Get("http://" + k.address + ":3000/") //nolint:noctx // a task of this test
		if err != nil {
			return err
		}
		defer reply.Body.Close() //nolint:errcheck // it is read to its end
		body, err := io.ReadAll(reply.Body)
		page = string(body)
		return err
	})
	if !strings.Contains(page, "task "+k.arn) || !strings.Contains(page, "NODE_ENV=production") {
		t.Errorf("the page is %q", page)
	}
	k.logged(t, "init", "migrations are done")
	k.logged(t, "app", "GET / from ")
	logsOfTheTask(t, k)

	stopped := k.stop(t, "enough of it")
	if stopped.StopCode != types.TaskStopCodeUserInitiated || *stopped.StoppedReason != "enough of it" {
		t.Errorf("stopCode %s, reason %s", stopped.StopCode, *stopped.StoppedReason)
	}
	if app := find(t, stopped, "app"); aws.ToInt32(app.ExitCode) != 0 || app.ExitCode == nil {
		t.Errorf("app ends with 0 at SIGTERM: %s", containers(stopped))
	}
	timesAreInOrder(t, stopped)
	if stopped.StoppingAt == nil || stopped.ExecutionStoppedAt == nil || stopped.StoppedAt == nil {
		t.Errorf("a stopped task lacks times: %+v", stopped)
	}
	if got := *stopped.DesiredStatus; got != "STOPPED" {
		t.Errorf("desiredStatus %s", got)
	}
	if got := *stopped.Attachments[0].Status; got != "DELETED" {
		t.Errorf("the attachment of a stopped task is %s", got)
	}
	// Its interface is gone.
	if _, err := b.ec2.DescribeNetworkInterfaces(t.Context(), &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{k.eni}}); !hasCode(err, "InvalidNetworkInterfaceID.NotFound") {
		t.Errorf("the interface of a stopped task: %v", err)
	}
	k.logged(t, "app", "told to end")
}

func fieldsOfARunningTask(t *testing.T, got types.Task, image string) {
	t.Helper()
	for field, c := range map[string]struct{ got, want string }{
		"taskArn":             {*got.TaskArn, `arn:aws:ecs:us-east-1:123456789012:task/default/[0-9a-f]{32}`},
		"clusterArn":          {*got.ClusterArn, `arn:aws:ecs:us-east-1:123456789012:cluster/default`},
		"taskDefinitionArn":   {*got.TaskDefinitionArn, `arn:aws:ecs:us-east-1:123456789012:task-definition/my-app:\d+`},
		"desiredStatus":       {*got.DesiredStatus, "RUNNING"},
		"launchType":          {string(got.LaunchType), "FARGATE"},
		"platformVersion":     {aws.ToString(got.PlatformVersion), `1\.4\.0`},
		"platformFamily":      {aws.ToString(got.PlatformFamily), "Linux"},
		"cpu":                 {*got.Cpu, "256"},
		"memory":              {*got.Memory, "512"},
		"group":               {*got.Group, "family:my-app"},
		"connectivity":        {string(got.Connectivity), "CONNECTED"},
		"healthStatus":        {string(got.HealthStatus), "UNKNOWN"},
		"availabilityZone":    {aws.ToString(got.AvailabilityZone), "us-east-1[abc]"},
		"version":             {fmt.Sprint(got.Version), `[1-9]\d*`},
		"ephemeralStorage":    {fmt.Sprint(got.EphemeralStorage.SizeInGiB), "20"},
		"attachment.type":     {*got.Attachments[0].Type, "ElasticNetworkInterface"},
		"attachment.status":   {*got.Attachments[0].Status, "ATTACHED"},
		"privateDnsName":      {attachment(got)["privateDnsName"], `ip-[0-9-]+\.ec2\.internal`},
		"macAddress":          {attachment(got)["macAddress"], `([0-9a-f]{2}:){5}[0-9a-f]{2}`},
		"subnetId":            {attachment(got)["subnetId"], `subnet-[0-9a-f]{17}`},
		"networkInterfaceId":  {attachment(got)["networkInterfaceId"], `eni-[0-9a-f]{17}`},
		"privateIPv4Address":  {attachment(got)["privateIPv4Address"], `[0-9.]+`},
		"capacityProvider":    {aws.ToString(got.CapacityProviderName), ""},
		"stopCode":            {string(got.StopCode), ""},
		"containers":          {fmt.Sprint(len(got.Containers)), "2"},
		"overrides":           {fmt.Sprint(len(got.Overrides.ContainerOverrides)), "2"},
		"executeCommand":      {fmt.Sprint(got.EnableExecuteCommand), "false"},
		"fargateEphemeral":    {fmt.Sprint(got.FargateEphemeralStorage.SizeInGiB), "20"},
		"attachment.id":       {*got.Attachments[0].Id, `[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`},
		"containerInstance":   {aws.ToString(got.ContainerInstanceArn), ""},
		"attributes.cpu-arch": {attribute(got, "ecs.cpu-architecture"), "x86_64|arm64"},
	} {
		if !regexp.MustCompile("^(" + c.want + ")$").MatchString(c.got) {
			t.Errorf("%s is %q, want %s", field, c.got, c.want)
		}
	}
	for _, c := range got.Containers {
		for field, c := range map[string]struct{ got, want string }{
			"containerArn":  {*c.ContainerArn, `arn:aws:ecs:us-east-1:123456789012:container/default/[0-9a-f]{32}/[0-9a-f-]{36}`},
			"taskArn":       {*c.TaskArn, regexp.QuoteMeta(*got.TaskArn)},
			"image":         {*c.Image, regexp.QuoteMeta(image)},
			"imageDigest":   {aws.ToString(c.ImageDigest), `sha256:[0-9a-f]{64}`},
			"runtimeId":     {aws.ToString(c.RuntimeId), `[0-9a-f]{32}-\d{10}`},
			"cpu":           {aws.ToString(c.Cpu), "0"},
			"healthStatus":  {string(c.HealthStatus), "UNKNOWN"},
			"interface":     {*c.NetworkInterfaces[0].PrivateIpv4Address, regexp.QuoteMeta(attachment(got)["privateIPv4Address"])},
			"attachment id": {*c.NetworkInterfaces[0].AttachmentId, *got.Attachments[0].Id},
			"bindings":      {fmt.Sprint(len(c.NetworkBindings)), "0"},
		} {
			if !regexp.MustCompile("^(" + c.want + ")$").MatchString(c.got) {
				t.Errorf("container %s is %q, want %s", field, c.got, c.want)
			}
		}
	}
}

func attribute(got types.Task, name string) string {
	i := slices.IndexFunc(got.Attributes, func(a types.Attribute) bool { return *a.Name == name })
	if i < 0 {
		return ""
	}
	return aws.ToString(got.Attributes[i].Value)
}

// timesAreInOrder checks behaviour/task-lifecycle.md §2, of the times that the task has.
func timesAreInOrder(t *testing.T, got types.Task) {
	t.Helper()
	type moment struct {
		name string
		at   *time.Time
	}
	all := []moment{
		{"createdAt", got.CreatedAt},
		{"connectivityAt", got.ConnectivityAt},
		{"pullStartedAt", got.PullStartedAt},
		{"pullStoppedAt", got.PullStoppedAt},
		{"startedAt", got.StartedAt},
		{"executionStoppedAt", got.ExecutionStoppedAt},
		{"stoppedAt", got.StoppedAt},
	}
	// Whoever began it, stopping lies between the start and the end.
	if at := got.StoppingAt; at != nil && got.StoppedAt != nil && got.StartedAt != nil && (at.Before(*got.StartedAt) || at.After(*got.StoppedAt)) {
		t.Errorf("stoppingAt %v is not between %v and %v", at, got.StartedAt, got.StoppedAt)
	}
	for _, m := range all[:5] {
		if m.at == nil {
			t.Errorf("a task that ran has no %s", m.name)
		}
	}
	all = slices.DeleteFunc(all, func(m moment) bool { return m.at == nil })
	for i := range all[1:] {
		if all[i+1].at.Before(*all[i].at) {
			t.Errorf("%s %v is before %s %v", all[i+1].name, all[i+1].at, all[i].name, all[i].at)
		}
	}
}

func interfaceOfTheTask(t *testing.T, k *task, running types.Task) {
	t.Helper()
	out, err := k.b.ec2.DescribeNetworkInterfaces(t.Context(), &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{k.eni}})
	if err != nil || len(out.NetworkInterfaces) != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	got, details := out.NetworkInterfaces[0], attachment(running)
	if *got.PrivateIpAddress != details["privateIPv4Address"] || *got.MacAddress != details["macAddress"] || *got.SubnetId != details["subnetId"] ||
		got.Status != "in-use" || *got.PrivateDnsName != details["privateDnsName"] {
		t.Errorf("interface %+v, task's %v", got, details)
	}
	subnets, err := k.b.ec2.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{SubnetIds: []string{*got.SubnetId}})
	if err != nil || len(subnets.Subnets) != 1 {
		t.Fatalf("%+v, %v", subnets, err)
	}
	cidr, address := netip.MustParsePrefix(*subnets.Subnets[0].CidrBlock), netip.MustParseAddr(*got.PrivateIpAddress)
	if !cidr.Contains(address) || *subnets.Subnets[0].AvailabilityZone != *running.AvailabilityZone {
		t.Errorf("%s is not in %s of %s", address, cidr, *running.AvailabilityZone)
	}
}

func logsOfTheTask(t *testing.T, k *task) {
	t.Helper()
	group, stream := "/ecs/my-app", "ecs/init/"+k.id
	out, err := k.b.logs.GetLogEvents(t.Context(), &cloudwatchlogs.GetLogEventsInput{LogGroupName: &group, LogStreamName: &stream, StartFromHead: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range out.Events {
		got = append(got, *e.Message)
	}
	want := []string{"migration 1 of 2: create table visitors", "migration 2 of 2: add index on visitors", "migrations are done"}
	if !slices.Equal(got, want) {
		t.Errorf("init said %q, want %q", got, want)
	}
	found, err := k.b.logs.FilterLogEvents(t.Context(), &cloudwatchlogs.FilterLogEventsInput{
		LogGroupName: &group, LogStreamNamePrefix: aws.String("ecs/init/" + k.id), FilterPattern: aws.String("index"),
	})
	if err != nil || len(found.Events) != 1 || *found.Events[0].Message != want[1] || *found.Events[0].LogStreamName != stream {
		t.Errorf("FilterLogEvents: %+v, %v", found, err)
	}
}

// hasCode reports whether an error is one of AWS with that code.
func hasCode(err error, code string) bool {
	var e interface{ ErrorCode() string }
	return errors.As(err, &e) && e.ErrorCode() == code
}
