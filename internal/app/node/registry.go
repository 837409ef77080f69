package node

import (
	"context"
	"errors"
	"net"
	"strings"

	"berth.dev/berth/internal/agent/image"
	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/agent/session"
)

// registry is the control plane's image registry, reached by the node protocol.
type registry struct {
	client *session.Client // set once, before any task asks for an image
}

var _ image.Registry = (*registry)(nil)

// Owns implements image.Registry.
func (r *registry) Owns(host string) bool { return r.client != nil && r.client.Owns(host) }

// Dial implements image.Registry.
func (r *registry) Dial(ctx context.Context, taskID, container string) (net.Conn, error) {
	if r.client == nil {
		return nil, errors.New("there is no session with the control plane yet")
	}
	conn, err := r.client.DialRegistry(ctx, taskID, container)
	if err == nil {
		return conn, nil
	}
	no, ok := errors.AsType[*session.Refused](err)
	if !ok {
		return nil, err
	}
	class := runtime.PullUnauthorized
	if no.NotFound {
		class = runtime.PullNotFound
	}
	// The text is a whole stoppedReason; the task engine puts its beginning there again.
	return nil, &runtime.PullError{Class: class, Message: strings.TrimPrefix(no.Text, "CannotPullContainerError: "), Err: err}
}
