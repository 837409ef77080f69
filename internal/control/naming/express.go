package naming

import (
	"iter"
	"strings"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// balancerOf is the load balancer that an express service's endpoint leads to:
// the one of its gateway's name.
func balancerOf(r store.Reader, e *model.ExpressService) (*model.LoadBalancer, bool) {
	g, found := records.ExpressGateways.Get(r, e.GatewayID)
	if !found {
		return nil, false
	}
	for lb := range records.LoadBalancers.By(r, records.LoadBalancersByName, g.Name()) {
		if lb.VPCID == g.VPCID {
			return lb, true
		}
	}
	return nil, false
}

// endpointsOf yields the express services whose endpoints lead to the load
// balancer.
func endpointsOf(r store.Reader, lb *model.LoadBalancer) iter.Seq[*model.ExpressService] {
	return func(yield func(*model.ExpressService) bool) {
		for g := range records.ExpressGateways.By(r, records.ExpressGatewaysByVPC, lb.VPCID) {
			if g.Name() != lb.Name {
				continue
			}
			for e := range records.ExpressServices.By(r, records.ExpressServicesByGateway, g.ID) {
				if !yield(e) {
					return
				}
			}
		}
	}
}

// expressZone is the zone of an endpoint, if the key is of one.
func expressZone(r store.Reader, instanceID, key string) (zone any, is, found bool) {
	id, inside := strings.CutPrefix(key, expressInsidePrefix)
	if !inside {
		if id, is = strings.CutPrefix(key, expressOutsidePrefix); !is {
			return nil, false, false
		}
	}
	e, found := records.ExpressServices.Get(r, id)
	if !found {
		return nil, true, false
	}
	lb, found := balancerOf(r, e)
	switch {
	case !found:
	case inside && inVPC(r, lb.VPCID, instanceID) && hasResolver(r, lb.VPCID):
		return insideZone(r, e.Endpoint, lb), true, true
	case !inside && reaches(lb, instanceID):
		return outsideZone(r, e.Endpoint, lb), true, true
	}
	return nil, true, false
}

// expressService concerns the endpoint where its load balancer was, and where
// it is now.
func (a *affected) expressService(id string) {
	for _, r := range []store.Reader{a.before, a.after} {
		e, found := records.ExpressServices.Get(r, id)
		if !found {
			continue
		}
		if lb, found := balancerOf(r, e); found {
			a.namesOf(lb, expressInsidePrefix+id, expressOutsidePrefix+id)
		}
	}
}

// gateway concerns the endpoints behind it, by its load balancer.
func (a *affected) gateway(id string) {
	for _, r := range []store.Reader{a.before, a.after} {
		if g, found := records.ExpressGateways.Get(r, id); found {
			for lb := range records.LoadBalancers.By(r, records.LoadBalancersByName, g.Name()) {
				a.loadBalancer(lb.ID)
			}
		}
	}
}
