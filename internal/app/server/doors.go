package server

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"berth.dev/berth/internal/edge/audit"
	"berth.dev/berth/internal/edge/authority"
	"berth.dev/berth/internal/edge/channel"
	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/model"
	acmservice "berth.dev/berth/internal/service/acm"
	trailservice "berth.dev/berth/internal/service/cloudtrail"
	ec2service "berth.dev/berth/internal/service/ec2"
	ecrservice "berth.dev/berth/internal/service/ecr"
	ecsservice "berth.dev/berth/internal/service/ecs"
	elbv2service "berth.dev/berth/internal/service/elbv2"
	iamservice "berth.dev/berth/internal/service/iam"
	kmsservice "berth.dev/berth/internal/service/kms"
	logsservice "berth.dev/berth/internal/service/logs"
	secretsservice "berth.dev/berth/internal/service/secretsmanager"
	sdservice "berth.dev/berth/internal/service/servicediscovery"
	ssmservice "berth.dev/berth/internal/service/ssm"
	stsservice "berth.dev/berth/internal/service/sts"
	"berth.dev/berth/internal/wire/api/acmapi"
	"berth.dev/berth/internal/wire/api/cloudtrailapi"
	"berth.dev/berth/internal/wire/api/ec2api"
	"berth.dev/berth/internal/wire/api/ecrapi"
	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/api/elbv2api"
	"berth.dev/berth/internal/wire/api/iamapi"
	"berth.dev/berth/internal/wire/api/kmsapi"
	"berth.dev/berth/internal/wire/api/logsapi"
	"berth.dev/berth/internal/wire/api/secretsmanagerapi"
	"berth.dev/berth/internal/wire/api/servicediscoveryapi"
	"berth.dev/berth/internal/wire/api/ssmapi"
	"berth.dev/berth/internal/wire/api/stsapi"
	"berth.dev/berth/internal/wire/nodeapi"
)

// doors builds the providers and the gateway before them: who calls, what they
// may, and the record of it.
func (p *controlPlane) doors() (err error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if p.guard, err = authority.New(authority.Config{Store: p.store, Scope: p.cfg.Scope, Logs: p.logs}); err != nil {
		return fmt.Errorf("making the authority: %w", err)
	}
	p.audit = audit.New(audit.Config{Logs: p.logs, AccountID: p.cfg.Scope.AccountID, Region: p.cfg.Scope.Region, Logger: room(p.cfg.Log, "edge/audit")})
	services, err := p.services()
	if err != nil {
		return err
	}
	p.channels = channel.New(channel.Config{
		Store: p.store, Tokens: p.sessions, Logs: transcripts{p.logs}, Log: room(p.cfg.Log, "edge/channel"),
		Open: func(ctx context.Context, request model.StreamRequest) (nodeapi.Stream, error) {
			return p.dispatcher.OpenStream(ctx, request)
		},
	})
	if err := p.openRegistry(); err != nil {
		return err
	}
	p.gateway, err = gateway.New(gateway.Config{
		Services:    services,
		Credentials: credentials{p.store, p.ring, p.sessions, p.cfg.Scope},
		Authorizer:  p.guard,
		Auditor:     p.audit,
		RateLimit:   p.cfg.RateLimit,
		RateBurst:   int(2 * p.cfg.RateLimit),
		Region:      p.cfg.Scope.Region,
		Ready:       p.ready,
		Metrics:     promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
		Registerer:  registry,
		Logger:      room(p.cfg.Log, "edge/gateway"),
	})
	return err
}

// services are the AWS services that this Berth answers for.
func (p *controlPlane) services() ([]gateway.Service, error) {
	ranges, scope := p.ranges(), p.cfg.Scope
	images, err := ecrservice.New(ecrservice.Config{
		Store: p.store, Images: p.images, Sessions: p.sessions, Scope: scope, Endpoint: p.cfg.RegistryEndpoint,
		LayerURL: p.layerURL, Credentials: upstreamLogins{p}.Login,
	})
	if err != nil {
		return nil, err
	}
	p.secrets = secretsservice.New(secretsservice.Config{Store: p.store, Keys: p.keys, Scope: scope})
	return []gateway.Service{
		{API: ecsapi.API, Provider: ecsservice.New(ecsservice.Config{
			Store: p.store, Scope: scope, PublicAddresses: p.public, Tokens: p.sessions, Logger: room(p.cfg.Log, "service/ecs"),
		})},
		{API: ec2api.API, Provider: ec2service.New(ec2service.Config{
			Store: p.store, Scope: scope, PublicAddresses: p.public, ClaimRange: ranges.claim, ReleaseRange: ranges.release,
		})},
		{API: elbv2api.API, Provider: elbv2service.New(elbv2service.Config{Store: p.store, Scope: scope, PublicAddresses: p.public})},
		{API: acmapi.API, Provider: acmservice.New(acmservice.Config{Store: p.store, Ring: p.ring, Scope: scope})},
		{API: servicediscoveryapi.API, Provider: sdservice.New(sdservice.Config{Store: p.store, Scope: scope})},
		{API: logsapi.API, Provider: logsservice.New(logsservice.Config{Store: p.logs, AccountID: scope.AccountID, Region: scope.Region, Evidence: []string{audit.DefaultGroup}})},
		{API: iamapi.API, Provider: iamservice.New(iamservice.Config{Store: p.store, Scope: scope, Ring: p.ring})},
		{API: stsapi.API, Provider: stsservice.New(stsservice.Config{Store: p.store, Sessions: p.sessions, Scope: scope})},
		{API: secretsmanagerapi.API, Provider: p.secrets},
		{API: ssmapi.API, Provider: ssmservice.New(ssmservice.Config{Store: p.store, Keys: p.keys, Tokens: p.sessions, Scope: scope})},
		{API: kmsapi.API, Provider: kmsservice.New(kmsservice.Config{Store: p.store, Keys: p.keys, Scope: scope})},
		{API: cloudtrailapi.API, Provider: trailservice.New(trailservice.Config{Logs: p.logs, AccountID: scope.AccountID})},
		{API: ecrapi.API, Provider: images, MaxBody: ecrservice.MaxBody},
	}, nil
}
