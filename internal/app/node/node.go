package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	goruntime "runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/agent/exec"
	"berth.dev/berth/internal/agent/helper"
	"berth.dev/berth/internal/agent/image"
	"berth.dev/berth/internal/agent/journal"
	"berth.dev/berth/internal/agent/logdriver"
	"berth.dev/berth/internal/agent/metadata"
	"berth.dev/berth/internal/agent/network"
	"berth.dev/berth/internal/agent/runtime/containerd"
	"berth.dev/berth/internal/agent/seal"
	"berth.dev/berth/internal/agent/secrets"
	"berth.dev/berth/internal/agent/session"
	"berth.dev/berth/internal/agent/task"
	"berth.dev/berth/internal/app/instance"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/wire/nodeapi"
)

// Config says what a node is.
type Config struct {
	Instance instance.Instance
	// Server is the control plane's node address: host:port or unix:path.
	Server string
	// JoinToken is needed until the node has joined.
	JoinToken string
	// Name of the host; Cluster of which the node is a container instance, may
	// be empty; Zone that it stands in, empty to serve every one.
	Name, Cluster, Zone string
	// Region is the control plane's, for private DNS names.
	Region string
	// Containerd is its address: empty to use the host's when there is one and
	// else a private one, "private" for a private one in any case.
	Containerd string
	// DockerHost is the local Docker engine to look for images in.
	DockerHost string
	// Images says how images are pulled, kept and removed: Policy,
	// RegistryConfig, MaxSize and Collection of it count.
	Images image.Config
	// TaskEndpoint says how tasks reach the AWS API: TaskEndpointHTTP, or
	// TaskEndpointNone when their SDKs shall call AWS itself.
	TaskEndpoint string
	// Volumes says what EFS and EBS volumes are made of.
	Volumes VolumeConfig
	// CPUUnits and MemoryMiB are what the node offers; zero is what it has.
	CPUUnits, MemoryMiB int64
	Version             string
	Log                 *slog.Logger
}

// How tasks reach the AWS API.
const (
	// TaskEndpointHTTP is an address in the task's own namespace, without TLS:
	// the connection never leaves the host but inside the node's own to the
	// control plane, which is mutual TLS.
	TaskEndpointHTTP = "http"
	TaskEndpointNone = "none"
)

// CheckTaskEndpoint refuses what is not one of the two.
func CheckTaskEndpoint(s string) error {
	switch s {
	case TaskEndpointHTTP, TaskEndpointNone:
		return nil
	case "https":
		return errors.New("tasks cannot reach the AWS API with https yet: use http, which stays inside the host, or none")
	}
	return fmt.Errorf("the task endpoint %q is neither %s nor %s", s, TaskEndpointHTTP, TaskEndpointNone)
}

// Dir is where an agent keeps its things.
func Dir(i instance.Instance) string { return i.Path("agent") }

// Runtime returns the configuration of the instance's container runtime, for
// the agent and for commands that look at images or clean up.
func Runtime(i instance.Instance, address, dockerHost string, log *slog.Logger) containerd.Config {
	return containerd.Config{
		Instance: i.ID, DataDir: i.Path("agent", "containerd"), StateDir: i.RunDir(),
		Address: address, Images: image.Config{DockerHost: dockerHost}, Logger: room(log, "agent/runtime"),
	}
}

// Run is the life of an agent.
func Run(ctx context.Context, cfg Config) error {
	if cfg.TaskEndpoint == "" {
		cfg.TaskEndpoint = TaskEndpointHTTP
	}
	if err := CheckTaskEndpoint(cfg.TaskEndpoint); err != nil {
		return err
	}
	release, err := cfg.Instance.Claim("agent")
	if err != nil {
		return err
	}
	defer release()
	dir := Dir(cfg.Instance)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	helperPath, err := helper.Install(dir + "/bin")
	if err != nil {
		return err
	}
	identity, err := session.LoadOrJoin(ctx, dir, cfg.Server, cfg.JoinToken, nil)
	if err != nil {
		return err
	}
	runtimeConfig := Runtime(cfg.Instance, cfg.Containerd, cfg.DockerHost, cfg.Log)
	runtimeConfig.InitPath = helperPath
	own := &registry{}
	runtimeConfig.Images = cfg.Images
	runtimeConfig.Images.DockerHost, runtimeConfig.Images.Registry = cfg.DockerHost, own
	containers, err := containerd.New(ctx, runtimeConfig)
	if err != nil {
		return fmt.Errorf("opening the container runtime: %w", err)
	}
	defer containers.Close() //nolint:errcheck // the agent is ending
	manager, err := network.New(network.Config{
		Instance: cfg.Instance.ID, Log: room(cfg.Log, "agent/network"),
		// The data directory itself owns the default VPC's range.
		Claims: func(candidates, used []netip.Prefix) (netip.Prefix, error) {
			return network.ClaimRange(network.ClaimDir, dir, candidates, used)
		},
	})
	if err != nil {
		return err
	}
	taskJournal, err := journal.Open(dir + "/journal.db")
	if err != nil {
		return err
	}
	defer taskJournal.Close() //nolint:errcheck // every Put was durable
	hello, err := introduce(ctx, cfg, containers)
	if err != nil {
		return err
	}
	key, err := seal.Open(dir)
	if err != nil {
		return err
	}
	roles, err := newRoles(cfg, key)
	if err != nil {
		return err
	}
	volumes, err := newVolumes(cfg)
	if err != nil {
		return err
	}
	maps.Copy(hello.Attributes, volumes.systems.Attributes())
	plane, err := newDataPlane(cfg, manager, key, roles, volumes)
	if err != nil {
		return err
	}
	streams := exec.New(exec.Config{
		Runtime: containers, Task: func(id string) (task.View, bool) { return roles.tasks.Task(id) },
		Dir: dir + "/debug", Log: room(cfg.Log, "agent/exec"),
	})
	if err := streams.Purge(ctx); err != nil {
		cfg.Log.WarnContext(ctx, "not all of an earlier agent's debug containers were removed", telemetry.Error, err)
	}
	client, err := session.New(session.Config{
		Server: cfg.Server, Identity: identity, Hello: hello, Documents: plane.documents, Streams: streams, Log: room(cfg.Log, "agent/session"),
	})
	if err != nil {
		return err
	}
	plane.connect(client)
	roles.connect(client)
	volumes.report = client.Observe
	own.client = client
	driver := logdriver.New(logdriver.Config{Dir: dir + "/logs", Helper: helperPath, Sink: sink{client}, Key: key, Log: room(cfg.Log, "agent/logdriver")})
	output := logs{driver, roles.secrets.LogOptions}
	if err := output.adopt(ctx, containers, room(cfg.Log, "agent/logdriver")); err != nil {
		return fmt.Errorf("resuming the delivery of logs: %w", err)
	}
	endpoints, connect := newEndpoints(cfg, plane.resolver, containers, roles)
	engine := task.New(task.Config{
		Runtime: containers, Network: networks{manager, plane.firewall}, Bridge: manager,
		HostMetadata: netip.AddrPortFrom(metadata.HostAddress(cfg.Instance.ID), metadata.HostPort).String(),
		Logs:         output, Endpoints: endpoints,
		Owns:    own.Owns,
		Volumes: volumes,
		Roles:   roles, SecretsDir: tasksDir(cfg.Instance), TaskEndpoint: cfg.TaskEndpoint == TaskEndpointHTTP,
		Journal: taskJournal, Report: client.Report,
		Dir: dir, MaxOpenFiles: maxOpenFiles(), Limits: task.DefaultLimits(),
		Log: room(cfg.Log, "agent/task"),
	})
	connect(engine)

	g, ctx := errgroup.WithContext(ctx)
	for part, run := range map[string]func(context.Context) error{
		"runtime":  containers.Run,
		"network":  manager.Run,
		"firewall": plane.firewall.Run,
		"balancers": func(ctx context.Context) error {
			// The engine removes interfaces that no task of its has; one that is
			// only half made does not say that it is a load balancer's.
			select {
			case <-engine.Loaded():
				return plane.balancers.Run(ctx)
			case <-ctx.Done():
				return nil
			}
		},
		"metadata": func(ctx context.Context) error {
			return endpoints.serveHost(ctx, cfg.Instance.ID, engine, room(cfg.Log, "agent/metadata"))
		},
		"documents":   plane.documents.Run,
		"credentials": roles.credentials.Run,
		"secrets":     roles.followSecrets,
		"resolver":    plane.serveHost,
		"logdriver":   driver.Run,
		"tasks":       engine.Run,
		"images": func(ctx context.Context) error {
			// What tasks use is known when the journal was read.
			select {
			case <-engine.Loaded():
				return containers.CollectImages(ctx, engine.Images)
			case <-ctx.Done():
				return nil
			}
		},
		"session": func(ctx context.Context) error { return client.Run(ctx, engine) },
	} {
		g.Go(func() error {
			err := run(ctx)
			if ctx.Err() != nil {
				return nil
			}
			if err == nil {
				err = errors.New("it ended by itself")
			}
			return fmt.Errorf("%s: %w", part, err)
		})
	}
	return g.Wait()
}

// introduce says what the node offers.
func introduce(ctx context.Context, cfg Config, containers *containerd.Runtime) (*nodeapi.Hello, error) {
	info, err := containers.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking the container runtime what it is: %w", err)
	}
	hello := &nodeapi.Hello{
		Name: cfg.Name, Cluster: cfg.Cluster, AvailabilityZone: cfg.Zone,
		CpuUnits: cfg.CPUUnits, MemoryMib: cfg.MemoryMiB, AgentVersion: cfg.Version,
		Runtime:    fmt.Sprintf("%s %s, %s", info.Name, info.Version, info.OCIRuntime),
		Attributes: map[string]string{"ecs.os-type": "linux", "ecs.os-family": "LINUX", "ecs.cpu-architecture": architecture()},
	}
	if hello.Address, err = hostAddress(); err != nil {
		cfg.Log.WarnContext(ctx, "tasks in bridge and host mode cannot be targets of load balancers", telemetry.Error, err)
	}
	if hello.CpuUnits == 0 {
		hello.CpuUnits = int64(goruntime.NumCPU()) * 1024
	}
	if hello.MemoryMib == 0 {
		if hello.MemoryMib, err = hostMemoryMiB(); err != nil {
			return nil, err
		}
	}
	if hello.Name == "" {
		if hello.Name, err = os.Hostname(); err != nil {
			return nil, err
		}
	}
	return hello, nil
}

// architecture in ECS's spelling.
func architecture() string {
	if goruntime.GOARCH == "arm64" {
		return "arm64"
	}
	return "x86_64"
}

// maxOpenFiles is the hard limit that containers can be given: the kernel's,
// where this process may raise its own, else its own.
func maxOpenFiles() int64 {
	limit := unix.Rlimit{Cur: wantedOpenFiles, Max: wantedOpenFiles}
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own); err != nil {
		return wantedOpenFiles
	}
	if own.Max >= wantedOpenFiles || unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) == nil {
		return wantedOpenFiles
	}
	return int64(own.Max) //nolint:gosec // below wantedOpenFiles
}

// wantedOpenFiles is Fargate's default (behaviour/task-definitions.md §4).
const wantedOpenFiles = 65535

func hostMemoryMiB() (int64, error) {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "MemTotal:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			return kib / 1024, err
		}
	}
	return 0, errors.New("/proc/meminfo has no MemTotal")
}

// Purge removes everything that an instance's agent made on this host:
// containers, networks, rules, mounts, and a private containerd. The agent
// must not run. Files are the caller's to remove.
func Purge(ctx context.Context, i instance.Instance, containerdAddress string, log *slog.Logger) error {
	cfg := Runtime(i, containerdAddress, "", log)
	// What one part cannot remove must not keep the next from its turn.
	part := func(remove func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, purgePart)
		defer cancel()
		return remove(ctx)
	}
	return errors.Join(
		part(func(ctx context.Context) error { return purgeContainers(ctx, cfg) }),
		part(func(ctx context.Context) error { return containerd.StopPrivate(ctx, cfg) }),
		part(func(ctx context.Context) error { return purgeVolumes(ctx, i, log) }),
		part(func(ctx context.Context) error { return purgeNetworks(ctx, i, log) }),
		secrets.Unmount(tmpfsDir(i)),
	)
}

// purgePart is how long each part of a purge may take.
const purgePart = time.Minute

func purgeContainers(ctx context.Context, cfg containerd.Config) error {
	containers, err := containerd.New(ctx, cfg)
	if err != nil {
		return fmt.Errorf("opening the container runtime: %w", err)
	}
	return errors.Join(containers.Purge(ctx), containers.Close())
}

func purgeNetworks(ctx context.Context, i instance.Instance, log *slog.Logger) error {
	manager, err := network.New(network.Config{Instance: i.ID, Log: room(log, "agent/network")})
	if err != nil {
		return err
	}
	balancers, err := newBalancers(i, networks{manager: manager}, nil, nil, log)
	if err != nil {
		return err
	}
	errs := []error{balancers.Purge(ctx), manager.Purge(ctx)}
	for _, dir := range []string{network.ClaimDir, instance.PublicClaims, instance.ResolverClaims} {
		errs = append(errs, network.ReleaseRanges(dir, i.DataDir))
	}
	errs = append(errs, network.ReleaseRanges(network.ClaimDir, Dir(i)))
	return errors.Join(errs...)
}

func room(log *slog.Logger, name string) *slog.Logger { return log.With(telemetry.Room, name) }
