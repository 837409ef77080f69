package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// aHome is a fake that keeps what projects are made of: definitions, services,
// load balancers, secrets. Deployments are complete at once, and tasks end with
// the exit code of their family.
type aHome struct {
	*anAccount
	definitions map[string][]*types.TaskDefinition // by family
	tags        map[string]map[string]string       // by ARN
	live        map[string]*types.Service          // by name
	tasks       map[string]*types.Task             // by ARN
	exits       map[string]int32                   // by family
	secrets     map[string]string
	balancers   map[string]string            // target group by listener, "name port"
	failing     map[string]bool              // services whose deployment fails
	order       []string                     // services and tasks, as they came
	role        map[string]map[string]string // policies by role
}

func newHome(t *testing.T) *aHome {
	h := &aHome{
		anAccount: newAccount(t), definitions: map[string][]*types.TaskDefinition{}, tags: map[string]map[string]string{},
		live: map[string]*types.Service{}, tasks: map[string]*types.Task{}, exits: map[string]int32{}, secrets: map[string]string{},
		balancers: map[string]string{}, failing: map[string]bool{}, role: map[string]map[string]string{},
	}
	maps.Copy(h.json, map[string]func(map[string]any) (any, error){
		"RegisterTaskDefinition": h.register, "DescribeTaskDefinition": h.definition, "TagResource": h.tag,
		"CreateService": h.createService, "UpdateService": h.updateService, "DescribeServices": h.services, "DeleteService": h.deleteService,
		"ListServices": h.list, "ListTasks": func(map[string]any) (any, error) { return &ecs.ListTasksOutput{}, nil },
		"RunTask": h.runTask, "DescribeTasks": h.describe,
		"GetSecretValue": h.getSecret, "PutSecretValue": h.putSecret, "CreateSecret": h.putSecret,
	})
	h.discovery()
	h.balancing()
	h.roles()
	return h
}

func (h *aHome) tag(in map[string]any) (any, error) {
	h.remind(in["resourceArn"].(string), in["tags"])
	return map[string]any{}, nil
}

func (h *aHome) remind(arn string, tags any) {
	if h.tags[arn] == nil {
		h.tags[arn] = map[string]string{}
	}
	list, _ := tags.([]any)
	for _, t := range list {
		one := t.(map[string]any)
		h.tags[arn][one["key"].(string)] = one["value"].(string)
	}
}

func (h *aHome) tagged(arn string) []types.Tag {
	var all []types.Tag
	for _, k := range slices.Sorted(maps.Keys(h.tags[arn])) {
		all = append(all, types.Tag{Key: aws.String(k), Value: aws.String(h.tags[arn][k])})
	}
	return all
}

func (h *aHome) register(in map[string]any) (any, error) {
	data, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	var def types.TaskDefinition
	if err := json.Unmarshal(data, &def); err != nil {
		return nil, err
	}
	family := aws.ToString(def.Family)
	def.Revision = int32(len(h.definitions[family]) + 1)
	def.TaskDefinitionArn = aws.String(fmt.Sprintf("arn:aws:ecs:us-east-1:123456789012:task-definition/%s:%d", family, def.Revision))
	h.definitions[family] = append(h.definitions[family], &def)
	h.remind(*def.TaskDefinitionArn, in["tags"])
	return &ecs.RegisterTaskDefinitionOutput{TaskDefinition: &def}, nil
}

func (h *aHome) definition(in map[string]any) (any, error) {
	name := lastPart(in["taskDefinition"].(string))
	family, _, _ := strings.Cut(name, ":")
	all := h.definitions[family]
	for _, def := range slices.Backward(all) {
		if name == family || lastPart(*def.TaskDefinitionArn) == name {
			return &ecs.DescribeTaskDefinitionOutput{TaskDefinition: def, Tags: h.tagged(*def.TaskDefinitionArn)}, nil
		}
	}
	return nil, &refusal{"ClientException", "Unable to describe task definition."}
}

func (h *aHome) createService(in map[string]any) (any, error) {
	data, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	var s types.Service
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, err
	}
	name := serviceName(&s)
	s.ServiceArn, s.Status, s.Tags = aws.String("arn:aws:ecs:us-east-1:123456789012:service/default/"+name), aws.String("ACTIVE"), nil
	h.remind(*s.ServiceArn, in["tags"])
	h.live[name], h.order = &s, append(h.order, name)
	return map[string]any{"service": h.deployed(&s)}, nil
}

// deployed gives a service a deployment that is over.
func (h *aHome) deployed(s *types.Service) *types.Service {
	state := types.DeploymentRolloutStateCompleted
	s.RunningCount = s.DesiredCount
	if h.failing[serviceName(s)] {
		state, s.RunningCount = types.DeploymentRolloutStateFailed, 0
	}
	s.Deployments = []types.Deployment{{
		Id: aws.String("ecs-svc/" + lastPart(*s.TaskDefinition)), Status: aws.String(primary), TaskDefinition: s.TaskDefinition,
		DesiredCount: s.DesiredCount, RunningCount: s.RunningCount, RolloutState: state, CreatedAt: after(1000),
	}}
	s.Tags = h.tagged(*s.ServiceArn)
	return s
}

func (h *aHome) updateService(in map[string]any) (any, error) {
	data, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	s := h.live[in["service"].(string)]
	h.order = append(h.order, serviceName(s))
	if _, given := in["loadBalancers"]; given {
		s.LoadBalancers = nil
	}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, err
	}
	return map[string]any{"service": h.deployed(s)}, nil
}

func (h *aHome) services(in map[string]any) (any, error) {
	out := &ecs.DescribeServicesOutput{}
	for _, name := range in["services"].([]any) {
		if s := h.live[lastPart(name.(string))]; s != nil {
			out.Services = append(out.Services, *h.deployed(s))
		}
	}
	return out, nil
}

func (h *aHome) deleteService(in map[string]any) (any, error) {
	s := h.live[in["service"].(string)]
	delete(h.live, serviceName(s))
	return map[string]any{"service": s}, nil
}

func (h *aHome) list(map[string]any) (any, error) {
	out := &ecs.ListServicesOutput{}
	for _, name := range slices.Sorted(maps.Keys(h.live)) {
		out.ServiceArns = append(out.ServiceArns, *h.live[name].ServiceArn)
	}
	return out, nil
}

func (h *aHome) runTask(in map[string]any) (any, error) {
	family, _, _ := strings.Cut(lastPart(in["taskDefinition"].(string)), ":")
	code := h.exits[family]
	t := lived("STOPPED", started)
	t.TaskArn = aws.String(fmt.Sprintf("arn:aws:ecs:us-east-1:123456789012:task/default/%032d", len(h.tasks)))
	t.TaskDefinitionArn, t.StopCode = aws.String(in["taskDefinition"].(string)), types.TaskStopCodeEssentialContainerExited
	t.Containers = []types.Container{{Name: aws.String(strings.SplitN(family, "-", 2)[1]), LastStatus: aws.String("STOPPED"), ExitCode: &code}}
	h.tasks[*t.TaskArn], h.order = t, append(h.order, family)
	return map[string]any{"tasks": []types.Task{*t}}, nil
}

func (h *aHome) describe(in map[string]any) (any, error) {
	out := &ecs.DescribeTasksOutput{}
	for _, arn := range in["tasks"].([]any) {
		out.Tasks = append(out.Tasks, *h.tasks[arn.(string)])
	}
	return out, nil
}

func (h *aHome) getSecret(in map[string]any) (any, error) {
	name := in["SecretId"].(string)
	value, ok := h.secrets[name]
	if !ok {
		return nil, &refusal{"ResourceNotFoundException", "Secrets Manager can't find the specified secret."}
	}
	return map[string]any{"ARN": secretARN(name), "Name": name, "SecretString": value}, nil
}

func secretARN(name string) string {
	return "arn:aws:secretsmanager:us-east-1:123456789012:secret:" + name + "-AbCdEf"
}

func (h *aHome) putSecret(in map[string]any) (any, error) {
	name, isNew := in["Name"].(string)
	if !isNew {
		name = in["SecretId"].(string)
		if _, ok := h.secrets[name]; !ok {
			return nil, &refusal{"ResourceNotFoundException", "Secrets Manager can't find the specified secret."}
		}
	}
	h.secrets[name] = in["SecretString"].(string)
	return map[string]any{"ARN": secretARN(name)}, nil
}

func (h *aHome) roles() {
	h.query["GetRole"] = func(in url.Values) (string, error) {
		name := in.Get("RoleName")
		return "<Role><RoleName>" + name + "</RoleName><Arn>arn:aws:iam::123456789012:role/" + name + "</Arn></Role>", nil
	}
	h.query["GetRolePolicy"] = func(in url.Values) (string, error) {
		text, ok := h.role[in.Get("RoleName")][in.Get("PolicyName")]
		if !ok {
			return "", &refusal{"NoSuchEntity", "The role policy cannot be found."}
		}
		return "<PolicyDocument>" + url.QueryEscape(text) + "</PolicyDocument>", nil
	}
	h.query["PutRolePolicy"] = func(in url.Values) (string, error) {
		h.role[in.Get("RoleName")] = map[string]string{in.Get("PolicyName"): in.Get("PolicyDocument")}
		return "", nil
	}
}

// discovery keeps names; their ids are srv-<name>.
func (h *aHome) discovery() {
	namespace, names := "", map[string]bool{}
	service := func(id string) map[string]any {
		name := strings.TrimPrefix(id, "srv-")
		return map[string]any{"Id": id, "Name": name, "NamespaceId": "ns-1", "Arn": "arn:aws:servicediscovery:us-east-1:123456789012:service/" + id}
	}
	maps.Copy(h.json, map[string]func(map[string]any) (any, error){
		"sd:ListNamespaces": func(map[string]any) (any, error) {
			all := []any{}
			if namespace != "" {
				all = append(all, map[string]any{"Id": "ns-1", "Name": namespace, "Type": "DNS_PRIVATE"})
			}
			return map[string]any{"Namespaces": all}, nil
		},
		"sd:CreatePrivateDnsNamespace": func(in map[string]any) (any, error) {
			namespace = in["Name"].(string)
			return map[string]any{"OperationId": "op-1"}, nil
		},
		"sd:GetNamespace": func(map[string]any) (any, error) {
			return map[string]any{"Namespace": map[string]any{"Name": namespace}}, nil
		},
		"sd:DeleteNamespace": func(map[string]any) (any, error) {
			namespace = ""
			return map[string]any{"OperationId": "op-2"}, nil
		},
		"sd:ListServices": func(map[string]any) (any, error) {
			all := []any{}
			for _, name := range slices.Sorted(maps.Keys(names)) {
				all = append(all, service("srv-"+name))
			}
			return map[string]any{"Services": all}, nil
		},
		"sd:CreateService": func(in map[string]any) (any, error) {
			names[in["Name"].(string)] = true
			return map[string]any{"Service": service("srv-" + in["Name"].(string))}, nil
		},
		"sd:GetService": func(in map[string]any) (any, error) {
			return map[string]any{"Service": service(in["Id"].(string))}, nil
		},
		"sd:DeleteService": func(in map[string]any) (any, error) {
			delete(names, strings.TrimPrefix(in["Id"].(string), "srv-"))
			return map[string]any{}, nil
		},
	})
}

// balancing keeps load balancers by their listeners.
func (h *aHome) balancing() {
	names := map[string]bool{}
	groups := map[string]string{} // load balancer by target group
	balancer := func(name string) string {
		return `<member><LoadBalancerArn>` + name + `</LoadBalancerArn><LoadBalancerName>` + name + `</LoadBalancerName><Scheme>internet-facing</Scheme><AvailabilityZones><member><LoadBalancerAddresses><member><IpAddress>127.20.0.1</IpAddress></member></LoadBalancerAddresses></member></AvailabilityZones></member>`
	}
	group := func(name string) string {
		return `<member><TargetGroupArn>` + name + `</TargetGroupArn><TargetGroupName>` + name + `</TargetGroupName><LoadBalancerArns><member>` + groups[name] + `</member></LoadBalancerArns></member>`
	}
	h.query["DescribeLoadBalancers"] = func(in url.Values) (string, error) {
		name := in.Get("Names.member.1") + in.Get("LoadBalancerArns.member.1")
		if !names[name] {
			return "", &refusal{"LoadBalancerNotFound", "not found"}
		}
		return `<LoadBalancers>` + balancer(name) + `</LoadBalancers>`, nil
	}
	h.query["CreateLoadBalancer"] = func(in url.Values) (string, error) {
		names[in.Get("Name")] = true
		return `<LoadBalancers>` + balancer(in.Get("Name")) + `</LoadBalancers>`, nil
	}
	h.query["DeleteLoadBalancer"] = func(in url.Values) (string, error) {
		delete(names, in.Get("LoadBalancerArn"))
		return "", nil
	}
	h.query["DescribeTargetGroups"] = func(in url.Values) (string, error) {
		name := in.Get("Names.member.1") + in.Get("TargetGroupArns.member.1")
		if _, ok := groups[name]; !ok {
			return "", &refusal{"TargetGroupNotFound", "not found"}
		}
		return `<TargetGroups>` + group(name) + `</TargetGroups>`, nil
	}
	h.query["CreateTargetGroup"] = func(in url.Values) (string, error) {
		groups[in.Get("Name")] = ""
		return `<TargetGroups>` + group(in.Get("Name")) + `</TargetGroups>`, nil
	}
	h.query["DeleteTargetGroup"] = func(in url.Values) (string, error) {
		delete(groups, in.Get("TargetGroupArn"))
		return "", nil
	}
	h.query["DescribeListeners"] = func(in url.Values) (string, error) {
		var b strings.Builder
		for _, key := range slices.Sorted(maps.Keys(h.balancers)) {
			if name, port, _ := strings.Cut(key, " "); name == in.Get("LoadBalancerArn") {
				protocol := "HTTP"
				if strings.HasSuffix(name, tcpSuffix) {
					protocol = "TCP"
				}
				fmt.Fprintf(&b, `<member><ListenerArn>%s</ListenerArn><Port>%s</Port><Protocol>%s</Protocol><DefaultActions><member><Type>forward</Type><TargetGroupArn>%s</TargetGroupArn></member></DefaultActions></member>`, key, port, protocol, h.balancers[key])
			}
		}
		return `<Listeners>` + b.String() + `</Listeners>`, nil
	}
	h.query["CreateListener"] = func(in url.Values) (string, error) {
		group := in.Get("DefaultActions.member.1.TargetGroupArn")
		h.balancers[in.Get("LoadBalancerArn")+" "+in.Get("Port")] = group
		groups[group] = in.Get("LoadBalancerArn")
		return `<Listeners/>`, nil
	}
	h.query["DeleteListener"] = func(in url.Values) (string, error) {
		delete(h.balancers, in.Get("ListenerArn"))
		return "", nil
	}
	h.query["DescribeTargetHealth"] = func(url.Values) (string, error) { return "<TargetHealthDescriptions/>", nil }
	h.query["DeleteSecurityGroup"] = func(url.Values) (string, error) { return "<return>true</return>", nil }
}
