package servicediscovery_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
)

// The official client sends discovery to a host that begins with data-, unless
// it is told not to. Both are answered.
func TestDiscoveryOnBothHosts(t *testing.T) {
	for prefix, options := range map[string][]func(*sd.Options){"data-": nil, "": {plainHost}} {
		t.Run("host "+prefix, func(t *testing.T) {
			w := newWorld(t, options...)
			service := w.service(sd.CreateServiceInput{Name: aws.String("s"), NamespaceId: aws.String(w.httpNamespace("h"))})
			w.register(*service.Id, "i", "a", "b")
			out := must[sd.DiscoverInstancesOutput](w)(w.sd.DiscoverInstances(t.Context(), &sd.DiscoverInstancesInput{NamespaceName: aws.String("h"), ServiceName: aws.String("s")}))
			if host := <-w.hosts; !strings.HasPrefix(host, prefix+"berth.test:") {
				t.Errorf("sent to %s", host)
			}
			i := out.Instances[0]
			if len(out.Instances) != 1 || *i.InstanceId != "i" || *i.NamespaceName != "h" || *i.ServiceName != "s" || i.HealthStatus != types.HealthStatusUnknown || i.Attributes["a"] != "b" {
				t.Errorf("%+v", out.Instances)
			}
			revision := must[sd.DiscoverInstancesRevisionOutput](w)(w.sd.DiscoverInstancesRevision(t.Context(), &sd.DiscoverInstancesRevisionInput{NamespaceName: aws.String("h"), ServiceName: aws.String("s")}))
			if *revision.InstancesRevision != *out.InstancesRevision || *out.InstancesRevision != 1 {
				t.Errorf("revisions %d and %d", *revision.InstancesRevision, *out.InstancesRevision)
			}
		})
	}
}

func TestDiscoverInstances(t *testing.T) {
	w := newWorld(t)
	id := w.privateNamespace("apps.local", "vpc-1")
	checked := w.service(sd.CreateServiceInput{Name: aws.String("checked"), NamespaceId: &id, DnsConfig: dnsRecords(types.RecordTypeA), HealthCheckCustomConfig: &types.HealthCheckCustomConfig{}})
	for i, health := range []string{"HEALTHY", "HEALTHY", "UNHEALTHY"} {
		w.register(*checked.Id, fmt.Sprint("i", i), "AWS_INSTANCE_IPV4", fmt.Sprint("10.0.0.", i), "AWS_INIT_HEALTH_STATUS", health,
			"colour", []string{"red", "blue", "blue"}[i], "size", "big")
	}
	sick := w.service(sd.CreateServiceInput{Name: aws.String("sick"), NamespaceId: &id, HealthCheckCustomConfig: &types.HealthCheckCustomConfig{}})
	w.register(*sick.Id, "i0", "AWS_INIT_HEALTH_STATUS", "UNHEALTHY")
	unchecked := w.service(sd.CreateServiceInput{Name: aws.String("unchecked"), NamespaceId: &id})
	w.register(*unchecked.Id, "i0", "a", "b")

	for _, test := range []struct {
		service         string
		health          types.HealthStatusFilter
		query, optional []string
		want            string
	}{
		{"checked", "", nil, nil, "i0 i1"},
		{"CHECKED", "", nil, nil, "i0 i1"}, // a name in DNS
		{"checked", "ALL", nil, nil, "i0 i1 i2"},
		{"checked", "HEALTHY", nil, nil, "i0 i1"},
		{"checked", "UNHEALTHY", nil, nil, "i2"},
		{"checked", "HEALTHY_OR_ELSE_ALL", nil, nil, "i0 i1"},
		{"checked", "ALL", []string{"colour", "blue"}, nil, "i1 i2"},
		{"checked", "ALL", []string{"colour", "blue", "size", "big"}, nil, "i1 i2"},
		{"checked", "ALL", []string{"colour", "blue", "size", "small"}, nil, ""},
		{"checked", "ALL", []string{"none", ""}, nil, ""},
		{"checked", "HEALTHY", []string{"colour", "blue"}, nil, "i1"},
		{"checked", "", nil, []string{"colour", "red"}, "i0"},
		{"checked", "", nil, []string{"colour", "green"}, "i0 i1"},
		{"checked", "", []string{"size", "big"}, []string{"colour", "blue"}, "i1"},
		{"sick", "", nil, nil, "i0"},
		{"sick", "HEALTHY", nil, nil, ""},
		{"sick", "HEALTHY_OR_ELSE_ALL", nil, nil, "i0"},
		{"unchecked", "HEALTHY", nil, nil, "i0"},
		{"unchecked", "UNHEALTHY", nil, nil, "i0"},
	} {
		out := must[sd.DiscoverInstancesOutput](w)(w.sd.DiscoverInstances(t.Context(), &sd.DiscoverInstancesInput{
			NamespaceName: aws.String("apps.local"), ServiceName: &test.service, HealthStatus: test.health,
			QueryParameters: pairs(test.query...), OptionalParameters: pairs(test.optional...),
		}))
		var got []string
		for _, i := range out.Instances {
			got = append(got, *i.InstanceId)
		}
		slices.Sort(got)
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s %s %v %v: got %v, want %s", test.service, test.health, test.query, test.optional, got, test.want)
		}
	}
}

// At most a hundred are returned unasked, and at most a thousand can be.
func TestManyInstances(t *testing.T) {
	w := newWorld(t)
	service := w.service(sd.CreateServiceInput{Name: aws.String("s"), NamespaceId: aws.String(w.httpNamespace("h"))})
	for i := range 150 {
		w.register(*service.Id, fmt.Sprintf("i%03d", i), "a", "b")
	}
	in := &sd.DiscoverInstancesInput{NamespaceName: aws.String("h"), ServiceName: aws.String("s")}
	seen := map[string]bool{}
	for n := 0; n < 200 && len(seen) < 150; n++ { // which hundred is random
		out := must[sd.DiscoverInstancesOutput](w)(w.sd.DiscoverInstances(t.Context(), in))
		if len(out.Instances) != 100 {
			t.Fatalf("found %d", len(out.Instances))
		}
		for _, i := range out.Instances {
			seen[*i.InstanceId] = true
		}
	}
	if len(seen) != 150 {
		t.Errorf("only %d of 150 are ever found", len(seen))
	}
	in.MaxResults = aws.Int32(1000)
	if out := must[sd.DiscoverInstancesOutput](w)(w.sd.DiscoverInstances(t.Context(), in)); len(out.Instances) != 150 {
		t.Errorf("found %d", len(out.Instances))
	}
	listed := 0
	pager := sd.NewListInstancesPaginator(w.sd, &sd.ListInstancesInput{ServiceId: service.Id})
	for pager.HasMorePages() {
		listed += len(must[sd.ListInstancesOutput](w)(pager.NextPage(t.Context())).Instances)
	}
	if listed != 150 {
		t.Errorf("listed %d", listed)
	}
}
