package task

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"berth.dev/berth/internal/model"
)

// dependencies returns what must hold before def's container is created:
// dependsOn, and START for the containers whose volumes it mounts and for
// those that it links to.
func dependencies(def *model.ContainerDefinition) []model.ContainerDependency {
	deps := def.DependsOn
	for _, from := range def.VolumesFrom {
		deps = append(slices.Clip(deps), model.ContainerDependency{ContainerName: from.SourceContainer, Condition: model.ConditionStart})
	}
	for _, text := range def.Links {
		name, _, _ := strings.Cut(text, ":")
		deps = append(slices.Clip(deps), model.ContainerDependency{ContainerName: name, Condition: model.ConditionStart})
	}
	return deps
}

// verdict is the answer to "may this container be made?".
type verdict struct {
	ready  bool
	never  string    // why it can never be; empty otherwise
	expiry time.Time // when waiting turns into never; zero without a limit
}

// resolve decides whether every dependency of def holds
// (behaviour/task-definitions.md §5.1).
func resolve(now time.Time, a *model.Assignment, s *State, def *model.ContainerDefinition) verdict {
	out := verdict{ready: true}
	for _, dep := range dependencies(def) {
		on, depDef := s.container(dep.ContainerName), (*model.ContainerDefinition)(nil)
		if d, ok := a.TaskDefinition.Container(dep.ContainerName); ok {
			depDef = d
		}
		if on == nil || depDef == nil {
			return verdict{never: fmt.Sprintf("container %s depends on %s, which is not in the task definition", def.Name, dep.ContainerName)}
		}
		held, never := holds(dep.Condition, on, depDef)
		if held {
			continue
		}
		out.ready = false
		if never != "" {
			out.never = fmt.Sprintf("container %s depends on %s with condition %s, but %s", def.Name, dep.ContainerName, dep.Condition, never)
			return out
		}
		if dep.Condition == model.ConditionStart || depDef.StartTimeout == nil || on.StartedAt == nil {
			continue
		}
		limit := on.StartedAt.Add(seconds(depDef.StartTimeout, 0))
		if !now.Before(limit) {
			out.never = fmt.Sprintf("container %s depends on %s with condition %s, which it did not reach within its startTimeout of %d seconds",
				def.Name, dep.ContainerName, dep.Condition, *depDef.StartTimeout)
			return out
		}
		if out.expiry.IsZero() || limit.Before(out.expiry) {
			out.expiry = limit
		}
	}
	return out
}

// holds tells whether a condition on a container is met and, when it never
// can be any more, why. A container that its restart policy runs again has
// not ended.
func holds(condition string, on *ContainerState, def *model.ContainerDefinition) (held bool, never string) {
	ended := on.ended() && !restartable(def, on)
	switch condition {
	case model.ConditionStart:
		if on.RanOnce {
			return true, ""
		}
	case model.ConditionComplete:
		if ended && on.RanOnce {
			return true, ""
		}
	case model.ConditionSuccess:
		if ended && on.ExitCode != nil {
			if *on.ExitCode == 0 {
				return true, ""
			}
			return false, fmt.Sprintf("it exited with code %d", *on.ExitCode)
		}
	case model.ConditionHealthy:
		if !ended && on.Phase == PhaseRunning && on.Health.Status == model.HealthHealthy {
			return true, ""
		}
		if ended && on.RanOnce {
			return false, "it exited before it was healthy"
		}
	}
	if ended && !on.RanOnce {
		return false, "it did not start"
	}
	return false, ""
}

// mayStop reports whether every container that depends on the named one has
// ended: the stop order is the reverse of the start order.
func (p *planner) mayStop(name string) bool {
	for i := range p.s.Containers {
		def := p.def(i)
		for _, dep := range dependencies(def) {
			if dep.ContainerName != name {
				continue
			}
			if !p.over(&p.s.Containers[i]) {
				return false
			}
		}
	}
	return true
}
