package task

import "berth.dev/berth/internal/model"

// execAgent is what ExecuteCommand needs in a container. Here the node itself
// runs commands, so it is there whenever the container runs.
func (c *ContainerState) execAgent() *model.ManagedAgent {
	agent := &model.ManagedAgent{Status: model.AgentPending}
	switch {
	case c.Phase == PhaseRunning:
		agent.Status, agent.StartedAt = model.AgentRunning, c.StartedAt
	case c.ended():
		agent.Status, agent.StartedAt = model.AgentStopped, c.StartedAt
		agent.Reason = "Received Container Stopped event" // (uncertain) behaviour/exec-and-more.md §1
	}
	return agent
}
