package elbv2_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/service/elbv2"
	"berth.dev/berth/internal/wire/api/elbv2api"
)

func TestLoadBalancerHasInterfacesAndAddresses(t *testing.T) {
	w := newWorld(t)
	lb := w.balancer("web")
	id := strings.TrimPrefix(*lb.LoadBalancerArn, "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/")
	if !strings.HasPrefix(id, "app/web/") || len(id) != len("app/web/")+16 {
		t.Errorf("id %s", id)
	}
	if !strings.HasPrefix(*lb.DNSName, "web-") || !strings.HasSuffix(*lb.DNSName, ".us-east-1.elb.amazonaws.com") {
		t.Errorf("name %s", *lb.DNSName)
	}
	if lb.State.Code != "provisioning" || lb.Scheme != "internet-facing" || lb.Type != "application" || *lb.VpcId != vpcID || *lb.CanonicalHostedZoneId != "Z35SXDOTRQ7X7K" {
		t.Errorf("%+v", lb)
	}
	if !slices.Equal(lb.SecurityGroups, []string{groupID}) {
		t.Errorf("groups %v", lb.SecurityGroups)
	}
	if a := lb.AvailabilityZones[1]; *a.ZoneName != "us-east-1b" || *a.SubnetId != subnetB || *a.LoadBalancerAddresses[0].IpAddress != "127.64.3.1" {
		t.Errorf("zone %+v", a)
	}
	snap := w.store.Snapshot()
	stored, _ := records.LoadBalancers.Get(snap, id)
	for _, z := range stored.Zones {
		n, ok := records.NetworkInterfaces.Get(snap, z.ENIID)
		if !ok || n.Owner != model.InterfaceOfLoadBalancer || n.OwnerID != id || n.Description != "ELB "+id || n.Address != z.Address || n.SubnetID != z.SubnetID ||
			!slices.Equal(n.GroupIDs, []string{groupID}) {
			t.Errorf("interface %+v", n)
		}
		if claim, ok := records.AddressClaims.Get(snap, model.AddressClaimKey(z.SubnetID, z.Address)); !ok || claim.ENIID != z.ENIID {
			t.Errorf("claim %+v", claim)
		}
	}
	if a, ok := records.PublicAddresses.Get(snap, "127.64.3.1"); !ok || a.LoadBalancerID != id {
		t.Errorf("public %+v", a)
	}

	internal := w.balancer("inside", network, func(in *elbv2api.CreateLoadBalancerInput) {
		in.Scheme = elbv2api.LoadBalancerSchemeEnumInternal
		in.Subnets = nil
		in.SubnetMappings = []elbv2api.SubnetMapping{{SubnetId: new(otherSubnet), PrivateIPv4Address: new("10.1.0.9")}}
	})
	if got := internal.AvailabilityZones[0].LoadBalancerAddresses; len(got) != 1 || *got[0].PrivateIPv4Address != "10.1.0.9" || len(internal.SecurityGroups) != 0 {
		t.Errorf("internal %+v", internal)
	}
}

func TestLoadBalancerIsIdempotent(t *testing.T) {
	w := newWorld(t)
	first := w.balancer("web")
	if again := w.balancer("web", func(in *elbv2api.CreateLoadBalancerInput) { in.Subnets = []string{subnetB, subnetA} }); *again.LoadBalancerArn != *first.LoadBalancerArn {
		t.Error("made another")
	}
	if n := records.NetworkInterfaces.Len(w.store.Snapshot()); n != 2 {
		t.Errorf("%d interfaces", n)
	}
	group := w.group("tasks")
	if again := w.group("tasks"); *again.TargetGroupArn != *group.TargetGroupArn {
		t.Error("made another group")
	}
	listener := w.listener(first, 80, group)
	if again := w.listener(first, 80, group); *again.ListenerArn != *listener.ListenerArn {
		t.Error("made another listener")
	}
}

func TestDeleteLoadBalancerTakesListenersAndRules(t *testing.T) {
	w := newWorld(t)
	lb, group := w.balancer("web"), w.group("tasks")
	listener := w.listener(lb, 80, group)
	for i := range int32(99) { // more than one transaction can delete
		w.rule(listener, i+1, fmt.Sprintf("/%d", i), forward(w.group(fmt.Sprintf("g%d", i))))
	}
	if _, err := w.DeleteTargetGroup(t.Context(), &elbv2api.DeleteTargetGroupInput{TargetGroupArn: group.TargetGroupArn}); !strings.HasPrefix(said(err), "ResourceInUse: Target group '"+*group.TargetGroupArn) {
		t.Errorf("deleted a group in use: %v", err)
	}
	must[*elbv2api.DeleteLoadBalancerOutput](w)(w.DeleteLoadBalancer(t.Context(), &elbv2api.DeleteLoadBalancerInput{LoadBalancerArn: lb.LoadBalancerArn}))
	snap := w.store.Snapshot()
	if records.LoadBalancers.Len(snap)+records.Listeners.Len(snap)+records.ListenerRules.Len(snap) != 0 {
		t.Error("something is left")
	}
	if records.NetworkInterfaces.Len(snap) != 2 || records.PublicAddresses.Len(snap) != 1 {
		t.Error("addresses are free while a node may serve them")
	}
	if records.TargetGroups.Len(snap) != 100 {
		t.Error("target groups went too")
	}
	must[*elbv2api.DeleteTargetGroupOutput](w)(w.DeleteTargetGroup(t.Context(), &elbv2api.DeleteTargetGroupInput{TargetGroupArn: group.TargetGroupArn}))
	must[*elbv2api.DeleteLoadBalancerOutput](w)(w.DeleteLoadBalancer(t.Context(), &elbv2api.DeleteLoadBalancerInput{LoadBalancerArn: lb.LoadBalancerArn})) // again
}

func TestTargetGroupDefaults(t *testing.T) {
	w := newWorld(t)
	type check struct {
		Protocol, Port, Path, Codes string
		Interval, Timeout           int32
		Healthy, Unhealthy          int32
		Version                     string
	}
	for _, tc := range []struct {
		name string
		edit func(*elbv2api.CreateTargetGroupInput)
		want check
	}{
		{"http", func(*elbv2api.CreateTargetGroupInput) {}, check{"HTTP", "traffic-port", "/", "200", 30, 5, 5, 2, "HTTP1"}},
		{"as-terraform-says-it", func(in *elbv2api.CreateTargetGroupInput) { in.ProtocolVersion = new("") }, check{"HTTP", "traffic-port", "/", "200", 30, 5, 5, 2, "HTTP1"}},
		{"https", func(in *elbv2api.CreateTargetGroupInput) { in.Protocol = "HTTPS" }, check{"HTTP", "traffic-port", "/", "200", 30, 5, 5, 2, "HTTP1"}},
		{"grpc", func(in *elbv2api.CreateTargetGroupInput) { in.ProtocolVersion = new("GRPC") }, check{"HTTP", "traffic-port", "/AWS.ALB/healthcheck", "grpc 12", 30, 5, 5, 2, "GRPC"}},
		{"tcp", tcp, check{"TCP", "traffic-port", "", "", 30, 10, 5, 2, ""}},
		{"tcp-http", func(in *elbv2api.CreateTargetGroupInput) {
			in.Protocol, in.HealthCheckProtocol = "TCP", "HTTP"
		}, check{"HTTP", "traffic-port", "/", "200-399", 30, 6, 5, 2, ""}},
		{"udp", func(in *elbv2api.CreateTargetGroupInput) {
			in.Protocol, in.HealthCheckPort, in.HealthCheckIntervalSeconds = "UDP", new("8080"), new(int32(15))
		}, check{"TCP", "8080", "", "", 15, 10, 5, 2, ""}},
	} {
		g := w.group(tc.name, tc.edit)
		got := check{
			Protocol: string(g.HealthCheckProtocol), Port: *g.HealthCheckPort, Interval: *g.HealthCheckIntervalSeconds, Timeout: *g.HealthCheckTimeoutSeconds,
			Healthy: *g.HealthyThresholdCount, Unhealthy: *g.UnhealthyThresholdCount,
		}
		if g.HealthCheckPath != nil {
			got.Path = *g.HealthCheckPath
		}
		if g.ProtocolVersion != nil {
			got.Version = *g.ProtocolVersion
		}
		if m := g.Matcher; m != nil && m.HttpCode != nil {
			got.Codes = *m.HttpCode
		} else if m != nil {
			got.Codes = "grpc " + *m.GrpcCode
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
	g := w.group("tcp", tcp)
	out := must[*elbv2api.ModifyTargetGroupOutput](w)(w.ModifyTargetGroup(t.Context(), &elbv2api.ModifyTargetGroupInput{
		TargetGroupArn: g.TargetGroupArn, HealthCheckProtocol: "HTTP", HealthCheckPath: new("/ok"), HealthyThresholdCount: new(int32(3)),
	})).TargetGroups[0]
	if *out.HealthCheckPath != "/ok" || *out.Matcher.HttpCode != "200-399" || *out.HealthyThresholdCount != 3 {
		t.Errorf("modified: %+v", out)
	}
}

func TestTargetHealthStates(t *testing.T) {
	w := newWorld(t)
	lb, group := w.balancer("web"), w.group("tasks")
	w.register(group, "10.0.0.10", "10.0.1.10", "10.0.3.10")
	want := []string{"10.0.0.10:80 unused Target.NotInUse", "10.0.1.10:80 unused Target.NotInUse", "10.0.3.10:80 unused Target.NotInUse"}
	if diff := cmp.Diff(want, w.health(group)); diff != "" {
		t.Errorf("in no listener (-want +got):\n%s", diff)
	}
	w.listener(lb, 80, group)
	want = []string{"10.0.0.10:80 initial Elb.RegistrationInProgress", "10.0.1.10:80 initial Elb.RegistrationInProgress", "10.0.3.10:80 unused Target.NotInUse"} // zone c is not enabled
	if diff := cmp.Diff(want, w.health(group)); diff != "" {
		t.Errorf("new (-want +got):\n%s", diff)
	}
	w.observe(group, "10.0.0.10", model.TargetHealth{State: model.TargetHealthy})
	w.observe(group, "10.0.1.10", model.TargetHealth{State: model.TargetUnhealthy, Reason: "Target.Timeout", Description: "Request timed out"})
	want[0], want[1] = "10.0.0.10:80 healthy", "10.0.1.10:80 unhealthy Target.Timeout"
	if diff := cmp.Diff(want, w.health(group)); diff != "" {
		t.Errorf("observed (-want +got):\n%s", diff)
	}
	w.register(group, "10.0.0.10") // changes nothing
	if diff := cmp.Diff(want, w.health(group)); diff != "" {
		t.Errorf("registered again (-want +got):\n%s", diff)
	}
	must[*elbv2api.DeregisterTargetsOutput](w)(w.DeregisterTargets(t.Context(), &elbv2api.DeregisterTargetsInput{TargetGroupArn: group.TargetGroupArn, Targets: described("10.0.0.10", "10.9.9.9")}))
	want = []string{"10.0.0.10:80 draining Target.DeregistrationInProgress", "10.0.0.99:80 unused Target.NotRegistered"}
	if diff := cmp.Diff(want, w.health(group, described("10.0.0.10", "10.0.0.99")...)); diff != "" {
		t.Errorf("deregistered (-want +got):\n%s", diff)
	}
	w.register(group, "10.0.0.10")
	if got := w.health(group, described("10.0.0.10")...); got[0] != "10.0.0.10:80 initial Elb.RegistrationInProgress" {
		t.Errorf("registered while draining: %v", got)
	}
}

func (w *world) observe(group elbv2api.TargetGroup, id string, health model.TargetHealth) {
	w.Helper()
	key := model.TargetKey(strings.SplitN(*group.TargetGroupArn, ":", 6)[5], id, 80)
	if _, err := w.store.Update(w.Context(), func(tx *store.Tx) error {
		return records.Targets.Edit(tx, key, func(t *model.Target) error { t.Health = health; return nil })
	}); err != nil {
		w.Fatal(err)
	}
}

func TestTargetsGoWhereTheyShould(t *testing.T) {
	w := newWorld(t)
	group := w.group("hosts", func(in *elbv2api.CreateTargetGroupInput) { in.TargetType = elbv2api.TargetTypeEnumInstance })
	w.register(group, "i-00000000000000001")
	for target := range records.Targets.All(w.store.Snapshot()) {
		if target.Address != "192.0.2.7" || target.Port != 80 {
			t.Errorf("%+v", target)
		}
	}
	ips := w.group("ips")
	must[*elbv2api.RegisterTargetsOutput](w)(w.RegisterTargets(t.Context(), &elbv2api.RegisterTargetsInput{TargetGroupArn: ips.TargetGroupArn, Targets: []elbv2api.TargetDescription{
		{Id: new("192.168.9.9"), Port: new(int32(8080)), AvailabilityZone: new("all")}, {Id: new("10.0.1.7")},
	}}))
	out := must[*elbv2api.DescribeTargetHealthOutput](w)(w.DescribeTargetHealth(t.Context(), &elbv2api.DescribeTargetHealthInput{TargetGroupArn: ips.TargetGroupArn}))
	if d := out.TargetHealthDescriptions; len(d) != 2 || *d[0].Target.AvailabilityZone != "us-east-1b" || *d[1].Target.AvailabilityZone != "all" || *d[1].HealthCheckPort != "8080" {
		t.Errorf("%+v", d)
	}
}

func TestRules(t *testing.T) {
	w := newWorld(t)
	lb, a, b := w.balancer("web"), w.group("a"), w.group("b")
	listener := w.listener(lb, 80, a)
	first := w.rule(listener, 10, "/a/*", forward(a, b))
	second := w.rule(listener, 5, "/b", fixed("404"))
	describe := func() (lines []string) {
		out := must[*elbv2api.DescribeRulesOutput](w)(w.DescribeRules(t.Context(), &elbv2api.DescribeRulesInput{ListenerArn: listener.ListenerArn}))
		for _, r := range out.Rules {
			line := *r.Priority + " " + string(r.Actions[0].Type)
			if len(r.Conditions) > 0 {
				line += " " + r.Conditions[0].PathPatternConfig.Values[0]
			}
			lines = append(lines, line)
		}
		return lines
	}
	if diff := cmp.Diff([]string{"5 fixed-response /b", "10 forward /a/*", "default forward"}, describe()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	must[*elbv2api.SetRulePrioritiesOutput](w)(w.SetRulePriorities(t.Context(), &elbv2api.SetRulePrioritiesInput{RulePriorities: []elbv2api.RulePriorityPair{
		{RuleArn: first.RuleArn, Priority: new(int32(5))}, {RuleArn: second.RuleArn, Priority: new(int32(10))}, // they change places
	}}))
	must[*elbv2api.ModifyRuleOutput](w)(w.ModifyRule(t.Context(), &elbv2api.ModifyRuleInput{RuleArn: second.RuleArn, Conditions: onPath("/c")}))
	if diff := cmp.Diff([]string{"5 forward /a/*", "10 fixed-response /c", "default forward"}, describe()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := first.Actions[0]; got.TargetGroupArn != nil || *got.ForwardConfig.TargetGroups[0].Weight != 1 || *got.ForwardConfig.TargetGroupStickinessConfig.Enabled {
		t.Errorf("forward %+v", got)
	}
	must[*elbv2api.DeleteRuleOutput](w)(w.DeleteRule(t.Context(), &elbv2api.DeleteRuleInput{RuleArn: first.RuleArn}))
	if len(describe()) != 2 {
		t.Error("the rule is still there")
	}
}

func TestConditionsAreDescribedAsGiven(t *testing.T) {
	w := newWorld(t)
	listener := w.listener(w.balancer("web"), 80, w.group("a"))
	given := []elbv2api.RuleCondition{
		{Field: new("host-header"), Values: []string{"*.example.com"}, HostHeaderConfig: &elbv2api.HostHeaderConditionConfig{Values: []string{"*.example.com"}}},
		{Field: new("http-header"), HttpHeaderConfig: &elbv2api.HttpHeaderConditionConfig{HttpHeaderName: new("User-Agent"), Values: []string{"*curl*"}}},
		{Field: new("http-request-method"), HttpRequestMethodConfig: &elbv2api.HttpRequestMethodConditionConfig{Values: []string{"GET"}}},
		{Field: new("query-string"), QueryStringConfig: &elbv2api.QueryStringConditionConfig{Values: []elbv2api.QueryStringKeyValuePair{{Key: new("v"), Value: new("1")}}}},
		{Field: new("source-ip"), SourceIpConfig: &elbv2api.SourceIpConditionConfig{Values: []string{"10.0.0.0/8"}}},
	}
	out := must[*elbv2api.CreateRuleOutput](w)(w.CreateRule(t.Context(), &elbv2api.CreateRuleInput{ListenerArn: listener.ListenerArn, Priority: new(int32(1)), Conditions: given, Actions: fixed("200")}))
	if diff := cmp.Diff(given, out.Rules[0].Conditions); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSecurityGroupsAndSubnets(t *testing.T) {
	w := newWorld(t)
	lb := w.balancer("web")
	must[*elbv2api.SetSecurityGroupsOutput](w)(w.SetSecurityGroups(t.Context(), &elbv2api.SetSecurityGroupsInput{LoadBalancerArn: lb.LoadBalancerArn, SecurityGroups: []string{webGroup}}))
	out := must[*elbv2api.SetSubnetsOutput](w)(w.SetSubnets(t.Context(), &elbv2api.SetSubnetsInput{LoadBalancerArn: lb.LoadBalancerArn, Subnets: []string{subnetA, subnetC}}))
	if len(out.AvailabilityZones) != 2 || *out.AvailabilityZones[1].ZoneName != "us-east-1c" {
		t.Errorf("%+v", out)
	}
	var groups []string
	for n := range records.NetworkInterfaces.All(w.store.Snapshot()) {
		groups = append(groups, n.SubnetID+" "+strings.Join(n.GroupIDs, ","))
	}
	slices.Sort(groups)
	if diff := cmp.Diff([]string{"subnet-a sg-web", "subnet-b sg-web", "subnet-c sg-web"}, groups); diff != "" { // b's goes when its node has let go
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCertificates(t *testing.T) {
	w := newWorld(t)
	listener := w.listener(w.balancer("web"), 443, w.group("a"), https)
	if *listener.SslPolicy != "ELBSecurityPolicy-2016-08" || *listener.MutualAuthentication.Mode != "off" || *listener.Certificates[0].CertificateArn != certificateOne {
		t.Errorf("%+v", listener)
	}
	must[*elbv2api.AddListenerCertificatesOutput](w)(w.AddListenerCertificates(t.Context(), &elbv2api.AddListenerCertificatesInput{
		ListenerArn: listener.ListenerArn, Certificates: []elbv2api.Certificate{{CertificateArn: new(certificateTwo)}},
	}))
	list := func() (lines []string) {
		out := must[*elbv2api.DescribeListenerCertificatesOutput](w)(w.DescribeListenerCertificates(t.Context(), &elbv2api.DescribeListenerCertificatesInput{ListenerArn: listener.ListenerArn}))
		for _, c := range out.Certificates {
			lines = append(lines, fmt.Sprintf("%s %t", (*c.CertificateArn)[len(*c.CertificateArn)-1:], *c.IsDefault))
		}
		return lines
	}
	if diff := cmp.Diff([]string{"1 true", "2 false"}, list()); diff != "" {
		t.Error(diff)
	}
	must[*elbv2api.ModifyListenerOutput](w)(w.ModifyListener(t.Context(), &elbv2api.ModifyListenerInput{ListenerArn: listener.ListenerArn, Certificates: []elbv2api.Certificate{{CertificateArn: new(certificateTwo)}}}))
	if diff := cmp.Diff([]string{"2 true"}, list()); diff != "" {
		t.Error(diff)
	}
	must[*elbv2api.ModifyListenerOutput](w)(w.ModifyListener(t.Context(), &elbv2api.ModifyListenerInput{ListenerArn: listener.ListenerArn, Protocol: "HTTP", Port: new(int32(80))}))
	if len(list()) != 0 {
		t.Error("an HTTP listener has certificates")
	}
}

func TestAttributes(t *testing.T) {
	w := newWorld(t)
	lb, group := w.balancer("web"), w.group("a")
	must[*elbv2api.ModifyLoadBalancerAttributesOutput](w)(w.ModifyLoadBalancerAttributes(t.Context(), &elbv2api.ModifyLoadBalancerAttributesInput{LoadBalancerArn: lb.LoadBalancerArn, Attributes: []elbv2api.LoadBalancerAttribute{
		{Key: new("idle_timeout.timeout_seconds"), Value: new("5")}, {Key: new("berth.access_logs.log_group"), Value: new("/alb/web")},
	}}))
	var lines strings.Builder
	for _, a := range must[*elbv2api.DescribeLoadBalancerAttributesOutput](w)(w.DescribeLoadBalancerAttributes(t.Context(), &elbv2api.DescribeLoadBalancerAttributesInput{LoadBalancerArn: lb.LoadBalancerArn})).Attributes {
		fmt.Fprintf(&lines, "application %s=%s\n", *a.Key, *a.Value)
	}
	for _, a := range must[*elbv2api.DescribeLoadBalancerAttributesOutput](w)(w.DescribeLoadBalancerAttributes(t.Context(), &elbv2api.DescribeLoadBalancerAttributesInput{LoadBalancerArn: w.balancer("net", network).LoadBalancerArn})).Attributes {
		fmt.Fprintf(&lines, "network %s=%s\n", *a.Key, *a.Value)
	}
	for _, g := range []elbv2api.TargetGroup{group, w.group("t", tcp), w.group("u", func(in *elbv2api.CreateTargetGroupInput) { in.Protocol = "UDP" })} {
		for _, a := range must[*elbv2api.DescribeTargetGroupAttributesOutput](w)(w.DescribeTargetGroupAttributes(t.Context(), &elbv2api.DescribeTargetGroupAttributesInput{TargetGroupArn: g.TargetGroupArn})).Attributes {
			fmt.Fprintf(&lines, "group %s %s=%s\n", g.Protocol, *a.Key, *a.Value)
		}
	}
	listener := w.listener(lb, 80, group)
	for _, a := range must[*elbv2api.DescribeListenerAttributesOutput](w)(w.DescribeListenerAttributes(t.Context(), &elbv2api.DescribeListenerAttributesInput{ListenerArn: listener.ListenerArn})).Attributes {
		fmt.Fprintf(&lines, "listener HTTP %s=%s\n", *a.Key, *a.Value)
	}
	golden(t, "testdata/attributes.golden", lines.String())
}

func TestTags(t *testing.T) {
	w := newWorld(t)
	lb := w.balancer("web", func(in *elbv2api.CreateLoadBalancerInput) { in.Tags = []elbv2api.Tag{{Key: new("a"), Value: new("1")}} })
	group := w.group("a")
	listener := w.listener(lb, 80, group)
	rule := w.rule(listener, 1, "/", fixed("200"))
	all := []string{*lb.LoadBalancerArn, *group.TargetGroupArn, *listener.ListenerArn, *rule.RuleArn}
	must[*elbv2api.AddTagsOutput](w)(w.AddTags(t.Context(), &elbv2api.AddTagsInput{ResourceArns: all, Tags: []elbv2api.Tag{{Key: new("b"), Value: new("2")}, {Key: new("c")}}}))
	must[*elbv2api.RemoveTagsOutput](w)(w.RemoveTags(t.Context(), &elbv2api.RemoveTagsInput{ResourceArns: all[:2], TagKeys: []string{"c", "none"}}))
	var got []string
	for _, d := range must[*elbv2api.DescribeTagsOutput](w)(w.DescribeTags(t.Context(), &elbv2api.DescribeTagsInput{ResourceArns: all})).TagDescriptions {
		var line strings.Builder
		for _, tag := range d.Tags {
			line.WriteString(*tag.Key + "=" + *tag.Value + " ")
		}
		got = append(got, line.String())
	}
	if diff := cmp.Diff([]string{"a=1 b=2 ", "b=2 ", "b=2 c= ", "b=2 c= "}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPagesAndNames(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		w.group(fmt.Sprintf("g%d", i))
	}
	in := &elbv2api.DescribeTargetGroupsInput{PageSize: new(int32(2))}
	var names []string
	for {
		out := must[*elbv2api.DescribeTargetGroupsOutput](w)(w.DescribeTargetGroups(t.Context(), in))
		for _, g := range out.TargetGroups {
			names = append(names, *g.TargetGroupName)
		}
		if in.Marker = out.NextMarker; in.Marker == nil {
			break
		}
	}
	if !slices.Equal(names, []string{"g0", "g1", "g2", "g3", "g4"}) {
		t.Errorf("%v", names)
	}
	lb := w.balancer("web")
	w.listener(lb, 80, w.group("g3"))
	out := must[*elbv2api.DescribeTargetGroupsOutput](w)(w.DescribeTargetGroups(t.Context(), &elbv2api.DescribeTargetGroupsInput{LoadBalancerArn: lb.LoadBalancerArn}))
	if len(out.TargetGroups) != 1 || *out.TargetGroups[0].TargetGroupName != "g3" || !slices.Equal(out.TargetGroups[0].LoadBalancerArns, []string{*lb.LoadBalancerArn}) {
		t.Errorf("%+v", out)
	}
	found := must[*elbv2api.DescribeLoadBalancersOutput](w)(w.DescribeLoadBalancers(t.Context(), &elbv2api.DescribeLoadBalancersInput{Names: []string{"web"}}))
	if len(found.LoadBalancers) != 1 || !found.LoadBalancers[0].CreatedTime.Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) {
		t.Errorf("%+v", found)
	}
}

// Two load balancers that are made at once never have one address.
func TestConcurrentCreates(t *testing.T) {
	w := newWorld(t)
	p := elbv2.New(elbv2.Config{Store: w.store, Scope: scope, PublicAddresses: netip.MustParsePrefix("127.64.3.0/24"), Seed: func() uint64 { return 20 }})
	errs := make(chan error, 8)
	for i := range 8 {
		go func() {
			_, err := p.CreateLoadBalancer(t.Context(), &elbv2api.CreateLoadBalancerInput{Name: new(fmt.Sprintf("lb%d", i/2)), Subnets: []string{subnetA, subnetB}})
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	seen := map[string]bool{}
	for lb := range records.LoadBalancers.All(w.store.Snapshot()) {
		for _, a := range []string{lb.PublicAddress, lb.Zones[0].Address, lb.Zones[1].Address} {
			if seen[a] {
				t.Errorf("%s twice", a)
			}
			seen[a] = true
		}
	}
	if len(seen) != 12 { // four load balancers, each asked for twice
		t.Errorf("%d addresses", len(seen))
	}
}
