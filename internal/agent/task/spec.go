package task

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"berth.dev/berth/internal/agent/dns"
	"berth.dev/berth/internal/agent/network"
	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/agent/secrets"
	"berth.dev/berth/internal/agent/tunnel"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/taskspec"
)

// Docker's defaults that ECS shows to users.
const (
	mib = 1 << 20
	// pidsLimit keeps one container from taking the host's process table. AWS
	// documents none for Fargate; Podman's default is 2,048.
	pidsLimit = 4096
	// fargateNofile is Fargate's default for open files
	// (behaviour/task-definitions.md §4, ulimits).
	fargateNofile = 65535
)

// layout is where a task's files are on this host. Paths are a pure function
// of the agent's directory and the task, so an agent that comes back builds
// the same specifications.
type layout struct {
	dir    string
	nofile int64 // the most open files that this host may allow a container
	netns  func(eniID string) string

	hostNetNS    string // the name of the host's namespace
	hostMetadata string // where metadata answers in network mode host
	secrets      string // where what was fetched for tasks is
	endpoint     bool   // the AWS API answers beside metadata
	volumes      Volumes
}

// netnsOf is the namespace that a container joins, or nothing.
func (l layout) netnsOf(a *model.Assignment, def *model.ContainerDefinition) string {
	switch modeIn(a, def) {
	case modeAwsvpc:
		return l.netns(a.NetworkInterface.ID)
	case modeBridge:
		return l.netns(bridgeID(runtimeID(a, def.Name)))
	case modeHost:
		return l.hostNetNS
	default:
		return ""
	}
}

// metadata is where the task finds its metadata.
func (l layout) metadata(a *model.Assignment) string {
	if modeOf(a) == modeHost && l.hostMetadata != "" {
		return "http://" + l.hostMetadata
	}
	return "http://" + network.MetadataAddress
}

// api is where a container finds the AWS API; empty when it does not.
func (l layout) api(a *model.Assignment, def *model.ContainerDefinition) string {
	address := network.MetadataAddress
	switch modeIn(a, def) {
	case modeNone:
		return ""
	case modeHost:
		address, _, _ = strings.Cut(l.hostMetadata, ":")
	}
	parsed, err := netip.ParseAddr(address)
	if err != nil || !l.endpoint || !taskspec.WantsTaskEndpoint(def) {
		return ""
	}
	return tunnel.URL(parsed)
}

func (l layout) task(taskID string) string      { return filepath.Join(l.dir, "tasks", taskID) }
func (l layout) etc(taskID, file string) string { return filepath.Join(l.task(taskID), "etc", file) }

// etcDir is where a container finds the files of /etc that are made for it:
// its own, or, when the task has one network, those of the task.
func (l layout) etcDir(a *model.Assignment, name string) string {
	if modeOf(a) == modeAwsvpc {
		return l.etc(a.Task.ID, "")
	}
	return l.etc(a.Task.ID, name)
}

func (l layout) volume(taskID, name string) string {
	return filepath.Join(l.task(taskID), "volumes", name)
}

func (l layout) anonymous(taskID, container, path string) string {
	// Escaped, so that /a/b and /a_b are two volumes.
	return filepath.Join(l.task(taskID), "anonymous", container, url.PathEscape(strings.Trim(path, "/")))
}

// buildSpec combines the assignment, the image and what was prepared into the
// runtime's specification of one container.
func buildSpec(a *model.Assignment, s *State, l layout, name string, log runtime.Log) (runtime.Spec, error) {
	def, ok := a.TaskDefinition.Container(name)
	c := s.container(name)
	if !ok || c == nil || c.Image == nil {
		return runtime.Spec{}, fmt.Errorf("container %s has no definition or no image", name)
	}
	spec := runtime.Spec{
		ID:           runtimeID(a, name),
		TaskID:       a.Task.ID,
		Name:         name,
		Image:        c.Image.Name,
		Args:         arguments(def, c.Image),
		Env:          environment(a, s, l, def, c.Image),
		Cwd:          first(def.WorkingDirectory, c.Image.WorkingDir),
		User:         first(def.User, c.Image.User),
		Hostname:     hostname(a, def),
		Labels:       labels(a, def),
		NetNSPath:    l.netnsOf(a, def),
		CgroupParent: s.CgroupPath,
		CPUShares:    int64(def.CPU),
		MemoryBytes:  int64(value(def.Memory, 0)) * mib,

		MemoryReservationBytes: int64(value(def.MemoryReservation, 0)) * mib,
		PidsLimit:              pidsLimit,
		Rlimits:                rlimits(a, def, l.nofile),
		Privileged:             isTrue(def.Privileged),
		ReadonlyRootfs:         isTrue(def.ReadonlyRootFilesystem),
		TTY:                    isTrue(def.PseudoTerminal),
		Sysctls:                sysctls(a, def),
		Log:                    log,
	}
	if len(spec.Args) == 0 {
		return runtime.Spec{}, fmt.Errorf("%w: neither the image nor the container definition has a command", runtime.ErrInvalid)
	}
	applyLinuxParameters(&spec, def)
	mounts, err := mountsOf(a, s, l, name, nil)
	if err != nil {
		return runtime.Spec{}, err
	}
	spec.Mounts = append(mounts, etcMounts(a, l, name)...)
	spec.Mounts = append(spec.Mounts, tmpfsMounts(def)...)
	if spec.SecretsDir = secrets.ContainerDir(l.secrets, a.Task.ID, def); spec.SecretsDir != "" {
		if target, wanted := taskspec.SecretFilesDir(def); wanted {
			spec.Mounts = append(spec.Mounts, runtime.Mount{
				Type: runtime.MountBind, Source: filepath.Join(spec.SecretsDir, secrets.FilesDir), Target: target, ReadOnly: true,
				Options: []string{"nosuid", "nodev", "noexec"},
			})
		}
	}
	return spec, nil
}

func runtimeID(a *model.Assignment, name string) string {
	for _, c := range a.Task.Containers {
		if c.Name == name {
			return c.RuntimeID
		}
	}
	return a.Task.ID + "-" + name
}

// arguments follows Docker: an entry point of the definition discards the
// image's command.
func arguments(def *model.ContainerDefinition, image *runtime.Image) []string {
	entry, command := image.Entrypoint, image.Cmd
	if len(def.EntryPoint) > 0 {
		entry, command = def.EntryPoint, nil
	}
	if len(def.Command) > 0 {
		command = def.Command
	}
	return slices.Concat(entry, command)
}

// environment is the image's, then what ECS adds, then the definition's, which
// wins (behaviour/task-definitions.md §5.5).
func environment(a *model.Assignment, s *State, l layout, def *model.ContainerDefinition, image *runtime.Image) []string {
	id := runtimeID(a, def.Name)
	execution := "AWS_ECS_FARGATE"
	if a.Task.LaunchType == model.LaunchEC2 {
		execution = "AWS_ECS_EC2"
	}
	env := slices.Clone(image.Env)
	if name := hostname(a, def); name != "" {
		env = append(env, "HOSTNAME="+name)
	}
	metadata := l.metadata(a)
	env = append(env,
		"AWS_DEFAULT_REGION="+a.Region,
		"AWS_REGION="+a.Region,
		"AWS_EXECUTION_ENV="+execution,
		"ECS_CONTAINER_METADATA_URI="+metadata+"/v3/"+id,
		"ECS_CONTAINER_METADATA_URI_V4="+metadata+"/v4/"+id,
		"ECS_AGENT_URI="+metadata+"/api/"+id,
	)
	if api := l.api(a, def); api != "" {
		env = append(env, "AWS_ENDPOINT_URL="+api)
	}
	if s.CredentialsID != "" {
		env = append(env, credentialsVariable(a, metadata, s.CredentialsID))
	}
	for _, link := range linksOf(a, s, def) {
		env = append(env, link.environment(def.Name)...)
	}
	for _, kv := range def.Environment {
		env = append(env, kv.Name+"="+kv.Value)
	}
	return env
}

// credentialsVariable tells a container where the credentials of its task's
// role are: at the address that SDKs know by heart, or in network mode host,
// where that is not the task's, at a URL.
func credentialsVariable(a *model.Assignment, metadata, id string) string {
	path := "/v2/credentials/" + id
	if modeOf(a) == modeHost {
		return "AWS_CONTAINER_CREDENTIALS_FULL_URI=" + metadata + path
	}
	return "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=" + path
}

// hostname is the one EC2 gives to an interface's private address, or as
// Docker's a container's own; in network mode host it is the host's, which the
// container has without being told.
func hostname(a *model.Assignment, def *model.ContainerDefinition) string {
	if def.Hostname != "" {
		return def.Hostname
	}
	switch modeOf(a) {
	case modeBridge, modeNone:
		return shortID(runtimeID(a, def.Name))
	case modeHost:
		return ""
	}
	address, err := netip.ParseAddr(a.NetworkInterface.Address)
	if err != nil {
		return ""
	}
	return dns.PrivateName(address, a.Region)
}

func labels(a *model.Assignment, def *model.ContainerDefinition) map[string]string {
	out := map[string]string{}
	maps.Copy(out, def.DockerLabels)
	out["com.amazonaws.ecs.cluster"] = a.ClusterARN
	out["com.amazonaws.ecs.container-name"] = def.Name
	out["com.amazonaws.ecs.task-arn"] = a.Task.ARN
	out["com.amazonaws.ecs.task-definition-family"] = a.TaskDefinition.Family
	out["com.amazonaws.ecs.task-definition-version"] = strconv.Itoa(a.TaskDefinition.Revision)
	return out
}

// rlimits are the definition's, and Fargate's default for open files as far as
// this host may give it: a limit that the user asked for is never lowered.
func rlimits(a *model.Assignment, def *model.ContainerDefinition, nofile int64) []runtime.Rlimit {
	var out []runtime.Rlimit
	asked := false
	for _, u := range def.Ulimits {
		asked = asked || u.Name == "nofile"
		out = append(out, runtime.Rlimit{Name: u.Name, Soft: int64(u.SoftLimit), Hard: int64(u.HardLimit)})
	}
	if !asked && a.Task.LaunchType == model.LaunchFargate {
		limit := min(fargateNofile, nofile)
		out = append(out, runtime.Rlimit{Name: "nofile", Soft: limit, Hard: limit})
	}
	return out
}

// sysctls are the container's own. In network mode awsvpc those of every
// container reach all of them: the network namespace is the task's, and AWS
// lets the last container win.
func sysctls(a *model.Assignment, own *model.ContainerDefinition) map[string]string {
	var out map[string]string
	for _, def := range a.TaskDefinition.ContainerDefinitions {
		if modeOf(a) != modeAwsvpc && def.Name != own.Name {
			continue
		}
		for _, control := range def.SystemControls {
			if out == nil {
				out = map[string]string{}
			}
			out[control.Namespace] = control.Value
		}
	}
	return out
}

func applyLinuxParameters(spec *runtime.Spec, def *model.ContainerDefinition) {
	lp := def.LinuxParameters
	if lp == nil {
		return
	}
	if lp.Capabilities != nil {
		spec.CapAdd, spec.CapDrop = lp.Capabilities.Add, lp.Capabilities.Drop
	}
	spec.Init = isTrue(lp.InitProcessEnabled)
	spec.ShmBytes = int64(value(lp.SharedMemorySize, 0)) * mib
	if lp.MaxSwap != nil && spec.MemoryBytes > 0 {
		swap := spec.MemoryBytes + int64(*lp.MaxSwap)*mib
		spec.MemorySwapBytes = &swap
		if lp.Swappiness != nil {
			swappiness := int64(*lp.Swappiness)
			spec.Swappiness = &swappiness
		}
	}
	for _, d := range lp.Devices {
		var permissions strings.Builder
		for _, p := range d.Permissions {
			permissions.WriteString(map[string]string{"read": "r", "write": "w", "mknod": "m"}[p])
		}
		spec.Devices = append(spec.Devices, runtime.Device{HostPath: d.HostPath, ContainerPath: d.ContainerPath, Permissions: permissions.String()})
	}
}

func tmpfsMounts(def *model.ContainerDefinition) []runtime.Mount {
	if def.LinuxParameters == nil {
		return nil
	}
	var out []runtime.Mount
	for _, t := range def.LinuxParameters.Tmpfs {
		out = append(out, runtime.Mount{
			Type: runtime.MountTmpfs, Target: t.ContainerPath,
			Options: append([]string{fmt.Sprintf("size=%dm", t.Size)}, t.MountOptions...),
		})
	}
	return out
}

// etcMounts are the files that Docker manages in every container.
func etcMounts(a *model.Assignment, l layout, name string) []runtime.Mount {
	var out []runtime.Mount
	for _, file := range []string{"hosts", "hostname", "resolv.conf"} {
		out = append(out, runtime.Mount{Type: runtime.MountBind, Source: filepath.Join(l.etcDir(a, name), file), Target: "/etc/" + file})
	}
	return out
}

// mountsOf lists the volumes that a container mounts: its mount points, the
// volumes its image declares, and those of the containers it takes volumes
// from. seen breaks cycles, which registration refuses anyway.
func mountsOf(a *model.Assignment, s *State, l layout, name string, seen []string) ([]runtime.Mount, error) {
	def, ok := a.TaskDefinition.Container(name)
	c := s.container(name)
	if !ok || c == nil || slices.Contains(seen, name) {
		return nil, nil
	}
	byTarget := map[string]runtime.Mount{}
	if c.Image != nil {
		for _, path := range c.Image.Volumes {
			byTarget[path] = runtime.Mount{Type: runtime.MountBind, Source: l.anonymous(a.Task.ID, name, path), Target: path, CopyUp: true}
		}
	}
	for _, from := range def.VolumesFrom {
		mounts, err := mountsOf(a, s, l, from.SourceContainer, append(seen, name))
		if err != nil {
			return nil, err
		}
		for _, m := range mounts {
			m.ReadOnly = m.ReadOnly || isTrue(from.ReadOnly)
			byTarget[m.Target] = m
		}
	}
	for _, mp := range def.MountPoints {
		volume, err := volumeOf(a, mp.SourceVolume)
		if err != nil {
			return nil, err
		}
		m := runtime.Mount{Type: runtime.MountBind, Target: mp.ContainerPath, ReadOnly: isTrue(mp.ReadOnly)}
		m.Source, m.CopyUp = l.volumeDir(a, &volume)
		byTarget[m.Target] = m
	}
	return slices.SortedFunc(maps.Values(byTarget), func(x, y runtime.Mount) int { return strings.Compare(x.Target, y.Target) }), nil
}

func volumeOf(a *model.Assignment, name string) (model.Volume, error) {
	for _, v := range a.TaskDefinition.Volumes {
		if v.Name == name {
			return v, nil
		}
	}
	return model.Volume{}, fmt.Errorf("volume %s is not in the task definition", name)
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func isTrue(p *bool) bool { return p != nil && *p }
