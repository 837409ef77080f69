package express

import (
	"fmt"
	"slices"
	"time"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/acmapi"
	"berth.dev/berth/internal/wire/api/elbv2api"
	"berth.dev/berth/internal/wire/api/logsapi"
	"berth.dev/berth/internal/wire/smithy"
)

const httpsPort = 443

// Health checks of an express service's target group, in seconds and times
// [DG].
const (
	checkInterval  = 30
	checkTimeout   = 5
	checkHealthy   = 5
	checkUnhealthy = 2
)

func (v *view) wantLogGroup() *step {
	name := v.express.LogGroup
	made := v.express.Resources.LogGroup
	if name == "" || made.Status == model.ManagedActive && made.ARN == v.scope.LogGroup(name) {
		return nil
	}
	return &step{
		about: logGroup, api: logsapi.API, operation: "CreateLogGroup", done: "ResourceAlreadyExistsException",
		in: &logsapi.CreateLogGroupInput{LogGroupName: &name, Tags: map[string]string{tagManaged: managedValue}},
		then: func(tx *store.Tx) error {
			return records.ExpressServices.Edit(tx, v.express.ServiceID, func(e *model.ExpressService) error {
				e.Resources.LogGroup = model.ManagedResource{ARN: v.scope.LogGroup(name), Status: model.ManagedActive, UpdatedAt: tx.Now()}
				return nil
			})
		},
	}
}

// wantGateway gives the service a place behind a gateway that has room, or
// behind a new one.
func (v *view) wantGateway() *step {
	if v.gateway != nil {
		return nil
	}
	return &step{about: gatewayResources, write: func(tx *store.Tx) error {
		e, found := records.ExpressServices.Get(tx, v.express.ServiceID)
		if !found || records.ExpressGateways.Has(tx, e.GatewayID) {
			return nil
		}
		g := roomy(tx, e)
		if g == nil {
			g = &model.ExpressGateway{
				ID: ident.Hex(8), VPCID: e.VPCID, Access: e.Access, SubnetIDs: e.SubnetIDs, Zones: zonesOf(tx, e.SubnetIDs), CreatedAt: tx.Now(),
			}
			records.ExpressGateways.GuardIndex(tx, records.ExpressGatewaysByVPC, e.VPCID)
			records.ExpressGateways.Put(tx, g)
		}
		return records.ExpressServices.Edit(tx, e.ServiceID, func(e *model.ExpressService) error {
			e.GatewayID = g.ID
			return nil
		})
	}}
}

// roomy finds a gateway for the service; nil for none.
func roomy(tx *store.Tx, e *model.ExpressService) *model.ExpressGateway {
	zones := zonesOf(tx, e.SubnetIDs)
	for g := range records.ExpressGateways.By(tx, records.ExpressGatewaysByVPC, e.VPCID) {
		if g.Leaving || g.Access != e.Access || slices.ContainsFunc(zones, func(z string) bool { return !slices.Contains(g.Zones, z) }) {
			continue
		}
		n := 0
		for range records.ExpressServices.By(tx, records.ExpressServicesByGateway, g.ID) {
			n++
		}
		if n < servicesPerGateway {
			records.ExpressGateways.Guard(tx, g.ID)
			records.ExpressServices.GuardIndex(tx, records.ExpressServicesByGateway, g.ID)
			return g
		}
	}
	return nil
}

func (v *view) wantBalancer() *step {
	if v.balancer != nil {
		return nil
	}
	scheme := elbv2api.LoadBalancerSchemeEnumInternetFacing
	if v.gateway.Access == model.ExpressPrivate {
		scheme = elbv2api.LoadBalancerSchemeEnumInternal
	}
	return &step{about: balancer, api: elbv2api.API, operation: "CreateLoadBalancer", in: &elbv2api.CreateLoadBalancerInput{
		Name: new(v.gateway.Name()), Subnets: v.gateway.SubnetIDs, SecurityGroups: []string{v.balancerGroup.ID}, Scheme: scheme,
		Type: elbv2api.LoadBalancerTypeEnumApplication, Tags: balancerTags(),
	}}
}

func balancerTags() []elbv2api.Tag {
	return []elbv2api.Tag{{Key: new(tagManaged), Value: new(managedValue)}}
}

// wantCertificate has a certificate made, and replaced before it expires. AWS
// requests one of ACM, which here has no authority to issue any: so the role
// must be allowed that, and ECS imports one.
func (v *view) wantCertificate() *step {
	if v.certificate != nil && !due(v.certificate.Body, v.now) {
		return nil
	}
	in := acmapi.ImportCertificateInput{Tags: []acmapi.Tag{
		{Key: new(tagManaged), Value: new(managedValue)}, {Key: new(tagEndpoint), Value: &v.express.Endpoint},
	}}
	if v.certificate != nil {
		in.CertificateArn, in.Tags = &v.certificate.ARN, nil // it keeps its tags
	}
	return &step{
		about: certificate, api: acmapi.API, operation: "ImportCertificate",
		itself: true, may: "acm:RequestCertificate", on: v.scope.Regional("acm", "certificate/*"),
		make: func(issuer Issuer, now time.Time) (smithy.Shape, error) {
			issued, err := issuer.Issue(v.express.Endpoint, now)
			if err != nil {
				return nil, fmt.Errorf("issuing a certificate: %w", err)
			}
			in.Certificate, in.PrivateKey, in.CertificateChain = issued.Certificate, issued.Key, issued.Chain
			return &in, nil
		},
	}
}

func (v *view) wantTargetGroup() *step {
	path := v.healthPath()
	if v.targetGroup == nil {
		ports := v.ports()
		if len(ports) == 0 {
			return nil // its task definition is gone: nothing of it can run
		}
		return &step{about: targetGroup, api: elbv2api.API, operation: "CreateTargetGroup", in: &elbv2api.CreateTargetGroupInput{
			Name: new(v.express.TargetGroupName()), Protocol: elbv2api.ProtocolEnumHttp, Port: &ports[0], VpcId: &v.express.VPCID,
			TargetType: elbv2api.TargetTypeEnumIp, HealthCheckPath: &path,
			HealthCheckIntervalSeconds: new(int32(checkInterval)), HealthCheckTimeoutSeconds: new(int32(checkTimeout)),
			HealthyThresholdCount: new(int32(checkHealthy)), UnhealthyThresholdCount: new(int32(checkUnhealthy)), Tags: balancerTags(),
		}}
	}
	if v.targetGroup.HealthCheck.Path == path {
		return nil
	}
	return &step{about: targetGroup, api: elbv2api.API, operation: "ModifyTargetGroup", itself: true, in: &elbv2api.ModifyTargetGroupInput{
		TargetGroupArn: &v.targetGroup.ARN, HealthCheckPath: &path,
	}}
}

func (v *view) wantListener() *step {
	if v.listener != nil || v.certificate == nil {
		return nil
	}
	return &step{about: listener, api: elbv2api.API, operation: "CreateListener", in: &elbv2api.CreateListenerInput{
		LoadBalancerArn: &v.balancer.ARN, Port: new(int32(httpsPort)), Protocol: elbv2api.ProtocolEnumHttps, Certificates: v.listenerCertificate(),
		DefaultActions: []elbv2api.Action{{
			Type: elbv2api.ActionTypeEnumFixedResponse, FixedResponseConfig: &elbv2api.FixedResponseActionConfig{StatusCode: new("404"), ContentType: new("text/plain")},
		}},
		Tags: balancerTags(),
	}}
}

func (v *view) listenerCertificate() []elbv2api.Certificate {
	return []elbv2api.Certificate{{CertificateArn: &v.certificate.ARN}}
}

func (v *view) wantListenerCertificate() *step {
	if v.listener == nil || slices.Contains(v.listener.Certificates, v.certificate.ARN) {
		return nil
	}
	return &step{about: listener, api: elbv2api.API, operation: "AddListenerCertificates", in: &elbv2api.AddListenerCertificatesInput{
		ListenerArn: &v.listener.ARN, Certificates: v.listenerCertificate(),
	}}
}

func (v *view) wantRule() *step {
	if v.targetGroup == nil || v.rule != nil {
		return nil
	}
	return &step{about: rule, api: elbv2api.API, operation: "CreateRule", in: &elbv2api.CreateRuleInput{
		ListenerArn: &v.listener.ARN, Priority: new(v.freePriority()), Tags: balancerTags(),
		Conditions: []elbv2api.RuleCondition{{
			Field: new("host-header"), HostHeaderConfig: &elbv2api.HostHeaderConditionConfig{Values: []string{v.express.Endpoint}},
		}},
		Actions: []elbv2api.Action{{Type: elbv2api.ActionTypeEnumForward, TargetGroupArn: &v.targetGroup.ARN}},
	}}
}

// freePriority is the lowest that no rule of the listener has.
func (v *view) freePriority() int32 {
	taken := map[int]bool{}
	for r := range records.ListenerRules.By(v.r, records.RulesByListener, v.listener.ID) {
		taken[r.Priority] = true
	}
	n := 1
	for taken[n] {
		n++
	}
	return int32(n)
}

// ready lets the service's tasks start: it says what they are registered with
// and which security group they are in. Revisions that were made meanwhile are
// complete then as well; no task was made of them.
func (v *view) ready() *step {
	if v.service.Resources != model.ResourcesProvisioning || v.rule == nil {
		return nil
	}
	complete := func(r store.Reader, spec model.RevisionSpec, revision *model.ServiceRevision) model.RevisionSpec {
		if name, port, ok := target(r, revision); ok {
			spec.LoadBalancers = []model.ServiceLoadBalancer{{TargetGroupARN: v.targetGroup.ARN, ContainerName: name, ContainerPort: port}}
		}
		if spec.Network != nil && !slices.Contains(spec.Network.SecurityGroups, v.serviceGroup.ID) {
			network := *spec.Network
			network.SecurityGroups = append(slices.Clone(network.SecurityGroups), v.serviceGroup.ID)
			spec.Network = &network
		}
		return spec
	}
	return &step{about: rule, write: func(tx *store.Tx) error {
		s, found := records.Services.Get(tx, v.express.ServiceID)
		if !found || s.Resources != model.ResourcesProvisioning {
			return nil
		}
		all := v.revisions(tx)
		for _, revision := range all {
			if err := records.ServiceRevisions.Edit(tx, revision.ID, func(r *model.ServiceRevision) error {
				r.Spec = complete(tx, r.Spec, revision)
				return nil
			}); err != nil {
				return err
			}
		}
		return records.Services.Edit(tx, s.ID, func(s *model.Service) error {
			s.Resources = model.ResourcesReady
			if len(all) > 0 {
				s.Revision = complete(tx, s.Revision, all[0])
			}
			return nil
		})
	}}
}
