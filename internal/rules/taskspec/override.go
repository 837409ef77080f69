package taskspec

import (
	"encoding/json"
	"slices"

	"berth.dev/berth/internal/model"
)

const maxOverrideLength = 8192 // characters of JSON

// Apply returns the definition that a task of def runs with overrides. It
// shares nothing with def that it changed. The error is an *Error of class
// InvalidParameterException: the definition is fine, the request is not.
func Apply(def model.TaskDefinition, overrides model.TaskOverride) (model.TaskDefinition, error) {
	if size := overrideLength(overrides); size > maxOverrideLength {
		return model.TaskDefinition{}, parameter("Container Overrides length must be at most %d", maxOverrideLength)
	}
	effective := Normalize(def)
	for _, o := range overrides.ContainerOverrides {
		if o.Name == "" {
			return model.TaskDefinition{}, parameter("Container override name should not be null or empty.")
		}
		c, found := effective.Container(o.Name)
		if !found {
			return model.TaskDefinition{}, parameter("Override for container named %s is not a container in the TaskDefinition.", o.Name)
		}
		applyContainer(c, o)
	}
	if overrides.CPU != "" {
		effective.CPU = normalizeCPU(overrides.CPU)
	}
	if overrides.Memory != "" {
		effective.Memory = normalizeMemory(overrides.Memory)
	}
	if overrides.TaskRoleARN != "" {
		effective.TaskRoleARN = overrides.TaskRoleARN
	}
	if overrides.ExecutionRoleARN != "" {
		effective.ExecutionRoleARN = overrides.ExecutionRoleARN
	}
	if overrides.EphemeralStorage != nil {
		effective.EphemeralStorage = overrides.EphemeralStorage
	}
	// What was registered stays valid, even if Validate has become stricter
	// since; only what the request changes is checked.
	if isZero(overrides) {
		return effective, nil
	}
	if err := Validate(effective); err != nil {
		return model.TaskDefinition{}, parameter("%s", err)
	}
	return effective, nil
}

// applyContainer replaces what the override names; the environment is merged
// by name, and new variables go to the end.
func applyContainer(c *model.ContainerDefinition, o model.ContainerOverride) {
	if len(o.Command) > 0 {
		c.Command = slices.Clone(o.Command)
	}
	if len(o.Environment) > 0 {
		c.Environment = mergeEnvironment(c.Environment, o.Environment)
	}
	if len(o.EnvironmentFiles) > 0 {
		c.EnvironmentFiles = slices.Clone(o.EnvironmentFiles)
	}
	if o.CPU != nil {
		c.CPU = *o.CPU
	}
	if o.Memory != nil {
		c.Memory = new(*o.Memory)
	}
	if o.MemoryReservation != nil {
		c.MemoryReservation = new(*o.MemoryReservation)
	}
	if len(o.ResourceRequirements) > 0 {
		c.ResourceRequirements = slices.Clone(o.ResourceRequirements)
	}
}

func mergeEnvironment(base, changes []model.KeyValuePair) []model.KeyValuePair {
	merged := slices.Clone(base)
	for _, change := range changes {
		i := slices.IndexFunc(merged, func(e model.KeyValuePair) bool { return e.Name == change.Name })
		if i < 0 {
			merged = append(merged, change)
			continue
		}
		merged[i].Value = change.Value
	}
	return merged
}

func isZero(o model.TaskOverride) bool {
	return len(o.ContainerOverrides) == 0 && o.CPU == "" && o.Memory == "" && o.TaskRoleARN == "" &&
		o.ExecutionRoleARN == "" && o.EphemeralStorage == nil
}

func overrideLength(o model.TaskOverride) int {
	data, err := json.Marshal(o)
	if err != nil {
		return 0 // strings and numbers always marshal
	}
	return len([]rune(string(data)))
}

// Need is what a task takes of its instance.
type Need struct {
	CPU    int64 // units
	Memory int64 // MiB
}

// Size returns what a task of an effective definition needs: the task's own
// sizes, and where it has none the sum over its containers, of which each
// counts its soft memory limit before its hard one.
func Size(def model.TaskDefinition) Need {
	var need Need
	for i := range def.ContainerDefinitions {
		c := &def.ContainerDefinitions[i]
		n := containerNeed(c)
		need.CPU += n.CPU
		need.Memory += n.Memory
	}
	if units, ok := parseSize(def.CPU); ok {
		need.CPU = units
	}
	if mib, ok := parseSize(def.Memory); ok {
		need.Memory = mib
	}
	return need
}

func containerNeed(c *model.ContainerDefinition) Need {
	need := Need{CPU: int64(c.CPU)}
	switch {
	case c.MemoryReservation != nil:
		need.Memory = int64(*c.MemoryReservation)
	case c.Memory != nil:
		need.Memory = int64(*c.Memory)
	}
	return need
}
