package access

// elbv2 follows the Service Authorization Reference of Elastic Load Balancing
// V2. Describe actions have no resources.
var elbv2 = join(
	rows(row{}, "DescribeLoadBalancers", "DescribeLoadBalancerAttributes", "DescribeCapacityReservation", "DescribeTargetGroups",
		"DescribeTargetGroupAttributes", "DescribeTargetHealth", "DescribeListeners", "DescribeListenerAttributes",
		"DescribeListenerCertificates", "DescribeRules", "DescribeTags", "DescribeAccountLimits", "DescribeSSLPolicies"),
	table{
		"CreateLoadBalancer": {
			on: []target{{path: "Name", arn: newBalancer}}, tags: "Tags", born: true,
			keys: []key{
				{name: "elasticloadbalancing:scheme", path: "Scheme", absent: "internet-facing"},
				{name: "elasticloadbalancing:subnet", path: "Subnets|SubnetMappings.SubnetId"},
				{name: "elasticloadbalancing:securitygroup", path: "SecurityGroups"},
			},
			also: []need{addTags("CreateLoadBalancer", target{path: "Name", arn: newBalancer})},
		},
		"CreateTargetGroup": {
			on: []target{{path: "Name", arn: newTargetGroup}}, tags: "Tags", born: true,
			also: []need{addTags("CreateTargetGroup", target{path: "Name", arn: newTargetGroup})},
		},
		"CreateListener": {
			on: []target{{path: "LoadBalancerArn", arn: literal}}, tags: "Tags", keys: listenerKeys,
			also: []need{addTags("CreateListener", target{path: "LoadBalancerArn", arn: literal})},
		},
		"CreateRule": {
			on: []target{{path: "ListenerArn", arn: literal}}, tags: "Tags",
			also: []need{addTags("CreateRule", target{path: "ListenerArn", arn: literal})},
		},
		"ModifyListener": {on: []target{{path: "ListenerArn", arn: literal}}, keys: listenerKeys},
		"SetSecurityGroups": {
			on:   []target{{path: "LoadBalancerArn", arn: literal}},
			keys: []key{{name: "elasticloadbalancing:securitygroup", path: "SecurityGroups"}},
		},
		"SetSubnets": {
			on:   []target{{path: "LoadBalancerArn", arn: literal}},
			keys: []key{{name: "elasticloadbalancing:subnet", path: "Subnets|SubnetMappings.SubnetId"}},
		},
		"SetRulePriorities": {on: []target{{path: "RulePriorities.RuleArn", arn: literal}}},
		"AddTags":           {on: []target{{path: "ResourceArns", arn: literal}}, tags: "Tags"},
		"RemoveTags":        {on: []target{{path: "ResourceArns", arn: literal}}, tagKeys: "TagKeys"},
	},
	rows(row{on: []target{{path: "LoadBalancerArn", arn: literal}}}, "DeleteLoadBalancer", "ModifyLoadBalancerAttributes", "SetIpAddressType"),
	rows(row{on: []target{{path: "TargetGroupArn", arn: literal}}},
		"DeleteTargetGroup", "ModifyTargetGroup", "ModifyTargetGroupAttributes", "RegisterTargets", "DeregisterTargets"),
	rows(row{on: []target{{path: "ListenerArn", arn: literal}}},
		"DeleteListener", "ModifyListenerAttributes", "AddListenerCertificates", "RemoveListenerCertificates"),
	rows(row{on: []target{{path: "RuleArn", arn: literal}}}, "DeleteRule", "ModifyRule"),
)

var listenerKeys = []key{
	{name: "elasticloadbalancing:listenerprotocol", path: "Protocol"},
	{name: "elasticloadbalancing:securitypolicy", path: "SslPolicy"},
}

func addTags(operation string, on target) need {
	return need{
		action: "elasticloadbalancing:AddTags", on: []target{on}, when: "Tags.Key",
		keys: []key{always("elasticloadbalancing:createaction", operation)},
	}
}

func newBalancer(v *view, name string) []string {
	kind := map[string]string{"network": "net", "gateway": "gwy"}[v.value("Type")]
	if kind == "" {
		kind = "app"
	}
	return []string{v.Scope.Regional("elasticloadbalancing", "loadbalancer/"+kind+"/"+name+"/*")}
}

func newTargetGroup(v *view, name string) []string {
	return []string{v.Scope.Regional("elasticloadbalancing", "targetgroup/"+name+"/*")}
}
