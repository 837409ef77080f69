package elbv2_test

import (
	"context"
	"errors"
	"flag"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/service/elbv2"
	"berth.dev/berth/internal/wire/api/elbv2api"
	"berth.dev/berth/internal/wire/smithy"
)

var update = flag.Bool("update", false, "write the golden files")

var scope = arn.Scope{Region: "us-east-1", AccountID: "123456789012"}

const (
	vpcID, otherVPC  = "vpc-1", "vpc-2"
	subnetA, subnetB = "subnet-a", "subnet-b"
	subnetB2         = "subnet-b2"
	subnetC          = "subnet-c"
	otherSubnet      = "subnet-other"
	groupID          = "sg-default"
	webGroup         = "sg-web"
	otherGroup       = "sg-other"
	certificateOne   = "arn:aws:acm:us-east-1:123456789012:certificate/1"
	certificateTwo   = "arn:aws:acm:us-east-1:123456789012:certificate/2"
)

// world is a provider on a store with a VPC that has an internet gateway and
// one that has none.
type world struct {
	*testing.T
	*elbv2.Provider
	store *store.Store
}

func newWorld(t *testing.T) *world {
	t.Helper()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s, err := store.Open(memkv.New(0), "/berth/", store.Options{Now: func() time.Time { return now }, CheckMutation: true}, records.All()...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	w := &world{T: t, store: s, Provider: elbv2.New(elbv2.Config{
		Store: s, Scope: scope, PublicAddresses: netip.MustParsePrefix("127.64.3.0/29"), Seed: func() uint64 { return 20 },
	})}
	w.update(func(tx *store.Tx) {
		records.VPCs.Put(tx, &model.VPC{ID: vpcID, CIDR: "10.0.0.0/16"})
		records.VPCs.Put(tx, &model.VPC{ID: otherVPC, CIDR: "10.1.0.0/16"})
		records.InternetGateways.Put(tx, &model.InternetGateway{ID: "igw-1", VPCID: vpcID})
		for _, s := range []model.Subnet{
			{ID: subnetA, VPCID: vpcID, CIDR: "10.0.0.0/24", AvailabilityZone: "us-east-1a"},
			{ID: subnetB, VPCID: vpcID, CIDR: "10.0.1.0/24", AvailabilityZone: "us-east-1b"},
			{ID: subnetB2, VPCID: vpcID, CIDR: "10.0.2.0/24", AvailabilityZone: "us-east-1b"},
			{ID: subnetC, VPCID: vpcID, CIDR: "10.0.3.0/28", AvailabilityZone: "us-east-1c"},
			{ID: otherSubnet, VPCID: otherVPC, CIDR: "10.1.0.0/24", AvailabilityZone: "us-east-1a"},
			{ID: otherSubnet + "2", VPCID: otherVPC, CIDR: "10.1.1.0/24", AvailabilityZone: "us-east-1b"},
		} {
			records.Subnets.Put(tx, &s)
		}
		for _, g := range []model.SecurityGroup{
			{ID: groupID, Name: "default", VPCID: vpcID}, {ID: webGroup, Name: "web", VPCID: vpcID}, {ID: otherGroup, Name: "default", VPCID: otherVPC},
		} {
			records.SecurityGroups.Put(tx, &g)
		}
		records.Instances.Put(tx, &model.Instance{ID: "node-1", EC2InstanceID: "i-00000000000000001", Address: "192.0.2.7", Status: model.InstanceActive, Connected: true})
		for _, name := range []string{certificateOne, certificateTwo} {
			records.Certificates.Put(tx, &model.Certificate{ARN: name})
		}
	})
	return w
}

func (w *world) update(fn func(tx *store.Tx)) {
	w.Helper()
	if _, err := w.store.Update(w.Context(), func(tx *store.Tx) error { fn(tx); return nil }); err != nil {
		w.Fatal(err)
	}
}

// must fails the test on an error.
func must[T any](w *world) func(T, error) T {
	return func(out T, err error) T {
		w.Helper()
		if err != nil {
			w.Fatal(err)
		}
		return out
	}
}

// balancer makes a load balancer in two zones.
func (w *world) balancer(name string, edit ...func(*elbv2api.CreateLoadBalancerInput)) elbv2api.LoadBalancer {
	w.Helper()
	in := &elbv2api.CreateLoadBalancerInput{Name: &name, Subnets: []string{subnetA, subnetB}}
	for _, e := range edit {
		e(in)
	}
	return must[*elbv2api.CreateLoadBalancerOutput](w)(w.CreateLoadBalancer(w.Context(), in)).LoadBalancers[0]
}

func network(in *elbv2api.CreateLoadBalancerInput) { in.Type = elbv2api.LoadBalancerTypeEnumNetwork }

// group makes a target group of addresses.
func (w *world) group(name string, edit ...func(*elbv2api.CreateTargetGroupInput)) elbv2api.TargetGroup {
	w.Helper()
	in := &elbv2api.CreateTargetGroupInput{
		Name: &name, Protocol: elbv2api.ProtocolEnumHttp, Port: new(int32(80)), VpcId: new(vpcID), TargetType: elbv2api.TargetTypeEnumIp,
	}
	for _, e := range edit {
		e(in)
	}
	return must[*elbv2api.CreateTargetGroupOutput](w)(w.CreateTargetGroup(w.Context(), in)).TargetGroups[0]
}

func tcp(in *elbv2api.CreateTargetGroupInput) { in.Protocol = elbv2api.ProtocolEnumTcp }

// listener makes a listener that forwards to a target group.
func (w *world) listener(lb elbv2api.LoadBalancer, port int32, group elbv2api.TargetGroup, edit ...func(*elbv2api.CreateListenerInput)) elbv2api.Listener {
	w.Helper()
	in := &elbv2api.CreateListenerInput{LoadBalancerArn: lb.LoadBalancerArn, Port: &port, Protocol: elbv2api.ProtocolEnumHttp, DefaultActions: forward(group)}
	for _, e := range edit {
		e(in)
	}
	return must[*elbv2api.CreateListenerOutput](w)(w.CreateListener(w.Context(), in)).Listeners[0]
}

func forward(groups ...elbv2api.TargetGroup) []elbv2api.Action {
	if len(groups) == 1 {
		return []elbv2api.Action{{Type: elbv2api.ActionTypeEnumForward, TargetGroupArn: groups[0].TargetGroupArn}}
	}
	config := &elbv2api.ForwardActionConfig{}
	for _, g := range groups {
		config.TargetGroups = append(config.TargetGroups, elbv2api.TargetGroupTuple{TargetGroupArn: g.TargetGroupArn})
	}
	return []elbv2api.Action{{Type: elbv2api.ActionTypeEnumForward, ForwardConfig: config}}
}

func https(in *elbv2api.CreateListenerInput) {
	in.Protocol = elbv2api.ProtocolEnumHttps
	in.Certificates = []elbv2api.Certificate{{CertificateArn: new(certificateOne)}}
}

// rule makes a rule on a path.
func (w *world) rule(l elbv2api.Listener, priority int32, path string, actions []elbv2api.Action) elbv2api.Rule {
	w.Helper()
	return must[*elbv2api.CreateRuleOutput](w)(w.CreateRule(w.Context(), &elbv2api.CreateRuleInput{
		ListenerArn: l.ListenerArn, Priority: &priority, Conditions: onPath(path), Actions: actions,
	})).Rules[0]
}

func onPath(paths ...string) []elbv2api.RuleCondition {
	return []elbv2api.RuleCondition{{Field: new("path-pattern"), Values: paths}}
}

func fixed(code string) []elbv2api.Action {
	return []elbv2api.Action{{Type: elbv2api.ActionTypeEnumFixedResponse, FixedResponseConfig: &elbv2api.FixedResponseActionConfig{StatusCode: &code}}}
}

// health is what DescribeTargetHealth says: "id:port state reason", sorted.
func (w *world) health(group elbv2api.TargetGroup, targets ...elbv2api.TargetDescription) []string {
	w.Helper()
	out := must[*elbv2api.DescribeTargetHealthOutput](w)(w.DescribeTargetHealth(w.Context(), &elbv2api.DescribeTargetHealthInput{TargetGroupArn: group.TargetGroupArn, Targets: targets}))
	var lines []string
	for _, d := range out.TargetHealthDescriptions {
		lines = append(lines, strings.TrimSpace(*d.Target.Id+":"+*d.HealthCheckPort+" "+string(d.TargetHealth.State)+" "+string(d.TargetHealth.Reason)))
	}
	slices.Sort(lines)
	return lines
}

func (w *world) register(group elbv2api.TargetGroup, ids ...string) {
	w.Helper()
	must[*elbv2api.RegisterTargetsOutput](w)(w.RegisterTargets(w.Context(), &elbv2api.RegisterTargetsInput{TargetGroupArn: group.TargetGroupArn, Targets: described(ids...)}))
}

func described(ids ...string) []elbv2api.TargetDescription {
	var out []elbv2api.TargetDescription
	for _, id := range ids {
		out = append(out, elbv2api.TargetDescription{Id: &id})
	}
	return out
}

// said is an error as its golden file has it.
func said(err error) string {
	var api smithy.APIError
	if !errors.As(err, &api) {
		if err == nil {
			return "no error"
		}
		return "internal: " + err.Error()
	}
	return api.ErrorCode() + ": " + api.ErrorMessage()
}

// golden compares got with a file, or writes it.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}
