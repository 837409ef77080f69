package express

import (
	"slices"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/acmapi"
	"berth.dev/berth/internal/wire/api/ec2api"
	"berth.dev/berth/internal/wire/api/elbv2api"
)

func (v *view) dropRule() *step {
	if v.rule == nil {
		return nil
	}
	return &step{about: rule, api: elbv2api.API, operation: "DeleteRule", done: "RuleNotFound", in: &elbv2api.DeleteRuleInput{RuleArn: &v.rule.ARN}}
}

// dropListenerCertificate takes the certificate from a listener that other
// services have too. If it was the listener's first, another's takes its place.
func (v *view) dropListenerCertificate() *step {
	if v.listener == nil || v.certificate == nil || v.alone() {
		return nil
	}
	switch i := slices.Index(v.listener.Certificates, v.certificate.ARN); {
	case i < 0:
		return nil
	case i > 0:
		return &step{about: listener, api: elbv2api.API, operation: "RemoveListenerCertificates", in: &elbv2api.RemoveListenerCertificatesInput{
			ListenerArn: &v.listener.ARN, Certificates: v.listenerCertificate(),
		}}
	}
	other := v.otherCertificate()
	if other == "" {
		return nil // the certificate itself cannot go until another service has one: see dropCertificate
	}
	return &step{about: listener, api: elbv2api.API, operation: "ModifyListener", in: &elbv2api.ModifyListenerInput{
		ListenerArn: &v.listener.ARN, Certificates: []elbv2api.Certificate{{CertificateArn: &other}},
	}}
}

// otherCertificate is that of another service behind the gateway.
func (v *view) otherCertificate() string {
	for e := range records.ExpressServices.By(v.r, records.ExpressServicesByGateway, v.gateway.ID) {
		if c := certificateOf(v.r, e.Endpoint); c != nil && e.ServiceID != v.express.ServiceID {
			return c.ARN
		}
	}
	return ""
}

// dropBalancer takes the load balancer away with its last service. First the
// gateway is closed to others.
func (v *view) dropBalancer() *step {
	if v.gateway == nil || !v.alone() {
		return nil
	}
	if !v.gateway.Leaving {
		return &step{about: gatewayResources, write: func(tx *store.Tx) error {
			records.ExpressServices.GuardIndex(tx, records.ExpressServicesByGateway, v.gateway.ID)
			for e := range records.ExpressServices.By(tx, records.ExpressServicesByGateway, v.gateway.ID) {
				if e.ServiceID != v.express.ServiceID {
					return nil // it came just now
				}
			}
			return records.ExpressGateways.Edit(tx, v.gateway.ID, func(g *model.ExpressGateway) error {
				g.Leaving = true
				return nil
			})
		}}
	}
	if v.balancer == nil {
		return nil
	}
	return &step{about: balancer, api: elbv2api.API, operation: "DeleteLoadBalancer", in: &elbv2api.DeleteLoadBalancerInput{LoadBalancerArn: &v.balancer.ARN}}
}

func (v *view) dropTargetGroup() *step {
	if v.targetGroup == nil {
		return nil
	}
	return &step{about: targetGroup, api: elbv2api.API, operation: "DeleteTargetGroup", in: &elbv2api.DeleteTargetGroupInput{TargetGroupArn: &v.targetGroup.ARN}}
}

// dropPorts removes the rules that refer to the other group, because of which
// neither could go.
func (v *view) dropPorts() *step {
	if v.balancerGroup == nil || v.serviceGroup == nil {
		return nil
	}
	for _, r := range v.balancerGroup.Egress {
		if r.GroupID == v.serviceGroup.ID {
			return revoke(balancerGroup, "Egress", v.balancerGroup, r)
		}
	}
	for _, r := range v.serviceGroup.Ingress {
		if r.GroupID == v.balancerGroup.ID {
			return revoke(serviceGroup, "Ingress", v.serviceGroup, r)
		}
	}
	return nil
}

func (v *view) dropServiceGroup() *step { return dropGroup(serviceGroup, v.serviceGroup) }

// dropBalancerGroup waits for the load balancer's interfaces, which leave when
// its node has taken it down.
func (v *view) dropBalancerGroup() *step {
	if v.gateway == nil || !v.gateway.Leaving {
		return nil
	}
	return dropGroup(balancerGroup, v.balancerGroup)
}

func dropGroup(about string, g *model.SecurityGroup) *step {
	if g == nil {
		return nil
	}
	return &step{about: about, api: ec2api.API, operation: "DeleteSecurityGroup", done: "InvalidGroup.NotFound", in: &ec2api.DeleteSecurityGroupInput{GroupId: &g.ID}}
}

func (v *view) dropCertificate() *step {
	if v.certificate == nil {
		return nil
	}
	return &step{
		about: certificate, api: acmapi.API, operation: "DeleteCertificate", done: "ResourceNotFoundException",
		in: &acmapi.DeleteCertificateInput{CertificateArn: &v.certificate.ARN},
	}
}

// gone lets the service become INACTIVE.
func (v *view) gone() *step {
	return &step{about: gatewayResources, write: func(tx *store.Tx) error {
		e, found := records.ExpressServices.Get(tx, v.express.ServiceID)
		if !found {
			return nil
		}
		g, found := records.ExpressGateways.Get(tx, e.GatewayID)
		last := found && g.Leaving
		if last {
			records.ExpressGateways.Delete(tx, g.ID)
		}
		if err := records.ExpressServices.Edit(tx, e.ServiceID, func(e *model.ExpressService) error {
			e.GatewayID = ""
			if m := &e.Resources; found && !last { // they are others' now
				m.LoadBalancer, m.LoadBalancerGroup, m.Listener = model.ManagedResource{}, model.ManagedResource{}, model.ManagedResource{}
			}
			return nil
		}); err != nil {
			return err
		}
		if !records.Services.Has(tx, e.ServiceID) {
			return nil
		}
		return records.Services.Edit(tx, e.ServiceID, func(s *model.Service) error {
			s.Resources = ""
			return nil
		})
	}}
}

// forget deletes the record of a service that nobody can describe any more.
func (v *view) forget() *step {
	return &step{about: gatewayResources, write: func(tx *store.Tx) error {
		if !records.Services.Has(tx, v.express.ServiceID) {
			records.ExpressServices.Delete(tx, v.express.ServiceID)
		}
		return nil
	}}
}
