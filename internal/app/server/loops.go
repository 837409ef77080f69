package server

import (
	"context"
	"fmt"
	"time"

	"berth.dev/berth/internal/control/balancing"
	"berth.dev/berth/internal/control/deployment"
	"berth.dev/berth/internal/control/dispatch"
	"berth.dev/berth/internal/control/execution"
	"berth.dev/berth/internal/control/expiry"
	"berth.dev/berth/internal/control/express"
	"berth.dev/berth/internal/control/imageexpiry"
	"berth.dev/berth/internal/control/liveness"
	"berth.dev/berth/internal/control/naming"
	"berth.dev/berth/internal/control/netstate"
	"berth.dev/berth/internal/control/reaper"
	"berth.dev/berth/internal/control/registration"
	"berth.dev/berth/internal/control/rotation"
	"berth.dev/berth/internal/control/volumes"
	"berth.dev/berth/internal/data/launch"
	"berth.dev/berth/internal/model"
)

// loops builds what keeps things true, by the names that are said when one
// ends. They know each other by the store alone; the dispatcher also sends
// what some of them derive.
func (p *controlPlane) loops() (map[string]func(context.Context) error, error) {
	roles, err := execution.New(execution.Config{
		Store: p.store, Sessions: p.sessions, Scope: p.cfg.Scope, API: innerDoor{p.gateway}, Access: access{p.guard},
		RegistryHosts: p.registryHosts(), Log: room(p.cfg.Log, "control/execution"),
	})
	if err != nil {
		return nil, err
	}
	balancers := balancing.New(balancing.Config{
		Store: p.store, Ring: p.ring, NodeLostAfter: p.cfg.NodeLostAfter, Log: room(p.cfg.Log, "control/balancing"),
	})
	ebs := volumes.New(p.store, room(p.cfg.Log, "control/volumes"))
	vpcs, interfaces, groups := netstate.Sources()
	p.dispatcher = dispatch.New(dispatch.Config{
		Store: p.store, Logs: logSink{p.logs}, Authority: p.authority,
		Scope: p.cfg.Scope, Log: room(p.cfg.Log, "control/dispatch"),
		// Groups come before the interfaces that are in them, and names before
		// the load balancers that have them.
		Sources:   []dispatch.Source{vpcs, groups, interfaces, naming.New(), balancers.Source(), rotation.NewSource(p.cfg.Scope), volumes.Source{}},
		Sinks:     map[string]dispatch.Sink{model.ObservedLoadBalancer: balancers, model.ObservedVolume: ebs},
		Execution: roles,
		Delivered: func(_ context.Context, group, stream, source string) (bool, error) {
			return p.logs.Delivered(group, stream, source)
		},
		Serve:         p.serveTask,
		ServeRegistry: p.servePull,
		RegistryHosts: p.registryHosts(),
	})
	launcher := launch.New(launch.Config{Scope: p.cfg.Scope, PublicAddresses: p.public})
	deployments := deployment.New(deployment.Config{
		Store: p.store, Launcher: launcher, Scope: p.cfg.Scope,
		HealthyAfter: p.cfg.HealthyAfter, Log: room(p.cfg.Log, "control/deployment"),
	})
	cert, key, err := apiAuthority(p.cfg.Instance, time.Now())
	if err != nil {
		return nil, fmt.Errorf("opening the API's authority: %w", err)
	}
	return map[string]func(context.Context) error{
		"audit":      p.audit.Run,
		"images":     p.images.Run,
		"registry":   p.registry.Run,
		"lifecycles": imageexpiry.New(imageexpiry.Config{Store: p.store, Log: room(p.cfg.Log, "control/imageexpiry")}).Run,
		"volumes":    ebs.Run,
		"channels":   p.channels.Run,
		"express": express.New(express.Config{
			Store: p.store, API: p.gateway, Guard: p.guard, Issuer: express.Authority{Certificate: cert, Key: key},
			Scope: p.cfg.Scope, Log: room(p.cfg.Log, "control/express"),
		}).Run,
		"dispatch":   p.dispatcher.Run,
		"deployment": deployments.Run,
		"expiry":     expiry.New(expiry.Config{Store: p.store, Keys: p.keys, Log: room(p.cfg.Log, "control/expiry")}).Run,
		"rotation": rotation.New(rotation.Config{
			Store: p.store, Launcher: launcher, Scope: p.cfg.Scope, PublicAddresses: p.public.IsValid(), Log: room(p.cfg.Log, "control/rotation"),
		}).Run,
		"balancing":    balancers.Run,
		"registration": registration.New(registration.Config{Store: p.store, Scope: p.cfg.Scope, Log: room(p.cfg.Log, "control/registration")}).Run,
		"liveness":     liveness.New(p.store, p.cfg.NodeLostAfter, room(p.cfg.Log, "control/liveness")).Run,
		"reaper":       reaper.New(p.store, history{p.logs}, p.cfg.Retention, room(p.cfg.Log, "control/reaper")).Run,
	}, nil
}
