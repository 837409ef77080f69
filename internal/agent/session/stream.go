package session

import (
	"context"
	"encoding/json"

	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

// Streams runs what the control plane asks for in this node's tasks.
type Streams interface {
	// Open answers a request on its stream. It returns when nothing is left of
	// what it started and the control plane has ended the stream, or when ctx has
	// ended: cancelling the call any earlier would drop the last frames.
	Open(ctx context.Context, request model.StreamRequest, stream Stream)
}

// Stream is the node's end of a stream. One goroutine may call Send and another
// Recv. Both fail when the control plane has ended it, or is gone; Send may
// notice later.
type Stream interface {
	Send(*nodeapi.StreamFrame) error
	Recv() (*nodeapi.StreamFrame, error)
}

// attach is the node's answer to OpenStream. ctx is the session's: whoever is
// at the other end of a stream is gone with it.
func (c *Client) attach(ctx context.Context, open *nodeapi.OpenStream) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var request model.StreamRequest
	err := json.Unmarshal(open.GetRequest(), &request)
	if err == nil {
		var call Stream
		if call, err = c.node.Attach(ctx); err == nil {
			err = call.Send(&nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_Attach{Attach: open.GetStreamId()}})
		}
		if err == nil {
			c.cfg.Streams.Open(ctx, request, call)
			return
		}
	}
	if ctx.Err() == nil {
		c.cfg.Log.WarnContext(ctx, "a stream into a task could not be opened", telemetry.TaskID, request.TaskID, telemetry.Error, err)
	}
}
