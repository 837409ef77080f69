package taskspec

import (
	"regexp"
	"slices"
	"strings"

	"berth.dev/berth/internal/model"
)

const (
	maxImageLength     = 255
	maxContainerCPU    = 262144 // units; the kernel's highest weight
	maxIgnoredExitCode = 50
	maxStopTimeout     = 120 // seconds, Fargate
	minStopTimeout     = 2   // seconds, Fargate
)

var (
	imagePattern    = regexp.MustCompile(`^[A-Za-z0-9_.:/#-]+(@sha256:[0-9a-f]{64})?$`)
	portNamePattern = regexp.MustCompile(`^[a-z0-9_][a-z0-9_-]{0,63}$`)
)

func validateContainer(def *model.TaskDefinition, c *model.ContainerDefinition) error {
	if err := validateContainerName(def, c); err != nil {
		return err
	}
	if err := validateImage(c); err != nil {
		return err
	}
	if err := validateContainerSize(def, c); err != nil {
		return err
	}
	for _, check := range [...]func(*model.TaskDefinition, *model.ContainerDefinition) error{
		validateRegistryLogin, validateContainerNetwork, validateEnvironment, validateSecrets, validateTimes,
		validateHealthCheck, validateRestartPolicy, validateLinux, validateUlimits, validateLogs, validateSecretOptions,
		validateMounts, validateLabels,
	} {
		if err := check(def, c); err != nil {
			return err
		}
	}
	return nil
}

func validateContainerName(def *model.TaskDefinition, c *model.ContainerDefinition) error {
	if c.Name == "" {
		return client("Container.name should not be null or empty.")
	}
	if !namePattern.MatchString(c.Name) {
		return client("Container.name contains invalid characters.")
	}
	// The first of two equal names is found here, because the search below is
	// from the front.
	if first, _ := def.Container(c.Name); first != c {
		return client("Container.name '%s' is used more than once.", c.Name)
	}
	return nil
}

func validateImage(c *model.ContainerDefinition) error {
	if c.Image == "" {
		return client("Container.image should not be null or empty.")
	}
	name, _, _ := strings.Cut(c.Image, "@")
	if len(name) > maxImageLength || !imagePattern.MatchString(c.Image) {
		return client("Container.image contains invalid characters.")
	}
	return nil
}

func validateContainerSize(def *model.TaskDefinition, c *model.ContainerDefinition) error {
	if c.CPU < 0 || c.CPU > maxContainerCPU {
		return client("Invalid 'cpu' setting for container '%s'.", c.Name)
	}
	for _, limit := range []struct {
		member string
		value  *int32
	}{{"memory", c.Memory}, {"memoryReservation", c.MemoryReservation}} {
		if limit.value != nil && *limit.value < minContainerMemory {
			return client("Invalid '%s' setting for container '%s': the minimum is %d MiB.", limit.member, c.Name, minContainerMemory)
		}
	}
	if c.Memory == nil && c.MemoryReservation == nil && def.Memory == "" &&
		!slices.Contains(def.RequiresCompatibilities, CompatibleFargate) {
		return client("Invalid setting for container '%s'. At least one of 'memory' or 'memoryReservation' must be specified.", c.Name)
	}
	if c.Memory != nil && c.MemoryReservation != nil && *c.Memory <= *c.MemoryReservation {
		return client("Invalid setting for container '%s'. The 'memory' value must be greater than the 'memoryReservation' value.", c.Name)
	}
	return nil
}

// validateContainerNetwork checks the members that only some network modes
// can honour.
func validateContainerNetwork(def *model.TaskDefinition, c *model.ContainerDefinition) error {
	for _, member := range []struct {
		name  string
		given bool
		modes []string // where it is allowed
	}{
		{"hostname", c.Hostname != "", []string{NetworkBridge, NetworkHost, NetworkNone}},
		{"extraHosts", len(c.ExtraHosts) > 0, []string{NetworkBridge, NetworkHost, NetworkNone}},
		{"dnsServers", len(c.DNSServers) > 0, []string{NetworkBridge, NetworkHost, NetworkNone}},
		{"dnsSearchDomains", len(c.DNSSearchDomains) > 0, []string{NetworkBridge, NetworkHost, NetworkNone}},
		{"disableNetworking", isTrue(c.DisableNetworking), []string{NetworkBridge, NetworkNone}},
	} {
		if member.given && !slices.Contains(member.modes, def.NetworkMode) {
			return client("%s is not supported on container when networkMode=%s.", member.name, def.NetworkMode)
		}
	}
	if len(c.Links) > 0 && def.NetworkMode != NetworkBridge {
		return client("Links are not supported when networkMode=%s.", def.NetworkMode)
	}
	for _, link := range c.Links {
		name, _, _ := strings.Cut(link, ":")
		if _, found := def.Container(name); !found {
			return client("Unknown container in links: '%s'.", name)
		}
	}
	for _, entry := range c.ExtraHosts {
		if entry.Hostname == "" || entry.IPAddress == "" {
			return client("extraHosts of container '%s' need a hostname and an ipAddress.", c.Name)
		}
	}
	for i := range c.PortMappings {
		if err := validatePort(def, c, &c.PortMappings[i]); err != nil {
			return err
		}
	}
	return nil
}

func isTrue(b *bool) bool { return b != nil && *b }

func validateEnvironment(_ *model.TaskDefinition, c *model.ContainerDefinition) error {
	for _, e := range c.Environment {
		if e.Name == "" {
			return client("Environment variable name should not be null or empty for container '%s'.", c.Name)
		}
	}
	for _, f := range c.EnvironmentFiles {
		if f.Type != "s3" {
			return invalidChoice("environmentFiles.type", f.Type, []string{"s3"})
		}
	}
	return nil
}

func validateTimes(def *model.TaskDefinition, c *model.ContainerDefinition) error {
	fargate := slices.Contains(def.RequiresCompatibilities, CompatibleFargate)
	for _, timeout := range []struct {
		member string
		value  *int32
	}{{"startTimeout", c.StartTimeout}, {"stopTimeout", c.StopTimeout}} {
		switch {
		case timeout.value == nil:
		case *timeout.value < 0:
			return client("Invalid '%s' setting for container '%s': it must not be negative.", timeout.member, c.Name)
		case fargate && (*timeout.value < minStopTimeout || *timeout.value > maxStopTimeout):
			return client("Invalid '%s' setting for container '%s'. The value must be between %d and %d seconds on Fargate.", timeout.member, c.Name, minStopTimeout, maxStopTimeout)
		}
	}
	if v := c.VersionConsistency; v != "" && v != "enabled" && v != "disabled" {
		return invalidChoice("versionConsistency", v, []string{"enabled", "disabled"})
	}
	return nil
}

func validateHealthCheck(_ *model.TaskDefinition, c *model.ContainerDefinition) error {
	check := c.HealthCheck
	if check == nil {
		return nil
	}
	if len(check.Command) == 0 {
		return client("Health check command should not be null or empty for container '%s'.", c.Name)
	}
	if kinds := []string{"CMD", "CMD-SHELL", "NONE"}; !slices.Contains(kinds, check.Command[0]) {
		return client("Health check command of container '%s' should start with CMD or CMD-SHELL.", c.Name)
	}
	for _, r := range []struct {
		member    string
		value     *int32
		low, high int32
	}{
		{"interval", check.Interval, 5, 300},
		{"timeout", check.Timeout, 2, 60},
		{"retries", check.Retries, 1, 10},
		{"startPeriod", check.StartPeriod, 0, 300},
	} {
		if r.value != nil && (*r.value < r.low || *r.value > r.high) {
			return client("Invalid health check %s for container '%s': it must be between %d and %d.", r.member, c.Name, r.low, r.high)
		}
	}
	return nil
}

func validateRestartPolicy(_ *model.TaskDefinition, c *model.ContainerDefinition) error {
	policy := c.RestartPolicy
	if policy == nil {
		return nil
	}
	if len(policy.IgnoredExitCodes) > maxIgnoredExitCode {
		return client("restartPolicy.ignoredExitCodes of container '%s' has more than %d entries.", c.Name, maxIgnoredExitCode)
	}
	if p := policy.RestartAttemptPeriod; p != nil && (*p < 60 || *p > 1800) {
		return client("restartPolicy.restartAttemptPeriod of container '%s' must be between 60 and 1800 seconds.", c.Name)
	}
	return nil
}
