package ecs_test

import (
	"errors"
	"log/slog"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	ecsclient "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/wiretest"
)

const (
	execRole  = "arn:aws:iam::123456789012:role/exec"
	infraRole = "arn:aws:iam::123456789012:role/infra"
)

// open gives the world's VPC a way to the internet.
func (w *world) open() {
	w.update(func(tx *store.Tx) {
		records.InternetGateways.Put(tx, &model.InternetGateway{ID: "igw-1", VPCID: "vpc-1"})
		records.RouteTables.Put(tx, &model.RouteTable{
			ID: "rtb-1", VPCID: "vpc-1", Routes: []model.Route{{DestinationCIDR: "0.0.0.0/0", GatewayID: "igw-1"}},
			Associations: []model.RouteTableAssociation{{ID: "rtbassoc-1", Main: true}},
		})
	})
}

func expressInput(edit func(*ecsapi.CreateExpressGatewayServiceInput)) *ecsapi.CreateExpressGatewayServiceInput {
	in := &ecsapi.CreateExpressGatewayServiceInput{
		ExecutionRoleArn: new(execRole), InfrastructureRoleArn: new(infraRole),
		PrimaryContainer: &ecsapi.ExpressGatewayContainer{Image: new("public.ecr.aws/team/my.app:v1")},
	}
	if edit != nil {
		edit(in)
	}
	return in
}

func (w *world) express(edit func(*ecsapi.CreateExpressGatewayServiceInput)) *ecsapi.ECSExpressGatewayService {
	w.Helper()
	out, err := w.CreateExpressGatewayService(w.Context(), expressInput(edit))
	if err != nil {
		w.Fatal(say(err))
	}
	return out.Service
}

// provisioned is what control/express writes when all is there.
func (w *world) provisioned(arn string) {
	w.balance()
	w.update(func(tx *store.Tx) {
		for s := range records.Services.All(tx) {
			if s.ARN != arn {
				continue
			}
			next := *s
			next.Resources = model.ResourcesReady
			next.Revision.LoadBalancers = []model.ServiceLoadBalancer{{TargetGroupARN: groupARN, ContainerName: "Main", ContainerPort: 80}}
			network := *s.Revision.Network
			network.SecurityGroups = append(slices.Clone(network.SecurityGroups), groupID)
			next.Revision.Network = &network
			records.Services.Put(tx, &next)
			for v := range records.ServiceRevisions.By(tx, records.ServiceRevisionsByService, s.ID) {
				complete := *v
				complete.Spec = next.Revision
				records.ServiceRevisions.Put(tx, &complete)
			}
			if err := records.ExpressServices.Edit(tx, s.ID, func(e *model.ExpressService) error {
				e.Resources.ServiceSecurityGroup = model.ManagedResource{ARN: scope.EC2("security-group", groupID), Status: model.ManagedActive}
				return nil
			}); err != nil {
				w.Fatal(err)
			}
		}
	})
}

// The official SDK makes an express service, sees it by all names it has,
// changes and deletes it.
func TestExpress_OfficialClient(t *testing.T) {
	w := newWorld(t)
	w.open()
	door, err := gateway.New(gateway.Config{
		Credentials: root{}, Logger: slog.New(slog.DiscardHandler), Region: scope.Region,
		Services: []gateway.Service{{API: ecsapi.API, Provider: w.Provider}},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(door)
	defer server.Close()
	client, ctx := ecsclient.NewFromConfig(aws.Config{
		Region: scope.Region, BaseEndpoint: &server.URL, HTTPClient: wiretest.Client(server.Client().Transport), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("AKIAROOT", "secret", ""),
	}), t.Context()

	made, err := client.CreateExpressGatewayService(ctx, &ecsclient.CreateExpressGatewayServiceInput{
		ExecutionRoleArn: aws.String(execRole), InfrastructureRoleArn: aws.String(infraRole), HealthCheckPath: aws.String("/ping"),
		PrimaryContainer: &types.ExpressGatewayContainer{
			Image: aws.String("public.ecr.aws/team/my.app:v1"), Environment: []types.KeyValuePair{{Name: aws.String("MODE"), Value: aws.String("prod")}},
			Secrets: []types.Secret{{Name: aws.String("KEY"), ValueFrom: aws.String("arn:aws:ssm:us-east-1:123456789012:parameter/key")}},
			Command: []string{"serve"}, ContainerPort: aws.Int32(3000),
			RepositoryCredentials: &types.ExpressGatewayRepositoryCredentials{CredentialsParameter: aws.String("arn:aws:secretsmanager:us-east-1:123456789012:secret:login-AbCdEf")},
		},
		TaskRoleArn: aws.String("arn:aws:iam::123456789012:role/app"), Cpu: aws.String("256"), Memory: aws.String("512"),
		ScalingTarget: &types.ExpressGatewayScalingTarget{MinTaskCount: aws.Int32(2)}, Tags: []types.Tag{{Key: aws.String("Team"), Value: aws.String("blue")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := made.Service
	if *s.ServiceName != "my-app" || *s.Cluster != "default" || s.Status.StatusCode != "ACTIVE" || s.CurrentDeployment == nil || len(s.Tags) != 1 || *s.InfrastructureRoleArn != infraRole {
		t.Errorf("%+v", s)
	}
	c := s.ActiveConfigurations[0]
	if p := c.IngressPaths[0]; p.AccessType != "PUBLIC" || !regexp.MustCompile(`^https://my-[0-9a-f]{32}\.ecs\.us-east-1\.on\.aws$`).MatchString(*p.Endpoint) {
		t.Errorf("%s %s", p.AccessType, *p.Endpoint)
	}
	if *c.Cpu != "256" || *c.Memory != "512" || *c.HealthCheckPath != "/ping" || *c.ScalingTarget.MinTaskCount != 2 || *c.ScalingTarget.MaxTaskCount != 2 ||
		!slices.Equal(c.NetworkConfiguration.Subnets, []string{subnetA, subnetB}) || len(c.NetworkConfiguration.SecurityGroups) != 0 {
		t.Errorf("%+v", c)
	}
	if m := c.PrimaryContainer; *m.ContainerPort != 3000 || m.Command[0] != "serve" || *m.Environment[0].Value != "prod" || *m.Secrets[0].Name != "KEY" ||
		!strings.HasPrefix(*m.AwsLogsConfiguration.LogGroup, "/aws/ecs/default/my-app-") || *m.AwsLogsConfiguration.LogStreamPrefix != "ecs" {
		t.Errorf("%+v", m)
	}
	again, err := client.CreateExpressGatewayService(ctx, &ecsclient.CreateExpressGatewayServiceInput{
		ExecutionRoleArn: aws.String(execRole), InfrastructureRoleArn: aws.String(infraRole), ServiceName: aws.String("my-app"), PrimaryContainer: &types.ExpressGatewayContainer{Image: aws.String("nginx")},
	})
	if e, ok := errors.AsType[*types.InvalidParameterException](err); !ok || *e.Message != "Creation of service was not idempotent." {
		t.Errorf("%+v, %v", again, err)
	}

	described, err := client.DescribeServices(ctx, &ecsclient.DescribeServicesInput{Services: []string{"my-app"}})
	if err != nil || described.Services[0].ResourceManagementType != "ECS" || described.Services[0].DesiredCount != 2 || *described.Services[0].HealthCheckGracePeriodSeconds != 300 {
		t.Fatalf("%+v, %v", described, err)
	}
	def, err := client.DescribeTaskDefinition(ctx, &ecsclient.DescribeTaskDefinitionInput{TaskDefinition: described.Services[0].TaskDefinition})
	if err != nil {
		t.Fatal(err)
	}
	if m := def.TaskDefinition.ContainerDefinitions[0]; *m.Name != "Main" || !*m.LinuxParameters.InitProcessEnabled || *m.StopTimeout != 30 || m.LogConfiguration.Options["mode"] != "non-blocking" {
		t.Errorf("%+v", m)
	}
	listed, err := client.ListServices(ctx, &ecsclient.ListServicesInput{ResourceManagementType: types.ResourceManagementTypeEcs})
	if err != nil || !slices.Equal(listed.ServiceArns, []string{*s.ServiceArn}) {
		t.Errorf("%+v, %v", listed, err)
	}
	if others, err := client.ListServices(ctx, &ecsclient.ListServicesInput{ResourceManagementType: types.ResourceManagementTypeCustomer}); err != nil || len(others.ServiceArns) != 0 {
		t.Errorf("%+v, %v", others, err)
	}

	w.provisioned(*s.ServiceArn)
	updated, err := client.UpdateExpressGatewayService(ctx, &ecsclient.UpdateExpressGatewayServiceInput{
		ServiceArn: s.ServiceArn, PrimaryContainer: &types.ExpressGatewayContainer{Image: aws.String("public.ecr.aws/team/my.app:v2")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if c := updated.Service.TargetConfiguration; *c.PrimaryContainer.Image != "public.ecr.aws/team/my.app:v2" || *c.PrimaryContainer.Environment[0].Name != "MODE" || *c.HealthCheckPath != "/ping" || len(c.NetworkConfiguration.SecurityGroups) != 0 {
		t.Errorf("%+v", c)
	}
	now, err := client.DescribeExpressGatewayService(ctx, &ecsclient.DescribeExpressGatewayServiceInput{ServiceArn: s.ServiceArn, Include: []types.ExpressGatewayServiceInclude{"TAGS"}})
	if err != nil || len(now.Service.ActiveConfigurations) != 2 || *now.Service.ActiveConfigurations[0].ServiceRevisionArn != *updated.Service.TargetConfiguration.ServiceRevisionArn || len(now.Service.Tags) != 1 {
		t.Errorf("%+v, %v", now, err)
	}

	gone, err := client.DeleteExpressGatewayService(ctx, &ecsclient.DeleteExpressGatewayServiceInput{ServiceArn: s.ServiceArn})
	if err != nil || gone.Service.Status.StatusCode != "DRAINING" {
		t.Fatalf("%+v, %v", gone, err)
	}
	if _, err := client.UpdateExpressGatewayService(ctx, &ecsclient.UpdateExpressGatewayServiceInput{ServiceArn: s.ServiceArn}); !isA[*types.ServiceNotActiveException](err) {
		t.Error(err)
	}
	w.update(func(tx *store.Tx) {
		for s := range records.Services.All(tx) {
			over := *s
			over.Status = model.ServiceInactive
			records.Services.Put(tx, &over)
		}
	})
	now, err = client.DescribeExpressGatewayService(ctx, &ecsclient.DescribeExpressGatewayServiceInput{ServiceArn: s.ServiceArn})
	if err != nil || now.Service.Status.StatusCode != "INACTIVE" {
		t.Errorf("%+v, %v", now, err)
	}
	unknown := aws.String(strings.Replace(*s.ServiceArn, "my-app", "none", 1))
	if _, err := client.DescribeExpressGatewayService(ctx, &ecsclient.DescribeExpressGatewayServiceInput{ServiceArn: unknown}); !isA[*types.ResourceNotFoundException](err) {
		t.Error(err)
	}
	if _, err := client.DeleteExpressGatewayService(ctx, &ecsclient.DeleteExpressGatewayServiceInput{ServiceArn: s.ServiceArn}); !isA[*types.ServiceNotActiveException](err) {
		t.Error(err)
	}
	if _, err := client.DeleteExpressGatewayService(ctx, &ecsclient.DeleteExpressGatewayServiceInput{ServiceArn: unknown}); !isA[*types.ServiceNotFoundException](err) {
		t.Error(err)
	}
}

func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// seenExpress names the refusals whose text was found in real output.
var seenExpress = []string{"taken name", "unknown subnet", "unknown cluster"}

func TestExpress_Refusals(t *testing.T) {
	w := newWorld(t)
	w.open()
	w.update(func(tx *store.Tx) {
		records.Subnets.Put(tx, &model.Subnet{ID: "subnet-tiny", VPCID: "vpc-1", CIDR: "10.0.9.0/28", AvailabilityZone: "us-east-1c"})
		for _, address := range []string{"4", "5", "6", "7"} {
			records.AddressClaims.Put(tx, &model.AddressClaim{SubnetID: "subnet-tiny", Address: "10.0.9." + address})
		}
		records.Subnets.Put(tx, &model.Subnet{ID: "subnet-private", VPCID: "vpc-1", CIDR: "10.0.8.0/24", AvailabilityZone: "us-east-1d"})
		records.RouteTables.Put(tx, &model.RouteTable{ID: "rtb-2", VPCID: "vpc-1", Associations: []model.RouteTableAssociation{{ID: "rtbassoc-2", SubnetID: "subnet-private"}}})
	})
	made := w.express(func(in *ecsapi.CreateExpressGatewayServiceInput) { in.ServiceName = new("taken") })
	w.register("web", nil)
	plain := w.create("plain", nil)

	type create = *ecsapi.CreateExpressGatewayServiceInput
	subnets := func(ids ...string) func(create) {
		return func(in create) {
			in.NetworkConfiguration = &ecsapi.ExpressGatewayServiceNetworkConfiguration{Subnets: ids}
		}
	}
	target := func(target ecsapi.ExpressGatewayScalingTarget) func(create) {
		return func(in create) { in.ScalingTarget = &target }
	}
	var lines strings.Builder
	for _, tc := range []struct {
		name string
		edit func(create)
	}{
		{"unknown cluster", func(in create) { in.Cluster = new("none") }},
		{"taken name", func(in create) { in.ServiceName = new("taken") }},
		{"bad name", func(in create) { in.ServiceName = new("my app") }},
		{"no image", func(in create) { in.PrimaryContainer.Image = new("") }},
		{"bad role", func(in create) { in.InfrastructureRoleArn = new("infra") }},
		{"role of another kind", func(in create) { in.TaskRoleArn = new("arn:aws:iam::123456789012:user/me") }},
		{"bad health check path", func(in create) { in.HealthCheckPath = new("ping") }},
		{"bad size", func(in create) { in.Cpu, in.Memory = new("256"), new("4") }},
		{"bad port", func(in create) { in.PrimaryContainer.ContainerPort = new(int32(70000)) }},
		{"reserved tag", func(in create) { in.Tags = []ecsapi.Tag{{Key: new("aws:x"), Value: new("y")}} }},
		{"unknown subnet", subnets(subnetA, "subnet-none")},
		{"one zone", subnets(subnetA)},
		{"two VPCs", subnets(subnetA, otherSubnet)},
		{"full subnet", subnets(subnetA, "subnet-tiny")},
		{"public and private", subnets(subnetA, "subnet-private")},
		{"no tasks", target(ecsapi.ExpressGatewayScalingTarget{MinTaskCount: new(int32(0))})},
		{"fewer at most than at least", target(ecsapi.ExpressGatewayScalingTarget{MinTaskCount: new(int32(3)), MaxTaskCount: new(int32(2))})},
		{"scaling", target(ecsapi.ExpressGatewayScalingTarget{MaxTaskCount: new(int32(2))})},
		{"scaling metric", target(ecsapi.ExpressGatewayScalingTarget{AutoScalingMetric: "AVERAGE_CPU"})},
	} {
		_, err := w.CreateExpressGatewayService(t.Context(), expressInput(tc.edit))
		lines.WriteString("create, " + tc.name + ": " + say(err) + mark(seenExpress, tc.name))
	}
	type update = *ecsapi.UpdateExpressGatewayServiceInput
	for _, tc := range []struct {
		name string
		edit func(update)
	}{
		{"name", func(in update) { in.ServiceArn = new("taken") }},
		{"not an express service", func(in update) { in.ServiceArn = plain.ServiceArn }},
		{"unknown service", func(in update) { in.ServiceArn = new(strings.Replace(*made.ServiceArn, "taken", "none", 1)) }},
		{"other account", func(in update) { in.ServiceArn = new(strings.Replace(*made.ServiceArn, "1234", "4321", 1)) }},
		{"no image", func(in update) { in.PrimaryContainer = &ecsapi.ExpressGatewayContainer{Image: new("")} }},
		{"private subnets", func(in update) {
			in.NetworkConfiguration = &ecsapi.ExpressGatewayServiceNetworkConfiguration{Subnets: []string{subnetA, "subnet-private"}}
		}},
		{"bad size", func(in update) { in.Memory = new("1") }},
	} {
		in := &ecsapi.UpdateExpressGatewayServiceInput{ServiceArn: made.ServiceArn}
		tc.edit(in)
		_, err := w.UpdateExpressGatewayService(t.Context(), in)
		lines.WriteString("update, " + tc.name + ": " + say(err) + mark(seenExpress, tc.name))
	}
	by := func(name string, in ecsapi.UpdateServiceInput) {
		in.Service = new("taken")
		_, err := w.UpdateService(t.Context(), &in)
		lines.WriteString("UpdateService, " + name + ": " + say(err) + mark(nil, name))
	}
	by("while it is provisioned", ecsapi.UpdateServiceInput{DesiredCount: new(int32(2))})
	w.provisioned(*made.ServiceArn)
	by("load balancers", ecsapi.UpdateServiceInput{LoadBalancers: []ecsapi.LoadBalancer{}})
	by("network", ecsapi.UpdateServiceInput{NetworkConfiguration: &ecsapi.NetworkConfiguration{}})
	by("capacity providers", ecsapi.UpdateServiceInput{CapacityProviderStrategy: []ecsapi.CapacityProviderStrategyItem{}})
	compareGolden(t, "testdata/express_errors.golden", lines.String())
}

// What decides whether a service is reached from outside are its subnets; where
// none are named, they are those of the default VPC.
func TestExpress_Placement(t *testing.T) {
	w := newWorld(t)
	if _, err := w.CreateExpressGatewayService(t.Context(), expressInput(nil)); say(err) != "InvalidParameterException: No default VPC with public subnets was found. Specify subnets in networkConfiguration." {
		t.Error(say(err))
	}
	private := w.express(func(in *ecsapi.CreateExpressGatewayServiceInput) {
		in.NetworkConfiguration = &ecsapi.ExpressGatewayServiceNetworkConfiguration{Subnets: []string{subnetA, subnetB}, SecurityGroups: []string{groupID}}
	})
	c := private.ActiveConfigurations[0]
	if c.IngressPaths[0].AccessType != "PRIVATE" || !slices.Equal(c.NetworkConfiguration.SecurityGroups, []string{groupID}) {
		t.Errorf("%+v", c)
	}
	if s := w.service("my-app"); s.NetworkConfiguration.AwsvpcConfiguration.AssignPublicIp != "DISABLED" {
		t.Errorf("%+v", s.NetworkConfiguration)
	}
	w.open()
	public := w.express(nil)
	if c := public.ActiveConfigurations[0]; c.IngressPaths[0].AccessType != "PUBLIC" || *public.ServiceName == "my-app" || !strings.HasPrefix(*public.ServiceName, "my-app-") {
		t.Errorf("%s %+v", *public.ServiceName, c)
	}
}

// A cluster named default is made when it is missing, with FARGATE.
func TestExpress_DefaultCluster(t *testing.T) {
	w := newWorld(t)
	w.open()
	if _, err := w.DeleteCluster(t.Context(), &ecsapi.DeleteClusterInput{Cluster: new("default")}); err != nil {
		t.Fatal(err)
	}
	w.express(nil)
	out, err := w.DescribeClusters(t.Context(), &ecsapi.DescribeClustersInput{})
	if err != nil || *out.Clusters[0].Status != "ACTIVE" || !slices.Equal(out.Clusters[0].CapacityProviders, []string{"FARGATE"}) {
		t.Errorf("%+v, %v", out, err)
	}
}

// What a change needs a deployment for, and what not.
func TestExpress_Deployments(t *testing.T) {
	w := newWorld(t)
	w.open()
	made := w.express(nil)
	w.provisioned(*made.ServiceArn)
	revision := *made.ActiveConfigurations[0].ServiceRevisionArn
	for _, tc := range []struct {
		name string
		edit func(*ecsapi.UpdateExpressGatewayServiceInput)
		new  bool
	}{
		{"nothing", func(*ecsapi.UpdateExpressGatewayServiceInput) {}, false},
		{"the same image", func(in *ecsapi.UpdateExpressGatewayServiceInput) {
			in.PrimaryContainer = &ecsapi.ExpressGatewayContainer{Image: new("public.ecr.aws/team/my.app:v1")}
		}, false},
		{"number of tasks", func(in *ecsapi.UpdateExpressGatewayServiceInput) {
			in.ScalingTarget = &ecsapi.ExpressGatewayScalingTarget{MinTaskCount: new(int32(3)), MaxTaskCount: new(int32(3))}
		}, false},
		{"health check path", func(in *ecsapi.UpdateExpressGatewayServiceInput) { in.HealthCheckPath = new("/ping") }, true},
		{"port", func(in *ecsapi.UpdateExpressGatewayServiceInput) {
			in.PrimaryContainer = &ecsapi.ExpressGatewayContainer{Image: new("public.ecr.aws/team/my.app:v1"), ContainerPort: new(int32(8080))}
		}, true},
		{"size", func(in *ecsapi.UpdateExpressGatewayServiceInput) { in.Cpu, in.Memory = new("512"), new("1024") }, true},
		{"roles", func(in *ecsapi.UpdateExpressGatewayServiceInput) {
			in.TaskRoleArn = new("arn:aws:iam::123456789012:role/other")
		}, true},
		{"security groups", func(in *ecsapi.UpdateExpressGatewayServiceInput) {
			in.NetworkConfiguration = &ecsapi.ExpressGatewayServiceNetworkConfiguration{Subnets: []string{subnetB, subnetA}}
		}, true},
	} {
		in := &ecsapi.UpdateExpressGatewayServiceInput{ServiceArn: made.ServiceArn}
		tc.edit(in)
		out, err := w.UpdateExpressGatewayService(t.Context(), in)
		if err != nil {
			t.Fatalf("%s: %s", tc.name, say(err))
		}
		next := *out.Service.TargetConfiguration.ServiceRevisionArn
		if tc.new != (next != revision) {
			t.Errorf("%s: a new revision = %v", tc.name, next != revision)
		}
		revision = next
	}
	s := w.service("my-app")
	if *s.DesiredCount != 3 || *s.LoadBalancers[0].ContainerPort != 8080 || !slices.Equal(s.NetworkConfiguration.AwsvpcConfiguration.SecurityGroups, []string{groupID}) {
		t.Errorf("%+v", s)
	}
	// Tags are a service's like any other's.
	if _, err := w.TagResource(t.Context(), &ecsapi.TagResourceInput{ResourceArn: made.ServiceArn, Tags: []ecsapi.Tag{{Key: new("a"), Value: new("b")}}}); err != nil {
		t.Error(err)
	}
	// So is its number of tasks, and another definition of its.
	if _, err := w.UpdateService(t.Context(), &ecsapi.UpdateServiceInput{Service: new("my-app"), DesiredCount: new(int32(1))}); err != nil {
		t.Error(say(err))
	}
}
