package execution

import (
	"context"
	"errors"
	"strconv"
	"time"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/model"
)

// Actions on logs that an execution role is asked for.
const (
	CreateLogGroup  = "logs:CreateLogGroup"
	CreateLogStream = "logs:CreateLogStream"
	PutLogEvents    = "logs:PutLogEvents"
)

// delivery is what was asked of AuthorizeLogs; decision is the answer until
// a moment.
type (
	delivery struct{ task, container, group, stream string }
	decision struct {
		refusal string
		until   time.Time
	}
)

const (
	// deliveriesFor is how long a decision about deliveries counts. A change of
	// a policy takes longer than that on AWS.
	deliveriesFor        = 5 * time.Second
	rememberedDeliveries = 8192
)

// AuthorizeLogs says whether a container's output may go to a stream. The
// stream must be the one that the task's definition names, and an execution
// role must allow the action. A refusal has AWS's error code and message; an
// error of class fault.Denied says that the stream is not the container's.
func (e *Execution) AuthorizeLogs(ctx context.Context, t *model.Task, container, group, stream, action string) (refusal string, err error) {
	asked := delivery{t.ID, container, group, stream}
	if action == PutLogEvents {
		if d, ok := e.deliveries.Get(asked); ok && e.cfg.Now().Before(d.until) {
			return d.refusal, nil
		}
	}
	refusal, err = split(e.authorizeLogs(ctx, t, asked, action))
	if err == nil && action == PutLogEvents {
		e.deliveries.Add(asked, decision{refusal, e.cfg.Now().Add(deliveriesFor)})
	}
	return refusal, err
}

func (e *Execution) authorizeLogs(ctx context.Context, t *model.Task, asked delivery, action string) error {
	def, err := e.definition(t)
	if err != nil {
		return err
	}
	options, err := logOptions(def, asked.container)
	if err != nil {
		return err
	}
	if asked.group != options["awslogs-group"] || asked.stream != streamName(t, asked.container, options) {
		return fault.New(fault.Denied, "container %s of task %s does not log to %s, %s", asked.container, t.ID, asked.group, asked.stream)
	}
	if create, err := strconv.ParseBool(options["awslogs-create-group"]); action == CreateLogGroup && (err != nil || !create) {
		return fault.New(fault.Denied, "the definition of task %s does not ask for the log group to be made", t.ID)
	}
	if def.ExecutionRoleARN == "" {
		return nil // on EC2, where the host's own right counts
	}
	who, err := e.acting(t, def.ExecutionRoleARN)
	if err != nil {
		return err
	}
	resource := "log-group:" + asked.group + ":log-stream:" + asked.stream
	if action == CreateLogGroup {
		resource = "log-group:" + asked.group + ":log-stream:" // as AWS's refusals name it [OBS]
	}
	err = e.cfg.Access.Check(ctx, who, action, e.cfg.Scope.Regional("logs", resource))
	return denied(err, "%s")
}

// logOptions are the awslogs options of a container. None of those that name
// the stream can come from a secret: taskspec refuses that.
func logOptions(def *model.TaskDefinition, container string) (map[string]string, error) {
	c, ok := def.Container(container)
	if !ok || c.LogConfiguration == nil || c.LogConfiguration.LogDriver != "awslogs" {
		return nil, fault.New(fault.Denied, "container %s has no log stream", container)
	}
	return c.LogConfiguration.Options, nil
}

// streamName is the stream of a container: prefix/container/task, or the name
// that the engine has for the container when there is no prefix
// (behaviour/secrets-logs.md §4). The agent names it likewise.
func streamName(t *model.Task, container string, options map[string]string) string {
	if prefix := options["awslogs-stream-prefix"]; prefix != "" {
		return prefix + "/" + container + "/" + t.ID
	}
	for i := range t.Containers {
		if t.Containers[i].Name == container {
			return t.Containers[i].RuntimeID
		}
	}
	return ""
}

// denied turns a refused action into a *Refused, worded by format with AWS's
// code and sentence.
func denied(err error, format string, args ...any) error {
	if !errors.Is(err, fault.Denied) {
		return err
	}
	return refused(format, append(args, "AccessDeniedException: "+err.Error())...)
}
