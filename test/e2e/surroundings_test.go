package e2e_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
)

// A security group's rules for what leaves are what was said last.
func TestEgressRulesChange(t *testing.T) {
	t.Parallel()
	b, ctx := shared, t.Context()
	vpc := must(b.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{Filters: []ec2types.Filter{{Name: aws.String("is-default"), Values: []string{"true"}}}}))(t).Vpcs[0].VpcId
	group := b.securityGroup(t, vpc, "egress")
	egress := func() []ec2types.IpPermission {
		t.Helper()
		return must(b.ec2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: []string{group}}))(t).SecurityGroups[0].IpPermissionsEgress
	}
	everything := egress()
	if len(everything) != 1 || *everything[0].IpProtocol != "-1" {
		t.Errorf("a new group lets out %+v", everything)
	}
	must(b.ec2.RevokeSecurityGroupEgress(ctx, &ec2.RevokeSecurityGroupEgressInput{GroupId: &group, IpPermissions: everything}))(t)
	https := ec2types.IpPermission{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(443), ToPort: aws.Int32(443), IpRanges: []ec2types.IpRange{{CidrIp: aws.String("10.0.0.0/8")}}}
	must(b.ec2.AuthorizeSecurityGroupEgress(ctx, &ec2.AuthorizeSecurityGroupEgressInput{GroupId: &group, IpPermissions: []ec2types.IpPermission{https}}))(t)
	https.IpRanges[0].Description = aws.String("to the office")
	must(b.ec2.UpdateSecurityGroupRuleDescriptionsEgress(ctx, &ec2.UpdateSecurityGroupRuleDescriptionsEgressInput{GroupId: &group, IpPermissions: []ec2types.IpPermission{https}}))(t)
	if got := egress(); len(got) != 1 || *got[0].FromPort != 443 || aws.ToString(got[0].IpRanges[0].Description) != "to the office" {
		t.Errorf("it lets out %+v", got)
	}
}

func TestDefaultVPCHasAnInternetGateway(t *testing.T) {
	t.Parallel()
	b, ctx := shared, t.Context()
	vpc := must(b.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{Filters: []ec2types.Filter{{Name: aws.String("is-default"), Values: []string{"true"}}}}))(t).Vpcs[0].VpcId
	out := must(b.ec2.DescribeInternetGateways(ctx, &ec2.DescribeInternetGatewaysInput{Filters: []ec2types.Filter{{Name: aws.String("attachment.vpc-id"), Values: []string{*vpc}}}}))(t)
	if len(out.InternetGateways) != 1 || len(out.InternetGateways[0].Attachments) != 1 {
		t.Errorf("gateways %+v", out.InternetGateways)
	}
}

func TestLimitsOfLoadBalancers(t *testing.T) {
	t.Parallel()
	limits := map[string]string{}
	for _, l := range must(shared.elb.DescribeAccountLimits(t.Context(), &elasticloadbalancingv2.DescribeAccountLimitsInput{}))(t).Limits {
		limits[*l.Name] = *l.Max
	}
	if limits["rules-per-application-load-balancer"] != "100" || limits["targets-per-application-load-balancer"] != "1000" {
		t.Errorf("limits %v", limits)
	}
	s := shared.balance(t)
	reserved := must(shared.elb.DescribeCapacityReservation(t.Context(), &elasticloadbalancingv2.DescribeCapacityReservationInput{LoadBalancerArn: &s.balancer}))(t)
	if reserved.MinimumLoadBalancerCapacity != nil {
		t.Errorf("capacity is reserved: %+v", reserved.MinimumLoadBalancerCapacity)
	}
}

func TestPublicNamespaceChangesItsTTL(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	name := random() + ".example"
	made := must(shared.sd.CreatePublicDnsNamespace(ctx, &servicediscovery.CreatePublicDnsNamespaceInput{Name: &name}))(t)
	id := must(shared.sd.GetOperation(ctx, &servicediscovery.GetOperationInput{OperationId: made.OperationId}))(t).Operation.Targets["NAMESPACE"]
	must(shared.sd.UpdatePublicDnsNamespace(ctx, &servicediscovery.UpdatePublicDnsNamespaceInput{Id: &id, Namespace: &sdtypes.PublicDnsNamespaceChange{
		Properties: &sdtypes.PublicDnsNamespacePropertiesChange{DnsProperties: &sdtypes.PublicDnsPropertiesMutableChange{SOA: &sdtypes.SOAChange{TTL: aws.Int64(30)}}},
	}}))(t)
	got := must(shared.sd.GetNamespace(ctx, &servicediscovery.GetNamespaceInput{Id: &id}))(t).Namespace
	if *got.Properties.DnsProperties.SOA.TTL != 30 {
		t.Errorf("its TTL is %d", *got.Properties.DnsProperties.SOA.TTL)
	}
}
