package taskspec

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"berth.dev/berth/internal/model"
)

// Network modes.
const (
	NetworkNone   = "none"
	NetworkBridge = "bridge"
	NetworkHost   = "host"
	NetworkAwsvpc = "awsvpc"
)

// Compatibilities a definition can ask for.
const (
	CompatibleEC2              = "EC2"
	CompatibleFargate          = "FARGATE"
	CompatibleExternal         = "EXTERNAL"
	CompatibleManagedInstances = "MANAGED_INSTANCES"
)

const (
	maxContainers           = 10
	maxDefinitionBytes      = 64 << 10
	maxPlacementConstraints = 10
	maxTags                 = 50
)

var namePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)

// Validate returns the first problem of a definition as an *Error, or nil. It
// looks at def as Normalize leaves it. The order is ECS's as far as it is
// known: the family, the containers one by one, what ties them together, what
// the launch types ask for, and last what Berth cannot do.
func Validate(def model.TaskDefinition) error {
	def = Normalize(def)
	if err := validateTask(&def); err != nil {
		return err
	}
	for i := range def.ContainerDefinitions {
		if err := validateContainer(&def, &def.ContainerDefinitions[i]); err != nil {
			return err
		}
	}
	if err := firstError(&def, validateVolumes, validateDependencies, validatePorts, validateSums); err != nil {
		return err
	}
	for _, compatibility := range def.RequiresCompatibilities {
		if err := validateCompatibility(&def, compatibility); err != nil {
			return err
		}
	}
	if err := validateExecutionRole(&def); err != nil {
		return err
	}
	return refuseUnsupported(&def)
}

func firstError(def *model.TaskDefinition, checks ...func(*model.TaskDefinition) error) error {
	for _, check := range checks {
		if err := check(def); err != nil {
			return err
		}
	}
	return nil
}

func validateTask(def *model.TaskDefinition) error {
	if def.Family == "" {
		return client("Family should not be null or empty.")
	}
	if !namePattern.MatchString(def.Family) {
		return client("Family contains invalid characters.")
	}
	if len(def.ContainerDefinitions) == 0 {
		return client("Container list cannot be empty.")
	}
	if len(def.ContainerDefinitions) > maxContainers {
		return client("Too many containers.")
	}
	if size := encodedSize(def); size > maxDefinitionBytes {
		return client("Actual length: '%d'. Max allowed length is '%d' bytes.", size, maxDefinitionBytes)
	}
	if err := validateChoices(def); err != nil {
		return err
	}
	for _, role := range []string{def.TaskRoleARN, def.ExecutionRoleARN} {
		if role != "" && !validRole(role) {
			return client("Role is not valid")
		}
	}
	if err := validateTaskSize(def); err != nil {
		return err
	}
	if len(def.PlacementConstraints) > maxPlacementConstraints {
		return client("Too many placement constraints: at most %d are allowed.", maxPlacementConstraints)
	}
	for _, c := range def.PlacementConstraints {
		if c.Type != "memberOf" {
			return client("Placement constraint type '%s' is not valid for a task definition. The supported value is 'memberOf'.", c.Type)
		}
		if c.Expression == "" || len(c.Expression) > 2000 {
			return client("Invalid expression for a placement constraint: it must have 1 to 2000 characters.")
		}
	}
	if len(def.Tags) > maxTags {
		return parameter("The number of tags exceeds the limit of %d", maxTags)
	}
	return nil
}

// encodedSize is the size of what the user sent, as closely as it can be told
// from the record: without what Berth derives.
func encodedSize(def *model.TaskDefinition) int {
	plain := *def
	plain.Compatibilities, plain.RequiresAttributes, plain.Tags = nil, nil, nil
	data, err := json.Marshal(plain)
	if err != nil {
		return 0 // strings, numbers and maps of strings always marshal
	}
	return len(data)
}

// validateChoices checks the task-level members that take one of a few values.
func validateChoices(def *model.TaskDefinition) error {
	for _, choice := range []struct {
		member, value string
		allowed       []string
	}{
		{"networkMode", def.NetworkMode, []string{NetworkBridge, NetworkHost, NetworkAwsvpc, NetworkNone}},
		{"pidMode", def.PIDMode, []string{"host", "task"}},
		{"ipcMode", def.IPCMode, []string{"host", "task", "none"}},
	} {
		if choice.value != "" && !slices.Contains(choice.allowed, choice.value) {
			return invalidChoice(choice.member, choice.value, choice.allowed)
		}
	}
	allowed := []string{CompatibleEC2, CompatibleFargate, CompatibleExternal, CompatibleManagedInstances}
	for _, c := range def.RequiresCompatibilities {
		if !slices.Contains(allowed, c) {
			return invalidChoice("requiresCompatibilities", c, allowed)
		}
	}
	if platform := def.RuntimePlatform; platform != nil {
		architectures := []string{"X86_64", "ARM64"}
		if a := platform.CPUArchitecture; a != "" && !slices.Contains(architectures, a) {
			return invalidChoice("runtimePlatform.cpuArchitecture", a, architectures)
		}
		os := platform.OperatingSystemFamily
		if os != "" && os != "LINUX" && !strings.HasPrefix(os, "WINDOWS_SERVER_") {
			return client("Invalid value '%s' for runtimePlatform.operatingSystemFamily.", os)
		}
	}
	return nil
}

func invalidChoice(member, value string, allowed []string) error {
	return client("Invalid value '%s' for %s. Valid values: %s.", value, member, strings.Join(allowed, ", "))
}

// validateTaskSize checks what every launch type asks of the task's cpu and
// memory; Fargate asks for more.
func validateTaskSize(def *model.TaskDefinition) error {
	if def.CPU != "" {
		n, ok := parseSize(def.CPU)
		if !ok || n < minTaskCPU || n > maxTaskCPU {
			return client("Invalid 'cpu' setting for task. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.")
		}
	}
	if def.Memory != "" {
		n, ok := parseSize(def.Memory)
		if !ok || n < minContainerMemory {
			return client("Invalid 'memory' setting for task. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.")
		}
	}
	return nil
}

// validateSums compares the containers with the task that holds them.
func validateSums(def *model.TaskDefinition) error {
	essential := false
	taskCPU, hasCPU := parseSize(def.CPU)
	taskMemory, hasMemory := parseSize(def.Memory)
	var cpu, memory int64
	for i := range def.ContainerDefinitions {
		c := &def.ContainerDefinitions[i]
		essential = essential || c.IsEssential()
		if hasMemory && c.Memory != nil && int64(*c.Memory) > taskMemory {
			return client("The 'memory' setting for container '%s' is greater than for the task.", c.Name)
		}
		need := containerNeed(c)
		cpu += need.CPU
		memory += need.Memory
	}
	if !essential {
		return client("Task definition doesn't have any essential container.")
	}
	if hasCPU && cpu > taskCPU {
		return client("The sum of all container 'cpu' values cannot be greater than the value of the task 'cpu'.")
	}
	if hasMemory && memory > taskMemory {
		return client("The sum of all container 'memory' values cannot be greater than the value of the task 'memory'.")
	}
	return nil
}

// validateCompatibility checks what one launch type that the user asked for
// demands.
func validateCompatibility(def *model.TaskDefinition, compatibility string) error {
	switch compatibility {
	case CompatibleFargate:
		return validateFargate(def)
	case CompatibleExternal:
		if def.NetworkMode == NetworkAwsvpc {
			return client("External does not support network mode 'awsvpc'.")
		}
	case CompatibleManagedInstances:
		if def.NetworkMode != NetworkAwsvpc && def.NetworkMode != NetworkHost {
			return client("Managed Instances only supports network modes 'awsvpc' and 'host'.")
		}
	}
	return nil
}
