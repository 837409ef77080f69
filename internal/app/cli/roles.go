package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"berth.dev/berth/internal/app/instance"
	"berth.dev/berth/internal/app/node"
	"berth.dev/berth/internal/app/server"
	"berth.dev/berth/internal/app/up"
	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/control/deployment"
	"berth.dev/berth/internal/control/liveness"
	"berth.dev/berth/internal/control/reaper"
)

// defaultListen is where the AWS API answers unless told otherwise.
const defaultListen = "127.0.0.1:8577"

// serverFlags are the options of a control plane.
type serverFlags struct {
	listen, nodeListen, region, account, logLevel, publicAddresses string
	tlsCert, tlsKey, masterKeyCommand, registry                    string
	tlsNames                                                       []string
	requireNode, tls                                               bool
	rateLimit                                                      float64
	nodeLostAfter, retention, healthyAfter                         time.Duration
}

func (f *serverFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.listen, "listen", env("BERTH_LISTEN", defaultListen), "address of the AWS API (BERTH_LISTEN)")
	flags.BoolVar(&f.tls, "tls", false, "serve the AWS API over TLS with a certificate of Berth's own authority, which berth env makes clients trust")
	flags.StringSliceVar(&f.tlsNames, "tls-name", nil, "further host name or address in that certificate")
	flags.StringVar(&f.tlsCert, "tls-cert", env("BERTH_TLS_CERT", ""), "serve the AWS API over TLS with this certificate, PEM (BERTH_TLS_CERT)")
	flags.StringVar(&f.tlsKey, "tls-key", env("BERTH_TLS_KEY", ""), "key of that certificate, PEM (BERTH_TLS_KEY)")
	flags.StringVar(&f.masterKeyCommand, "master-key-command", env("BERTH_MASTER_KEY_COMMAND", ""), "command that prints the master key under which secrets are stored (default: a file in the data directory) (BERTH_MASTER_KEY_COMMAND)")
	flags.StringVar(&f.registry, "registry-name", env("BERTH_REGISTRY_NAME", ""), "what docker is to call the image registry, such as registry.example.com:8577; with http:// in front if it has no TLS (default: the name that AWS would give it) (BERTH_REGISTRY_NAME)")
	flags.Float64Var(&f.rateLimit, "rate-limit", server.DefaultRateLimit, "calls a second that one principal may make; 0 for no limit")
	flags.StringVar(&f.region, "region", env("BERTH_REGION", "us-east-1"), "region that this Berth is (BERTH_REGION)")
	flags.StringVar(&f.account, "account", env("BERTH_ACCOUNT", "123456789012"), "account id that this Berth is (BERTH_ACCOUNT)")
	flags.DurationVar(&f.nodeLostAfter, "node-lost-after", liveness.DefaultLimit, "how long a node may be out of reach before its tasks are stopped")
	flags.DurationVar(&f.healthyAfter, "healthy-after", deployment.DefaultHealthyAfter, "how long a task of a service without load balancer and health check must run to count as healthy; on AWS 40s")
	flags.StringVar(&f.publicAddresses, "public-addresses", env("BERTH_PUBLIC_ADDRESSES", ""), "range of addresses that load balancers and tasks are reached at from outside, such as 192.0.2.0/26 (default: a part of 127.0.0.0/8) (BERTH_PUBLIC_ADDRESSES)")
	flags.DurationVar(&f.retention, "stopped-task-retention", reaper.DefaultRetention, "how long stopped tasks stay describable")
}

func (f *serverFlags) check() error {
	if !regexp.MustCompile(`^[0-9]{12}$`).MatchString(f.account) {
		return &failure{exitMisuse, fmt.Errorf("--account %q is not twelve digits", f.account)}
	}
	if !regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]$`).MatchString(f.region) {
		return &failure{exitMisuse, fmt.Errorf("--region %q is not a region such as us-east-1", f.region)}
	}
	if _, err := f.public(); err != nil {
		return &failure{exitMisuse, fmt.Errorf("--public-addresses %q is not a range such as 192.0.2.0/26", f.publicAddresses)}
	}
	if err := server.CheckListen(f.listen, f.encryption()); err != nil {
		return &failure{exitMisuse, fmt.Errorf("--listen: %w", err)}
	}
	return nil
}

func (f *serverFlags) url() string {
	if f.encryption().Enabled() {
		return "https://" + f.listen
	}
	return "http://" + f.listen
}

func (f *serverFlags) encryption() server.TLS {
	return server.TLS{CertFile: f.tlsCert, KeyFile: f.tlsKey, Own: f.tls, Names: f.tlsNames}
}

// public is the range of public addresses; invalid when none was named.
func (f *serverFlags) public() (netip.Prefix, error) {
	if f.publicAddresses == "" {
		return netip.Prefix{}, nil
	}
	return netip.ParsePrefix(f.publicAddresses)
}

// agentFlags are the options of a node.
type agentFlags struct {
	server, token, region, name, cluster, zone, containerd, dockerHost, logLevel, taskEndpoint string
	cpu, memory                                                                                int64
	images                                                                                     imageFlags
	volumes                                                                                    volumeFlags
}

func (f *agentFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.name, "name", "", "name of this node (default: the host's)")
	flags.StringVar(&f.cluster, "cluster", "default", "cluster of which this node is a container instance; empty for none")
	flags.StringVar(&f.zone, "zone", "", "availability zone of this node; empty to serve every one")
	flags.StringVar(&f.containerd, "containerd", env("BERTH_CONTAINERD", ""), `containerd's socket, or "private" for one of its own (default: the host's when there is one, else its own) (BERTH_CONTAINERD)`)
	flags.StringVar(&f.dockerHost, "docker-host", env("DOCKER_HOST", ""), "local Docker engine to find images in (DOCKER_HOST)")
	flags.StringVar(&f.taskEndpoint, "task-endpoint", env("BERTH_TASK_ENDPOINT", "http"), "how containers reach the AWS API: http, inside their own namespace, or none (BERTH_TASK_ENDPOINT)")
	f.images.register(flags)
	flags.Int64Var(&f.cpu, "cpu-units", 0, "CPU units that this node offers, 1024 a core (default: all)")
	flags.Int64Var(&f.memory, "memory-mib", 0, "memory that this node offers in MiB (default: all)")
	f.volumes.register(flags)
}

func (f *agentFlags) check() error {
	if err := node.CheckTaskEndpoint(f.taskEndpoint); err != nil {
		return &failure{exitMisuse, fmt.Errorf("--task-endpoint: %w", err)}
	}
	if _, err := f.images.config(); err != nil {
		return &failure{exitMisuse, err}
	}
	if err := f.volumes.Check(); err != nil {
		return &failure{exitMisuse, err}
	}
	return nil
}

func env(name, otherwise string) string {
	if v, ok := os.LookupEnv(name); ok {
		return v
	}
	return otherwise
}

func newServer(e *environment) *cobra.Command {
	var f serverFlags
	cmd := &cobra.Command{
		Use: "server", Short: "Run the control plane", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			inst, err := instance.Open(e.dataDir)
			if err != nil {
				return err
			}
			log, err := logger(e.err, f.logLevel)
			if err != nil {
				return err
			}
			public, err := f.public()
			if err != nil {
				return err
			}
			return server.Run(cmd.Context(), server.Config{
				PublicAddresses: public, HealthyAfter: f.healthyAfter,
				Instance: inst, Listen: f.listen, TLS: f.encryption(), NodeListen: f.nodeListen,
				MasterKeyCommand: f.masterKeyCommand, RateLimit: f.rateLimit, RegistryEndpoint: f.registry,
				Scope:       arn.Scope{Partition: "aws", Region: f.region, AccountID: f.account},
				RequireNode: f.requireNode, NodeLostAfter: f.nodeLostAfter, Retention: f.retention, Log: log,
			})
		},
	}
	f.register(cmd.Flags())
	cmd.Flags().StringVar(&f.nodeListen, "node-listen", env("BERTH_NODE_LISTEN", ""), "address where nodes of other machines connect, such as 0.0.0.0:8578 (BERTH_NODE_LISTEN)")
	cmd.Flags().BoolVar(&f.requireNode, "require-node", false, "be ready only when a node is connected")
	cmd.Flags().StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	return cmd
}

func newAgent(e *environment) *cobra.Command {
	var f agentFlags
	cmd := &cobra.Command{
		Use: "agent", Short: "Run a node", Args: cobra.NoArgs,
		Long: "Run a node. Its tasks outlive it: the next agent with the same --data-dir adopts them.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			inst, err := e.instance()
			if err != nil {
				return err
			}
			log, err := logger(e.err, f.logLevel)
			if err != nil {
				return err
			}
			if f.server == "" {
				f.server = "unix:" + inst.NodeSocket()
			}
			images, err := f.images.config()
			if err != nil {
				return err
			}
			return node.Run(cmd.Context(), node.Config{
				Images:   images,
				Instance: inst, Server: f.server, JoinToken: f.token,
				Region: f.region, Name: f.name, Cluster: f.cluster, Zone: f.zone,
				Containerd: f.containerd, DockerHost: f.dockerHost,
				CPUUnits: f.cpu, MemoryMiB: f.memory, TaskEndpoint: f.taskEndpoint, Version: buildVersion(), Log: log,
				Volumes: f.volumes.VolumeConfig,
			})
		},
	}
	f.register(cmd.Flags())
	cmd.Flags().StringVar(&f.server, "server", env("BERTH_SERVER", ""), "control plane's address for nodes (default: the server of the same data directory) (BERTH_SERVER)")
	cmd.Flags().StringVar(&f.region, "region", env("BERTH_REGION", "us-east-1"), "region of the control plane (BERTH_REGION)")
	cmd.Flags().StringVar(&f.token, "join-token", env(up.TokenVariable, ""), "token to join with, needed once ("+up.TokenVariable+")")
	cmd.Flags().StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	return cmd
}

func newUp(e *environment) *cobra.Command {
	var s serverFlags
	var a agentFlags
	cmd := &cobra.Command{
		Use: "up", Short: "Run a whole Berth on this machine, in the foreground", Args: cobra.NoArgs,
		Long: `Run a server and an agent on this machine, as two processes, until Ctrl-C or SIGTERM.
Tasks outlive it: the next ` + "`berth up`" + ` adopts them, and ` + "`berth down --purge`" + ` removes them.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(s.check(), a.check()); err != nil {
				return err
			}
			inst, err := e.instance()
			if err != nil {
				return err
			}
			p := newPrinter(e.err)
			p.say("Starting Berth in %s", inst.DataDir)
			err = up.Run(cmd.Context(), up.Config{
				Instance: inst, Listen: s.listen, TLS: s.encryption().Enabled(),
				Server: []string{
					"--data-dir", inst.DataDir, "--listen", s.listen, "--region", s.region, "--account", s.account,
					"--node-lost-after", s.nodeLostAfter.String(), "--stopped-task-retention", s.retention.String(), "--require-node",
					"--public-addresses", s.publicAddresses, "--healthy-after", s.healthyAfter.String(),
					"--tls=" + fmt.Sprint(s.tls), "--tls-name", strings.Join(s.tlsNames, ","), "--tls-cert", s.tlsCert, "--tls-key", s.tlsKey,
					"--master-key-command", s.masterKeyCommand, "--rate-limit", fmt.Sprint(s.rateLimit), "--registry-name", s.registry,
				},
				Agent: append(append(a.images.args(), a.volumes.args()...),
					"--data-dir", inst.DataDir, "--region", s.region, "--name", a.name, "--cluster", a.cluster, "--zone", a.zone,
					"--containerd", a.containerd, "--docker-host", a.dockerHost,
					"--cpu-units", fmt.Sprint(a.cpu), "--memory-mib", fmt.Sprint(a.memory), "--task-endpoint", a.taskEndpoint,
				),
				Say: p.say,
				Ready: func(took time.Duration) {
					p.done("Ready in %s: the AWS API answers at %s", took.Round(time.Millisecond), s.url())
					p.hint(`eval "$(berth env%s)"`, e.dataDirHint())
					p.hint("aws ecs list-clusters")
				},
			})
			if err == nil {
				p.say("Stopped. Tasks run on; `berth up%s` adopts them, `berth down --purge%s` removes them.", e.dataDirHint(), e.dataDirHint())
			}
			return err
		},
	}
	s.register(cmd.Flags())
	a.register(cmd.Flags())
	return cmd
}

// dataDirHint is what a suggested command must say to reach this instance.
func (e *environment) dataDirHint() string {
	if e.dataDir == defaultDataDir() {
		return ""
	}
	return " --data-dir " + e.dataDir
}

func newDown(e *environment) *cobra.Command {
	var purge bool
	var containerd string
	cmd := &cobra.Command{
		Use: "down", Short: "Stop this machine's Berth", Args: cobra.NoArgs,
		Long: `Stop the server and the agent. Tasks run on unless --purge is given, which removes every
container, network, rule, mount and file that this Berth made.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			inst, err := e.existing()
			if err != nil {
				return err
			}
			p := newPrinter(e.err)
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
			defer cancel()
			for _, role := range []string{"up", "agent", "server"} {
				if err := inst.Stop(ctx, role); err != nil {
					return err
				}
			}
			p.done("Berth in %s is stopped", inst.DataDir)
			if !purge {
				p.say("Its tasks run on. `berth down --purge%s` removes them.", e.dataDirHint())
				return nil
			}
			log, err := logger(e.err, "warn")
			if err != nil {
				return err
			}
			if err := node.Purge(cmd.Context(), inst, containerd, log); err != nil {
				return fmt.Errorf("not everything could be removed; run it again: %w", err)
			}
			if err := inst.Remove(); err != nil {
				return err
			}
			p.done("Everything that it made is removed")
			return nil
		},
	}
	cmd.Flags().BoolVar(&purge, "purge", false, "remove containers, networks, rules, mounts and files, data included")
	cmd.Flags().StringVar(&containerd, "containerd", env("BERTH_CONTAINERD", ""), "containerd's socket, as given to up (BERTH_CONTAINERD)")
	return cmd
}
