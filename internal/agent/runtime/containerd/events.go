package containerd

import (
	"context"

	apievents "github.com/containerd/containerd/api/events"
	"github.com/containerd/typeurl/v2"
)

// follow reads containerd's events until the connection breaks or ctx ends. Out-of-memory events are kept as the
// second source of Exit.OOMKilled: the first, the cgroup's own counter, is gone when a shim has died.
func (r *Runtime) follow(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, errs := r.client.Subscribe(ctx, `topic=="/tasks/oom",namespace==`+r.namespace)
	for {
		select {
		case envelope := <-events:
			decoded, err := typeurl.UnmarshalAny(envelope.Event)
			if err != nil {
				r.cfg.Logger.WarnContext(ctx, "an event of containerd cannot be read", "topic", envelope.Topic, "error", err)
				continue
			}
			if oom, ok := decoded.(*apievents.TaskOOM); ok {
				r.mu.Lock()
				r.oomed[oom.ContainerID] = true
				r.mu.Unlock()
			}
		case <-errs: //nolint:errcheck // that it has ended is all that counts
			return
		}
	}
}
