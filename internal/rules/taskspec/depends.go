package taskspec

import (
	"slices"
	"strings"

	"berth.dev/berth/internal/model"
)

var conditions = []string{model.ConditionStart, model.ConditionComplete, model.ConditionSuccess, model.ConditionHealthy}

// validateDependencies checks dependsOn, and the order that links and
// volumesFrom imply, as one graph.
func validateDependencies(def *model.TaskDefinition) error {
	for i := range def.ContainerDefinitions {
		c := &def.ContainerDefinitions[i]
		for _, d := range c.DependsOn {
			if err := validateDependency(def, d); err != nil {
				return err
			}
		}
	}
	if hasCycle(def, func(c *model.ContainerDefinition) []string { return linked(c) }) {
		return client("Container links should not have a cycle")
	}
	if hasCycle(def, waitsFor) {
		return client("Container dependencies should not have a cycle")
	}
	return nil
}

func validateDependency(def *model.TaskDefinition, d model.ContainerDependency) error {
	if !slices.Contains(conditions, d.Condition) {
		return invalidChoice("dependsOn.condition", d.Condition, conditions)
	}
	target, found := def.Container(d.ContainerName)
	if !found {
		return client("Cannot depend on container + '%s' because it does not exist", d.ContainerName)
	}
	switch d.Condition {
	case model.ConditionComplete, model.ConditionSuccess:
		if target.IsEssential() {
			return client("A dependency container with SUCCESS or COMPLETE condition cannot be an essential container")
		}
	case model.ConditionHealthy:
		// Without a check the dependency never becomes HEALTHY, and the
		// container would never start.
		if target.HealthCheck == nil {
			return client("A dependency container with HEALTHY condition must have a health check: '%s' has none.", d.ContainerName)
		}
	}
	return nil
}

func linked(c *model.ContainerDefinition) []string {
	var names []string
	for _, link := range c.Links {
		name, _, _ := strings.Cut(link, ":")
		names = append(names, name)
	}
	return names
}

// waitsFor names the containers that must have started before c.
func waitsFor(c *model.ContainerDefinition) []string {
	names := linked(c)
	for _, d := range c.DependsOn {
		names = append(names, d.ContainerName)
	}
	for _, v := range c.VolumesFrom {
		names = append(names, v.SourceContainer)
	}
	return names
}

// hasCycle reports whether following edges from some container leads back to
// it. Names that do not exist are nobody's.
func hasCycle(def *model.TaskDefinition, edges func(*model.ContainerDefinition) []string) bool {
	const (
		unseen = iota
		open   // on the path being followed
		done
	)
	state := map[string]int{}
	var follow func(name string) bool
	follow = func(name string) bool {
		c, found := def.Container(name)
		if !found || state[name] == done {
			return false
		}
		if state[name] == open {
			return true
		}
		state[name] = open
		if slices.ContainsFunc(edges(c), follow) {
			return true
		}
		state[name] = done
		return false
	}
	return slices.ContainsFunc(def.ContainerDefinitions, func(c model.ContainerDefinition) bool { return follow(c.Name) })
}
