package ecs_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	ec2client "github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	ecsclient "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	stsclient "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/service/ec2"
	"berth.dev/berth/internal/service/sts"
	"berth.dev/berth/internal/wire/api/ec2api"
	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/api/stsapi"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/sigv4"
	"berth.dev/berth/internal/wire/wiretest"
)

// root is a credential store with the root user's key alone.
type root struct{}

func (root) Credentials(context.Context, string, string) (sigv4.Credential, caller.Identity, error) {
	return sigv4.Credential{SecretAccessKey: "secret"}, caller.Identity{AccountID: scope.AccountID, ARN: scope.Root(), UserID: scope.AccountID}, nil
}

// The official SDK runs a task through the gateway and sees it, its network
// interface and its errors as on AWS.
func TestOfficialClient(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "", 4096, 8192)
	door, err := gateway.New(gateway.Config{
		Credentials: root{}, Logger: slog.New(slog.DiscardHandler), Region: scope.Region,
		Services: []gateway.Service{
			{API: ecsapi.API, Provider: w.Provider},
			{API: ec2api.API, Provider: ec2.New(ec2.Config{Store: w.store, Scope: scope})},
			{API: stsapi.API, Provider: sts.New(sts.Config{})},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(door)
	defer server.Close()
	cfg := aws.Config{
		Region: scope.Region, BaseEndpoint: &server.URL, HTTPClient: wiretest.Client(server.Client().Transport), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("AKIAROOT", "secret", ""),
	}
	client, ctx := ecsclient.NewFromConfig(cfg), t.Context()

	who, err := stsclient.NewFromConfig(cfg).GetCallerIdentity(ctx, nil)
	if err != nil || *who.Arn != scope.Root() {
		t.Fatalf("%+v, %v", who, err)
	}
	registered, err := client.RegisterTaskDefinition(ctx, &ecsclient.RegisterTaskDefinitionInput{
		Family: aws.String("web"), NetworkMode: types.NetworkModeAwsvpc, RequiresCompatibilities: []types.Compatibility{types.CompatibilityFargate},
		Cpu: aws.String("256"), Memory: aws.String("512"),
		ContainerDefinitions: []types.ContainerDefinition{{
			Name: aws.String("app"), Image: aws.String("nginx"), Environment: []types.KeyValuePair{{Name: aws.String("NODE_ENV"), Value: aws.String("production")}},
			PortMappings: []types.PortMapping{{ContainerPort: aws.Int32(3000), Protocol: types.TransportProtocolTcp}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	described, err := client.DescribeTaskDefinition(ctx, &ecsclient.DescribeTaskDefinitionInput{TaskDefinition: aws.String("web")})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(registered.TaskDefinition, described.TaskDefinition, cmpopts.IgnoreUnexported(
		types.TaskDefinition{}, types.ContainerDefinition{}, types.KeyValuePair{}, types.PortMapping{}, types.Attribute{})); diff != "" {
		t.Error(diff)
	}
	if *described.TaskDefinition.RegisteredBy != scope.Root() || described.TaskDefinition.ContainerDefinitions[0].MountPoints == nil {
		t.Errorf("%+v", described.TaskDefinition)
	}

	ran, err := client.RunTask(ctx, &ecsclient.RunTaskInput{
		TaskDefinition: aws.String("web"), LaunchType: types.LaunchTypeFargate,
		NetworkConfiguration: &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: []string{subnetA}, AssignPublicIp: types.AssignPublicIpEnabled}},
	})
	if err != nil || len(ran.Tasks) != 1 {
		t.Fatalf("%+v, %v", ran, err)
	}
	arn := *ran.Tasks[0].TaskArn
	w.report(arn, model.TaskRunning, func(o *model.TaskObserved) { o.ENIAttached = true })
	tasks, err := client.DescribeTasks(ctx, &ecsclient.DescribeTasksInput{Tasks: []string{arn}})
	if err != nil || *tasks.Tasks[0].LastStatus != "RUNNING" || !tasks.Tasks[0].CreatedAt.Equal(*w.clock.Load()) {
		t.Fatalf("%+v, %v", tasks, err)
	}
	details := map[string]string{}
	for _, d := range tasks.Tasks[0].Attachments[0].Details {
		details[*d.Name] = *d.Value
	}
	enis, err := ec2client.NewFromConfig(cfg).DescribeNetworkInterfaces(ctx, &ec2client.DescribeNetworkInterfacesInput{
		NetworkInterfaceIds: []string{details["networkInterfaceId"]},
		Filters:             []ec2types.Filter{{Name: aws.String("subnet-id"), Values: []string{subnetA}}},
	})
	if err != nil || *enis.NetworkInterfaces[0].PrivateIpAddress != details["privateIPv4Address"] || *enis.NetworkInterfaces[0].MacAddress != details["macAddress"] {
		t.Fatalf("%+v, %v", enis, err)
	}
	if _, err := client.StopTask(ctx, &ecsclient.StopTaskInput{Task: &arn}); err != nil {
		t.Fatal(err)
	}

	_, err = client.RunTask(ctx, &ecsclient.RunTaskInput{TaskDefinition: aws.String("web"), Cluster: aws.String("none")})
	if _, ok := errors.AsType[*types.ClusterNotFoundException](err); !ok {
		t.Errorf("unknown cluster: %v", err)
	}
	_, err = client.RunTask(ctx, &ecsclient.RunTaskInput{TaskDefinition: aws.String("web"), LaunchType: types.LaunchTypeFargate})
	if e, ok := errors.AsType[*types.InvalidParameterException](err); !ok || *e.Message != "Network Configuration must be provided when networkMode 'awsvpc' is specified." {
		t.Errorf("no network: %v", err)
	}
}
