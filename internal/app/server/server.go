package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"berth.dev/berth/internal/app/instance"
	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/control/dispatch"
	"berth.dev/berth/internal/control/nodeca"
	"berth.dev/berth/internal/data/etcd"
	"berth.dev/berth/internal/data/imagestore"
	"berth.dev/berth/internal/data/keyring"
	"berth.dev/berth/internal/data/keys"
	"berth.dev/berth/internal/data/logstore"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/sessions"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/edge/audit"
	"berth.dev/berth/internal/edge/authority"
	"berth.dev/berth/internal/edge/channel"
	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/edge/registry"
	secretsservice "berth.dev/berth/internal/service/secretsmanager"
)

// Config says what a control plane is.
type Config struct {
	Instance instance.Instance
	// Listen is the address of the AWS API, host:port. Any but loopback needs
	// TLS.
	Listen string
	TLS    TLS
	// NodeListen is where nodes connect, host:port, besides the instance's own
	// socket; empty for a single machine.
	NodeListen string
	Scope      arn.Scope
	// RequireNode makes /readyz wait for a connected node.
	RequireNode bool
	// NodeLostAfter is when the tasks of an unreachable node end.
	NodeLostAfter time.Duration
	// Retention is how long stopped tasks are kept.
	Retention time.Duration
	// HealthyAfter is when a running task without load balancer and health
	// check counts as healthy.
	HealthyAfter time.Duration
	// PublicAddresses are those that load balancers and tasks get when they
	// are to be reached from outside their VPC. Invalid: a part of the host's
	// loopback range.
	PublicAddresses netip.Prefix
	// MasterKeyCommand prints the master key; empty means a file of the
	// instance.
	MasterKeyCommand string
	// RegistryEndpoint is what clients shall call the image registry, such as
	// "registry.example.com:8577"; empty is the name that AWS would give it.
	RegistryEndpoint string
	// RateLimit is how many calls a second one principal may make; 0: any.
	RateLimit float64
	Log       *slog.Logger
}

// DefaultRateLimit is far above what people and Terraform ask for, and keeps
// one principal that runs wild from taking the control plane from the rest.
const DefaultRateLimit = 2000

// controlPlane is what Run builds, bottom floor first.
type controlPlane struct {
	cfg        Config
	store      *store.Store
	logs       *logstore.Store
	ring       *keyring.Keyring // the master key
	keys       *keys.Keys
	sessions   *sessions.Sessions
	authority  *nodeca.Authority // of nodes
	dispatcher *dispatch.Dispatcher
	gateway    *gateway.Gateway
	guard      *authority.Authority // what principals may do
	audit      *audit.Recorder
	secrets    *secretsservice.Provider
	images     *imagestore.Store
	registry   *registry.Handler
	channels   *channel.Server
	tasks      *handover    // connections of tasks to the API
	pulls      *handover    // connections of nodes to the registry
	public     netip.Prefix // the pool of public addresses
	endpoint   string       // of the AWS API, for local commands
}

// Run is the life of a control plane.
func Run(ctx context.Context, cfg Config) error {
	release, err := cfg.Instance.Claim("server")
	if err != nil {
		return err
	}
	defer release()
	api, endpoint, err := listenAPI(cfg, time.Now())
	if err != nil {
		return err
	}
	defer api.Close() //nolint:errcheck // closed by the server before

	p := &controlPlane{cfg: cfg, endpoint: endpoint, tasks: newHandover("tasks"), pulls: newHandover("pulls")}
	if p.ring, err = keyring.Open(ctx, keyring.Config{File: cfg.Instance.Path("server", "master-key"), Command: cfg.MasterKeyCommand}); err != nil {
		return fmt.Errorf("opening the master key: %w", err)
	}
	if p.authority, err = nodeca.Open(cfg.Instance.Path("server", "pki"), time.Now()); err != nil {
		return fmt.Errorf("opening the node authority: %w", err)
	}
	member := etcd.New(etcd.Config{Dir: cfg.Instance.Path("server", "etcd"), Logger: room(cfg.Log, "data/etcd")})
	if p.store, err = store.Open(member.KV(), "/berth/", store.Options{Logger: room(cfg.Log, "data/store")}, records.All()...); err != nil {
		return err
	}
	if p.images, err = imagestore.Open(imagestore.Config{Dir: cfg.Instance.Path("server", "images"), Store: p.store, Log: room(cfg.Log, "data/imagestore")}); err != nil {
		return err
	}
	if p.logs, err = logstore.Open(cfg.Instance.Path("server", "logs"), logstore.Options{Logger: room(cfg.Log, "data/logstore")}); err != nil {
		return err
	}
	defer func() {
		if err := p.logs.Close(); err != nil {
			cfg.Log.ErrorContext(ctx, "the log store was not closed cleanly", telemetry.Error, err)
		}
	}()
	return p.run(ctx, member, api)
}

// run ends from the top floor down: the doors close first, the store last.
func (p *controlPlane) run(ctx context.Context, member *etcd.Member, api net.Listener) error {
	bottom, endBottom := context.WithCancel(context.WithoutCancel(ctx))
	defer endBottom()
	floor, bottom := errgroup.WithContext(bottom)
	floor.Go(func() error { return ended(bottom, "etcd", member.Run(bottom)) })
	floor.Go(func() error { return ended(bottom, "store", p.store.Run(bottom)) })
	floor.Go(func() error { return ended(bottom, "log store", p.logs.Run(bottom)) })

	top, ctx := errgroup.WithContext(ctx)
	top.Go(func() error { // a failing floor takes the house with it
		select {
		case <-bottom.Done():
			return errors.New("the data floor ended")
		case <-ctx.Done():
			return nil
		}
	})
	top.Go(func() error {
		select {
		case <-p.store.Ready():
		case <-ctx.Done():
			return nil
		}
		return p.serve(ctx, api)
	})
	err := top.Wait()
	endBottom()
	if floorErr := floor.Wait(); floorErr != nil {
		return floorErr
	}
	return err
}

// serve makes what a first start needs, builds the doors and the loops, and
// runs them until ctx ends.
func (p *controlPlane) serve(ctx context.Context, api net.Listener) error {
	if err := p.bootstrap(ctx); err != nil {
		return err
	}
	if err := p.doors(); err != nil {
		return err
	}
	defer p.secrets.Close() // it has notes to write until the store ends
	loops, err := p.loops()
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for name, run := range loops {
		g.Go(func() error { return ended(ctx, name, run(ctx)) })
	}
	g.Go(func() error { return p.serveNodes(ctx) })
	g.Go(func() error { return p.serveAPI(ctx, api) })
	g.Go(func() error { return p.runTaskAPI(ctx) })
	g.Go(func() error { return p.runPulls(ctx) })
	g.Go(func() error { return p.serveAdmin(ctx) })
	return g.Wait()
}

// ready is what /readyz says.
func (p *controlPlane) ready() error {
	if !p.cfg.RequireNode {
		return nil
	}
	for i := range records.Instances.All(p.store.Snapshot()) {
		if i.Connected {
			return nil
		}
	}
	return errors.New("no node is connected yet")
}

func (p *controlPlane) serveAPI(ctx context.Context, listener net.Listener) error {
	server := gateway.Server(listener.Addr().String(), p.front(), p.cfg.Log)
	stop := context.AfterFunc(ctx, func() {
		// A request that is being answered may finish.
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := server.Shutdown(grace); err != nil {
			p.cfg.Log.WarnContext(ctx, "requests were cut off at the end", telemetry.Error, err)
		}
	})
	defer stop()
	if err := p.announce(); err != nil {
		return fmt.Errorf("saying where the API answers: %w", err)
	}
	p.cfg.Log.InfoContext(ctx, "the AWS API answers", telemetry.Address, p.endpoint)
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the AWS API: %w", err)
	}
	return nil
}

// announce leaves in the data directory what local commands need to find the
// API: `berth env` and its kin.
func (p *controlPlane) announce() error {
	return errors.Join(
		os.WriteFile(p.cfg.Instance.Path("endpoint"), []byte(p.endpoint+"\n"), 0o600),
		os.WriteFile(p.cfg.Instance.Path("region"), []byte(p.cfg.Scope.Region+"\n"), 0o600),
	)
}

// serveNodes answers nodes on the instance's socket and, for a fleet, on an
// address of the network.
func (p *controlPlane) serveNodes(ctx context.Context) error {
	socket := p.cfg.Instance.NodeSocket()
	// A socket file of a server that was killed would be in the way; the claim
	// on the instance says that nobody listens on it.
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	listeners := []string{"unix:" + socket}
	if p.cfg.NodeListen != "" {
		listeners = append(listeners, p.cfg.NodeListen)
	}
	server, err := p.dispatcher.Server(time.Now())
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	for _, address := range listeners {
		network, where := "tcp", address
		if path, ok := strings.CutPrefix(address, "unix:"); ok {
			network, where = "unix", path
		}
		listener, err := net.Listen(network, where)
		if err != nil {
			server.Stop()
			return errors.Join(fmt.Errorf("listening for nodes: %w", err), g.Wait())
		}
		g.Go(func() error {
			if err := server.Serve(listener); err != nil && ctx.Err() == nil {
				return fmt.Errorf("serving nodes: %w", err)
			}
			return nil
		})
	}
	return g.Wait()
}

func room(log *slog.Logger, name string) *slog.Logger { return log.With(telemetry.Room, name) }

// ended makes the end of a part an error unless the whole is ending.
func ended(ctx context.Context, part string, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // it ended because it was told to
	}
	if err == nil {
		err = errors.New("it ended by itself")
	}
	return fmt.Errorf("%s: %w", part, err)
}
