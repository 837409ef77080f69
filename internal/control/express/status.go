package express

import (
	"context"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// note writes how far the service's resources are, and what is in the way of
// one of them. Nothing is written when nothing is new.
func (l *Loop) note(ctx context.Context, id, about string, failure error) error {
	if v, found := look(l.cfg.Store.Snapshot(), id, l.cfg.Scope, l.cfg.Now()); !found || v.resources(about, failure) == v.express.Resources {
		return nil
	}
	_, err := l.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		v, found := look(tx, id, l.cfg.Scope, l.cfg.Now())
		if !found {
			return nil
		}
		next := v.resources(about, failure)
		return records.ExpressServices.Edit(tx, id, func(e *model.ExpressService) error {
			e.Resources = next
			return nil
		})
	})
	return err
}

// resources derives the statuses of a service's resources from what there is.
func (v *view) resources(about string, failure error) model.ExpressResources {
	text, final := "", false
	if failure != nil {
		text, final = obstacle(failure)
	}
	state := func(old model.ManagedResource, name string, next model.ManagedResource) model.ManagedResource {
		if next.Status == "" {
			next.ARN, next.Status = v.absent(old)
		}
		if failure != nil && name == about {
			next.Reason = text
			if final && v.wanted() {
				next.Status = model.ManagedFailed
			}
		}
		next.UpdatedAt = old.UpdatedAt
		if next != old {
			next.UpdatedAt = v.now.UTC()
		}
		return next
	}
	was := v.express.Resources
	return model.ExpressResources{
		LogGroup:             state(was.LogGroup, logGroup, v.logGroup()),
		LoadBalancerGroup:    state(was.LoadBalancerGroup, balancerGroup, v.shared(v.securityGroup(v.balancerGroup))),
		LoadBalancer:         state(was.LoadBalancer, balancer, v.shared(v.loadBalancer())),
		ServiceSecurityGroup: state(was.ServiceSecurityGroup, serviceGroup, v.own(v.securityGroup(v.serviceGroup))),
		Certificate:          state(was.Certificate, certificate, v.own(there(v.certificate, func(c *model.Certificate) string { return c.ARN }))),
		TargetGroup:          state(was.TargetGroup, targetGroup, v.own(there(v.targetGroup, func(g *model.TargetGroup) string { return g.ARN }))),
		Listener:             state(was.Listener, listener, v.shared(there(v.listener, func(l *model.Listener) string { return l.ARN }))),
		Rule:                 state(was.Rule, rule, v.own(there(v.rule, func(r *model.ListenerRule) string { return r.ARN }))),
	}
}

// wanted reports whether the service's resources shall be there.
func (v *view) wanted() bool { return v.service != nil && v.service.Status == model.ServiceActive }

// absent is the status of a resource that is not there.
func (v *view) absent(old model.ManagedResource) (arn, status string) {
	switch {
	case v.wanted():
		return "", model.ManagedProvisioning
	case old.ARN == "":
		return "", "" // it never was
	}
	return old.ARN, model.ManagedDeleted
}

// there is a resource that is there, if it is.
func there[T any](record *T, arn func(*T) string) model.ManagedResource {
	if record == nil {
		return model.ManagedResource{}
	}
	return model.ManagedResource{ARN: arn(record), Status: model.ManagedActive}
}

func (v *view) securityGroup(g *model.SecurityGroup) model.ManagedResource {
	return there(g, func(g *model.SecurityGroup) string { return v.scope.EC2("security-group", g.ID) })
}

func (v *view) loadBalancer() model.ManagedResource {
	out := there(v.balancer, func(b *model.LoadBalancer) string { return b.ARN })
	if v.balancer == nil {
		return out
	}
	switch v.balancer.State {
	case model.LoadBalancerProvisioning:
		out.Status = model.ManagedProvisioning
	case model.LoadBalancerFailed:
		out.Status, out.Reason = model.ManagedFailed, v.balancer.StateReason
	}
	return out
}

// logGroup stays when the service goes.
func (v *view) logGroup() model.ManagedResource {
	made := v.express.Resources.LogGroup
	if made.ARN != v.scope.LogGroup(v.express.LogGroup) || made.Status != model.ManagedActive {
		return model.ManagedResource{}
	}
	return model.ManagedResource{ARN: made.ARN, Status: model.ManagedActive}
}

// own is a resource of the service alone: it goes with it.
func (v *view) own(m model.ManagedResource) model.ManagedResource {
	if m.Status != "" && !v.wanted() && (v.service == nil || !v.hasTasks()) {
		m.Status = model.ManagedDeprovisioning
	}
	return m
}

// shared is a resource of the gateway: it goes with the last service.
func (v *view) shared(m model.ManagedResource) model.ManagedResource {
	if v.gateway != nil && v.gateway.Leaving {
		return v.own(m)
	}
	return m
}
