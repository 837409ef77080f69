package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/smithy-go"
)

// openGroup is the security group, made by the server, that lets everybody in:
// what people expect of a task that they run without naming a group.
const openGroup = "berth-open"

// surroundings are what a service needs around it.
type surroundings struct {
	network  *types.NetworkConfiguration // nil: as it is
	balancer *types.LoadBalancer         // of --expose
	registry *types.ServiceRegistry      // of --as
}

// balancers are what a request says when the file says so much and the service
// has so much: nil leaves it as it is.
func (s *surroundings) balancers(file, has []types.LoadBalancer) []types.LoadBalancer {
	return joined(file, has, s.balancer, func(a, b types.LoadBalancer) bool {
		return aws.ToString(a.TargetGroupArn) == aws.ToString(b.TargetGroupArn) &&
			aws.ToString(a.ContainerName) == aws.ToString(b.ContainerName) && aws.ToInt32(a.ContainerPort) == aws.ToInt32(b.ContainerPort)
	})
}

func (s *surroundings) registries(file, has []types.ServiceRegistry) []types.ServiceRegistry {
	return joined(file, has, s.registry, func(a, b types.ServiceRegistry) bool {
		return aws.ToString(a.RegistryArn) == aws.ToString(b.RegistryArn)
	})
}

// joined adds what is wanted to the file's list, or without one to what there
// is.
func joined[T any](file, has []T, wanted *T, same func(a, b T) bool) []T {
	base := file
	if len(base) == 0 {
		base = has
	}
	if wanted == nil || slices.ContainsFunc(base, func(one T) bool { return same(one, *wanted) }) {
		return file
	}
	return append(slices.Clone(base), *wanted)
}

// surroundings makes what --expose and --as ask for, and chooses a network for
// a service that names none.
func (d *deployer) surroundings(ctx context.Context) (*surroundings, error) {
	s := &surroundings{}
	if d.order.spec != nil {
		s.network = d.order.spec.NetworkConfiguration
	}
	asked := d.order.exposed != nil || d.order.name != nil
	if d.def.NetworkMode != types.NetworkModeAwsvpc {
		if asked {
			return nil, misuse("--expose and --as need a task definition with networkMode awsvpc; %s has %s", definitionName(d.def.TaskDefinitionArn), d.def.NetworkMode)
		}
		return s, nil
	}
	if d.existing != nil && !asked {
		return s, nil
	}
	network, err := d.network(ctx)
	if err != nil {
		return nil, err
	}
	at, err := d.clients.place(ctx, network.Subnets)
	if err != nil {
		return nil, err
	}
	if d.order.exposed != nil {
		if s.balancer, err = d.expose(ctx, at, network); err != nil {
			return nil, err
		}
	}
	if d.order.name != nil {
		registry, err := d.register(ctx, at)
		if err != nil {
			return nil, err
		}
		s.registry = &types.ServiceRegistry{RegistryArn: &registry}
	}
	if len(network.SecurityGroups) == 0 {
		if network.SecurityGroups, err = d.clients.openGroups(ctx, at.vpc); err != nil {
			return nil, err
		}
	}
	if s.network != nil || d.existing == nil || !sameNetwork(d.existing, network) {
		s.network = &types.NetworkConfiguration{AwsvpcConfiguration: network}
	}
	return s, nil
}

// network is that of the file, else that of the service as it is, else the
// default subnets. It is a copy, and may be completed.
func (d *deployer) network(ctx context.Context) (*types.AwsVpcConfiguration, error) {
	var given *types.NetworkConfiguration
	if d.existing != nil {
		given = d.existing.NetworkConfiguration
	}
	if d.order.spec != nil && d.order.spec.NetworkConfiguration != nil {
		given = d.order.spec.NetworkConfiguration
	}
	if given != nil && given.AwsvpcConfiguration != nil {
		c := *given.AwsvpcConfiguration
		return &c, nil
	}
	subnets, err := d.clients.defaultSubnets(ctx)
	return &types.AwsVpcConfiguration{Subnets: subnets}, err
}

func sameNetwork(s *types.Service, network *types.AwsVpcConfiguration) bool {
	if s.NetworkConfiguration == nil || s.NetworkConfiguration.AwsvpcConfiguration == nil {
		return false
	}
	has := s.NetworkConfiguration.AwsvpcConfiguration
	return slices.Equal(has.Subnets, network.Subnets) && slices.Equal(has.SecurityGroups, network.SecurityGroups) && has.AssignPublicIp == network.AssignPublicIp
}

// place is where a service's tasks are.
type place struct {
	vpc     string
	subnets []string // one of each zone, as a load balancer takes them
}

func (c *clients) place(ctx context.Context, subnets []string) (*place, error) {
	out, err := c.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: subnets})
	if err != nil {
		return nil, fmt.Errorf("looking for the subnets: %w", explained(err))
	}
	p, zones := &place{}, map[string]bool{}
	slices.SortFunc(out.Subnets, func(a, b ec2types.Subnet) int {
		return strings.Compare(aws.ToString(a.SubnetId), aws.ToString(b.SubnetId))
	})
	for _, s := range out.Subnets {
		p.vpc = aws.ToString(s.VpcId)
		if zone := aws.ToString(s.AvailabilityZone); !zones[zone] {
			zones[zone] = true
			p.subnets = append(p.subnets, aws.ToString(s.SubnetId))
		}
	}
	return p, nil
}

// cidr is the range of a VPC.
func (c *clients) cidr(ctx context.Context, vpc string) (string, error) {
	out, err := c.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: []string{vpc}})
	if err != nil {
		return "", fmt.Errorf("looking for the VPC: %w", explained(err))
	}
	if len(out.Vpcs) == 0 {
		return "", fmt.Errorf("there is no VPC %s", vpc)
	}
	return aws.ToString(out.Vpcs[0].CidrBlock), nil
}

// securityGroup finds a group of a VPC by its name; empty when there is none.
func (c *clients) securityGroup(ctx context.Context, vpc, name string) (*ec2types.SecurityGroup, error) {
	filter := func(name, value string) ec2types.Filter {
		return ec2types.Filter{Name: &name, Values: []string{value}}
	}
	out, err := c.ec2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{
		Filters: []ec2types.Filter{filter("vpc-id", vpc), filter("group-name", name)},
	})
	if err != nil {
		return nil, fmt.Errorf("looking for security group %s: %w", name, explained(err))
	}
	if len(out.SecurityGroups) == 0 {
		return nil, nil //nolint:nilnil // there is none
	}
	return &out.SecurityGroups[0], nil
}

// openGroups is the open group of a VPC, when it has one. In a VPC that has
// none, its default group is used, as on AWS.
func (c *clients) openGroups(ctx context.Context, vpc string) ([]string, error) {
	group, err := c.securityGroup(ctx, vpc, openGroup)
	if err != nil || group == nil {
		return nil, err
	}
	return []string{aws.ToString(group.GroupId)}, nil
}

// ensureGroup finds or makes a security group that lets TCP in to one port,
// from addresses or from members of a group.
func (d *deployer) ensureGroup(ctx context.Context, vpc, name, description string, port int32, cidr, fromGroup string) (string, error) {
	group, err := d.clients.securityGroup(ctx, vpc, name)
	if err != nil {
		return "", err
	}
	var id string
	if group != nil {
		id = aws.ToString(group.GroupId)
	} else {
		out, err := d.clients.ec2.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: &name, Description: &description, VpcId: &vpc})
		if err != nil {
			return "", fmt.Errorf("creating security group %s: %w", name, explained(err))
		}
		id = aws.ToString(out.GroupId)
	}
	permission := ec2types.IpPermission{IpProtocol: aws.String("tcp"), FromPort: &port, ToPort: &port}
	if cidr != "" {
		permission.IpRanges = []ec2types.IpRange{{CidrIp: &cidr}}
	}
	if fromGroup != "" {
		permission.UserIdGroupPairs = []ec2types.UserIdGroupPair{{GroupId: &fromGroup}}
	}
	_, err = d.clients.ec2.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{
		GroupId: &id, IpPermissions: []ec2types.IpPermission{permission},
	})
	if api, ok := errors.AsType[smithy.APIError](err); ok && api.ErrorCode() == "InvalidPermission.Duplicate" {
		return id, nil
	}
	if err != nil {
		return "", fmt.Errorf("opening security group %s: %w", name, explained(err))
	}
	return id, nil
}
