package servicediscovery_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
)

// The tutorial of the ECS guide, from the namespace to its end.
func TestLifecycle(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()

	create := must[sd.CreatePrivateDnsNamespaceOutput](w)(w.sd.CreatePrivateDnsNamespace(ctx, &sd.CreatePrivateDnsNamespaceInput{
		Name: aws.String("my-apps.local"), Vpc: aws.String("vpc-1"), Description: aws.String("apps"),
		Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("a")}},
	}))
	op := w.done(create.OperationId)
	if !regexp.MustCompile(`^[a-z0-9]{32}-[a-z0-9]{8}$`).MatchString(*op.Id) || op.Type != types.OperationTypeCreateNamespace || op.CreateDate == nil || op.UpdateDate == nil {
		t.Errorf("%+v", op)
	}
	id := op.Targets["NAMESPACE"]
	ns := must[sd.GetNamespaceOutput](w)(w.sd.GetNamespace(ctx, &sd.GetNamespaceInput{Id: &id})).Namespace
	if !regexp.MustCompile(`^ns-[a-z0-9]{16}$`).MatchString(id) || *ns.Arn != "arn:aws:servicediscovery:us-east-1:123456789012:namespace/"+id ||
		*ns.Name != "my-apps.local" || ns.Type != types.NamespaceTypeDnsPrivate || *ns.Description != "apps" ||
		*ns.Properties.HttpProperties.HttpName != "my-apps.local" || *ns.Properties.DnsProperties.SOA.TTL != 15 ||
		!strings.HasPrefix(*ns.Properties.DnsProperties.HostedZoneId, "Z") || aws.ToString(ns.CreatorRequestId) == "" {
		t.Errorf("%+v", ns)
	}

	service := w.service(sd.CreateServiceInput{
		Name: aws.String("my-service"), NamespaceId: ns.Arn, DnsConfig: dnsRecords(types.RecordTypeA),
		HealthCheckCustomConfig: &types.HealthCheckCustomConfig{FailureThreshold: aws.Int32(5)},
	})
	if !regexp.MustCompile(`^srv-[a-z0-9]{16}$`).MatchString(*service.Id) || *service.Arn != "arn:aws:servicediscovery:us-east-1:123456789012:service/"+*service.Id ||
		*service.NamespaceId != id || service.Type != types.ServiceTypeDnsHttp || service.DnsConfig.RoutingPolicy != types.RoutingPolicyMultivalue ||
		*service.DnsConfig.NamespaceId != id || *service.HealthCheckCustomConfig.FailureThreshold != 1 {
		t.Errorf("%+v", service)
	}

	w.register(*service.Id, "task-1", "AWS_INSTANCE_IPV4", "10.0.0.1", "ECS_SERVICE_NAME", "web", "AWS_INIT_HEALTH_STATUS", "UNHEALTHY")
	instance := must[sd.GetInstanceOutput](w)(w.sd.GetInstance(ctx, &sd.GetInstanceInput{ServiceId: service.Arn, InstanceId: aws.String("task-1")})).Instance
	if *instance.Id != "task-1" || instance.Attributes["ECS_SERVICE_NAME"] != "web" || instance.Attributes["AWS_INIT_HEALTH_STATUS"] != "UNHEALTHY" {
		t.Errorf("%+v", instance)
	}
	health := func() string {
		t.Helper()
		out := must[sd.GetInstancesHealthStatusOutput](w)(w.sd.GetInstancesHealthStatus(ctx, &sd.GetInstancesHealthStatusInput{ServiceId: service.Id}))
		return fmt.Sprint(out.Status)
	}
	if got := health(); got != "map[task-1:UNHEALTHY]" {
		t.Errorf("got %s", got)
	}
	must[sd.UpdateInstanceCustomHealthStatusOutput](w)(w.sd.UpdateInstanceCustomHealthStatus(ctx, &sd.UpdateInstanceCustomHealthStatusInput{
		ServiceId: service.Id, InstanceId: aws.String("task-1"), Status: types.CustomHealthStatusHealthy,
	}))
	if got := health(); got != "map[task-1:HEALTHY]" {
		t.Errorf("got %s", got)
	}

	// In use from the inside out.
	_, err := w.sd.DeleteNamespace(ctx, &sd.DeleteNamespaceInput{Id: &id})
	if got := refusal(err); !strings.HasPrefix(got, "ResourceInUse: ") {
		t.Errorf("got %s", got)
	}
	_, err = w.sd.DeleteService(ctx, &sd.DeleteServiceInput{Id: service.Id})
	if got := refusal(err); got != "ResourceInUse: Service contains registered instances; delete the instances before deleting the service" {
		t.Errorf("got %s", got)
	}
	gone := must[sd.DeregisterInstanceOutput](w)(w.sd.DeregisterInstance(ctx, &sd.DeregisterInstanceInput{ServiceId: service.Id, InstanceId: aws.String("task-1")}))
	if op := w.done(gone.OperationId); !maps.Equal(op.Targets, pairs("SERVICE", *service.Id, "INSTANCE", "task-1")) || op.Type != types.OperationTypeDeregisterInstance {
		t.Errorf("%+v", op)
	}
	must[sd.DeleteServiceOutput](w)(w.sd.DeleteService(ctx, &sd.DeleteServiceInput{Id: service.Id}))
	deleted := must[sd.DeleteNamespaceOutput](w)(w.sd.DeleteNamespace(ctx, &sd.DeleteNamespaceInput{Id: &id}))
	w.done(deleted.OperationId)
	_, err = w.sd.GetNamespace(ctx, &sd.GetNamespaceInput{Id: &id})
	if got := refusal(err); !strings.HasPrefix(got, "NamespaceNotFound: ") {
		t.Errorf("got %s", got)
	}
}

// What fails only when the hosted zone is made fails the operation, not the call.
func TestAHostedZoneThatCannotBeMade(t *testing.T) {
	w := newWorld(t)
	w.privateNamespace("my-apps.local", "vpc-1")
	w.privateNamespace("my-apps.local", "vpc-2") // another VPC may have the same
	for vpc, want := range map[string]string{
		"vpc-1": "has already been associated with the hosted zone Z",
		"vpc-3": "that you provided is not authorized to make the association",
	} {
		out := must[sd.CreatePrivateDnsNamespaceOutput](w)(w.sd.CreatePrivateDnsNamespace(t.Context(),
			&sd.CreatePrivateDnsNamespaceInput{Name: aws.String("My-apps.local"), Vpc: &vpc}))
		op := must[sd.GetOperationOutput](w)(w.sd.GetOperation(t.Context(), &sd.GetOperationInput{OperationId: out.OperationId})).Operation
		if op.Status != types.OperationStatusFail || *op.ErrorCode != "CANNOT_CREATE_HOSTED_ZONE" || !strings.Contains(*op.ErrorMessage, want) {
			t.Errorf("%s: %s %s %s", vpc, op.Status, aws.ToString(op.ErrorCode), aws.ToString(op.ErrorMessage))
		}
	}
	if n := records.Namespaces.Len(w.store.Snapshot()); n != 2 {
		t.Errorf("there are %d namespaces", n)
	}
}

// A request that is sent again has the effect and the answer of the first.
func TestRepeatedRequests(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	var namespaces, services []string
	for range 2 {
		out := must[sd.CreatePrivateDnsNamespaceOutput](w)(w.sd.CreatePrivateDnsNamespace(ctx, &sd.CreatePrivateDnsNamespaceInput{
			Name: aws.String("a.local"), Vpc: aws.String("vpc-1"), CreatorRequestId: aws.String("once"),
		}))
		namespaces = append(namespaces, w.done(out.OperationId).Targets["NAMESPACE"])
		services = append(services, *w.service(sd.CreateServiceInput{
			Name: aws.String("s"), NamespaceId: &namespaces[0], CreatorRequestId: aws.String("once"),
		}).Id)
	}
	if namespaces[0] != namespaces[1] || services[0] != services[1] {
		t.Errorf("made anew: %v, %v", namespaces, services)
	}
	before := revision(t, w, services[0])
	for range 2 {
		w.register(services[0], "i", "a", "b")
	}
	if got := revision(t, w, services[0]); got != before+1 {
		t.Errorf("the same registration twice moved the revision by %d", got-before)
	}
}

func revision(t *testing.T, w *world, service string) int64 {
	t.Helper()
	s, ok := records.DiscoveryServices.Get(w.store.Snapshot(), service)
	if !ok {
		t.Fatal("no such service")
	}
	return s.Revision
}

// Replacing an instance keeps it the task's, so that it goes with the task.
func TestReplacingATasksInstance(t *testing.T) {
	w := newWorld(t)
	service := w.service(sd.CreateServiceInput{Name: aws.String("s"), NamespaceId: aws.String(w.httpNamespace("h"))})
	w.register(*service.Id, "task-1", "a", "b")
	if _, err := w.store.Update(t.Context(), func(tx *store.Tx) error {
		i, _ := records.DiscoveryInstances.Get(tx, *service.Id+"/task-1")
		mine := *i
		mine.TaskID = "task-1"
		return records.PutDiscoveryInstance(tx, &mine)
	}); err != nil {
		t.Fatal(err)
	}
	w.register(*service.Id, "task-1", "a", "c")
	i, _ := records.DiscoveryInstances.Get(w.store.Snapshot(), *service.Id+"/task-1")
	if i.TaskID != "task-1" || i.Attributes["a"] != "c" {
		t.Errorf("%+v", i)
	}
}

func TestUpdates(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	id := w.privateNamespace("a.local", "vpc-1")
	out := must[sd.UpdatePrivateDnsNamespaceOutput](w)(w.sd.UpdatePrivateDnsNamespace(ctx, &sd.UpdatePrivateDnsNamespaceInput{
		Id: &id, Namespace: &types.PrivateDnsNamespaceChange{Description: aws.String("new"), Properties: &types.PrivateDnsNamespacePropertiesChange{
			DnsProperties: &types.PrivateDnsPropertiesMutableChange{SOA: &types.SOAChange{TTL: aws.Int64(99)}},
		}},
	}))
	w.done(out.OperationId)
	ns := must[sd.GetNamespaceOutput](w)(w.sd.GetNamespace(ctx, &sd.GetNamespaceInput{Id: &id})).Namespace
	if *ns.Description != "new" || *ns.Properties.DnsProperties.SOA.TTL != 99 {
		t.Errorf("%+v", ns)
	}

	service := w.service(sd.CreateServiceInput{Name: aws.String("s"), NamespaceId: &id, DnsConfig: dnsRecords(types.RecordTypeA)})
	changed := func(change types.ServiceChange) *types.Service {
		t.Helper()
		out := must[sd.UpdateServiceOutput](w)(w.sd.UpdateService(ctx, &sd.UpdateServiceInput{Id: service.Id, Service: &change}))
		if op := w.done(out.OperationId); op.Type != types.OperationTypeUpdateService || op.Targets["SERVICE"] != *service.Id {
			t.Errorf("%+v", op)
		}
		return must[sd.GetServiceOutput](w)(w.sd.GetService(ctx, &sd.GetServiceInput{Id: service.Id})).Service
	}
	config := &types.DnsConfigChange{DnsRecords: []types.DnsRecord{{Type: types.RecordTypeA, TTL: aws.Int64(5)}}}
	if s := changed(types.ServiceChange{Description: aws.String("d"), DnsConfig: config}); *s.Description != "d" || *s.DnsConfig.DnsRecords[0].TTL != 5 {
		t.Errorf("%+v", s)
	}
	if s := changed(types.ServiceChange{}); *s.Description != "d" || s.DnsConfig != nil || s.Type != types.ServiceTypeHttp {
		t.Errorf("records that are left out are deleted: %+v", s)
	}
}

func TestServiceAttributesAndTags(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	id := w.httpNamespace("h")
	service := w.service(sd.CreateServiceInput{Name: aws.String("s"), NamespaceId: &id, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("1")}}})
	attributes := func() string {
		t.Helper()
		return fmt.Sprint(must[sd.GetServiceAttributesOutput](w)(w.sd.GetServiceAttributes(ctx, &sd.GetServiceAttributesInput{ServiceId: service.Id})).ServiceAttributes.Attributes)
	}
	for _, set := range []map[string]string{pairs("x", "1", "y", "2"), pairs("y", "3", "z", "4")} {
		must[sd.UpdateServiceAttributesOutput](w)(w.sd.UpdateServiceAttributes(ctx, &sd.UpdateServiceAttributesInput{ServiceId: service.Id, Attributes: set}))
	}
	must[sd.DeleteServiceAttributesOutput](w)(w.sd.DeleteServiceAttributes(ctx, &sd.DeleteServiceAttributesInput{ServiceId: service.Id, Attributes: []string{"x", "none"}}))
	if got := attributes(); got != "map[y:3 z:4]" {
		t.Errorf("got %s", got)
	}

	ns := must[sd.GetNamespaceOutput](w)(w.sd.GetNamespace(ctx, &sd.GetNamespaceInput{Id: &id})).Namespace
	for _, resource := range []*string{service.Arn, ns.Arn} {
		must[sd.TagResourceOutput](w)(w.sd.TagResource(ctx, &sd.TagResourceInput{ResourceARN: resource, Tags: []types.Tag{
			{Key: aws.String("a"), Value: aws.String("2")}, {Key: aws.String("b"), Value: aws.String("")},
		}}))
		must[sd.UntagResourceOutput](w)(w.sd.UntagResource(ctx, &sd.UntagResourceInput{ResourceARN: resource, TagKeys: []string{"b", "c"}}))
		tags := must[sd.ListTagsForResourceOutput](w)(w.sd.ListTagsForResource(ctx, &sd.ListTagsForResourceInput{ResourceARN: resource})).Tags
		if len(tags) != 1 || *tags[0].Key != "a" || *tags[0].Value != "2" {
			t.Errorf("%s: %+v", *resource, tags)
		}
	}
}

func TestListsAndFilters(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	private := w.privateNamespace("one.local", "vpc-1")
	w.privateNamespace("one.local", "vpc-2") // its HTTP name is made unique
	w.done(must[sd.CreatePublicDnsNamespaceOutput](w)(w.sd.CreatePublicDnsNamespace(ctx, &sd.CreatePublicDnsNamespaceInput{Name: aws.String("example.com")})).OperationId)
	w.httpNamespace("one-http")

	filter := func(name types.NamespaceFilterName, condition types.FilterCondition, values ...string) []types.NamespaceFilter {
		return []types.NamespaceFilter{{Name: name, Condition: condition, Values: values}}
	}
	for _, test := range []struct {
		filters []types.NamespaceFilter
		want    int
	}{
		{nil, 4},
		{filter("TYPE", "", "DNS_PRIVATE"), 2},
		{filter("TYPE", "EQ", "HTTP"), 1},
		{filter("NAME", "EQ", "one.local"), 2},
		{filter("NAME", "BEGINS_WITH", "one"), 3},
		{filter("HTTP_NAME", "EQ", "one.local"), 1},
		{filter("HTTP_NAME", "BEGINS_WITH", "one.local-"), 1},
		{filter("RESOURCE_OWNER", "EQ", "SELF"), 4},
		{filter("RESOURCE_OWNER", "EQ", "OTHER_ACCOUNTS"), 0},
		{append(filter("NAME", "EQ", "one.local"), filter("HTTP_NAME", "EQ", "one.local")...), 1},
	} {
		out := must[sd.ListNamespacesOutput](w)(w.sd.ListNamespaces(ctx, &sd.ListNamespacesInput{Filters: test.filters}))
		if len(out.Namespaces) != test.want {
			t.Errorf("%v: found %d, want %d", test.filters, len(out.Namespaces), test.want)
		}
	}

	for i := range 5 {
		w.service(sd.CreateServiceInput{Name: aws.String(fmt.Sprint("s", i)), NamespaceId: &private})
	}
	var pages []int
	seen := map[string]bool{}
	pager := sd.NewListServicesPaginator(w.sd, &sd.ListServicesInput{
		MaxResults: aws.Int32(2),
		Filters:    []types.ServiceFilter{{Name: types.ServiceFilterNameNamespaceId, Values: []string{private}}},
	})
	for pager.HasMorePages() {
		page := must[sd.ListServicesOutput](w)(pager.NextPage(ctx))
		pages = append(pages, len(page.Services))
		for _, s := range page.Services {
			seen[*s.Name] = true
		}
	}
	if !slices.Equal(pages, []int{2, 2, 1}) || len(seen) != 5 {
		t.Errorf("pages of %v with %d services", pages, len(seen))
	}
	ns := must[sd.GetNamespaceOutput](w)(w.sd.GetNamespace(ctx, &sd.GetNamespaceInput{Id: &private})).Namespace
	if *ns.ServiceCount != 5 {
		t.Errorf("counted %d services", *ns.ServiceCount)
	}
}

// Operations are listed newest first, found by their targets, and forgotten.
func TestOperations(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	start := time.Now().Add(time.Hour).Truncate(time.Second)
	at := func(d time.Duration) { w.now.Store(new(start.Add(d))) }
	at(0)
	id := w.httpNamespace("h")
	service := w.service(sd.CreateServiceInput{Name: aws.String("s"), NamespaceId: &id})
	at(time.Minute)
	w.register(*service.Id, "i", "a", "b")
	for _, test := range []struct {
		name   types.OperationFilterName
		values []string
		want   int
	}{
		{"NAMESPACE_ID", []string{id}, 1},
		{"SERVICE_ID", []string{*service.Id}, 1},
		{"STATUS", []string{"SUCCESS"}, 2},
		{"STATUS", []string{"FAIL", "SUCCESS"}, 2},
		{"TYPE", []string{"REGISTER_INSTANCE"}, 1},
		{"UPDATE_DATE", []string{fmt.Sprint(start.Unix() + 30), fmt.Sprint(start.Unix() + 90)}, 1},
	} {
		condition := types.FilterConditionEq
		if len(test.values) > 1 {
			condition = types.FilterConditionIn
		}
		if test.name == "UPDATE_DATE" {
			condition = types.FilterConditionBetween
		}
		out := must[sd.ListOperationsOutput](w)(w.sd.ListOperations(ctx, &sd.ListOperationsInput{
			Filters: []types.OperationFilter{{Name: test.name, Condition: condition, Values: test.values}},
		}))
		if len(out.Operations) != test.want {
			t.Errorf("%s %v: found %d, want %d", test.name, test.values, len(out.Operations), test.want)
		}
	}
	for i := range 1050 {
		at(time.Hour + time.Duration(i)*time.Second)
		w.register(*service.Id, "i", "a", fmt.Sprint(i))
	}
	if n := records.DiscoveryOperations.Len(w.store.Snapshot()); n != 1000 {
		t.Errorf("%d operations are remembered", n)
	}
	at(2 * time.Hour)
	newest := must[sd.RegisterInstanceOutput](w)(w.sd.RegisterInstance(ctx, &sd.RegisterInstanceInput{ServiceId: service.Id, InstanceId: aws.String("j"), Attributes: pairs("a", "b")}))
	first := must[sd.ListOperationsOutput](w)(w.sd.ListOperations(ctx, &sd.ListOperationsInput{MaxResults: aws.Int32(1)}))
	if len(first.Operations) != 1 || *first.Operations[0].Id != *newest.OperationId || first.NextToken == nil {
		t.Errorf("the first is not the newest: %+v", first)
	}
	for i := range 100 { // each call forgets some
		at(48*time.Hour + time.Duration(i)*time.Second)
		w.register(*service.Id, "i", "a", fmt.Sprint("late", i))
	}
	if n := records.DiscoveryOperations.Len(w.store.Snapshot()); n != 100 {
		t.Errorf("a day later %d are remembered", n)
	}
}
