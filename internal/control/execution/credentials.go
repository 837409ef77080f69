package execution

import (
	"context"
	"fmt"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

// TaskCredentials gives credentials of the task's role. The session's name is
// the task's id, so that AWS's tools and the audit show which task called. A
// task without a role is fault.Invalid.
func (e *Execution) TaskCredentials(_ context.Context, t *model.Task) (*nodeapi.TaskCredentialsResponse, error) {
	def, err := e.definition(t)
	if err != nil {
		return nil, err
	}
	if def.TaskRoleARN == "" {
		return nil, fault.New(fault.Invalid, "task %s has no role", t.ID)
	}
	who, err := e.assume(t, def.TaskRoleARN)
	if err != nil {
		text, err := split(err)
		return &nodeapi.TaskCredentialsResponse{Refusal: text}, err
	}
	issued, err := e.cfg.Sessions.Issue(who)
	if err != nil {
		return nil, fmt.Errorf("issuing credentials for task %s: %w", t.ID, err)
	}
	return &nodeapi.TaskCredentialsResponse{
		RoleArn: who.Session.RoleARN, AccessKeyId: issued.AccessKeyID, SecretAccessKey: issued.SecretAccessKey,
		SessionToken: issued.SessionToken, ExpiresMs: issued.Expires.UnixMilli(),
	}, nil
}
