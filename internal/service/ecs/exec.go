package ecs

import (
	"cmp"
	"context"
	"errors"

	"github.com/mattn/go-shellwords"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/caller"
)

// Tokens issues what opens a data channel; *sessions.Sessions does.
type Tokens interface {
	IssueChannel(sessionID string, serial int) (string, error)
}

// What logging may be.
const (
	loggingNone     = "NONE"
	loggingOverride = "OVERRIDE"
)

// notExecutable has AWS's words, its apostrophe too.
func notExecutable() error {
	return parameterError("The execute command failed because execute command was not enabled when the task was run or the execute command agent isn’t running. Wait and try again or run a new task with execute command enabled and try again.")
}

// needsTaskRole refuses enableExecuteCommand without a task role, in which the
// agent on AWS reaches Session Manager. Here nothing needs it, but a definition
// that passes here is to pass there. What is the words of the operation.
func needsTaskRole(enabled bool, role, what string) error {
	if !enabled || role != "" {
		return nil
	}
	return parameterError("The %s because a valid taskRoleArn is not being used. Specify a valid task role in your task definition and try again.", what)
}

// ExecuteCommand implements ecsapi.Service: it makes a session, which begins
// when somebody opens its data channel. A container with a read-only root file
// system can be looked into, unlike on AWS: there is no agent in it that would
// have to write.
func (p *Provider) ExecuteCommand(ctx context.Context, in *ecsapi.ExecuteCommandInput) (*ecsapi.ExecuteCommandOutput, error) {
	if !value(in.Interactive) {
		return nil, parameterError("Interactive is the only mode supported currently.")
	}
	command, err := splitCommand(value(in.Command))
	if err != nil {
		return nil, err
	}
	who, ok := caller.From(ctx)
	if !ok || p.tokens == nil {
		return nil, errors.New("execute command: there are no data channels here")
	}
	session := &model.RemoteSession{
		ID: "ecs-execute-command-" + ident.Token(26), Owner: p.principal(ctx), Document: model.DocumentExec, Command: command,
		IdleSeconds: model.SessionIdleSeconds, Status: model.SessionConnecting,
	}
	token, err := p.tokens.IssueChannel(session.ID, session.Serial)
	if err != nil {
		return nil, err
	}
	var out *ecsapi.ExecuteCommandOutput
	if _, err := p.store.Update(ctx, func(tx *store.Tx) error {
		t, c, err := p.executable(tx, in)
		if err != nil {
			return err
		}
		s := *session
		s.ClusterName, s.TaskID, s.Container, s.RuntimeID = t.ClusterName, t.ID, c.Name, c.RuntimeID
		s.Target = model.SessionTarget(t.ClusterName, t.ID, c.RuntimeID)
		s.CreatedAt, s.ValidUntil = tx.Now(), tx.Now().Add(model.SessionTokenLife)
		if s.Log, err = sessionLog(tx, t, c.Name, s.ID); err != nil {
			return err
		}
		records.RemoteSessions.Put(tx, &s)
		out = &ecsapi.ExecuteCommandOutput{
			ClusterArn: new(p.scope.Cluster(t.ClusterName)), TaskArn: &t.ARN,
			ContainerArn: new(p.scope.Container(t.ClusterName, t.ID, c.ID)), ContainerName: &c.Name,
			Interactive: new(true),
		}
		return nil
	}); err != nil {
		return nil, err
	}
	out.Session = &ecsapi.Session{
		SessionId: &session.ID, TokenValue: &token, StreamUrl: new(model.StreamURL(who.Secure, who.Host, session.ID)),
	}
	return out, nil
}

// splitCommand splits a command into words as a shell does. There is no shell:
// nothing is expanded, and pipes need /bin/sh -c "…".
func splitCommand(command string) ([]string, error) {
	parser := shellwords.NewParser()
	parser.ParseEnv, parser.ParseBacktick = false, false
	words, err := parser.Parse(command)
	switch {
	case err != nil:
		return nil, parameterError("command cannot be split into words: %s.", err)
	case parser.Position >= 0:
		// The parser stops where a shell would begin another command. (uncertain)
		return nil, parameterError(`command has one of ; & | < > that is not quoted. There is no shell that would read it: use /bin/sh -c "…".`)
	case len(words) == 0:
		return nil, parameterError("command must not be blank.")
	}
	return words, nil
}

// executable finds the container that a command is for, which must be able to
// run it now. Texts about container and task are uncertain.
func (p *Provider) executable(tx *store.Tx, in *ecsapi.ExecuteCommandInput) (*model.Task, *model.TaskContainer, error) {
	cluster, err := p.activeCluster(tx, in.Cluster)
	if err != nil {
		return nil, nil, err
	}
	id, err := p.taskID(cluster.Name, value(in.Task))
	if err != nil {
		return nil, nil, err
	}
	t, found := records.Tasks.Get(tx, id)
	if !found || t.ClusterName != cluster.Name {
		return nil, nil, parameterError("The referenced task was not found.")
	}
	records.Tasks.Guard(tx, t.Key())
	name := value(in.Container)
	if name == "" {
		if len(t.Containers) != 1 {
			return nil, nil, parameterError("The container name is required: the task has %d containers.", len(t.Containers))
		}
		name = t.Containers[0].Name
	}
	for i := range t.Containers {
		c := &t.Containers[i]
		if c.Name != name {
			continue
		}
		if !t.Executable(name) {
			return nil, nil, notExecutable()
		}
		if node, found := records.Instances.Get(tx, t.InstanceID); !found || !node.Connected {
			return nil, nil, &ecsapi.TargetNotConnectedException{Message: new("The execute command failed due to an internal error. Try again later.")}
		}
		return t, c, nil
	}
	return nil, nil, parameterError("The container %s does not exist in the task.", name)
}

// sessionLog says where the cluster has the output of sessions kept: nowhere, in
// the log group of the container, or in one of its own.
func sessionLog(tx *store.Tx, t *model.Task, container, sessionID string) (*model.SessionLog, error) {
	cluster, _ := records.Clusters.Get(tx, t.ClusterName)
	records.Clusters.Guard(tx, t.ClusterName)
	var config model.ExecuteCommandConfiguration
	if c := cluster.Configuration; c != nil && c.ExecuteCommand != nil {
		config = *c.ExecuteCommand
	}
	switch cmp.Or(config.Logging, "DEFAULT") {
	case loggingNone:
		return nil, nil
	case loggingOverride:
		log := config.LogConfiguration
		switch {
		case log.S3BucketName != "":
			return nil, parameterError("The cluster's executeCommandConfiguration has s3BucketName, which is not supported: Berth does not have S3. Use cloudWatchLogGroupName.")
		case value(log.CloudWatchEncryptionEnabled):
			return nil, parameterError("The cluster's executeCommandConfiguration has cloudWatchEncryptionEnabled, which is not supported: Berth's log groups are not encrypted with KMS keys.")
		case log.CloudWatchLogGroupName == "":
			return nil, nil
		}
		return &model.SessionLog{LogGroup: log.CloudWatchLogGroupName, LogStream: sessionID}, nil
	}
	def, found := records.DefinitionByARN(tx, t.TaskDefinitionARN)
	if !found {
		return nil, nil
	}
	for i := range def.ContainerDefinitions {
		c := &def.ContainerDefinitions[i]
		if c.Name == container && c.LogConfiguration != nil && c.LogConfiguration.LogDriver == "awslogs" {
			return &model.SessionLog{LogGroup: c.LogConfiguration.Options["awslogs-group"], LogStream: sessionID}, nil
		}
	}
	return nil, nil
}

// managedAgents shows what runs commands in a container, for tasks that can.
func managedAgents(t *model.Task, o *model.ContainerObserved) []ecsapi.ManagedAgent {
	if !t.EnableExecuteCommand {
		return nil
	}
	agent := model.ManagedAgent{Status: model.AgentPending}
	if o != nil && o.ExecAgent != nil {
		agent = *o.ExecAgent
	}
	return []ecsapi.ManagedAgent{{
		Name: "ExecuteCommandAgent", LastStatus: &agent.Status, LastStartedAt: agent.StartedAt, Reason: optional(agent.Reason),
	}}
}
