package records

import (
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// Express services, and the gateways that they share.
var (
	ExpressServices = store.NewTable("expressservices", (*model.ExpressService).Key, ExpressServicesByGateway, ExpressServicesByEndpoint)
	// ExpressServicesByGateway finds the services behind a gateway by its id.
	ExpressServicesByGateway = store.NewGuardedIndex("gateway", func(e *model.ExpressService) []string {
		if e.GatewayID == "" {
			return nil
		}
		return []string{e.GatewayID}
	})
	// ExpressServicesByEndpoint finds the service that has a host name.
	ExpressServicesByEndpoint = store.NewGuardedIndex("endpoint", func(e *model.ExpressService) []string { return []string{e.Endpoint} })

	ExpressGateways = store.NewTable("expressgateways", (*model.ExpressGateway).Key, ExpressGatewaysByVPC)
	// ExpressGatewaysByVPC finds the gateways of a VPC by its id.
	ExpressGatewaysByVPC = store.NewGuardedIndex("vpc", func(g *model.ExpressGateway) []string { return []string{g.VPCID} })
)
