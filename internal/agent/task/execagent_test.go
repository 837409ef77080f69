package task

import (
	"testing"
	"time"

	"berth.dev/berth/internal/model"
)

// What runs commands is there while its container runs, and only in tasks that
// asked for it.
func TestExecAgent(t *testing.T) {
	begun := time.Unix(1, 0)
	for _, test := range []struct {
		phase     Phase
		startedAt *time.Time
		want      model.ManagedAgent
	}{
		{PhaseNone, nil, model.ManagedAgent{Status: model.AgentPending}},
		{PhaseCreated, nil, model.ManagedAgent{Status: model.AgentPending}},
		{PhaseRunning, &begun, model.ManagedAgent{Status: model.AgentRunning, StartedAt: &begun}},
		{PhaseExited, &begun, model.ManagedAgent{Status: model.AgentStopped, StartedAt: &begun, Reason: "Received Container Stopped event"}},
		{PhaseRemoved, nil, model.ManagedAgent{Status: model.AgentStopped, Reason: "Received Container Stopped event"}},
	} {
		for _, enabled := range []bool{true, false} {
			a := &model.Assignment{
				Task:           model.Task{ID: "t", EnableExecuteCommand: enabled},
				TaskDefinition: model.TaskDefinition{ContainerDefinitions: []model.ContainerDefinition{{Name: "app"}}},
			}
			s := State{Containers: []ContainerState{{Name: "app", Phase: test.phase, StartedAt: test.startedAt}}}
			observed := s.Observed(a)
			o, _ := observed.Container("app")
			switch {
			case !enabled && o.ExecAgent != nil:
				t.Errorf("phase %d: a task that did not ask for it has %+v", test.phase, *o.ExecAgent)
			case enabled && (o.ExecAgent == nil || *o.ExecAgent != test.want):
				t.Errorf("phase %d: %+v, want %+v", test.phase, o.ExecAgent, test.want)
			}
		}
	}
}
