package e2e_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
)

// A service's name leads every task of the VPC to its healthy tasks, and no longer to one that is about to end.
func TestServiceIsFoundByItsName(t *testing.T) {
	t.Parallel()
	b := shared
	ctx := t.Context()
	vpcs := must(b.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{Filters: []ec2types.Filter{{Name: aws.String("is-default"), Values: []string{"true"}}}}))(t)
	zone := "apps-" + random() + ".local"
	made := must(b.sd.CreatePrivateDnsNamespace(ctx, &servicediscovery.CreatePrivateDnsNamespaceInput{Name: &zone, Vpc: vpcs.Vpcs[0].VpcId}))(t)
	operation := must(b.sd.GetOperation(ctx, &servicediscovery.GetOperationInput{OperationId: made.OperationId}))(t).Operation
	if operation.Status != sdtypes.OperationStatusSuccess {
		t.Fatalf("the namespace: %+v", operation)
	}
	namespace := operation.Targets["NAMESPACE"]
	registry := must(b.sd.CreateService(ctx, &servicediscovery.CreateServiceInput{
		Name: aws.String("my-service"), NamespaceId: &namespace,
		DnsConfig:               &sdtypes.DnsConfig{DnsRecords: []sdtypes.DnsRecord{{Type: sdtypes.RecordTypeA, TTL: aws.Int64(1)}, {Type: sdtypes.RecordTypeSrv, TTL: aws.Int64(1)}}},
		HealthCheckCustomConfig: &sdtypes.HealthCheckCustomConfig{},
	}))(t).Service

	s := &site{b: b, name: "found-" + random(), network: must(b.network(ctx))(t)}
	s.create(t, s.define(t, answering("one")), 3, func(in *ecs.CreateServiceInput) {
		in.ServiceRegistries = []types.ServiceRegistry{{RegistryArn: registry.Arn, Port: aws.Int32(sitePort)}}
	})
	s.stable(t)

	client := b.run(t, fargate(container("client", "answer", "8080", "0")))
	client.await(t, "a client", func(task types.Task) bool { return *task.LastStatus == "RUNNING" })
	name := "my-service." + zone
	looked := func(want []string) {
		t.Helper()
		eventually(t, "the names", func() error {
			text, err := client.ask(ctx, 8080, "/lookup", "name", name)
			if err != nil {
				return err
			}
			got := strings.Fields(text)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				return fmt.Errorf("%s leads to %v, want %v", name, got, want)
			}
			return nil
		})
	}
	looked(s.addresses(t))
	if text, err := client.ask(ctx, 8080, "/fetch", "url", fmt.Sprintf("http://%s:%d/", name, sitePort)); err != nil || !strings.HasPrefix(text, "hello from ") {
		t.Errorf("behind the name: %q, %v", text, err)
	}
	found := must(b.sd.DiscoverInstances(ctx, &servicediscovery.DiscoverInstancesInput{NamespaceName: &zone, ServiceName: aws.String("my-service")}))(t).Instances
	if len(found) != 3 || found[0].Attributes["ECS_SERVICE_NAME"] != s.name || found[0].Attributes["AWS_INSTANCE_PORT"] != fmt.Sprint(sitePort) {
		t.Errorf("discovered %+v", found)
	}

	// The task that is to end is DEACTIVATING until its record has left.
	victim := &task{b: b, arn: s.tasks(t)[0]}
	must(victim.describe(ctx))(t)
	must(b.ecs.StopTask(ctx, &ecs.StopTaskInput{Task: &victim.arn}))(t)
	eventually(t, "the record to leave first", func() error {
		text, err := client.ask(ctx, 8080, "/lookup", "name", name)
		if err != nil {
			return err
		}
		described, err := victim.describe(ctx)
		if err != nil {
			return err
		}
		gone := !slices.Contains(strings.Fields(text), victim.address)
		if !gone && (*described.LastStatus == "STOPPING" || *described.LastStatus == "STOPPED") {
			t.Fatalf("%s still leads to a task that is %s", name, *described.LastStatus)
		}
		if !gone {
			return errors.New("it is still there")
		}
		return nil
	})
	s.await(t, "a replacement", func(svc types.Service) bool { return svc.RunningCount == 3 && !slices.Contains(s.tasks(t), victim.arn) })
	looked(s.addresses(t))
}

// addresses are those of the service's tasks, sorted.
func (s *site) addresses(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, arn := range s.tasks(t) {
		k := &task{b: s.b, arn: arn}
		must(k.describe(t.Context()))(t)
		out = append(out, k.address)
	}
	slices.Sort(out)
	return out
}
