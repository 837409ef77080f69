package metadata

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/time/rate"

	"berth.dev/berth/internal/agent/network"
)

const (
	// requestRate and requestBurst are what amazon-ecs-agent allows.
	requestRate  = 40
	requestBurst = 60
	// patience is how long a client may take for the headers of a request, or stay connected without one.
	patience = 30 * time.Second
)

// ContainerURI is the value of ECS_CONTAINER_METADATA_URI_V4 for a container with this id (ContainerView.ID).
func ContainerURI(containerID string) string {
	return "http://" + network.MetadataAddress + "/v4/" + containerID
}

// ContainerURIv3 is the value of ECS_CONTAINER_METADATA_URI.
func ContainerURIv3(containerID string) string {
	return "http://" + network.MetadataAddress + "/v3/" + containerID
}

// Config is what a Server needs to know.
type Config struct {
	Source Source
	Log    *slog.Logger
	// Address is where tasks find the endpoint; empty means 169.254.170.2:80.
	Address string
}

// A Server answers for all tasks of a host, each on its own socket.
type Server struct {
	cfg Config
	log *slog.Logger
}

// New returns a Server that answers from cfg.Source.
func New(cfg Config) *Server {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Address == "" {
		cfg.Address = net.JoinHostPort(network.MetadataAddress, "80")
	}
	return &Server{cfg: cfg, log: cfg.Log.With("component", "metadata")}
}

// An Endpoint is one task's endpoint: a socket that is open, and Run, which answers on it.
type Endpoint struct {
	listener net.Listener
	handler  http.Handler
}

// Open opens the socket in the task's network namespace. From then on requests wait in it, so containers may start.
// The caller must call Run, which closes it, or Close.
func (s *Server) Open(ctx context.Context, netnsPath, taskID string) (*Endpoint, error) {
	at, err := netip.ParseAddrPort(s.cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("open metadata endpoint of task %s: %w", taskID, err)
	}
	// Port 80 is the task's, as on AWS.
	ln, err := network.ListenEndpointTCP(ctx, netnsPath, at)
	if err != nil {
		return nil, fmt.Errorf("open metadata endpoint of task %s: %w", taskID, err)
	}
	return &Endpoint{listener: ln, handler: s.Handler(taskID)}, nil
}

// Serve is Open and Run.
func (s *Server) Serve(ctx context.Context, netnsPath, taskID string) error {
	e, err := s.Open(ctx, netnsPath, taskID)
	if err != nil {
		return err
	}
	return e.Run(ctx)
}

// Addr is the address on which the Endpoint answers.
func (e *Endpoint) Addr() string { return e.listener.Addr().String() }

// Close closes the socket of an Endpoint that is not running.
func (e *Endpoint) Close() { e.listener.Close() }

// Run answers until ctx ends, then closes all connections, because they hold the namespace, and returns ctx's error.
func (e *Endpoint) Run(ctx context.Context) error {
	server := &http.Server{
		Handler: e.handler, ReadHeaderTimeout: patience, IdleTimeout: patience,
		BaseContext: func(net.Listener) context.Context { return ctx }, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	} // what clients do wrong is theirs
	defer context.AfterFunc(ctx, func() { server.Close() })()
	defer server.Close()
	err := server.Serve(e.listener)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve metadata: %w", err)
}

// Handler answers for one task.
func (s *Server) Handler(taskID string) http.Handler {
	h := &handler{server: s, taskID: taskID}
	return limited(rate.NewLimiter(requestRate, requestBurst), h.route)
}

// limited answers GET and HEAD as often as the limiter lets it.
func limited(limiter *rate.Limiter, answer http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !limiter.Allow() {
			http.Error(w, "You have reached maximum request limit.", http.StatusTooManyRequests)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
			return
		}
		answer(w, r)
	})
}
