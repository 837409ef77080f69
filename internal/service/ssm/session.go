package ssm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ssmapi"
	"berth.dev/berth/internal/wire/caller"
)

// Tokens issues what opens a data channel; *sessions.Sessions does.
type Tokens interface {
	IssueChannel(sessionID string, serial int) (string, error)
}

// documentShell is what a session runs that names no document.
const documentShell = "SSM-SessionManagerRunShell"

// notConnected is AWS's answer for everything that no session can be had with.
func notConnected(target string) error {
	return &ssmapi.TargetNotConnected{Message: new(target + " is not connected.")}
}

func noSession(id string) error {
	return &ssmapi.DoesNotExistException{Message: new(fmt.Sprintf("Session %s does not exist", id))} // text uncertain
}

// StartSession implements ssmapi.Service. The only targets are containers of
// tasks that were started with enableExecuteCommand.
func (p *Provider) StartSession(ctx context.Context, in *ssmapi.StartSessionInput) (*ssmapi.StartSessionOutput, error) {
	who, ok := caller.From(ctx)
	if !ok || p.tokens == nil {
		return nil, errors.New("start session: there are no data channels here")
	}
	session, err := newSession(in)
	if err != nil {
		return nil, err
	}
	session.ID, session.Owner = sessionID(who), who.ARN
	token, err := p.tokens.IssueChannel(session.ID, session.Serial)
	if err != nil {
		return nil, err
	}
	if _, err := p.store.Update(ctx, func(tx *store.Tx) error {
		t, c, found := target(tx, *in.Target)
		if !found || !t.Executable(c.Name) || !nodeConnected(tx, t) {
			return notConnected(*in.Target)
		}
		records.Tasks.Guard(tx, t.Key())
		s := *session
		s.ClusterName, s.TaskID, s.Container, s.RuntimeID = t.ClusterName, t.ID, c.Name, c.RuntimeID
		s.CreatedAt, s.ValidUntil = tx.Now(), tx.Now().Add(model.SessionTokenLife)
		records.RemoteSessions.Put(tx, &s)
		return nil
	}); err != nil {
		return nil, err
	}
	return &ssmapi.StartSessionOutput{
		SessionId: &session.ID, TokenValue: &token, StreamUrl: new(model.StreamURL(who.Secure, who.Host, session.ID)),
	}, nil
}

// sessionID begins with who starts the session, as on AWS: policies allow
// ending one's own with session/${aws:username}-*. A role's session has its
// name.
func sessionID(who caller.Identity) string {
	name := who.UserName
	if name == "" {
		name = who.ARN[strings.LastIndexAny(who.ARN, "/:")+1:]
	}
	return name + "-0" + ident.Hex(16)
}

// target finds the container that a target names.
func target(r store.Reader, name string) (*model.Task, *model.TaskContainer, bool) {
	cluster, taskID, runtimeID, ok := model.ParseSessionTarget(name)
	if !ok {
		return nil, nil, false
	}
	t, found := records.Tasks.Get(r, taskID)
	if !found || t.ClusterName != cluster {
		return nil, nil, false
	}
	i := slices.IndexFunc(t.Containers, func(c model.TaskContainer) bool { return c.RuntimeID == runtimeID })
	if i < 0 {
		return nil, nil, false
	}
	return t, &t.Containers[i], true
}

func nodeConnected(r store.Reader, t *model.Task) bool {
	node, found := records.Instances.Get(r, t.InstanceID)
	return found && node.Connected
}

// newSession reads what a session is to be.
func newSession(in *ssmapi.StartSessionInput) (*model.RemoteSession, error) {
	s := &model.RemoteSession{
		Target: *in.Target, Reason: value(in.Reason), Status: model.SessionConnecting, IdleSeconds: model.SessionIdleSeconds,
		Document: value(in.DocumentName), Parameters: in.Parameters,
	}
	// A document may be named by its ARN.
	if at := strings.Index(s.Document, ":document/"); at >= 0 {
		s.Document = s.Document[at+len(":document/"):]
	}
	if s.Document == "" {
		s.Document = documentShell
	}
	parameters, found := documents[s.Document]
	if !found {
		return nil, &ssmapi.InvalidDocument{Message: new(fmt.Sprintf("Document with name %s does not exist.", s.Document))}
	}
	if err := checkParameters(s, parameters); err != nil {
		return nil, err
	}
	switch s.Document {
	case documentShell:
		s.Command = []string{"/bin/sh"}
	case model.DocumentDebug:
		s.Command = s.Parameters["command"]
	}
	return s, nil
}

// parameter is one of a document's.
type parameter struct {
	name     string
	required bool
	absent   string // its value when it is not given
	list     bool   // any number of values
	check    func(string) bool
}

// documents are what sessions can run. Those of AWS that are not here are for
// hosts.
var documents = map[string][]parameter{
	documentShell: nil,
	model.DocumentPortForward: {
		{name: "portNumber", absent: "80", check: isPort}, {name: "localPortNumber", absent: "0", check: isLocalPort},
	},
	model.DocumentPortForwardRemote: {
		{name: "host", required: true, check: isHost},
		{name: "portNumber", absent: "80", check: isPort},
		{name: "localPortNumber", absent: "0", check: isLocalPort},
	},
	model.DocumentDebug: {
		{name: "image", required: true, check: notEmpty}, {name: "command", list: true},
	},
	model.DocumentRead:  {{name: "path", required: true, check: isPath}},
	model.DocumentWrite: {{name: "path", required: true, check: isPath}},
}

// checkParameters checks what a session's document is given and sets what is
// left out.
func checkParameters(s *model.RemoteSession, known []parameter) error {
	for name := range s.Parameters {
		if !slices.ContainsFunc(known, func(k parameter) bool { return k.name == name }) {
			return invalidParameters("Parameter \"%s\" is not defined in document %s.", name, s.Document)
		}
	}
	all := map[string][]string{}
	for _, k := range known {
		values := s.Parameters[k.name]
		switch {
		case len(values) == 0 && k.required:
			return invalidParameters("Parameter \"%s\" requires a value.", k.name)
		case len(values) == 0 && k.absent != "":
			values = []string{k.absent}
		case len(values) > 1 && !k.list:
			return invalidParameters("Parameter \"%s\" must have one value.", k.name)
		}
		for _, v := range values {
			if k.check != nil && !k.check(v) {
				return invalidParameters("Parameter \"%s\" has value \"%s\", which is not valid.", k.name, v)
			}
		}
		if len(values) > 0 {
			all[k.name] = values
		}
	}
	s.Parameters = all
	return nil
}

// invalidParameters says what is wrong with parameters. The texts are
// uncertain, and of AWS's errors none but this can carry them.
func invalidParameters(format string, args ...any) error {
	return &ssmapi.InvalidDocument{Message: new(fmt.Sprintf(format, args...))}
}

func isPort(v string) bool {
	n, err := strconv.ParseUint(v, 10, 16)
	return err == nil && n > 0
}

func isLocalPort(v string) bool {
	_, err := strconv.ParseUint(v, 10, 16)
	return err == nil
}

func isHost(v string) bool   { return v != "" && len(v) <= 253 && !strings.ContainsAny(v, " /\x00") }
func isPath(v string) bool   { return v != "" && len(v) <= 4096 && !strings.Contains(v, "\x00") }
func notEmpty(v string) bool { return v != "" }

// ResumeSession implements ssmapi.Service: a new token, for a client that has
// lost its connection. A session that has ended has none, which the plugin
// understands and ends; an error it would not.
func (p *Provider) ResumeSession(ctx context.Context, in *ssmapi.ResumeSessionInput) (*ssmapi.ResumeSessionOutput, error) {
	who, ok := caller.From(ctx)
	if !ok || p.tokens == nil {
		return nil, errors.New("resume session: there are no data channels here")
	}
	var session *model.RemoteSession
	if _, err := p.store.Update(ctx, func(tx *store.Tx) error {
		session = nil
		s, found := records.RemoteSessions.Get(tx, *in.SessionId)
		if !found {
			return noSession(*in.SessionId)
		}
		if s.EndedAt != nil || s.Terminate {
			return nil
		}
		return records.RemoteSessions.Edit(tx, s.ID, func(s *model.RemoteSession) error {
			s.Serial++ // the token before is void
			s.ValidUntil = tx.Now().Add(model.SessionTokenLife)
			session = s
			return nil
		})
	}); err != nil {
		return nil, err
	}
	if session == nil {
		return &ssmapi.ResumeSessionOutput{SessionId: in.SessionId}, nil
	}
	token, err := p.tokens.IssueChannel(session.ID, session.Serial)
	if err != nil {
		return nil, err
	}
	return &ssmapi.ResumeSessionOutput{
		SessionId: in.SessionId, TokenValue: &token, StreamUrl: new(model.StreamURL(who.Secure, who.Host, session.ID)),
	}, nil
}

// TerminateSession implements ssmapi.Service. One that has ended is ended
// again, as on AWS.
func (p *Provider) TerminateSession(ctx context.Context, in *ssmapi.TerminateSessionInput) (*ssmapi.TerminateSessionOutput, error) {
	if _, err := p.store.Update(ctx, func(tx *store.Tx) error {
		s, found := records.RemoteSessions.Get(tx, *in.SessionId)
		if !found {
			return noSession(*in.SessionId)
		}
		if s.EndedAt != nil {
			return nil
		}
		return records.RemoteSessions.Edit(tx, s.ID, func(s *model.RemoteSession) error {
			s.Terminate, s.Status = true, model.SessionTerminating
			if s.ConnectedAt == nil { // nobody carries it who would
				s.Status, s.EndedAt, s.Details = model.SessionTerminated, new(tx.Now()), "The session was terminated."
			}
			return nil
		})
	}); err != nil {
		return nil, err
	}
	return &ssmapi.TerminateSessionOutput{SessionId: in.SessionId}, nil
}

// GetConnectionStatus implements ssmapi.Service. What is no target is not
// connected.
func (p *Provider) GetConnectionStatus(_ context.Context, in *ssmapi.GetConnectionStatusInput) (*ssmapi.GetConnectionStatusOutput, error) {
	snap := p.store.Snapshot()
	out := &ssmapi.GetConnectionStatusOutput{Target: in.Target, Status: "notconnected"}
	if t, c, found := target(snap, *in.Target); found && t.Executable(c.Name) && nodeConnected(snap, t) {
		out.Status = "connected"
	}
	return out, nil
}

// DescribeSessions implements ssmapi.Service: the newest first.
func (p *Provider) DescribeSessions(_ context.Context, in *ssmapi.DescribeSessionsInput) (*ssmapi.DescribeSessionsOutput, error) {
	last, err := openToken("DescribeSessions", in.NextToken)
	if err != nil {
		return nil, err
	}
	keep, err := sessionFilter(in)
	if err != nil {
		return nil, err
	}
	var found []*model.RemoteSession
	for s := range records.RemoteSessions.All(p.store.Snapshot()) {
		if keep(s) && (last == "" || place(s) < last) {
			found = append(found, s)
		}
	}
	slices.SortFunc(found, func(a, b *model.RemoteSession) int { return strings.Compare(place(b), place(a)) })
	out := &ssmapi.DescribeSessionsOutput{Sessions: []ssmapi.Session{}}
	limit := 50
	if in.MaxResults != nil {
		limit = int(*in.MaxResults)
	}
	for i, s := range found {
		if i == limit {
			out.NextToken = newToken("DescribeSessions", place(found[i-1]))
			break
		}
		out.Sessions = append(out.Sessions, sessionOut(s))
	}
	return out, nil
}

// place orders sessions by when they began.
func place(s *model.RemoteSession) string {
	return s.CreatedAt.UTC().Format("2006-01-02T15:04:05.000000000Z") + s.ID
}

// sessionFilter reads which sessions are meant.
func sessionFilter(in *ssmapi.DescribeSessionsInput) (func(*model.RemoteSession) bool, error) {
	filters := []func(*model.RemoteSession) bool{func(s *model.RemoteSession) bool {
		return (s.EndedAt != nil) == (in.State == "History")
	}}
	for _, f := range in.Filters {
		want := *f.Value
		var filter func(*model.RemoteSession) bool
		switch f.Key {
		case "InvokedAfter", "InvokedBefore":
			at, err := time.Parse(time.RFC3339, want)
			if err != nil {
				return nil, &ssmapi.InvalidFilterKey{Message: new(fmt.Sprintf("The value %q of filter %s is not a time.", want, f.Key))}
			}
			filter = func(s *model.RemoteSession) bool {
				if f.Key == "InvokedAfter" {
					return !s.CreatedAt.Before(at)
				}
				return !s.CreatedAt.After(at)
			}
		case "Target":
			filter = func(s *model.RemoteSession) bool { return s.Target == want }
		case "Owner":
			filter = func(s *model.RemoteSession) bool { return s.Owner == want }
		case "Status":
			filter = func(s *model.RemoteSession) bool { return s.Status == want }
		case "SessionId":
			filter = func(s *model.RemoteSession) bool { return s.ID == want }
		default: // AccessType: there is one
			filter = func(*model.RemoteSession) bool { return want == "Standard" }
		}
		filters = append(filters, filter)
	}
	return func(s *model.RemoteSession) bool {
		return !slices.ContainsFunc(filters, func(f func(*model.RemoteSession) bool) bool { return !f(s) })
	}, nil
}

func sessionOut(s *model.RemoteSession) ssmapi.Session {
	out := ssmapi.Session{
		SessionId: &s.ID, Target: &s.Target, Status: ssmapi.SessionStatus(s.Status), StartDate: &s.CreatedAt, EndDate: s.EndedAt,
		DocumentName: &s.Document, Owner: &s.Owner, AccessType: "Standard",
	}
	if s.Reason != "" {
		out.Reason = &s.Reason
	}
	if s.Details != "" {
		out.Details = &s.Details
	}
	if s.Log != nil {
		out.OutputUrl = &ssmapi.SessionManagerOutputUrl{CloudWatchOutputUrl: new(s.Log.LogGroup)}
	}
	return out
}
