package model

import (
	"strings"
	"time"
)

// Documents that a session may run. The first is what ExecuteCommand starts;
// those of Berth are its own.
const (
	DocumentExec              = "AWS-ECS-ExecuteCommand"
	DocumentPortForward       = "AWS-StartPortForwardingSession"
	DocumentPortForwardRemote = "AWS-StartPortForwardingSessionToRemoteHost"
	DocumentDebug             = "Berth-DebugContainer" // parameters image, command
	DocumentRead              = "Berth-ReadFiles"      // parameter path: a tar stream comes out
	DocumentWrite             = "Berth-WriteFiles"     // parameter path: a tar stream goes in
)

// Statuses of a session, as SSM's DescribeSessions shows them.
const (
	SessionConnecting   = "Connecting"
	SessionConnected    = "Connected"
	SessionDisconnected = "Disconnected"
	SessionTerminating  = "Terminating"
	SessionTerminated   = "Terminated"
	SessionFailed       = "Failed"
)

// RemoteSession is somebody's way into a task: a command, a terminal, a
// forwarded port. ExecuteCommand and StartSession write it, with everything
// that decides what may be done; TerminateSession sets Terminate. The data
// channel, which carries the session, moves Status forward and sets EndedAt and
// Details. A token is only good for one connection, which counts Serial on: the
// one that takes the session from Connecting to Connected or, after
// ResumeSession, which counts it too, from Disconnected.
type RemoteSession struct {
	ID          string `json:"sessionId"`
	ClusterName string `json:"clusterName"`
	TaskID      string `json:"taskId"`
	Container   string `json:"container"`
	RuntimeID   string `json:"runtimeId"`
	Target      string `json:"target"` // ecs:<cluster>_<task id>_<runtime id>
	Owner       string `json:"owner"`  // ARN of who started it
	Reason      string `json:"reason,omitempty"`
	// What is run: the document and its parameters, or the command.
	Document   string              `json:"document"`
	Parameters map[string][]string `json:"parameters,omitempty"`
	Command    []string            `json:"command,omitempty"`
	// Log says where the output of a command is kept.
	Log *SessionLog `json:"log,omitempty"`
	// IdleSeconds ends a session in which nothing moves, MaxSeconds any; zero
	// is never.
	IdleSeconds int `json:"idleSeconds,omitempty"`
	MaxSeconds  int `json:"maxSeconds,omitempty"`

	CreatedAt time.Time `json:"createdAt"`
	// ValidUntil is how long the token opens the data channel.
	ValidUntil time.Time `json:"validUntil"`
	// Serial is the number of the token that is good.
	Serial int `json:"serial,omitempty"`

	Status      string     `json:"status"`
	ConnectedAt *time.Time `json:"connectedAt,omitempty"`
	EndedAt     *time.Time `json:"endedAt,omitempty"`
	// Details says why it has ended.
	Details   string `json:"details,omitempty"`
	Terminate bool   `json:"terminate,omitempty"`
}

// SessionTarget is a container as Session Manager names it.
func SessionTarget(cluster, taskID, runtimeID string) string {
	return "ecs:" + cluster + "_" + taskID + "_" + runtimeID
}

// ParseSessionTarget takes the name of a container apart. A cluster's name may
// have what separates; ids have not.
func ParseSessionTarget(target string) (cluster, taskID, runtimeID string, ok bool) {
	rest, ok := strings.CutPrefix(target, "ecs:")
	last := strings.LastIndex(rest, "_")
	if !ok || last < 0 {
		return "", "", "", false
	}
	rest, runtimeID = rest[:last], rest[last+1:]
	if last = strings.LastIndex(rest, "_"); last < 0 {
		return "", "", "", false
	}
	cluster, taskID = rest[:last], rest[last+1:]
	return cluster, taskID, runtimeID, cluster != "" && taskID != "" && runtimeID != ""
}

// How long sessions take: the token's life, and the idle time after which one
// ends, which ECS fixes.
const (
	SessionTokenLife   = 5 * time.Minute
	SessionIdleSeconds = 20 * 60
)

// Executable says whether commands can be run in a container now.
func (t *Task) Executable(container string) bool {
	c, ok := t.Observed.Container(container)
	return ok && t.EnableExecuteCommand && t.DesiredStatus == TaskRunning &&
		c.Status == ContainerRunning && c.ExecAgent != nil && c.ExecAgent.Status == AgentRunning
}

// StreamURL is where the data channel of a session is, at the address that its
// caller knows.
func StreamURL(secure bool, host, sessionID string) string {
	scheme := "ws"
	if secure {
		scheme = "wss"
	}
	return scheme + "://" + host + "/v1/data-channel/" + sessionID + "?role=publish_subscribe"
}

// Key identifies the session in the store.
func (s *RemoteSession) Key() string { return s.ID }

// SessionLog is a place for the output of a session.
type SessionLog struct {
	LogGroup  string `json:"logGroup"`
	LogStream string `json:"logStream"`
	Encrypted bool   `json:"encrypted,omitempty"`
}

// Kinds of streams into a task.
const (
	StreamExec  = "exec"  // a program in a container
	StreamDial  = "dial"  // a TCP connection from the task's network namespace
	StreamDebug = "debug" // a program of another image in a container's namespaces
	StreamRead  = "read"  // a tar archive of a path of a container
	StreamWrite = "write" // a tar archive into a directory of a container
)

// StreamRequest asks a node for a stream into one of its tasks. The control
// plane has decided that it may be; the node checks that the task is its own
// and runs.
type StreamRequest struct {
	ID        string   `json:"id"`
	TaskID    string   `json:"taskId"`
	Container string   `json:"container"`
	Kind      string   `json:"kind"`
	Command   []string `json:"command,omitempty"`
	TTY       bool     `json:"tty,omitempty"`
	Rows      uint16   `json:"rows,omitempty"`
	Columns   uint16   `json:"columns,omitempty"`
	Image     string   `json:"image,omitempty"` // StreamDebug
	Host      string   `json:"host,omitempty"`  // StreamDial; empty is the task's loopback
	Port      uint16   `json:"port,omitempty"`
	Path      string   `json:"path,omitempty"` // StreamRead, StreamWrite
}
