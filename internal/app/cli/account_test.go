package cli

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// anAccount is a fake with one VPC, and a service that goes through moments:
// each look at it shows the next, the last one for ever.
type anAccount struct {
	*fakeAWS
	moments []*glimpse // nil: there is no service
	looks   int
	logs    []string
}

func newAccount(t *testing.T) *anAccount {
	a := &anAccount{fakeAWS: &fakeAWS{t: t}}
	a.json = map[string]func(map[string]any) (any, error){
		"DescribeServices":             a.describeServices,
		"ListServices":                 a.listServices,
		"ListTasks":                    a.listTasks,
		"DescribeTasks":                a.describeTasks,
		"DescribeTaskDefinition":       a.describeTaskDefinition,
		"RegisterTaskDefinition":       a.registerTaskDefinition,
		"DescribeServiceDeployments":   a.describeServiceDeployments,
		"CreateService":                a.changeService,
		"UpdateService":                a.changeService,
		"GetLogEvents":                 a.getLogEvents,
		"sd:ListNamespaces":            func(map[string]any) (any, error) { return map[string]any{"Namespaces": []any{}}, nil },
		"sd:ListServices":              func(map[string]any) (any, error) { return map[string]any{"Services": []any{}}, nil },
		"sd:CreatePrivateDnsNamespace": func(map[string]any) (any, error) { return map[string]any{"OperationId": "op-1"}, nil },
		"sd:GetOperation": func(map[string]any) (any, error) {
			return map[string]any{"Operation": map[string]any{"Status": "SUCCESS", "Targets": map[string]any{"NAMESPACE": "ns-1"}}}, nil
		},
		"sd:CreateService": func(map[string]any) (any, error) {
			return map[string]any{"Service": map[string]any{"Id": "srv-1", "Arn": registryARN}}, nil
		},
		"sd:GetService": func(map[string]any) (any, error) {
			return map[string]any{"Service": map[string]any{"Name": "my-service", "NamespaceId": "ns-1"}}, nil
		},
		"sd:GetNamespace": func(map[string]any) (any, error) {
			return map[string]any{"Namespace": map[string]any{"Name": "my-apps.local"}}, nil
		},
	}
	a.query = a.network()
	a.query["GetRole"] = func(in url.Values) (string, error) {
		return "<Role><RoleName>" + in.Get("RoleName") + "</RoleName></Role>", nil
	}
	a.start()
	return a
}

const registryARN = "arn:aws:servicediscovery:us-east-1:123456789012:service/srv-1"

// network answers the calls of EC2 and of load balancing. Load balancers are
// there once they were created.
func (a *anAccount) network() map[string]func(url.Values) (string, error) {
	made := map[string]bool{}
	make := func(what, answer string) func(url.Values) (string, error) {
		return func(url.Values) (string, error) {
			made[what] = true
			return answer, nil
		}
	}
	const (
		balancer = `<member><LoadBalancerArn>lb</LoadBalancerArn><LoadBalancerName>my-service</LoadBalancerName><Scheme>internet-facing</Scheme><AvailabilityZones><member><LoadBalancerAddresses><member><IpAddress>127.20.0.1</IpAddress></member></LoadBalancerAddresses></member></AvailabilityZones></member>`
		group    = `<member><TargetGroupArn>` + groupARN + `</TargetGroupArn><TargetGroupName>my-service</TargetGroupName><HealthCheckProtocol>HTTP</HealthCheckProtocol><HealthCheckPath>/health</HealthCheckPath><HealthCheckIntervalSeconds>5</HealthCheckIntervalSeconds><HealthyThresholdCount>2</HealthyThresholdCount><LoadBalancerArns><member>lb</member></LoadBalancerArns></member>`
		listener = `<member><ListenerArn>l</ListenerArn><Port>80</Port><Protocol>HTTP</Protocol><DefaultActions><member><Type>forward</Type><TargetGroupArn>` + groupARN + `</TargetGroupArn></member></DefaultActions></member>`
	)
	groups := 0
	return map[string]func(url.Values) (string, error){
		"DescribeSubnets": func(url.Values) (string, error) {
			return `<subnetSet><item><subnetId>subnet-a</subnetId><vpcId>vpc-1</vpcId><availabilityZone>us-east-1a</availabilityZone><defaultForAz>true</defaultForAz></item><item><subnetId>subnet-b</subnetId><vpcId>vpc-1</vpcId><availabilityZone>us-east-1b</availabilityZone><defaultForAz>true</defaultForAz></item></subnetSet>`, nil
		},
		"DescribeVpcs": func(url.Values) (string, error) {
			return `<vpcSet><item><vpcId>vpc-1</vpcId><cidrBlock>172.31.0.0/16</cidrBlock></item></vpcSet>`, nil
		},
		"DescribeSecurityGroups": func(in url.Values) (string, error) {
			if in.Get("Filter.2.Value.1") == openGroup {
				return `<securityGroupInfo><item><groupId>sg-open</groupId></item></securityGroupInfo>`, nil
			}
			if name := in.Get("Filter.2.Value.1"); made[name] {
				return `<securityGroupInfo><item><groupId>sg-` + name + `</groupId></item></securityGroupInfo>`, nil
			}
			return `<securityGroupInfo/>`, nil
		},
		"CreateSecurityGroup": func(in url.Values) (string, error) {
			made[in.Get("GroupName")] = true
			groups++
			return `<groupId>sg-` + in.Get("GroupName") + `</groupId>`, nil
		},
		"AuthorizeSecurityGroupIngress": func(in url.Values) (string, error) {
			key := in.Get("GroupId") + in.Get("IpPermissions.1.IpRanges.1.CidrIp") + in.Get("IpPermissions.1.Groups.1.GroupId")
			if made[key] {
				return "", &refusal{"InvalidPermission.Duplicate", "the rule already exists"}
			}
			made[key] = true
			return `<return>true</return>`, nil
		},
		"DescribeLoadBalancers": func(in url.Values) (string, error) {
			if !made["balancer"] {
				return "", &refusal{"LoadBalancerNotFound", "One or more load balancers not found"}
			}
			return `<LoadBalancers>` + balancer + `</LoadBalancers>`, nil
		},
		"DescribeTargetGroups": func(url.Values) (string, error) {
			if !made["group"] {
				return "", &refusal{"TargetGroupNotFound", "One or more target groups not found"}
			}
			return `<TargetGroups>` + group + `</TargetGroups>`, nil
		},
		"DescribeListeners": func(url.Values) (string, error) {
			if !made["listener"] {
				return `<Listeners/>`, nil
			}
			return `<Listeners>` + listener + `</Listeners>`, nil
		},
		"DescribeTargetGroupAttributes": func(url.Values) (string, error) {
			return `<Attributes><member><Key>` + deregistrationDelay + `</Key><Value>3</Value></member></Attributes>`, nil
		},
		"DescribeTargetHealth":        a.describeTargetHealth,
		"CreateLoadBalancer":          make("balancer", `<LoadBalancers>`+balancer+`</LoadBalancers>`),
		"CreateTargetGroup":           make("group", `<TargetGroups>`+group+`</TargetGroups>`),
		"CreateListener":              make("listener", `<Listeners>`+listener+`</Listeners>`),
		"ModifyTargetGroup":           make("modified", `<TargetGroups>`+group+`</TargetGroups>`),
		"ModifyTargetGroupAttributes": make("attributes", `<Attributes/>`),
	}
}

// now is the moment that the next look shows.
func (a *anAccount) now() *glimpse {
	if len(a.moments) == 0 {
		return nil
	}
	return a.moments[min(max(a.looks-1, 0), len(a.moments)-1)]
}

func (a *anAccount) describeServices(map[string]any) (any, error) {
	a.looks++
	g := a.now()
	if g == nil {
		return &ecs.DescribeServicesOutput{Failures: []types.Failure{{Reason: aws.String("MISSING")}}}, nil
	}
	return &ecs.DescribeServicesOutput{Services: []types.Service{g.service}}, nil
}

func (a *anAccount) listServices(map[string]any) (any, error) {
	if g := a.now(); g != nil {
		return &ecs.ListServicesOutput{ServiceArns: []string{*g.service.ServiceArn}}, nil
	}
	return &ecs.ListServicesOutput{}, nil
}

func (a *anAccount) listTasks(in map[string]any) (any, error) {
	out := &ecs.ListTasksOutput{}
	if g := a.now(); g != nil {
		for _, t := range g.tasks {
			if *t.DesiredStatus == in["desiredStatus"] {
				out.TaskArns = append(out.TaskArns, *t.TaskArn)
			}
		}
	}
	return out, nil
}

func (a *anAccount) describeTasks(in map[string]any) (any, error) {
	out := &ecs.DescribeTasksOutput{}
	for _, arn := range in["tasks"].([]any) {
		for _, t := range a.now().tasks {
			if *t.TaskArn == arn {
				out.Tasks = append(out.Tasks, t)
			}
		}
	}
	return out, nil
}

func (a *anAccount) describeTaskDefinition(in map[string]any) (any, error) {
	def := definition()
	def.NetworkMode, def.RequiresCompatibilities = types.NetworkModeAwsvpc, []types.Compatibility{types.CompatibilityFargate}
	def.ContainerDefinitions[0].PortMappings = def.ContainerDefinitions[0].PortMappings[:1]
	if name := in["taskDefinition"].(string); strings.HasPrefix(name, "arn:") {
		def.TaskDefinitionArn = &name
	}
	return &ecs.DescribeTaskDefinitionOutput{TaskDefinition: def}, nil
}

func (a *anAccount) registerTaskDefinition(in map[string]any) (any, error) {
	data, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	var def types.TaskDefinition
	if err := json.Unmarshal(data, &def); err != nil {
		return nil, err
	}
	def.Revision, def.TaskDefinitionArn = 2, definitionARN(2)
	return &ecs.RegisterTaskDefinitionOutput{TaskDefinition: &def}, nil
}

func (a *anAccount) describeServiceDeployments(map[string]any) (any, error) {
	return &ecs.DescribeServiceDeploymentsOutput{ServiceDeployments: []types.ServiceDeployment{*a.now().deployment}}, nil
}

// changeService lets the moments begin that come after the change.
func (a *anAccount) changeService(map[string]any) (any, error) {
	s := a.moments[min(a.looks, len(a.moments)-1)].service
	return map[string]any{"service": s}, nil
}

func (a *anAccount) getLogEvents(in map[string]any) (any, error) {
	events := []any{}
	for i, line := range a.logs {
		if in["nextToken"] != nil {
			break // all was told
		}
		events = append(events, map[string]any{"timestamp": created.UnixMilli() + int64(i), "message": line})
	}
	return map[string]any{"events": events, "nextForwardToken": "f"}, nil
}

func (a *anAccount) describeTargetHealth(url.Values) (string, error) {
	var b strings.Builder
	b.WriteString("<TargetHealthDescriptions>")
	for _, one := range a.now().targets {
		fmt.Fprintf(&b, "<member><Target><Id>%s</Id><Port>%d</Port></Target><TargetHealth><State>%s</State></TargetHealth></member>", one.address, one.port, one.state)
	}
	b.WriteString("</TargetHealthDescriptions>")
	return b.String(), nil
}
