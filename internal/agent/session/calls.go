package session

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"berth.dev/berth/internal/wire/nodeapi"
)

// Refused is an answer that trying again does not change. Its text is AWS's.
type Refused struct {
	Text string
	// NotFound says that there is no such thing, rather than that it may not be had.
	NotFound bool
}

// Error returns the text.
func (r *Refused) Error() string { return r.Text }

// EnsureLogStream makes the log stream of a container. A *Refused is for the
// user to read; other errors mean that the control plane was not reached.
func (c *Client) EnsureLogStream(ctx context.Context, of LogStream, createGroup bool) error {
	answer, err := c.node.EnsureLogStream(ctx, &nodeapi.EnsureLogStreamRequest{
		Group: of.Group, Stream: of.Name, CreateGroup: createGroup, TaskId: of.TaskID, Container: of.Container,
	}, grpc.WaitForReady(true))
	return refused(answer, err)
}

// LogStream names a log stream and whose output it gets. A load balancer's has
// no task and no container.
type LogStream struct{ Group, Name, TaskID, Container string }

// DeliverLogs stores a container's lines; it returns when they are durable.
func (c *Client) DeliverLogs(ctx context.Context, to LogStream, source string, events []*nodeapi.LogEvent) error {
	answer, err := c.node.DeliverLogs(ctx, &nodeapi.DeliverLogsRequest{
		Group: to.Group, Stream: to.Name, Source: source, Events: events, TaskId: to.TaskID, Container: to.Container,
	})
	return refused(answer, err)
}

// TaskCredentials asks for the credentials of a task's role. A *Refused says
// why there are none.
func (c *Client) TaskCredentials(ctx context.Context, taskID string) (*nodeapi.TaskCredentialsResponse, error) {
	answer, err := c.node.TaskCredentials(ctx, &nodeapi.TaskCredentialsRequest{TaskId: taskID})
	return answer, refused(answer, err)
}

// TaskSecrets asks for what the execution role fetches for a task. A *Refused
// says why the task cannot start.
func (c *Client) TaskSecrets(ctx context.Context, taskID string) (*nodeapi.TaskSecretsResponse, error) {
	answer, err := c.node.TaskSecrets(ctx, &nodeapi.TaskSecretsRequest{TaskId: taskID})
	return answer, refused(answer, err)
}

// AuthorizePull asks whether the execution role may pull a container's image.
// A *Refused says why not.
func (c *Client) AuthorizePull(ctx context.Context, taskID, container string) error {
	answer, err := c.node.AuthorizePull(ctx, &nodeapi.AuthorizePullRequest{TaskId: taskID, Container: container})
	return refused(answer, err)
}

// refused tells a no from a control plane that is away. A call that it will
// never answer otherwise is a no too.
func refused(answer interface{ GetRefusal() string }, err error) error {
	switch status.Code(err) {
	case codes.OK:
		if text := answer.GetRefusal(); text != "" {
			return &Refused{Text: text}
		}
		return nil
	case codes.PermissionDenied, codes.InvalidArgument, codes.NotFound, codes.Unimplemented:
		return &Refused{Text: "ResourceInitializationError: " + status.Convert(err).Message()}
	}
	return err
}

// IsRefused reports whether err is the control plane's final no.
func IsRefused(err error) bool {
	var r *Refused
	return errors.As(err, &r)
}

// Insist asks until the control plane gives an answer, which may be a no: what
// began while it was there does not fail because it starts again. The error is
// a *Refused, or ctx's.
func Insist[T any](ctx context.Context, ask func(context.Context) (T, error)) (T, error) {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		answer, err := ask(ctx)
		if err == nil || IsRefused(err) {
			return answer, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return answer, err
		}
	}
}
