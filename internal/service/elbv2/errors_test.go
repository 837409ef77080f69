package elbv2_test

import (
	"fmt"
	"strings"
	"testing"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/elbv2api"
)

// refusals collects what refused calls say.
type refusals struct {
	world *world
	lines strings.Builder
	ids   *strings.Replacer
}

func (r *refusals) section(name string) { fmt.Fprintf(&r.lines, "\n# %s\n", name) }

func (r *refusals) add(err error) {
	line := r.ids.Replace(said(err))
	if text, _, found := strings.Cut(line, "cannot serve this: "); found { // what follows is rules/routing's to say
		line = text + "cannot serve this: …"
	}
	fmt.Fprintln(&r.lines, line)
}

func call[In, Out any](r *refusals, do func(*world, *In) (Out, error), ins ...In) {
	for i := range ins {
		_, err := do(r.world, &ins[i])
		r.add(err)
	}
}

// TestErrors keeps the text of every refusal. Texts are AWS's where clients
// have reported them (behaviour notes, Terraform's and the SDKs' issues); those
// that begin with "Berth" are ours, and the others are a guess at AWS's.
func TestErrors(t *testing.T) {
	w := newWorld(t)
	lb, nlb := w.balancer("web"), w.balancer("net", network)
	group, tcpGroup, other := w.group("tasks"), w.group("tcp", tcp), w.group("other", func(in *elbv2api.CreateTargetGroupInput) { in.VpcId = new(otherVPC) })
	listener := w.listener(lb, 80, group)
	secure := w.listener(lb, 443, group, https)
	rule := w.rule(listener, 10, "/a", fixed("200"))
	second := w.rule(listener, 20, "/b", fixed("200"))
	third := w.balancer("third")
	defaults := must[*elbv2api.DescribeRulesOutput](w)(w.DescribeRules(t.Context(), &elbv2api.DescribeRulesInput{ListenerArn: listener.ListenerArn})).Rules[2]
	r := &refusals{world: w, ids: strings.NewReplacer(
		*listener.ListenerArn, "LISTENER", *secure.ListenerArn, "SECURE", *rule.RuleArn, "RULE", *defaults.RuleArn, "DEFAULT-RULE",
		*lb.LoadBalancerArn, "LB", *nlb.LoadBalancerArn, "NLB", *third.LoadBalancerArn, "THIRD",
		*group.TargetGroupArn, "GROUP", *tcpGroup.TargetGroupArn, "TCP-GROUP", *other.TargetGroupArn, "OTHER-GROUP",
	)}
	missing := "arn:aws:elasticloadbalancing:us-east-1:123456789012:%s"
	noLB, noGroup := new(fmt.Sprintf(missing, "loadbalancer/app/none/0123456789abcdef")), new(fmt.Sprintf(missing, "targetgroup/none/0123456789abcdef"))
	noListener := new(fmt.Sprintf(missing, "listener/app/none/0123456789abcdef/0123456789abcdef"))
	noRule := new(fmt.Sprintf(missing, "listener-rule/app/none/0123456789abcdef/0123456789abcdef/0123456789abcdef"))

	r.balancers(lb, nlb, noLB)
	r.groups(group, tcpGroup, noGroup)
	r.targets(group, noGroup)
	r.listeners(lb, nlb, third, group, tcpGroup, other, listener, secure, noLB, noGroup, noListener)
	r.rules(nlb, tcpGroup, listener, secure, rule, second, defaults, noRule)
	r.attributes(lb, nlb, group, tcpGroup, listener, noLB)
	r.tags(lb, noLB)
	golden(t, "testdata/errors.golden", strings.TrimPrefix(r.lines.String(), "\n"))
}

func (r *refusals) balancers(lb, nlb elbv2api.LoadBalancer, noLB *string) {
	type in = elbv2api.CreateLoadBalancerInput
	two := []string{subnetA, subnetB}
	r.section("CreateLoadBalancer")
	call(r, func(w *world, i *in) (*elbv2api.CreateLoadBalancerOutput, error) {
		return w.CreateLoadBalancer(w.Context(), i)
	},
		in{Name: new("a-name-that-is-longer-than-32-chars"), Subnets: two},
		in{Name: new("-a"), Subnets: two},
		in{Name: new("internal-a"), Subnets: two},
		in{Name: new("a"), Subnets: two, Type: "gateway"},
		in{Name: new("a"), Subnets: two, IpAddressType: "dualstack"},
		in{Name: new("a"), Subnets: two, IpamPools: &elbv2api.IpamPools{}},
		in{Name: new("a"), Subnets: two, CustomerOwnedIpv4Pool: new("ipv4pool-coip-1")},
		in{Name: new("a"), Subnets: two, EnablePrefixForIpv6SourceNat: "on"},
		in{Name: new("a")},
		in{Name: new("a"), Subnets: two, SubnetMappings: []elbv2api.SubnetMapping{{SubnetId: new(subnetA)}}},
		in{Name: new("a"), Subnets: []string{subnetA}},
		in{Name: new("a"), Subnets: []string{subnetA, subnetA}},
		in{Name: new("a"), Subnets: []string{subnetB, subnetB2}},
		in{Name: new("a"), Subnets: []string{subnetB, otherSubnet}},
		in{Name: new("a"), Subnets: []string{subnetA, "subnet-none"}},
		in{Name: new("a"), Subnets: []string{otherSubnet, otherSubnet + "2"}},
		in{Name: new("a"), Subnets: two, SecurityGroups: []string{"sg-none"}},
		in{Name: new("a"), Subnets: two, SecurityGroups: []string{otherGroup}},
		in{Name: new("a"), Subnets: two, SecurityGroups: []string{groupID, groupID, groupID, groupID, groupID, groupID}},
		in{Name: new("a"), SubnetMappings: []elbv2api.SubnetMapping{{SubnetId: new(subnetA), AllocationId: new("eipalloc-1")}}, Type: "network"},
		in{Name: new("a"), SubnetMappings: []elbv2api.SubnetMapping{{SubnetId: new(subnetA), PrivateIPv4Address: new("10.0.0.9")}}, Type: "network"},
		in{Name: new("a"), SubnetMappings: []elbv2api.SubnetMapping{{SubnetId: new(subnetA), PrivateIPv4Address: new("10.0.0.1")}}, Type: "network", Scheme: "internal"},
		in{Name: new("a"), SubnetMappings: []elbv2api.SubnetMapping{{SubnetId: new(subnetA), IPv6Address: new("::1")}}, Type: "network"},
		in{Name: new("web"), Subnets: two, Scheme: "internal"},
		in{Name: new("a"), Subnets: two, Tags: []elbv2api.Tag{{Key: new("aws:x")}}},
		in{Name: new("a"), Subnets: two, Tags: []elbv2api.Tag{{Key: new("x")}, {Key: new("x")}}},
	)
	r.section("a subnet without room, no public address")
	r.world.update(func(tx *store.Tx) {
		for i := 4; i < 15; i++ {
			records.AddressClaims.Put(tx, &model.AddressClaim{SubnetID: subnetC, Address: fmt.Sprintf("10.0.3.%d", i), ENIID: "x"})
		}
	})
	_, err := r.world.CreateLoadBalancer(r.world.Context(), &in{Name: new("a"), Subnets: []string{subnetA, subnetC}})
	r.add(err)
	for i := range 3 {
		r.world.balancer(fmt.Sprintf("fill%d", i))
	}
	_, err = r.world.CreateLoadBalancer(r.world.Context(), &in{Name: new("a"), Subnets: two})
	r.add(err)

	r.section("DescribeLoadBalancers")
	type describe = elbv2api.DescribeLoadBalancersInput
	call(r, func(w *world, i *describe) (*elbv2api.DescribeLoadBalancersOutput, error) {
		return w.DescribeLoadBalancers(w.Context(), i)
	},
		describe{LoadBalancerArns: []string{*noLB}},
		describe{LoadBalancerArns: []string{"web"}},
		describe{Names: []string{"none"}},
		describe{Names: []string{"web"}, LoadBalancerArns: []string{*noLB}},
		describe{Marker: new("x")},
	)
	r.section("SetSecurityGroups, SetSubnets, SetIpAddressType")
	type set = elbv2api.SetSecurityGroupsInput
	call(r, func(w *world, i *set) (*elbv2api.SetSecurityGroupsOutput, error) {
		return w.SetSecurityGroups(w.Context(), i)
	},
		set{LoadBalancerArn: lb.LoadBalancerArn},
		set{LoadBalancerArn: nlb.LoadBalancerArn, SecurityGroups: []string{groupID}},
		set{LoadBalancerArn: lb.LoadBalancerArn, SecurityGroups: []string{"sg-none"}},
	)
	type subnets = elbv2api.SetSubnetsInput
	call(r, func(w *world, i *subnets) (*elbv2api.SetSubnetsOutput, error) { return w.SetSubnets(w.Context(), i) },
		subnets{LoadBalancerArn: lb.LoadBalancerArn, Subnets: []string{subnetA}},
		subnets{LoadBalancerArn: lb.LoadBalancerArn, Subnets: []string{otherSubnet, otherSubnet + "2"}},
		subnets{LoadBalancerArn: lb.LoadBalancerArn, Subnets: two, IpAddressType: "dualstack"},
	)
	type kind = elbv2api.SetIpAddressTypeInput
	call(r, func(w *world, i *kind) (*elbv2api.SetIpAddressTypeOutput, error) {
		return w.SetIpAddressType(w.Context(), i)
	},
		kind{LoadBalancerArn: lb.LoadBalancerArn, IpAddressType: "dualstack"}, kind{LoadBalancerArn: noLB, IpAddressType: "ipv4"})
}

func (r *refusals) groups(group, tcpGroup elbv2api.TargetGroup, noGroup *string) {
	type in = elbv2api.CreateTargetGroupInput
	base := in{Name: new("a"), Protocol: "HTTP", Port: new(int32(80)), VpcId: new(vpcID), TargetType: "ip"}
	with := func(edit func(*in)) in {
		i := base
		edit(&i)
		return i
	}
	r.section("CreateTargetGroup")
	call(r, func(w *world, i *in) (*elbv2api.CreateTargetGroupOutput, error) {
		return w.CreateTargetGroup(w.Context(), i)
	},
		with(func(i *in) { i.Name = new("a-name-that-is-longer-than-32-chars") }),
		with(func(i *in) { i.Name = new("a_b") }),
		with(func(i *in) { i.TargetType = "lambda" }),
		with(func(i *in) { i.TargetType = "alb" }),
		with(func(i *in) { i.IpAddressType = "ipv6" }),
		with(func(i *in) { i.Protocol = "" }),
		with(func(i *in) { i.Port = nil }),
		with(func(i *in) { i.VpcId = nil }),
		with(func(i *in) { i.VpcId = new("vpc-none") }),
		with(func(i *in) { i.Protocol = "GENEVE" }),
		with(func(i *in) { i.TargetControlPort = new(int32(1)) }),
		with(func(i *in) { i.ProtocolVersion = new("HTTP3") }),
		with(func(i *in) { i.Protocol, i.ProtocolVersion = "TCP", new("HTTP1") }),
		with(func(i *in) { i.HealthCheckEnabled = new(false) }),
		with(func(i *in) { i.HealthCheckProtocol = "TCP" }),
		with(func(i *in) { i.Protocol, i.HealthCheckProtocol = "TCP", "UDP" }),
		with(func(i *in) { i.HealthCheckPort = new("99999") }),
		with(func(i *in) { i.HealthCheckPath = new("health") }),
		with(func(i *in) { i.HealthCheckPath = new("/a b") }),
		with(func(i *in) { i.Protocol, i.HealthCheckPath = "TCP", new("/") }),
		with(func(i *in) { i.HealthCheckIntervalSeconds, i.HealthCheckTimeoutSeconds = new(int32(5)), new(int32(5)) }),
		with(func(i *in) { i.Matcher = &elbv2api.Matcher{HttpCode: new("200-600")} }),
		with(func(i *in) { i.Matcher = &elbv2api.Matcher{HttpCode: new("ok")} }),
		with(func(i *in) { i.Matcher = &elbv2api.Matcher{GrpcCode: new("12")} }),
		with(func(i *in) {
			i.ProtocolVersion, i.Matcher = new("GRPC"), &elbv2api.Matcher{GrpcCode: new("100")}
		}),
		with(func(i *in) {
			i.ProtocolVersion, i.Matcher = new("GRPC"), &elbv2api.Matcher{HttpCode: new("200")}
		}),
		with(func(i *in) { i.Matcher = &elbv2api.Matcher{HttpCode: new("200"), GrpcCode: new("0")} }),
		with(func(i *in) { i.Protocol, i.Matcher = "TCP", &elbv2api.Matcher{HttpCode: new("200")} }),
		with(func(i *in) { i.Name, i.Port = new("tasks"), new(int32(81)) }),
	)
	r.section("ModifyTargetGroup, DeleteTargetGroup, DescribeTargetGroups")
	type modify = elbv2api.ModifyTargetGroupInput
	call(r, func(w *world, i *modify) (*elbv2api.ModifyTargetGroupOutput, error) {
		return w.ModifyTargetGroup(w.Context(), i)
	},
		modify{TargetGroupArn: noGroup}, modify{TargetGroupArn: new("x")}, modify{TargetGroupArn: group.TargetGroupArn, HealthCheckIntervalSeconds: new(int32(5))})
	type remove = elbv2api.DeleteTargetGroupInput
	call(r, func(w *world, i *remove) (*elbv2api.DeleteTargetGroupOutput, error) {
		return w.DeleteTargetGroup(w.Context(), i)
	},
		remove{TargetGroupArn: group.TargetGroupArn}, remove{TargetGroupArn: noGroup})
	type describe = elbv2api.DescribeTargetGroupsInput
	call(r, func(w *world, i *describe) (*elbv2api.DescribeTargetGroupsOutput, error) {
		return w.DescribeTargetGroups(w.Context(), i)
	},
		describe{TargetGroupArns: []string{*noGroup}}, describe{Names: []string{"none"}}, describe{Names: []string{"tasks"}, TargetGroupArns: []string{*tcpGroup.TargetGroupArn}})
}

func (r *refusals) targets(group elbv2api.TargetGroup, noGroup *string) {
	hosts := r.world.group("hosts", func(in *elbv2api.CreateTargetGroupInput) { in.TargetType = "instance" })
	type in = elbv2api.RegisterTargetsInput
	r.section("RegisterTargets, DescribeTargetHealth")
	call(r, func(w *world, i *in) (*elbv2api.RegisterTargetsOutput, error) {
		return w.RegisterTargets(w.Context(), i)
	},
		in{TargetGroupArn: noGroup, Targets: described("10.0.0.5")},
		in{TargetGroupArn: group.TargetGroupArn, Targets: described("ten")},
		in{TargetGroupArn: group.TargetGroupArn, Targets: described("fd00::1")},
		in{TargetGroupArn: group.TargetGroupArn, Targets: described("8.8.8.8")},
		in{TargetGroupArn: group.TargetGroupArn, Targets: described("192.168.0.1")},
		in{TargetGroupArn: group.TargetGroupArn, Targets: []elbv2api.TargetDescription{{Id: new("10.0.0.5"), AvailabilityZone: new("us-east-1b")}}},
		in{TargetGroupArn: hosts.TargetGroupArn, Targets: described("i-00000000000000009")},
		in{TargetGroupArn: hosts.TargetGroupArn, Targets: []elbv2api.TargetDescription{{Id: new("i-00000000000000001"), AvailabilityZone: new("all")}}},
	)
	many := make([]elbv2api.TargetDescription, 1001)
	for i := range many {
		many[i] = elbv2api.TargetDescription{Id: new("10.0.0.5"), Port: new(int32(i + 1))}
	}
	call(r, func(w *world, i *in) (*elbv2api.RegisterTargetsOutput, error) {
		return w.RegisterTargets(w.Context(), i)
	},
		in{TargetGroupArn: group.TargetGroupArn, Targets: many})
	_, err := r.world.DescribeTargetHealth(r.world.Context(), &elbv2api.DescribeTargetHealthInput{TargetGroupArn: noGroup})
	r.add(err)
}

func (r *refusals) listeners(lb, nlb, third elbv2api.LoadBalancer, group, tcpGroup, other elbv2api.TargetGroup, listener, secure elbv2api.Listener, noLB, noGroup, noListener *string) {
	type in = elbv2api.CreateListenerInput
	base := in{LoadBalancerArn: lb.LoadBalancerArn, Protocol: "HTTP", Port: new(int32(81)), DefaultActions: forward(group)}
	with := func(edit func(*in)) in {
		i := base
		edit(&i)
		return i
	}
	act := func(a elbv2api.Action) in { return with(func(i *in) { i.DefaultActions = []elbv2api.Action{a} }) }
	redirect := func(c elbv2api.RedirectActionConfig) in {
		return act(elbv2api.Action{Type: "redirect", RedirectConfig: &c})
	}
	weight := func(w ...int32) in {
		config := &elbv2api.ForwardActionConfig{}
		for _, n := range w {
			config.TargetGroups = append(config.TargetGroups, elbv2api.TargetGroupTuple{TargetGroupArn: group.TargetGroupArn, Weight: &n})
		}
		return act(elbv2api.Action{Type: "forward", ForwardConfig: config})
	}
	r.section("CreateListener")
	call(r, func(w *world, i *in) (*elbv2api.CreateListenerOutput, error) { return w.CreateListener(w.Context(), i) },
		with(func(i *in) { i.LoadBalancerArn = noLB }),
		with(func(i *in) { i.LoadBalancerArn = new("x") }),
		with(func(i *in) { i.Protocol = "" }),
		with(func(i *in) { i.Port = nil }),
		with(func(i *in) { i.Protocol = "TCP" }),
		with(func(i *in) { i.LoadBalancerArn = nlb.LoadBalancerArn }),
		with(func(i *in) { i.LoadBalancerArn, i.Protocol = nlb.LoadBalancerArn, "QUIC" }),
		with(func(i *in) { i.Port, i.DefaultActions = new(int32(80)), fixed("200") }),
		with(func(i *in) { i.Protocol = "HTTPS" }),
		with(func(i *in) {
			i.Protocol, i.Certificates = "HTTPS", []elbv2api.Certificate{{CertificateArn: new("arn:aws:acm:us-east-1:123456789012:certificate/none")}}
		}),
		with(func(i *in) {
			i.Protocol, i.Certificates = "HTTPS", []elbv2api.Certificate{{CertificateArn: new(certificateOne)}, {CertificateArn: new(certificateTwo)}}
		}),
		with(func(i *in) { i.Certificates = []elbv2api.Certificate{{CertificateArn: new(certificateOne)}} }),
		with(func(i *in) { https(i); i.SslPolicy = new("ELBSecurityPolicy-None") }),
		with(func(i *in) { https(i); i.AlpnPolicy = []string{"HTTP2Only"} }),
		with(func(i *in) {
			https(i)
			i.MutualAuthentication = &elbv2api.MutualAuthenticationAttributes{Mode: new("verify")}
		}),
		with(func(i *in) {
			i.LoadBalancerArn, i.Protocol, i.DefaultActions = nlb.LoadBalancerArn, "TLS", forward(tcpGroup)
			i.Certificates, i.AlpnPolicy = []elbv2api.Certificate{{CertificateArn: new(certificateOne)}}, []string{"HTTP3"}
		}),
		with(func(i *in) { i.DefaultActions = nil }),
		with(func(i *in) { i.DefaultActions = append(fixed("200"), fixed("404")...) }),
		act(elbv2api.Action{Type: "authenticate-oidc"}),
		act(elbv2api.Action{Type: "jwt-validation"}),
		act(elbv2api.Action{Type: "forward"}),
		act(elbv2api.Action{Type: "redirect"}),
		act(elbv2api.Action{Type: "fixed-response"}),
		act(elbv2api.Action{Type: "forward", TargetGroupArn: noGroup}),
		act(elbv2api.Action{Type: "forward", TargetGroupArn: tcpGroup.TargetGroupArn}),
		act(elbv2api.Action{Type: "forward", TargetGroupArn: other.TargetGroupArn}),
		act(elbv2api.Action{Type: "forward", TargetGroupArn: group.TargetGroupArn, ForwardConfig: &elbv2api.ForwardActionConfig{TargetGroups: []elbv2api.TargetGroupTuple{{TargetGroupArn: other.TargetGroupArn}}}}),
		with(func(i *in) { i.LoadBalancerArn = third.LoadBalancerArn }),
		weight(1000),
		weight(1, 1),
		weight(1, 1, 1, 1, 1, 1),
		act(elbv2api.Action{Type: "forward", ForwardConfig: &elbv2api.ForwardActionConfig{
			TargetGroups:                []elbv2api.TargetGroupTuple{{TargetGroupArn: group.TargetGroupArn}},
			TargetGroupStickinessConfig: &elbv2api.TargetGroupStickinessConfig{Enabled: new(true), DurationSeconds: new(int32(0))},
		}}),
		redirect(elbv2api.RedirectActionConfig{StatusCode: "HTTP_301"}),
		redirect(elbv2api.RedirectActionConfig{StatusCode: "HTTP_301", Protocol: new("HTTP"), Port: new("81")}),
		redirect(elbv2api.RedirectActionConfig{StatusCode: "HTTP_301", Port: new("70000")}),
		redirect(elbv2api.RedirectActionConfig{StatusCode: "HTTP_301", Path: new("a")}),
		with(func(i *in) {
			https(i)
			i.DefaultActions = []elbv2api.Action{{Type: "redirect", RedirectConfig: &elbv2api.RedirectActionConfig{StatusCode: "HTTP_301", Protocol: new("HTTP")}}}
		}),
		act(elbv2api.Action{Type: "fixed-response", FixedResponseConfig: &elbv2api.FixedResponseActionConfig{StatusCode: new("200"), ContentType: new("image/png")}}),
		with(func(i *in) {
			i.LoadBalancerArn, i.Protocol, i.DefaultActions = nlb.LoadBalancerArn, "TCP", fixed("200")
		}),
	)
	r.section("ModifyListener, DeleteListener, DescribeListeners")
	type modify = elbv2api.ModifyListenerInput
	call(r, func(w *world, i *modify) (*elbv2api.ModifyListenerOutput, error) {
		return w.ModifyListener(w.Context(), i)
	},
		modify{ListenerArn: noListener}, modify{ListenerArn: new("x")},
		modify{ListenerArn: listener.ListenerArn, Port: new(int32(443))},
		modify{ListenerArn: listener.ListenerArn, Protocol: "HTTPS"},
		modify{ListenerArn: listener.ListenerArn, Certificates: []elbv2api.Certificate{{CertificateArn: new(certificateOne)}}},
	)
	_, err := r.world.DeleteListener(r.world.Context(), &elbv2api.DeleteListenerInput{ListenerArn: noListener})
	r.add(err)
	type describe = elbv2api.DescribeListenersInput
	call(r, func(w *world, i *describe) (*elbv2api.DescribeListenersOutput, error) {
		return w.DescribeListeners(w.Context(), i)
	},
		describe{}, describe{ListenerArns: []string{*noListener}}, describe{LoadBalancerArn: noLB})

	r.section("listener certificates, SSL policies")
	type add = elbv2api.AddListenerCertificatesInput
	call(r, func(w *world, i *add) (*elbv2api.AddListenerCertificatesOutput, error) {
		return w.AddListenerCertificates(w.Context(), i)
	},
		add{ListenerArn: listener.ListenerArn, Certificates: []elbv2api.Certificate{{CertificateArn: new(certificateOne)}}},
		add{ListenerArn: secure.ListenerArn, Certificates: []elbv2api.Certificate{{CertificateArn: new("arn:none")}}},
		add{ListenerArn: secure.ListenerArn, Certificates: []elbv2api.Certificate{{}}})
	_, err = r.world.RemoveListenerCertificates(r.world.Context(), &elbv2api.RemoveListenerCertificatesInput{ListenerArn: secure.ListenerArn, Certificates: []elbv2api.Certificate{{CertificateArn: new(certificateOne)}}})
	r.add(err)
	_, err = r.world.DescribeSSLPolicies(r.world.Context(), &elbv2api.DescribeSSLPoliciesInput{Names: []string{"none"}})
	r.add(err)
}

func (r *refusals) rules(nlb elbv2api.LoadBalancer, tcpGroup elbv2api.TargetGroup, listener, secure elbv2api.Listener, rule, second, defaults elbv2api.Rule, noRule *string) {
	type in = elbv2api.CreateRuleInput
	base := in{ListenerArn: listener.ListenerArn, Priority: new(int32(30)), Conditions: onPath("/c"), Actions: fixed("200")}
	with := func(edit func(*in)) in {
		i := base
		edit(&i)
		return i
	}
	on := func(c ...elbv2api.RuleCondition) in { return with(func(i *in) { i.Conditions = c }) }
	tcpListener := r.world.listener(nlb, 80, tcpGroup, func(i *elbv2api.CreateListenerInput) { i.Protocol = "TCP" })
	r.section("CreateRule")
	call(r, func(w *world, i *in) (*elbv2api.CreateRuleOutput, error) { return w.CreateRule(w.Context(), i) },
		with(func(i *in) { i.Priority = new(int32(10)) }),
		with(func(i *in) { i.ListenerArn = tcpListener.ListenerArn }),
		with(func(i *in) { i.Transforms = []elbv2api.RuleTransform{{Type: "url-rewrite"}} }),
		on(),
		on(elbv2api.RuleCondition{Values: []string{"/"}}),
		on(elbv2api.RuleCondition{Field: new("colour"), Values: []string{"red"}}),
		on(elbv2api.RuleCondition{Field: new("path-pattern")}),
		on(elbv2api.RuleCondition{Field: new("source-ip"), Values: []string{"10.0.0.0/8"}}),
		on(elbv2api.RuleCondition{Field: new("path-pattern"), HostHeaderConfig: &elbv2api.HostHeaderConditionConfig{Values: []string{"a"}}}),
		on(elbv2api.RuleCondition{PathPatternConfig: &elbv2api.PathPatternConditionConfig{Values: []string{"a"}}, HostHeaderConfig: &elbv2api.HostHeaderConditionConfig{Values: []string{"a"}}}),
		on(elbv2api.RuleCondition{Field: new("path-pattern"), Values: []string{"/b"}, PathPatternConfig: &elbv2api.PathPatternConditionConfig{Values: []string{"/a"}}}),
		on(append(onPath("/a"), onPath("/b")...)...),
		on(onPath("/1", "/2", "/3", "/4", "/5", "/6")...),
		on(onPath("/*?*?*?*")...),
		on(onPath("/a b")...),
		on(onPath(strings.Repeat("a", 129))...),
		on(elbv2api.RuleCondition{Field: new("host-header"), Values: []string{"a_b"}}),
		on(elbv2api.RuleCondition{HttpRequestMethodConfig: &elbv2api.HttpRequestMethodConditionConfig{Values: []string{"get"}}}),
		on(elbv2api.RuleCondition{HttpHeaderConfig: &elbv2api.HttpHeaderConditionConfig{HttpHeaderName: new("a b"), Values: []string{"x"}}}),
		on(elbv2api.RuleCondition{HttpHeaderConfig: &elbv2api.HttpHeaderConditionConfig{HttpHeaderName: new("Host"), Values: []string{"x"}}}),
		on(elbv2api.RuleCondition{QueryStringConfig: &elbv2api.QueryStringConditionConfig{Values: []elbv2api.QueryStringKeyValuePair{{Key: new("a")}}}}),
		on(elbv2api.RuleCondition{SourceIpConfig: &elbv2api.SourceIpConditionConfig{Values: []string{"10.0.0.1"}}}),
		on(elbv2api.RuleCondition{SourceIpConfig: &elbv2api.SourceIpConditionConfig{Values: []string{"fd00::/8"}}}),
		on(elbv2api.RuleCondition{PathPatternConfig: &elbv2api.PathPatternConditionConfig{RegexValues: []string{"("}}}),
		on(elbv2api.RuleCondition{PathPatternConfig: &elbv2api.PathPatternConditionConfig{RegexValues: []string{`\p{Greek}`}}}),
		on(elbv2api.RuleCondition{HttpHeaderConfig: &elbv2api.HttpHeaderConditionConfig{HttpHeaderName: new("x-*"), Values: []string{"x"}}}),
	)
	r.section("ModifyRule, DeleteRule, SetRulePriorities, DescribeRules")
	type modify = elbv2api.ModifyRuleInput
	call(r, func(w *world, i *modify) (*elbv2api.ModifyRuleOutput, error) { return w.ModifyRule(w.Context(), i) },
		modify{RuleArn: noRule}, modify{RuleArn: new("x")}, modify{RuleArn: defaults.RuleArn, Actions: fixed("200")})
	type remove = elbv2api.DeleteRuleInput
	call(r, func(w *world, i *remove) (*elbv2api.DeleteRuleOutput, error) { return w.DeleteRule(w.Context(), i) },
		remove{RuleArn: noRule}, remove{RuleArn: defaults.RuleArn})
	type set = elbv2api.SetRulePrioritiesInput
	pair := func(rule *string, priority int32) set {
		return set{RulePriorities: []elbv2api.RulePriorityPair{{RuleArn: rule, Priority: &priority}}}
	}
	call(r, func(w *world, i *set) (*elbv2api.SetRulePrioritiesOutput, error) {
		return w.SetRulePriorities(w.Context(), i)
	},
		pair(rule.RuleArn, 20), pair(defaults.RuleArn, 1), pair(noRule, 1), set{RulePriorities: []elbv2api.RulePriorityPair{{RuleArn: second.RuleArn}}})
	type describe = elbv2api.DescribeRulesInput
	call(r, func(w *world, i *describe) (*elbv2api.DescribeRulesOutput, error) {
		return w.DescribeRules(w.Context(), i)
	},
		describe{}, describe{RuleArns: []string{*noRule}}, describe{ListenerArn: secure.ListenerArn, RuleArns: []string{*rule.RuleArn}})
}

func (r *refusals) attributes(lb, nlb elbv2api.LoadBalancer, group, tcpGroup elbv2api.TargetGroup, listener elbv2api.Listener, noLB *string) {
	r.section("ModifyLoadBalancerAttributes")
	for _, kv := range [][2]string{
		{"colour", "red"},
		{"dns_record.client_routing_policy", "any_availability_zone"},
		{"idle_timeout.timeout_seconds", "4001"},
		{"idle_timeout.timeout_seconds", "x"},
		{"routing.http2.enabled", "yes"},
		{"access_logs.s3.enabled", "true"},
		{"connection_logs.s3.enabled", "true"},
		{"waf.fail_open.enabled", "true"},
		{"routing.http.desync_mitigation_mode", "monitor"},
		{"routing.http.desync_mitigation_mode", "x"},
		{"zonal_shift.config.enabled", "true"},
		{"routing.http.xff_header_processing.mode", "x"},
		{"load_balancing.cross_zone.enabled", "false"},
		{"berth.access_logs.log_group", "a b"},
		{"ipv6.deny_all_igw_traffic", "true"},
	} {
		r.balancerAttribute(lb.LoadBalancerArn, kv[0], kv[1])
	}
	r.balancerAttribute(nlb.LoadBalancerArn, "idle_timeout.timeout_seconds", "60")
	r.balancerAttribute(nlb.LoadBalancerArn, "dns_record.client_routing_policy", "availability_zone_affinity")
	r.balancerAttribute(noLB, "idle_timeout.timeout_seconds", "60")
	r.section("DeleteLoadBalancer with deletion protection")
	must[*elbv2api.ModifyLoadBalancerAttributesOutput](r.world)(r.world.ModifyLoadBalancerAttributes(r.world.Context(), &elbv2api.ModifyLoadBalancerAttributesInput{
		LoadBalancerArn: lb.LoadBalancerArn, Attributes: []elbv2api.LoadBalancerAttribute{{Key: new("deletion_protection.enabled"), Value: new("true")}},
	}))
	_, err := r.world.DeleteLoadBalancer(r.world.Context(), &elbv2api.DeleteLoadBalancerInput{LoadBalancerArn: lb.LoadBalancerArn})
	r.add(err)

	r.section("ModifyTargetGroupAttributes")
	for _, kv := range [][2]string{
		{"colour", "red"},
		{"preserve_client_ip.enabled", "true"},
		{"deregistration_delay.timeout_seconds", "3601"},
		{"stickiness.type", "source_ip"},
		{"slow_start.duration_seconds", "10"},
		{"load_balancing.algorithm.type", "weighted_random"},
		{"load_balancing.algorithm.type", "x"},
		{"load_balancing.algorithm.anomaly_mitigation", "on"},
		{"stickiness.app_cookie.cookie_name", "AWSALB"},
		{"stickiness.app_cookie.cookie_name", "a b"},
		{"target_group_health.unhealthy_state_routing.minimum_healthy_targets.count", "2"},
		{"target_group_health.dns_failover.minimum_healthy_targets.percentage", "50"},
	} {
		r.groupAttributes(group.TargetGroupArn, kv[0], kv[1])
	}
	r.groupAttributes(tcpGroup.TargetGroupArn, "stickiness.lb_cookie.duration_seconds", "1")
	r.groupAttributes(tcpGroup.TargetGroupArn, "target_health_state.unhealthy.draining_interval_seconds", "1")
	r.groupAttributes(tcpGroup.TargetGroupArn, "stickiness.enabled", "true")
	r.groupAttributes(group.TargetGroupArn, "load_balancing.cross_zone.enabled", "false")
	r.groupAttributes(group.TargetGroupArn, "stickiness.enabled", "true", "stickiness.type", "app_cookie", "stickiness.app_cookie.cookie_name", "a(b)")
	r.groupAttributes(group.TargetGroupArn, "slow_start.duration_seconds", "30", "load_balancing.algorithm.type", "least_outstanding_requests")
	r.groupAttributes(group.TargetGroupArn, "stickiness.enabled", "true", "stickiness.type", "app_cookie")
	r.groupAttributes(group.TargetGroupArn, "stickiness.enabled", "true", "stickiness.enabled", "true")

	r.section("ModifyListenerAttributes")
	for _, kv := range [][2]string{{"colour", "red"}, {"tcp.idle_timeout.seconds", "60"}, {"routing.http.response.server.enabled", "x"}, {"routing.http.response.server.enabled", "false"}, {"routing.http.request.x_amzn_mtls_clientcert.header_name", "x"}, {"routing.http.response.x_frame_options.header_value", "a\nb"}} {
		_, err := r.world.ModifyListenerAttributes(r.world.Context(), &elbv2api.ModifyListenerAttributesInput{ListenerArn: listener.ListenerArn, Attributes: []elbv2api.ListenerAttribute{{Key: &kv[0], Value: &kv[1]}}})
		r.add(err)
	}
}

func (r *refusals) balancerAttribute(lb *string, key, value string) {
	_, err := r.world.ModifyLoadBalancerAttributes(r.world.Context(), &elbv2api.ModifyLoadBalancerAttributesInput{LoadBalancerArn: lb, Attributes: []elbv2api.LoadBalancerAttribute{{Key: &key, Value: &value}}})
	r.add(err)
}

func (r *refusals) groupAttributes(group *string, settings ...string) {
	in := &elbv2api.ModifyTargetGroupAttributesInput{TargetGroupArn: group}
	for i := 0; i < len(settings); i += 2 {
		in.Attributes = append(in.Attributes, elbv2api.TargetGroupAttribute{Key: &settings[i], Value: &settings[i+1]})
	}
	_, err := r.world.ModifyTargetGroupAttributes(r.world.Context(), in)
	r.add(err)
}

func (r *refusals) tags(lb elbv2api.LoadBalancer, noLB *string) {
	r.section("AddTags, DescribeTags")
	type in = elbv2api.AddTagsInput
	many := make([]elbv2api.Tag, 51)
	for i := range many {
		many[i] = elbv2api.Tag{Key: new(fmt.Sprint(i))}
	}
	call(r, func(w *world, i *in) (*elbv2api.AddTagsOutput, error) { return w.AddTags(w.Context(), i) },
		in{ResourceArns: []string{*noLB}, Tags: many[:1]}, in{ResourceArns: []string{"x"}, Tags: many[:1]}, in{ResourceArns: []string{*lb.LoadBalancerArn}, Tags: many},
		in{ResourceArns: []string{*lb.LoadBalancerArn}, Tags: []elbv2api.Tag{many[0], many[0]}})
	_, err := r.world.DescribeTags(r.world.Context(), &elbv2api.DescribeTagsInput{ResourceArns: make([]string, 21)})
	r.add(err)
}
