package taskspec

import (
	"slices"

	"berth.dev/berth/internal/model"
)

// Values that ECS fills in when the user leaves them out.
const (
	defaultNetworkMode    = "bridge"
	defaultProtocol       = "tcp"
	defaultHealthInterval = 30
	defaultHealthTimeout  = 5
	defaultHealthRetries  = 3
)

// Normalize returns def with the values that ECS fills in: sizes in units and
// MiB, the network mode, essential, protocols, host ports and the numbers of
// health checks. It changes nothing that def shares with the result, it is
// idempotent, and it leaves alone what it cannot read, so that Validate can
// name it. Empty lists become nil: the store keeps no difference between the
// two, and the provider shows the ones that ECS always shows.
func Normalize(def model.TaskDefinition) model.TaskDefinition {
	def.CPU = normalizeCPU(def.CPU)
	def.Memory = normalizeMemory(def.Memory)
	if def.NetworkMode == "" {
		def.NetworkMode = defaultNetworkMode
	}
	def.ContainerDefinitions = slices.Clone(def.ContainerDefinitions)
	for i := range def.ContainerDefinitions {
		normalizeContainer(&def.ContainerDefinitions[i], def.NetworkMode)
	}
	def.Volumes = orNil(slices.Clone(def.Volumes))
	for i := range def.Volumes {
		normalizeVolume(&def.Volumes[i])
	}
	def.PlacementConstraints = orNil(def.PlacementConstraints)
	def.RequiresCompatibilities = orNil(def.RequiresCompatibilities)
	def.InferenceAccelerators = orNil(def.InferenceAccelerators)
	def.Tags = orNil(def.Tags)
	return def
}

func normalizeContainer(c *model.ContainerDefinition, networkMode string) {
	if c.Essential == nil {
		c.Essential = new(true)
	}
	c.PortMappings = orNil(slices.Clone(c.PortMappings))
	for i := range c.PortMappings {
		normalizePort(&c.PortMappings[i], networkMode)
	}
	if c.HealthCheck != nil {
		check := *c.HealthCheck
		check.Interval = orDefault(check.Interval, defaultHealthInterval)
		check.Timeout = orDefault(check.Timeout, defaultHealthTimeout)
		check.Retries = orDefault(check.Retries, defaultHealthRetries)
		c.HealthCheck = &check
	}
	if c.LogConfiguration != nil {
		logs := *c.LogConfiguration
		logs.SecretOptions = orNil(logs.SecretOptions)
		if len(logs.Options) == 0 {
			logs.Options = nil
		}
		c.LogConfiguration = &logs
	}
	if len(c.DockerLabels) == 0 {
		c.DockerLabels = nil
	}
	c.Links = orNil(c.Links)
	c.EntryPoint = orNil(c.EntryPoint)
	c.Command = orNil(c.Command)
	c.Environment = orNil(c.Environment)
	c.EnvironmentFiles = orNil(c.EnvironmentFiles)
	c.MountPoints = orNil(c.MountPoints)
	c.VolumesFrom = orNil(c.VolumesFrom)
	c.Secrets = orNil(c.Secrets)
	c.DependsOn = orNil(c.DependsOn)
	c.DNSServers = orNil(c.DNSServers)
	c.DNSSearchDomains = orNil(c.DNSSearchDomains)
	c.ExtraHosts = orNil(c.ExtraHosts)
	c.DockerSecurityOptions = orNil(c.DockerSecurityOptions)
	c.Ulimits = orNil(c.Ulimits)
	c.SystemControls = orNil(c.SystemControls)
	c.ResourceRequirements = orNil(c.ResourceRequirements)
	c.CredentialSpecs = orNil(c.CredentialSpecs)
}

// normalizePort fills in the protocol and the host port. A range has no host
// port: the host's range is found when the task starts.
func normalizePort(p *model.PortMapping, networkMode string) {
	if p.Protocol == "" {
		p.Protocol = defaultProtocol
	}
	if p.HostPort != nil || p.ContainerPort == nil {
		return
	}
	switch networkMode {
	case NetworkAwsvpc, NetworkHost:
		p.HostPort = new(*p.ContainerPort)
	case NetworkBridge:
		p.HostPort = new(int32(0)) // the host chooses
	}
}

// normalizeVolume makes a volume that has nothing but a name a scratch volume,
// which ECS shows as an empty host, and fills in where an EFS file system is
// mounted from and how long a Docker volume lives.
func normalizeVolume(v *model.Volume) {
	if v.Host == nil && volumeKinds(v) == 0 {
		v.Host = &model.HostVolumeProperties{}
	}
	if c := v.EFSVolumeConfiguration; c != nil && c.RootDirectory == "" {
		filled := *c
		filled.RootDirectory = "/"
		v.EFSVolumeConfiguration = &filled
	}
	if c := v.DockerVolumeConfiguration; c != nil {
		filled := *c
		if filled.Scope == "" {
			filled.Scope = ScopeTask
		}
		if len(filled.DriverOpts) == 0 {
			filled.DriverOpts = nil
		}
		if len(filled.Labels) == 0 {
			filled.Labels = nil
		}
		v.DockerVolumeConfiguration = &filled
	}
}

func orDefault(v *int32, fallback int32) *int32 {
	if v == nil {
		return &fallback
	}
	return v
}

func orNil[T any](s []T) []T {
	if len(s) == 0 {
		return nil
	}
	return s
}
