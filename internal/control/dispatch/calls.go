package dispatch

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

// The actions that Execution.AuthorizeLogs knows.
const (
	createLogGroup  = "logs:CreateLogGroup"
	createLogStream = "logs:CreateLogStream"
	putLogEvents    = "logs:PutLogEvents"
)

// TaskCredentials gives the credentials of the role of one of the node's tasks.
func (d *Dispatcher) TaskCredentials(ctx context.Context, in *nodeapi.TaskCredentialsRequest) (*nodeapi.TaskCredentialsResponse, error) {
	t, err := d.taskWithRoles(ctx, in.GetTaskId())
	if err != nil {
		return nil, err
	}
	out, err := d.cfg.Execution.TaskCredentials(ctx, t)
	return out, d.answer(ctx, t, err)
}

// TaskSecrets gives what the execution role fetches for one of the node's tasks.
func (d *Dispatcher) TaskSecrets(ctx context.Context, in *nodeapi.TaskSecretsRequest) (*nodeapi.TaskSecretsResponse, error) {
	t, err := d.taskWithRoles(ctx, in.GetTaskId())
	if err != nil {
		return nil, err
	}
	out, err := d.cfg.Execution.TaskSecrets(ctx, t)
	return out, d.answer(ctx, t, err)
}

// AuthorizePull says whether an image of one of the node's tasks may be pulled.
func (d *Dispatcher) AuthorizePull(ctx context.Context, in *nodeapi.AuthorizePullRequest) (*nodeapi.AuthorizePullResponse, error) {
	t, err := d.taskWithRoles(ctx, in.GetTaskId())
	if err != nil {
		return nil, err
	}
	refusal, err := d.cfg.Execution.AuthorizePull(ctx, t, in.GetContainer())
	return &nodeapi.AuthorizePullResponse{Refusal: refusal}, d.answer(ctx, t, err)
}

func (d *Dispatcher) taskWithRoles(ctx context.Context, taskID string) (*model.Task, error) {
	t, err := d.ownTask(ctx, taskID)
	if err == nil && d.cfg.Execution == nil {
		return nil, status.Error(codes.Unimplemented, "this control plane has no roles")
	}
	return t, err
}

// answer makes a status of what an Execution says. What the node cannot mend
// by waiting is told apart from what it can.
func (d *Dispatcher) answer(ctx context.Context, t *model.Task, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fault.Denied):
		return status.Error(codes.PermissionDenied, err.Error())
	case errors.Is(err, fault.Invalid):
		return status.Error(codes.InvalidArgument, err.Error())
	case errors.Is(err, fault.NotFound):
		return status.Error(codes.NotFound, err.Error())
	case ctx.Err() == nil:
		d.cfg.Log.WarnContext(ctx, "a task's role could not be used", telemetry.TaskARN, t.ARN, telemetry.Error, err)
	}
	return status.Error(codes.Unavailable, "the control plane could not answer for the task's role")
}

// EnsureLogStream makes the log stream of a container, or of a load balancer
// that the node serves.
func (d *Dispatcher) EnsureLogStream(ctx context.Context, in *nodeapi.EnsureLogStreamRequest) (*nodeapi.EnsureLogStreamResponse, error) {
	node, _, err := nodeID(ctx, time.Now())
	if err != nil {
		return nil, err
	}
	create := in.GetCreateGroup()
	switch {
	case d.cfg.Execution == nil:
	case in.GetTaskId() == "":
		if !d.logsOfBalancer(node, in.GetGroup(), in.GetStream()) {
			return nil, notYourStream()
		}
	default:
		t, err := d.ownTask(ctx, in.GetTaskId())
		if err != nil {
			return nil, err
		}
		return d.ensureTaskStream(ctx, t, in)
	}
	text, err := refusal(d.cfg.Logs.EnsureStream(ctx, in.GetGroup(), in.GetStream(), create))
	return &nodeapi.EnsureLogStreamResponse{Refusal: text}, err
}

// ensureTaskStream does what the awslogs driver does: it makes the stream, and
// only when the group is missing and is to be made, the group. So the
// permission to make groups is only needed by those who make one.
func (d *Dispatcher) ensureTaskStream(ctx context.Context, t *model.Task, in *nodeapi.EnsureLogStreamRequest) (*nodeapi.EnsureLogStreamResponse, error) {
	actions := []string{createLogStream}
	if in.GetCreateGroup() {
		actions = append(actions, createLogGroup)
	}
	for _, action := range actions {
		text, err := d.cfg.Execution.AuthorizeLogs(ctx, t, in.GetContainer(), in.GetGroup(), in.GetStream(), action)
		if err != nil || text != "" {
			return &nodeapi.EnsureLogStreamResponse{Refusal: text}, d.answer(ctx, t, err)
		}
		text, err = refusal(d.cfg.Logs.EnsureStream(ctx, in.GetGroup(), in.GetStream(), action == createLogGroup))
		if err != nil || !strings.HasPrefix(text, "ResourceNotFoundException:") || action == actions[len(actions)-1] {
			return &nodeapi.EnsureLogStreamResponse{Refusal: text}, err
		}
	}
	return &nodeapi.EnsureLogStreamResponse{}, nil
}

// DeliverLogs stores a container's output.
func (d *Dispatcher) DeliverLogs(ctx context.Context, in *nodeapi.DeliverLogsRequest) (*nodeapi.DeliverLogsResponse, error) {
	node, _, err := nodeID(ctx, time.Now())
	if err != nil {
		return nil, err
	}
	// A node names its sources as it likes, but only within its own name.
	source := node + "/" + in.GetSource()
	if d.cfg.Execution != nil {
		text, err := d.mayDeliver(ctx, node, source, in)
		if err != nil || text != "" {
			return &nodeapi.DeliverLogsResponse{Refusal: text}, err
		}
	}
	events := make([]LogEvent, len(in.GetEvents()))
	for i, e := range in.GetEvents() {
		events[i] = LogEvent{Seq: e.GetSeq(), TimestampMS: e.GetTimestampMs(), Message: e.GetMessage()}
	}
	text, err := refusal(d.cfg.Logs.Deliver(ctx, in.GetGroup(), in.GetStream(), source, events))
	return &nodeapi.DeliverLogsResponse{Refusal: text}, err
}

// mayDeliver asks for what the output comes from: a task, as long as it is
// known; a load balancer that the node serves; else only a source that was let
// in while it was known may go on.
func (d *Dispatcher) mayDeliver(ctx context.Context, node, source string, in *nodeapi.DeliverLogsRequest) (refusal string, err error) {
	if in.GetTaskId() == "" && d.logsOfBalancer(node, in.GetGroup(), in.GetStream()) {
		return "", nil
	}
	if t, ok := records.Tasks.Get(d.cfg.Store.Snapshot(), in.GetTaskId()); ok {
		if t.InstanceID != node {
			return "", notYours(in.GetTaskId())
		}
		refusal, err := d.cfg.Execution.AuthorizeLogs(ctx, t, in.GetContainer(), in.GetGroup(), in.GetStream(), putLogEvents)
		if !errors.Is(err, fault.NotFound) { // else its definition is forgotten
			return refusal, d.answer(ctx, t, err)
		}
	}
	if d.cfg.Delivered != nil {
		before, err := d.cfg.Delivered(ctx, in.GetGroup(), in.GetStream(), source)
		if err != nil {
			return "", status.Error(codes.Unavailable, err.Error())
		}
		if before {
			return "", nil
		}
	}
	return "AccessDeniedException: Nothing is known of what this output comes from.", nil
}

// logsOfBalancer reports whether the stream is the access log of a load
// balancer that the node serves.
func (d *Dispatcher) logsOfBalancer(node, group, stream string) bool {
	lb, ok := records.LoadBalancers.Get(d.cfg.Store.Snapshot(), stream)
	return ok && group != "" && lb.InstanceID == node && lb.Attributes[model.AttributeAccessLogGroup] == group
}

func notYourStream() error {
	return status.Error(codes.PermissionDenied, "the log stream is none of the node's")
}

// refusal tells what the node must act on from what it may try again.
func refusal(err error) (string, error) {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r.Text, nil
	}
	if err != nil {
		return "", status.Error(codes.Unavailable, err.Error())
	}
	return "", nil
}
