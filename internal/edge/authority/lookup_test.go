package authority_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/data/logstore"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/edge/authority"
	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/caller"
)

// groups are log groups by name.
type groups map[string]map[string]string

func (g groups) Group(name string) (logstore.Group, error) {
	tags, ok := g[name]
	if !ok {
		return logstore.Group{}, logstore.ErrGroupNotFound
	}
	return logstore.Group{Name: name, GroupSettings: logstore.GroupSettings{Tags: tags}}, nil
}

// The tags of every kind of resource reach aws:ResourceTag and the service's own
// key, by the ARN that the table makes.
func TestTagsOfEveryKind(t *testing.T) {
	w := newWorld(t)
	tags := []model.Tag{{Key: "Kind", Value: "test"}}
	const (
		iamARN = "arn:aws:iam::123456789012:"
		lbs    = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:"
		sd     = "arn:aws:servicediscovery:eu-central-1:123456789012:"
		ec2s   = "arn:aws:ec2:eu-central-1:123456789012:"
		ecss   = "arn:aws:ecs:eu-central-1:123456789012:"
		cert   = "arn:aws:acm:eu-central-1:123456789012:certificate/1"
	)
	w.write(func(tx *store.Tx) {
		records.Clusters.Put(tx, &model.Cluster{Name: "c", Tags: tags})
		records.Families.Put(tx, &model.Family{Name: "f", LastRevision: 1})
		records.TaskDefinitions.Put(tx, &model.TaskDefinition{Family: "f", Revision: 1, Status: model.TaskDefinitionActive, Tags: tags})
		records.Tasks.Put(tx, &model.Task{ID: "t", ClusterName: "c", Tags: tags})
		records.Instances.Put(tx, &model.Instance{ID: "i", ClusterName: "c", Tags: tags})
		records.Services.Put(tx, &model.Service{ID: "s1", Name: "s", ClusterName: "c", Status: model.ServiceActive, Tags: tags})
		records.VPCs.Put(tx, &model.VPC{ID: "vpc-9", Tags: tags})
		records.Subnets.Put(tx, &model.Subnet{ID: "subnet-9", VPCID: "vpc-9", Tags: tags})
		records.SecurityGroups.Put(tx, &model.SecurityGroup{ID: "sg-9", VPCID: "vpc-9", Tags: tags})
		records.RouteTables.Put(tx, &model.RouteTable{ID: "rtb-9", VPCID: "vpc-9", Tags: tags})
		records.InternetGateways.Put(tx, &model.InternetGateway{ID: "igw-9", Tags: tags})
		records.NATGateways.Put(tx, &model.NATGateway{ID: "nat-9", VPCID: "vpc-9", Tags: tags})
		records.NetworkInterfaces.Put(tx, &model.NetworkInterface{ID: "eni-9", VPCID: "vpc-9", Tags: tags})
		records.PublicAddresses.Put(tx, &model.PublicAddress{Address: "127.0.1.1", AllocationID: "eipalloc-9", Tags: tags})
	})
	w.write(func(tx *store.Tx) {
		records.LoadBalancers.Put(tx, &model.LoadBalancer{ID: "app/l/1", Name: "l", Tags: tags})
		records.TargetGroups.Put(tx, &model.TargetGroup{ID: "targetgroup/g/1", Name: "g", Tags: tags})
		records.Listeners.Put(tx, &model.Listener{ID: "listener/app/l/1/2", Tags: tags})
		records.ListenerRules.Put(tx, &model.ListenerRule{ID: "listener-rule/app/l/1/2/3", Tags: tags})
		records.Certificates.Put(tx, &model.Certificate{ARN: cert, Tags: tags})
		records.Namespaces.Put(tx, &model.Namespace{ID: "ns-9", Tags: tags})
		records.DiscoveryServices.Put(tx, &model.DiscoveryService{ID: "srv-9", NamespaceID: "ns-9", Tags: tags})
		records.Users.Put(tx, &model.User{ID: "AIDA9", Name: "Nine", Path: "/", Tags: tags})
		records.Roles.Put(tx, &model.Role{ID: "AROA9", Name: "Nine", Path: "/p/", Tags: tags})
		records.InstanceProfiles.Put(tx, &model.InstanceProfile{ID: "AIPA9", Name: "Nine", Path: "/", Tags: tags})
		records.Policies.Put(tx, &model.Policy{ARN: iamARN + "policy/nine", Tags: tags})
		records.OIDCProviders.Put(tx, &model.OIDCProvider{ARN: iamARN + "oidc-provider/issuer", Tags: tags})
		records.Secrets.Put(tx, &model.Secret{Name: "nine", ARN: "arn:aws:secretsmanager:eu-central-1:123456789012:secret:nine-AbCdEf", Tags: tags})
		records.Repositories.Put(tx, &model.Repository{Name: "team/app", Tags: tags})
		records.Parameters.Put(tx, &model.Parameter{Name: "/a/b", Tags: tags})
		records.Parameters.Put(tx, &model.Parameter{Name: "plain", Tags: tags})
		must(t, records.KMSKeys.Edit(tx, keyID, func(k *model.KMSKey) error { k.Tags = tags; return nil }))
	})
	a, err := authority.New(authority.Config{Store: w.store, Scope: scope, Logs: groups{"/ecs/app": {"Kind": "test"}}, Now: func() time.Time { return began }})
	must(t, err)
	ctx := caller.With(t.Context(), w.who["AKIADEV"])
	for _, tc := range []struct{ service, resource string }{
		{"ecs", ecss + "cluster/c"},
		{"ecs", ecss + "task-definition/f:1"},
		{"ecs", ecss + "task/c/t"},
		{"ecs", ecss + "container-instance/c/i"},
		{"ecs", ecss + "service/c/s"},
		{"ecs", ecss + "service-deployment/c/s/d"},
		{"ecs", ecss + "service-revision/c/s/r"},
		{"ec2", ec2s + "vpc/vpc-9"},
		{"ec2", ec2s + "subnet/subnet-9"},
		{"ec2", ec2s + "security-group/sg-9"},
		{"ec2", ec2s + "route-table/rtb-9"},
		{"ec2", ec2s + "internet-gateway/igw-9"},
		{"ec2", ec2s + "natgateway/nat-9"},
		{"ec2", ec2s + "network-interface/eni-9"},
		{"ec2", ec2s + "elastic-ip/eipalloc-9"},
		{"elasticloadbalancing", lbs + "loadbalancer/app/l/1"},
		{"elasticloadbalancing", lbs + "targetgroup/g/1"},
		{"elasticloadbalancing", lbs + "listener/app/l/1/2"},
		{"elasticloadbalancing", lbs + "listener-rule/app/l/1/2/3"},
		{"acm", cert},
		{"servicediscovery", sd + "namespace/ns-9"},
		{"servicediscovery", sd + "service/srv-9"},
		{"ecr", "arn:aws:ecr:eu-central-1:123456789012:repository/team/app"},
		{"iam", iamARN + "user/Nine"},
		{"iam", iamARN + "role/p/Nine"},
		{"iam", iamARN + "instance-profile/Nine"},
		{"iam", iamARN + "policy/nine"},
		{"iam", iamARN + "oidc-provider/issuer"},
		{"secretsmanager", "arn:aws:secretsmanager:eu-central-1:123456789012:secret:nine-AbCdEf"},
		{"ssm", "arn:aws:ssm:eu-central-1:123456789012:parameter/a/b"},
		{"ssm", "arn:aws:ssm:eu-central-1:123456789012:parameter/plain"},
		{"kms", keyARN},
		{"logs", "arn:aws:logs:eu-central-1:123456789012:log-group:/ecs/app:log-stream:x"},
	} {
		t.Run(tc.resource, func(t *testing.T) {
			action := tc.service + ":Touch"
			w.may(statement("Allow", action, "*", `{"StringEquals":{"aws:ResourceTag/Kind":"test","`+tc.service+`:ResourceTag/Kind":"test","aws:ResourceAccount":"123456789012"}}`))
			if err := a.Check(ctx, action, tc.resource, nil); err != nil {
				t.Error(err)
			}
			w.may(statement("Allow", action, "*", `{"StringEquals":{"aws:ResourceTag/Kind":"other"}}`))
			if err := a.Check(ctx, action, tc.resource, nil); !errors.Is(err, fault.Denied) {
				t.Errorf("another tag: %v", err)
			}
		})
	}
}

// Sessions of users: what GetSessionToken and GetFederationToken give.
func TestSessionsOfUsers(t *testing.T) {
	w := newWorld(t)
	w.may(statement("Allow", "ecs:*", "*", ""))
	op, _ := ecsapi.API.Operation("DescribeTasks")
	ask := func(who caller.Identity) error {
		return w.Authorize(t.Context(), gateway.Access{Caller: who, Service: ecsapi.API, Operation: op, Input: &ecsapi.DescribeTasksInput{Tasks: []string{"x"}}})
	}
	session := w.who["AKIADEV"]
	session.Session = &caller.Session{IssuedAt: began, Expires: began.Add(time.Hour)}
	federated := session
	federated.ARN, federated.UserID = "arn:aws:sts::123456789012:federated-user/bob", "123456789012:bob"
	federated.Session = &caller.Session{IssuedAt: began, Expires: began.Add(time.Hour), Policies: []string{statement("Allow", "ecs:DescribeTasks", "*", "")}}
	for name, who := range map[string]caller.Identity{"session": session, "federated": federated} {
		if err := ask(who); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	federated.Session.Policies = []string{statement("Allow", "ecs:ListTasks", "*", "")}
	if err := ask(federated); !errors.Is(err, fault.Denied) {
		t.Errorf("beyond the session's policy: %v", err)
	}
	w.write(func(tx *store.Tx) {
		must(t, records.Users.Edit(tx, "dev", func(u *model.User) error { u.ID = "AIDAOTHER"; return nil }))
	})
	if err := ask(session); !errors.Is(err, fault.Denied) {
		t.Errorf("a session of a user that was made anew: %v", err)
	}
}

// A change counts for whoever asks after it was acknowledged, while others ask
// at the same time.
func TestChangesCountAtOnce(t *testing.T) {
	w := newWorld(t)
	op, _ := ecsapi.API.Operation("DescribeTasks")
	ask := func() error {
		return w.Authorize(t.Context(), gateway.Access{Caller: w.who["AKIADEV"], Service: ecsapi.API, Operation: op, Input: &ecsapi.DescribeTasksInput{Tasks: []string{"x"}}})
	}
	stop := make(chan struct{})
	var others sync.WaitGroup
	for range 4 {
		others.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := ask(); err != nil && !errors.Is(err, fault.Denied) {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 100 {
		if i%2 == 0 {
			w.may(statement("Allow", "ecs:*", "*", ""))
		} else {
			w.may()
		}
		if err := ask(); (err == nil) != (i%2 == 0) {
			t.Errorf("step %d: %v", i, err)
		}
	}
	close(stop)
	others.Wait()
}
