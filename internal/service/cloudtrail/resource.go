package cloudtrail

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"berth.dev/berth/internal/wire/api/cloudtrailapi"
)

// maxResources is how many resources an event lists.
const maxResources = 20

// kinds are the members of requests and answers that name resources, by the
// service, with the resources' CloudFormation types.
var kinds = map[string]map[string]string{
	"ecs": {
		"cluster": "AWS::ECS::Cluster", "clusterName": "AWS::ECS::Cluster", "clusterArn": "AWS::ECS::Cluster", "clusters": "AWS::ECS::Cluster",
		"service": "AWS::ECS::Service", "serviceName": "AWS::ECS::Service", "serviceArn": "AWS::ECS::Service", "services": "AWS::ECS::Service",
		"taskDefinition": "AWS::ECS::TaskDefinition", "taskDefinitionArn": "AWS::ECS::TaskDefinition",
		"task": "AWS::ECS::Task", "tasks": "AWS::ECS::Task", "taskArn": "AWS::ECS::Task",
		"containerInstance": "AWS::ECS::ContainerInstance", "containerInstances": "AWS::ECS::ContainerInstance", "containerInstanceArn": "AWS::ECS::ContainerInstance",
	},
	"ec2": {
		"vpcId": "AWS::EC2::VPC", "subnetId": "AWS::EC2::Subnet", "groupId": "AWS::EC2::SecurityGroup", "networkInterfaceId": "AWS::EC2::NetworkInterface",
		"routeTableId": "AWS::EC2::RouteTable", "internetGatewayId": "AWS::EC2::InternetGateway", "natGatewayId": "AWS::EC2::NatGateway", "allocationId": "AWS::EC2::EIP",
		"vpcIds": "AWS::EC2::VPC", "subnetIds": "AWS::EC2::Subnet", "groupIds": "AWS::EC2::SecurityGroup", "networkInterfaceIds": "AWS::EC2::NetworkInterface",
	},
	"elasticloadbalancing": {
		"loadBalancerArn": "AWS::ElasticLoadBalancingV2::LoadBalancer", "loadBalancerArns": "AWS::ElasticLoadBalancingV2::LoadBalancer",
		"targetGroupArn": "AWS::ElasticLoadBalancingV2::TargetGroup", "targetGroupArns": "AWS::ElasticLoadBalancingV2::TargetGroup",
		"listenerArn": "AWS::ElasticLoadBalancingV2::Listener", "ruleArn": "AWS::ElasticLoadBalancingV2::ListenerRule",
	},
	"iam": {
		"roleName": "AWS::IAM::Role", "userName": "AWS::IAM::User", "groupName": "AWS::IAM::Group", "policyArn": "AWS::IAM::Policy", "policyName": "AWS::IAM::Policy",
		"instanceProfileName": "AWS::IAM::InstanceProfile", "accessKeyId": "AWS::IAM::AccessKey",
	},
	"sts":              {"roleArn": "AWS::IAM::Role", "roleSessionName": "AWS::STS::AssumedRole", "accessKeyId": "AWS::IAM::AccessKey"},
	"kms":              {"keyId": "AWS::KMS::Key", "targetKeyId": "AWS::KMS::Key", "aliasName": "AWS::KMS::Alias"},
	"secretsmanager":   {"secretId": "AWS::SecretsManager::Secret", "name": "AWS::SecretsManager::Secret", "aRN": "AWS::SecretsManager::Secret"},
	"ssm":              {"name": "AWS::SSM::Parameter", "names": "AWS::SSM::Parameter", "resourceId": "AWS::SSM::Parameter"},
	"logs":             {"logGroupName": "AWS::Logs::LogGroup", "logStreamName": "AWS::Logs::LogStream"},
	"acm":              {"certificateArn": "AWS::ACM::Certificate"},
	"servicediscovery": {"namespaceId": "AWS::ServiceDiscovery::Namespace", "serviceId": "AWS::ServiceDiscovery::Service", "instanceId": "AWS::ServiceDiscovery::Instance"},
}

// resources are what the event was about: what its request and its answer
// name.
func (e *event) resources() []cloudtrailapi.Resource {
	service, _, _ := strings.Cut(e.EventSource, ".")
	c := collector{kinds: kinds[service], resources: []cloudtrailapi.Resource{}}
	for _, part := range []json.RawMessage{e.RequestParameters, e.ResponseElements} {
		var value any
		if err := json.Unmarshal(part, &value); err == nil {
			c.walk(value)
		}
	}
	return c.resources
}

// collector gathers the resources that a JSON value names.
type collector struct {
	kinds     map[string]string
	resources []cloudtrailapi.Resource
}

func (c *collector) walk(value any) {
	switch value := value.(type) {
	case []any:
		for _, v := range value {
			c.walk(v)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			if kind, ok := c.kinds[name]; ok {
				c.add(kind, value[name])
			}
			c.walk(value[name])
		}
	}
}

func (c *collector) add(kind string, value any) {
	switch value := value.(type) {
	case []any:
		for _, v := range value {
			c.add(kind, v)
		}
	case string:
		same := func(r cloudtrailapi.Resource) bool { return *r.ResourceType == kind && *r.ResourceName == value }
		if len(c.resources) < maxResources && !slices.ContainsFunc(c.resources, same) {
			c.resources = append(c.resources, cloudtrailapi.Resource{ResourceType: &kind, ResourceName: &value})
		}
	}
}
