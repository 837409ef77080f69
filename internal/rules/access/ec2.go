package access

import "strings"

// ec2 follows the Service Authorization Reference of Amazon EC2. Describe
// actions have no resources. What is made is checked as its kind with "*", under
// the tags that it gets, and ec2:CreateTags for those.
var ec2 = join(
	rows(row{}, "DescribeAvailabilityZones", "DescribeAccountAttributes", "DescribeVpcs", "DescribeVpcAttribute", "DescribeDhcpOptions",
		"DescribeNetworkAcls", "DescribePrefixLists", "DescribeSubnets", "DescribeSecurityGroups", "DescribeSecurityGroupRules",
		"DescribeInternetGateways", "DescribeNatGateways", "DescribeRouteTables", "DescribeNetworkInterfaces", "DescribeAddresses",
		"DescribeAddressesAttribute", "DescribeTags", "DescribeVolumes"),
	table{
		"CreateVpc":             makes("CreateVpc", "vpc"),
		"CreateSubnet":          makes("CreateSubnet", "subnet", in("vpc", "VpcId")),
		"CreateSecurityGroup":   makes("CreateSecurityGroup", "security-group", in("vpc", "VpcId")),
		"CreateInternetGateway": makes("CreateInternetGateway", "internet-gateway"),
		"CreateNatGateway":      makes("CreateNatGateway", "natgateway", in("subnet", "SubnetId"), in("elastic-ip", "AllocationId")),
		"CreateRouteTable":      makes("CreateRouteTable", "route-table", in("vpc", "VpcId")),
		"CreateNetworkInterface": makes("CreateNetworkInterface", "network-interface",
			in("subnet", "SubnetId"), in("security-group", "Groups")),
		"AllocateAddress": makes("AllocateAddress", "elastic-ip"),

		"ModifyNetworkInterfaceAttribute": {on: []target{in("network-interface", "NetworkInterfaceId"), in("security-group", "Groups")}},
		"AttachInternetGateway":           {on: []target{in("internet-gateway", "InternetGatewayId"), in("vpc", "VpcId")}},
		"DetachInternetGateway":           {on: []target{in("internet-gateway", "InternetGatewayId"), in("vpc", "VpcId")}},
		"AssociateRouteTable":             {on: []target{in("route-table", "RouteTableId"), in("subnet", "SubnetId")}},
		"ReplaceRouteTableAssociation":    {on: []target{in("route-table", "RouteTableId")}},
		"DisassociateRouteTable":          {on: []target{{path: "AssociationId", arn: some("route-table")}}},
		"ReleaseAddress":                  {on: []target{{path: "AllocationId|PublicIp", arn: address}}},
		"AssociateAddress": {on: []target{
			{path: "AllocationId|PublicIp", arn: address},
			in("network-interface", "NetworkInterfaceId"), in("instance", "InstanceId"),
		}},
		"DisassociateAddress": {on: []target{{path: "AssociationId|PublicIp", arn: some("elastic-ip")}}},

		"CreateTags": {on: []target{{path: "Resources", arn: anyEC2}}, tags: "Tags"},
		"DeleteTags": {on: []target{{path: "Resources", arn: anyEC2}}, tagKeys: "Tags.Key"},
	},
	rows(row{on: []target{in("vpc", "VpcId")}}, "DeleteVpc", "ModifyVpcAttribute"),
	rows(row{on: []target{in("subnet", "SubnetId")}}, "DeleteSubnet", "ModifySubnetAttribute"),
	rows(row{on: []target{inGroup}}, "DeleteSecurityGroup", "RevokeSecurityGroupIngress", "RevokeSecurityGroupEgress",
		"UpdateSecurityGroupRuleDescriptionsIngress", "UpdateSecurityGroupRuleDescriptionsEgress"),
	rows(row{on: []target{inGroup}, tags: "TagSpecifications.Tags"}, "AuthorizeSecurityGroupIngress", "AuthorizeSecurityGroupEgress"),
	rows(row{on: []target{inGroup, in("security-group-rule", "SecurityGroupRules.SecurityGroupRuleId")}}, "ModifySecurityGroupRules"),
	rows(row{on: []target{in("internet-gateway", "InternetGatewayId")}}, "DeleteInternetGateway"),
	rows(row{on: []target{in("natgateway", "NatGatewayId")}}, "DeleteNatGateway"),
	rows(row{on: []target{in("route-table", "RouteTableId")}}, "DeleteRouteTable", "CreateRoute", "ReplaceRoute", "DeleteRoute"),
	rows(row{on: []target{in("network-interface", "NetworkInterfaceId")}}, "DeleteNetworkInterface"),
	rows(row{on: []target{in("volume", "VolumeId")}}, "DeleteVolume"),
)

// inGroup is a security group by id, or by name in the default VPC.
var inGroup = target{path: "GroupId|GroupName", arn: func(v *view, name string) []string {
	if !strings.HasPrefix(name, "sg-") {
		id, ok := v.look.SecurityGroup(name)
		if !ok {
			id = "*"
		}
		name = id
	}
	return []string{v.Scope.EC2("security-group", name)}
}}

// makes is a row of an operation that creates something of a kind, in other
// things.
func makes(operation, kind string, within ...target) row {
	new := constant(some(kind))
	return row{
		on: append([]target{new}, within...), tags: "TagSpecifications.Tags",
		keys: []key{{name: "ec2:vpc", of: func(v *view) []string {
			var vpcs []string
			for _, id := range v.values("VpcId") {
				vpcs = append(vpcs, v.Scope.EC2("vpc", id))
			}
			return vpcs
		}}},
		also: []need{{action: "ec2:CreateTags", on: []target{new}, keys: []key{always("ec2:createaction", operation)}, when: "TagSpecifications.Tags.Key"}},
	}
}

// in is a resource by its id.
func in(kind, path string) target {
	return target{path: path, arn: func(v *view, id string) []string { return []string{v.Scope.EC2(kind, id)} }}
}

// some is one of a kind whose id the request does not tell.
func some(kind string) naming {
	return func(v *view, _ string) []string { return []string{v.Scope.EC2(kind, "*")} }
}

func address(v *view, name string) []string {
	if !strings.HasPrefix(name, "eipalloc-") {
		name = "*"
	}
	return []string{v.Scope.EC2("elastic-ip", name)}
}

// anyEC2 makes the ARN of an id by what its prefix says.
func anyEC2(v *view, id string) []string {
	prefix, _, _ := strings.Cut(id, "-")
	kind := "*"
	switch prefix {
	case "vpc", "subnet", "instance":
		kind = prefix
	case "sg":
		kind = "security-group"
	case "sgr":
		kind = "security-group-rule"
	case "igw":
		kind = "internet-gateway"
	case "nat":
		kind = "natgateway"
	case "rtb":
		kind = "route-table"
	case "eni":
		kind = "network-interface"
	case "eipalloc":
		kind = "elastic-ip"
	case "vol":
		kind = "volume"
	case "dopt":
		kind = "dhcp-options"
	case "acl":
		kind = "network-acl"
	case "i":
		kind = "instance"
	}
	return []string{v.Scope.EC2(kind, id)}
}
