package metadata

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"golang.org/x/time/rate"

	"berth.dev/berth/internal/agent/network"
)

// HostPort is the port of HostAddress. It is not 80, because a socket on port 80 of one address keeps the host's web servers
// from listening on port 80 of all. On hosts of ECS, 51679 is the agent's own port for credentials.
const HostPort = 51679

// HostAddress is where tasks in network mode host find their metadata, on HostPort: an address of the loopback range that
// belongs to this instance by its name. The host's 169.254.170.2 is not Berth's to take, an amazon-ecs-agent may run
// there, and the address must be the same for every agent of the instance, because containers keep it.
func HostAddress(instance string) netip.Addr {
	sum := sha256.Sum256([]byte(instance))
	return netip.AddrFrom4([4]byte{127, 170, sum[0], sum[1]})
}

// OpenHost opens the endpoint of all tasks in network mode host, in the namespace of this process. A task is known by the id
// of a container, or of its credentials, in the path and by nothing else: taskOf says whose it is, and false unless it is of
// a task in that mode. These ids cannot be guessed, and whoever can read them, in the environment of a process of the task,
// could as well read its memory. The caller must call Run, or Close.
func (s *Server) OpenHost(ctx context.Context, address netip.Addr, taskOf func(id string) (taskID string, ok bool)) (*Endpoint, error) {
	ln, err := network.ListenTCP(ctx, "", netip.AddrPortFrom(address, HostPort).String())
	if err != nil {
		return nil, fmt.Errorf("open metadata endpoint of the host: %w", err)
	}
	return s.hostEndpoint(ln, taskOf), nil
}

func (s *Server) hostEndpoint(ln net.Listener, taskOf func(id string) (taskID string, ok bool)) *Endpoint {
	limiter := rate.NewLimiter(requestRate, requestBurst)
	return &Endpoint{listener: ln, handler: limited(limiter, func(w http.ResponseWriter, r *http.Request) {
		id, ok := idOf(r)
		if !ok { // what knows its task by the socket
			http.NotFound(w, r)
			return
		}
		taskID, _ := taskOf(id)
		h := &handler{server: s, taskID: taskID} // of no task, it answers as for an id that nobody has
		h.route(w, r)
	})}
}

// idOf is the id that names the task in a request, where requests have one.
func idOf(r *http.Request) (id string, ok bool) {
	version, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case version == "v3" || version == "v4":
		id, _, _ = strings.Cut(rest, "/")
		return id, true
	case version == "v2":
		what, id, _ := strings.Cut(strings.TrimSuffix(rest, "/"), "/")
		return id, what == "credentials"
	case version == "v1" && rest == "credentials":
		return r.URL.Query().Get("id"), true
	}
	return "", false
}
