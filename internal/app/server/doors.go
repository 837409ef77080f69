package server

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"berth.dev/berth/internal/edge/gateway"
	acmservice "berth.dev/berth/internal/service/acm"
	ec2service "berth.dev/berth/internal/service/ec2"
	ecsservice "berth.dev/berth/internal/service/ecs"
	elbv2service "berth.dev/berth/internal/service/elbv2"
	logsservice "berth.dev/berth/internal/service/logs"
	sdservice "berth.dev/berth/internal/service/servicediscovery"
	stsservice "berth.dev/berth/internal/service/sts"
	"berth.dev/berth/internal/wire/api/acmapi"
	"berth.dev/berth/internal/wire/api/ec2api"
	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/api/elbv2api"
	"berth.dev/berth/internal/wire/api/logsapi"
	"berth.dev/berth/internal/wire/api/servicediscoveryapi"
	"berth.dev/berth/internal/wire/api/stsapi"
)

// doors builds the providers and the gateway before them.
func (p *controlPlane) doors() (http.Handler, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return gateway.New(gateway.Config{
		Services:    p.services(),
		Credentials: credentials{p.store, p.cfg.Scope},
		Region:      p.cfg.Scope.Region,
		Ready:       p.ready,
		Metrics:     promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
		Registerer:  registry,
		Logger:      room(p.cfg.Log, "edge/gateway"),
	})
}

// services are the AWS services that this Berth answers for.
func (p *controlPlane) services() []gateway.Service {
	ranges := p.ranges()
	return []gateway.Service{
		{API: ecsapi.API, Provider: ecsservice.New(ecsservice.Config{
			Store: p.store, Scope: p.cfg.Scope, PublicAddresses: p.public, Logger: room(p.cfg.Log, "service/ecs"),
		})},
		{API: ec2api.API, Provider: ec2service.New(ec2service.Config{
			Store: p.store, Scope: p.cfg.Scope, PublicAddresses: p.public, ClaimRange: ranges.claim, ReleaseRange: ranges.release,
		})},
		{API: elbv2api.API, Provider: elbv2service.New(elbv2service.Config{Store: p.store, Scope: p.cfg.Scope, PublicAddresses: p.public})},
		{API: acmapi.API, Provider: acmservice.New(acmservice.Config{Store: p.store, Scope: p.cfg.Scope})},
		{API: servicediscoveryapi.API, Provider: sdservice.New(sdservice.Config{Store: p.store, Scope: p.cfg.Scope})},
		{API: logsapi.API, Provider: logsservice.New(logsservice.Config{Store: p.logs, AccountID: p.cfg.Scope.AccountID, Region: p.cfg.Scope.Region})},
		{API: stsapi.API, Provider: stsservice.New(stsservice.Config{})},
	}
}
