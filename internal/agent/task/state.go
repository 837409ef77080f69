package task

import (
	"time"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/model"
)

// Phase is how far the node has come with one container. It only grows,
// except that a restart policy takes an exited container back to running.
type Phase int

// The phases.
const (
	PhaseNone    Phase = iota // nothing was done
	PhasePulled               // its image is known
	PhaseCreated              // it exists
	PhaseRunning              // its process was started
	PhaseExited               // its process ended, or it will never start
	PhaseRemoved              // nothing of it is left
)

// State is what the node knows of one task: the journal's record. It is plain
// data; Apply and Next are the only code that reads meaning into it.
type State struct {
	Seq    uint64 `json:"seq"`
	Status string `json:"status"`

	Prepared   bool   `json:"prepared,omitempty"` // cgroup and volumes exist
	CgroupPath string `json:"cgroupPath,omitempty"`
	Attached   bool   `json:"attached,omitempty"` // the network interface exists
	NetNSPath  string `json:"netnsPath,omitempty"`
	Fetched    bool   `json:"fetched,omitempty"` // what the task's roles give it is there
	// CredentialsID is under what the task's containers ask for the credentials
	// of its role; empty for a task without one. It cannot be guessed.
	CredentialsID string `json:"credentialsId,omitempty"`
	Released      bool   `json:"released,omitempty"` // network, cgroup and volumes are gone

	// StopCode and StoppedReason are this node's own decision to end the task.
	StopCode      string `json:"stopCode,omitempty"`
	StoppedReason string `json:"stoppedReason,omitempty"`

	ConnectivityAt     *time.Time `json:"connectivityAt,omitempty"`
	PullStartedAt      *time.Time `json:"pullStartedAt,omitempty"`
	PullStoppedAt      *time.Time `json:"pullStoppedAt,omitempty"`
	StartedAt          *time.Time `json:"startedAt,omitempty"`
	StoppingAt         *time.Time `json:"stoppingAt,omitempty"`
	ExecutionStoppedAt *time.Time `json:"executionStoppedAt,omitempty"`
	StoppedAt          *time.Time `json:"stoppedAt,omitempty"`

	Containers []ContainerState `json:"containers"`
}

// ContainerState is one container of the task, in the order of the task
// definition.
type ContainerState struct {
	Name  string         `json:"name"`
	Phase Phase          `json:"phase"`
	Image *runtime.Image `json:"image,omitempty"`

	// Connected: the container has its place on the bridge network, in network
	// mode bridge.
	Connected bool                   `json:"connected,omitempty"`
	Address   string                 `json:"address,omitempty"`
	Bindings  []model.NetworkBinding `json:"networkBindings,omitempty"`

	PID       int        `json:"pid,omitempty"`
	StartedAt *time.Time `json:"startedAt,omitempty"` // of the current run
	RanOnce   bool       `json:"ranOnce,omitempty"`
	ExitCode  *int32     `json:"exitCode,omitempty"`
	ExitedAt  *time.Time `json:"exitedAt,omitempty"`
	Reason    string     `json:"reason,omitempty"`
	Restarts  int        `json:"restarts,omitempty"`
	Final     bool       `json:"final,omitempty"` // it could not be started, or its end was not seen: no policy restarts it

	// SignalledAt is when the stop signal was sent, KilledAt when SIGKILL was.
	SignalledAt *time.Time `json:"signalledAt,omitempty"`
	KilledAt    *time.Time `json:"killedAt,omitempty"`

	Health Health `json:"health"`
}

// NewState returns the state of a task of which nothing was done.
func NewState(a *model.Assignment) State {
	s := State{Status: model.TaskProvisioning}
	if a.NetworkInterface == nil {
		s.Status = model.TaskPending
	}
	if a.TaskDefinition.TaskRoleARN != "" {
		s.CredentialsID = ident.UUID()
	}
	for i := range a.TaskDefinition.ContainerDefinitions {
		s.Containers = append(s.Containers, ContainerState{Name: a.TaskDefinition.ContainerDefinitions[i].Name})
	}
	return s
}

func (s *State) container(name string) *ContainerState {
	for i := range s.Containers {
		if s.Containers[i].Name == name {
			return &s.Containers[i]
		}
	}
	return nil
}

// clone copies what Apply may change. Pointers are replaced and never written
// through, so they may be shared.
func (s State) clone() State {
	s.Containers = append([]ContainerState(nil), s.Containers...)
	return s
}

// advance moves the task's status forward, never back.
func (s *State) advance(status string) {
	if model.TaskStatusRank(status) > model.TaskStatusRank(s.Status) {
		s.Status = status
	}
}

// Observed is what the node tells the control plane of this state.
func (s *State) Observed(a *model.Assignment) model.TaskObserved {
	o := model.TaskObserved{
		Seq:                s.Seq,
		Status:             s.Status,
		StopCode:           s.StopCode,
		StoppedReason:      s.StoppedReason,
		ENIAttached:        s.Attached && !s.Released,
		VolumesMounted:     s.Prepared && !s.Released && a.Task.Volume != nil,
		ConnectivityAt:     s.ConnectivityAt,
		PullStartedAt:      s.PullStartedAt,
		PullStoppedAt:      s.PullStoppedAt,
		StartedAt:          s.StartedAt,
		StoppingAt:         s.StoppingAt,
		ExecutionStoppedAt: s.ExecutionStoppedAt,
		StoppedAt:          s.StoppedAt,
	}
	for i := range s.Containers {
		c := &s.Containers[i]
		co := model.ContainerObserved{
			Name:         c.Name,
			Status:       c.status(),
			PID:          c.PID,
			ExitCode:     c.ExitCode,
			Reason:       c.Reason,
			HealthStatus: model.HealthUnknown,
			RestartCount: c.Restarts,
			StartedAt:    c.StartedAt,
			FinishedAt:   c.ExitedAt,
			Bindings:     c.bindings(a),
		}
		if c.Image != nil {
			co.ImageDigest, co.ImageSource = c.Image.Digest, c.Image.Source
		}
		if def, ok := a.TaskDefinition.Container(c.Name); ok && hasHealthCheck(def) {
			co.HealthStatus = c.Health.status()
			co.HealthOutput = c.Health.Output
		}
		if a.Task.EnableExecuteCommand {
			co.ExecAgent = c.execAgent()
		}
		o.Containers = append(o.Containers, co)
	}
	return o
}

func (c *ContainerState) status() string {
	switch {
	case c.Phase >= PhaseExited:
		return model.ContainerStopped
	case c.Phase == PhaseRunning:
		return model.ContainerRunning
	default:
		return model.ContainerPending
	}
}

// ended reports whether the container's process is over or will never be.
func (c *ContainerState) ended() bool { return c.Phase >= PhaseExited }
