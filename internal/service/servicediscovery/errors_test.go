package servicediscovery_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// What is refused, and in which words. Lines marked [GK] have a code that AWS
// documents and a text that was not seen in real AWS.
func TestRefusals(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	private, http := w.privateNamespace("apps.local", "vpc-1"), w.httpNamespace("api")
	w.done(must[sd.CreatePublicDnsNamespaceOutput](w)(w.sd.CreatePublicDnsNamespace(ctx, &sd.CreatePublicDnsNamespaceInput{Name: aws.String("example.com")})).OperationId)
	a := w.service(sd.CreateServiceInput{Name: aws.String("a"), NamespaceId: &private, DnsConfig: dnsRecords(types.RecordTypeA), HealthCheckCustomConfig: &types.HealthCheckCustomConfig{}})
	both := w.service(sd.CreateServiceInput{Name: aws.String("both"), NamespaceId: &private, DnsConfig: dnsRecords(types.RecordTypeA, types.RecordTypeAaaa)})
	v6 := w.service(sd.CreateServiceInput{Name: aws.String("v6"), NamespaceId: &private, DnsConfig: dnsRecords(types.RecordTypeAaaa)})
	srv := w.service(sd.CreateServiceInput{Name: aws.String("srv"), NamespaceId: &private, DnsConfig: dnsRecords(types.RecordTypeSrv)})
	cname := w.service(sd.CreateServiceInput{Name: aws.String("cname"), NamespaceId: &private, DnsConfig: dnsRecords(types.RecordTypeCname)})
	api := w.service(sd.CreateServiceInput{Name: aws.String("api"), NamespaceId: &http})
	full := w.service(sd.CreateServiceInput{Name: aws.String("full"), NamespaceId: &http})
	w.fill(*full.Id)
	w.register(*a.Id, "i", "AWS_INSTANCE_IPV4", "10.0.0.1")
	w.register(*both.Id, "i", "AWS_INSTANCE_IPV6", "fd00::1") // either is enough

	hide := strings.NewReplacer(private, "ns-private", http, "ns-http", *a.Id, "srv-a", *api.Id, "srv-api", *srv.Id, "srv-srv", *full.Id, "srv-full")
	var lines []string
	refuse := func(name, mark string, err error) {
		t.Helper()
		line := name + ": " + hide.Replace(refusal(err)) + mark
		if err == nil {
			t.Errorf("%s: not refused", name)
		}
		lines = append(lines, line)
	}
	const gk = " [GK]"

	createHTTP := func(name string, tags ...types.Tag) error {
		_, err := w.sd.CreateHttpNamespace(ctx, &sd.CreateHttpNamespaceInput{Name: &name, Tags: tags})
		return err
	}
	refuse("HTTP namespace twice", gk, createHTTP("api"))
	refuse("name like an ARN", gk, createHTTP("arn:aws:x"))
	refuse("tag twice", gk, createHTTP("t", types.Tag{Key: aws.String("k"), Value: aws.String("1")}, types.Tag{Key: aws.String("k"), Value: aws.String("2")}))
	refuse("tag of AWS", gk, createHTTP("t", types.Tag{Key: aws.String("aws:k"), Value: aws.String("1")}))
	var many []types.Tag
	for i := range 51 {
		many = append(many, types.Tag{Key: aws.String(fmt.Sprint(i)), Value: aws.String("")})
	}
	refuse("too many tags", gk, createHTTP("t", many...))
	_, err := w.sd.CreatePrivateDnsNamespace(ctx, &sd.CreatePrivateDnsNamespaceInput{Name: aws.String("not..a.name"), Vpc: aws.String("vpc-1")})
	refuse("no domain", gk, err)
	_, err = w.sd.CreatePublicDnsNamespace(ctx, &sd.CreatePublicDnsNamespaceInput{Name: aws.String("Example.com")})
	refuse("public namespace twice", gk, err)
	_, err = w.sd.CreatePublicDnsNamespace(ctx, &sd.CreatePublicDnsNamespaceInput{Name: aws.String("nodots")})
	refuse("public name without a dot", "", err)
	_, err = w.sd.UpdateHttpNamespace(ctx, &sd.UpdateHttpNamespaceInput{Id: &private, Namespace: &types.HttpNamespaceChange{Description: aws.String("x")}})
	refuse("update of another type", gk, err)
	_, err = w.sd.DeleteNamespace(ctx, &sd.DeleteNamespaceInput{Id: &private})
	refuse("namespace in use", gk, err)
	_, err = w.sd.GetNamespace(ctx, &sd.GetNamespaceInput{Id: aws.String("ns-none")})
	refuse("no namespace", gk, err)
	_, err = w.sd.GetNamespace(ctx, &sd.GetNamespaceInput{Id: aws.String("arn:aws:servicediscovery:us-east-1:999999999999:namespace/" + private)})
	refuse("another account's namespace", gk, err)
	_, err = w.sd.ListNamespaces(ctx, &sd.ListNamespacesInput{Filters: []types.NamespaceFilter{{Name: "TYPE", Condition: "BETWEEN", Values: []string{"a", "b"}}}})
	refuse("filter with a wrong condition", gk, err)
	_, err = w.sd.ListNamespaces(ctx, &sd.ListNamespacesInput{Filters: []types.NamespaceFilter{{Name: "NAME", Values: []string{"a", "b"}}}})
	refuse("filter with too many values", gk, err)
	_, err = w.sd.ListNamespaces(ctx, &sd.ListNamespacesInput{Filters: []types.NamespaceFilter{{Name: "RESOURCE_OWNER", Values: []string{"me"}}}})
	refuse("filter with a wrong owner", gk, err)
	_, err = w.sd.ListOperations(ctx, &sd.ListOperationsInput{Filters: []types.OperationFilter{{Name: "UPDATE_DATE", Condition: "BETWEEN", Values: []string{"a", "b"}}}})
	refuse("filter with a wrong date", gk, err)
	_, err = w.sd.ListServices(ctx, &sd.ListServicesInput{NextToken: aws.String("x")})
	refuse("token", gk, err)
	_, err = w.sd.GetOperation(ctx, &sd.GetOperationInput{OperationId: aws.String("op")})
	refuse("no operation", gk, err)

	create := func(in sd.CreateServiceInput) error {
		if in.Name == nil {
			in.Name = aws.String("new")
		}
		_, err := w.sd.CreateService(ctx, &in)
		return err
	}
	refuse("service in no namespace", gk, create(sd.CreateServiceInput{}))
	refuse("service in two namespaces", gk, create(sd.CreateServiceInput{NamespaceId: &private, DnsConfig: &types.DnsConfig{NamespaceId: &http, DnsRecords: []types.DnsRecord{}}}))
	refuse("service in a namespace that is not", gk, create(sd.CreateServiceInput{NamespaceId: aws.String("ns-none")}))
	refuse("service twice", gk, create(sd.CreateServiceInput{Name: aws.String("A"), NamespaceId: &private, DnsConfig: dnsRecords(types.RecordTypeA)}))
	refuse("service with a bad name", "", create(sd.CreateServiceInput{Name: aws.String("-a"), NamespaceId: &private}))
	refuse("service with a long name", gk, create(sd.CreateServiceInput{Name: aws.String(strings.Repeat("a.", 63) + "bc"), NamespaceId: &private}))
	refuse("DNS in an HTTP namespace", gk, create(sd.CreateServiceInput{NamespaceId: &http, DnsConfig: dnsRecords(types.RecordTypeA)}))
	refuse("DNS and type HTTP", gk, create(sd.CreateServiceInput{NamespaceId: &private, Type: types.ServiceTypeOptionHttp, DnsConfig: dnsRecords(types.RecordTypeA)}))
	refuse("record twice", gk, create(sd.CreateServiceInput{NamespaceId: &private, DnsConfig: dnsRecords(types.RecordTypeA, types.RecordTypeA)}))
	refuse("CNAME and A", gk, create(sd.CreateServiceInput{NamespaceId: &private, DnsConfig: dnsRecords(types.RecordTypeA, types.RecordTypeCname)}))
	multi := dnsRecords(types.RecordTypeCname)
	multi.RoutingPolicy = types.RoutingPolicyMultivalue
	refuse("MULTIVALUE CNAME", gk, create(sd.CreateServiceInput{NamespaceId: &private, DnsConfig: multi}))
	check := &types.HealthCheckConfig{Type: types.HealthCheckTypeHttp}
	refuse("Route 53 check", " [Berth]", create(sd.CreateServiceInput{NamespaceId: &private, HealthCheckConfig: check}))
	refuse("both kinds of check", gk, create(sd.CreateServiceInput{NamespaceId: &private, HealthCheckConfig: check, HealthCheckCustomConfig: &types.HealthCheckCustomConfig{}}))
	_, err = w.sd.UpdateService(ctx, &sd.UpdateServiceInput{Id: a.Id, Service: &types.ServiceChange{HealthCheckConfig: check}})
	refuse("update to a Route 53 check", " [Berth]", err)
	_, err = w.sd.UpdateService(ctx, &sd.UpdateServiceInput{Id: api.Id, Service: &types.ServiceChange{DnsConfig: &types.DnsConfigChange{DnsRecords: dnsRecords(types.RecordTypeA).DnsRecords}}})
	refuse("DNS added", gk, err)
	_, err = w.sd.DeleteService(ctx, &sd.DeleteServiceInput{Id: a.Id})
	refuse("service in use", "", err)
	_, err = w.sd.GetService(ctx, &sd.GetServiceInput{Id: aws.String("srv-none")})
	refuse("no service", gk, err)
	lots := map[string]string{}
	for i := range 30 {
		lots[fmt.Sprint(i)] = "x"
	}
	must[sd.UpdateServiceAttributesOutput](w)(w.sd.UpdateServiceAttributes(ctx, &sd.UpdateServiceAttributesInput{ServiceId: api.Id, Attributes: lots}))
	_, err = w.sd.UpdateServiceAttributes(ctx, &sd.UpdateServiceAttributesInput{ServiceId: api.Id, Attributes: pairs("one", "more")})
	refuse("too many service attributes", gk, err)

	register := func(service *types.Service, id string, attributes ...string) error {
		_, err := w.sd.RegisterInstance(ctx, &sd.RegisterInstanceInput{ServiceId: service.Id, InstanceId: &id, Attributes: pairs(attributes...)})
		return err
	}
	refuse("A without address", gk, register(a, "j"))
	refuse("AAAA without address", gk, register(v6, "j", "AWS_INSTANCE_IPV4", "10.0.0.1"))
	refuse("A and AAAA without address", gk, register(both, "j"))
	refuse("SRV without address", gk, register(srv, "j", "AWS_INSTANCE_PORT", "80"))
	refuse("SRV without port", gk, register(srv, "j", "AWS_INSTANCE_IPV4", "10.0.0.1"))
	refuse("SRV with an odd id", gk, register(srv, "a/b", "AWS_INSTANCE_IPV4", "10.0.0.1", "AWS_INSTANCE_PORT", "80"))
	refuse("CNAME without name", gk, register(cname, "j"))
	refuse("bad IPv4", gk, register(a, "j", "AWS_INSTANCE_IPV4", "10.0.0.256"))
	refuse("bad IPv6", gk, register(a, "j", "AWS_INSTANCE_IPV4", "10.0.0.1", "AWS_INSTANCE_IPV6", "10.0.0.1"))
	refuse("bad port", gk, register(api, "j", "AWS_INSTANCE_PORT", "65536"))
	refuse("bad CNAME", gk, register(cname, "j", "AWS_INSTANCE_CNAME", "not..a.name"))
	refuse("alias", " [Berth]", register(a, "j", "AWS_ALIAS_DNS_NAME", "lb.elb.amazonaws.com"))
	refuse("EC2 instance", " [Berth]", register(api, "j", "AWS_EC2_INSTANCE_ID", "i-1"))
	refuse("initial health without check", gk, register(api, "j", "AWS_INIT_HEALTH_STATUS", "HEALTHY"))
	refuse("bad initial health", gk, register(a, "j", "AWS_INSTANCE_IPV4", "10.0.0.1", "AWS_INIT_HEALTH_STATUS", "FINE"))
	lots["30"] = "x"
	_, err = w.sd.RegisterInstance(ctx, &sd.RegisterInstanceInput{ServiceId: api.Id, InstanceId: aws.String("j"), Attributes: lots})
	refuse("too many attributes", gk, err)
	var big []string
	for i := range 5 {
		big = append(big, fmt.Sprint(i), strings.Repeat("x", 1024))
	}
	refuse("attributes too long", gk, register(api, "j", big...))
	refuse("too many instances", gk, register(full, "j", "a", "b"))
	_, err = w.sd.DeregisterInstance(ctx, &sd.DeregisterInstanceInput{ServiceId: a.Id, InstanceId: aws.String("none")})
	refuse("no instance", gk, err)
	_, err = w.sd.GetInstancesHealthStatus(ctx, &sd.GetInstancesHealthStatusInput{ServiceId: a.Id, Instances: []string{"i", "none"}})
	refuse("health of no instance", gk, err)
	_, err = w.sd.UpdateInstanceCustomHealthStatus(ctx, &sd.UpdateInstanceCustomHealthStatusInput{ServiceId: api.Id, InstanceId: aws.String("i"), Status: "HEALTHY"})
	refuse("custom health without config", gk, err)
	_, err = w.sd.UpdateInstanceCustomHealthStatus(ctx, &sd.UpdateInstanceCustomHealthStatusInput{ServiceId: a.Id, InstanceId: aws.String("none"), Status: "HEALTHY"})
	refuse("custom health of no instance", gk, err)

	discover := func(in sd.DiscoverInstancesInput) error {
		_, err := w.sd.DiscoverInstances(ctx, &in)
		return err
	}
	refuse("discover in no namespace", gk, discover(sd.DiscoverInstancesInput{NamespaceName: aws.String("none"), ServiceName: aws.String("a")}))
	refuse("discover no service", gk, discover(sd.DiscoverInstancesInput{NamespaceName: aws.String("apps.local"), ServiceName: aws.String("none")}))
	refuse("discover another account's", gk, discover(sd.DiscoverInstancesInput{NamespaceName: aws.String("apps.local"), ServiceName: aws.String("a"), OwnerAccount: aws.String("999999999999")}))
	refuse("discover too many", "", discover(sd.DiscoverInstancesInput{NamespaceName: aws.String("apps.local"), ServiceName: aws.String("a"), MaxResults: aws.Int32(1001)}))
	_, err = w.sd.ListTagsForResource(ctx, &sd.ListTagsForResourceInput{ResourceARN: aws.String("arn:aws:servicediscovery:us-east-1:123456789012:service/srv-none")})
	refuse("tags of nothing", gk, err)
	_, err = w.sd.TagResource(ctx, &sd.TagResourceInput{ResourceARN: &private, Tags: []types.Tag{}})
	refuse("tags without ARN", gk, err)

	compareGolden(t, "testdata/errors.golden", lines)
}

// fill gives a service as many instances as it may have.
func (w *world) fill(service string) {
	w.t.Helper()
	for from := 0; from < 1000; from += 20 {
		if _, err := w.store.Update(context.Background(), func(tx *store.Tx) error {
			for i := range 20 {
				if err := records.PutDiscoveryInstance(tx, &model.DiscoveryInstance{ServiceID: service, InstanceID: fmt.Sprint("i", from+i)}); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			w.t.Fatal(err)
		}
	}
}
