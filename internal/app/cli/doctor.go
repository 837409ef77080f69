package cli

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// Verdicts of a check.
const (
	good    = "ok"
	warning = "warning"
	bad     = "failed"
)

// check is one thing that doctor looked at.
type check struct {
	Name    string `json:"name"`
	Verdict string `json:"verdict"`
	Found   string `json:"found"`
	Do      string `json:"do,omitempty"`
}

func newDoctor(e *environment) *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use: "doctor", Short: "Check whether this host can run Berth, and say what to do", Args: arguments(cobra.NoArgs),
		Long: "Check whether this host can run Berth, and say what to do where it cannot.\nThe exit code is 1 when something is missing that Berth needs.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			checks := judge(examine(cmd.Context(), e.dataDir, listen))
			if err := e.showChecks(checks); err != nil {
				return err
			}
			failed := 0
			for _, c := range checks {
				if c.Verdict == bad {
					failed++
				}
			}
			switch failed {
			case 0:
				return nil
			case 1:
				return errors.New("one thing that Berth needs is missing")
			}
			return fmt.Errorf("%d things that Berth needs are missing", failed)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", env("BERTH_LISTEN", defaultListen), "address that the AWS API shall have (BERTH_LISTEN)")
	outputFlag(e, cmd)
	return cmd
}

func (e *environment) showChecks(checks []check) error {
	if e.output == formJSON {
		return e.writeJSON(map[string]any{"version": buildVersion(), "checks": checks})
	}
	_, err := fmt.Fprint(e.out, renderChecks(newPrinter(e.out), checks))
	return err
}

func renderChecks(p *printer, checks []check) string {
	var b strings.Builder
	for _, c := range checks {
		mark := p.paint("32", "✓")
		switch c.Verdict {
		case warning:
			mark = p.paint("33", "!")
		case bad:
			mark = p.paint("31", "✗")
		}
		fmt.Fprintf(&b, "%s %-12s %s\n", mark, c.Name, c.Found)
		if c.Do != "" {
			fmt.Fprintf(&b, "  %-12s → %s\n", "", c.Do)
		}
	}
	return b.String()
}

// tool is a program that Berth starts.
type tool struct{ Path, Version string }

// leftover are objects of an instance that no data directory belongs to.
type leftover struct {
	instance string
	what     []string
}

// facts are what doctor found on the host.
type facts struct {
	root    bool
	kernel  string
	cgroup  int // version; 0 when no hierarchy is mounted
	control []string
	overlay bool
	// veth and nftables are nil when they work; errUnknown without root.
	veth, nftables error

	tools           map[string]tool // found on PATH, by name
	namespaces      bool            // haproxy can use network namespaces
	engine          string          // the host's containerd socket, when something answers there
	docker          string          // the Docker engine's socket, when something answers there
	openFiles       uint64          // hard limit, when it cannot be raised; 0 when it can
	forwarding      bool
	freeBytes       uint64
	dataDir         string
	instance        string // its id, empty when there is none
	unreadable      bool   // the data directory may not be read
	runningRoles    []string
	clockSane       bool
	clockSynced     bool
	listen          string
	listenTaken     bool
	listenReady     bool // /readyz says 200
	listenIsOurs    bool // it is this instance's endpoint, and its server runs
	leftovers       []leftover
	leftoversHidden bool
}

var errUnknown = errors.New("unknown")

// needed are the controllers that limits and statistics of tasks need.
var needed = []string{"cpu", "memory", "pids"} //nolint:gochecknoglobals // a constant list

const (
	// fargateOpenFiles is how many files a task of Fargate may open.
	fargateOpenFiles = 65535

	leastFree  = 1 << 30
	enoughFree = 5 << 30
)

// judge decides what is right and what to do where it is not.
func judge(f facts) []check {
	return slices.Concat(judgeKernel(f), judgeTools(f), judgeHost(f), judgeInstance(f))
}

func judgeKernel(f facts) []check {
	root := check{"root", good, "runs as root", ""}
	if !f.root {
		root = check{"root", warning, "does not run as root: some checks were left out", "sudo berth doctor"}
	}
	kernel := check{"kernel", good, f.kernel, ""}
	cgroup := check{"cgroup", good, fmt.Sprintf("version %d with %s", f.cgroup, strings.Join(f.control, ", ")), ""}
	var missing []string
	for _, c := range needed {
		if !slices.Contains(f.control, c) {
			missing = append(missing, c)
		}
	}
	switch {
	case f.cgroup == 0:
		cgroup = check{"cgroup", bad, "no control groups are mounted at /sys/fs/cgroup", "mount them, as systemd does"}
	case len(missing) > 0:
		cgroup = check{"cgroup", bad, fmt.Sprintf("version %d without %s", f.cgroup, strings.Join(missing, ", ")), "start the kernel with cgroup_enable=" + strings.Join(missing, ",")}
	}
	overlay := check{"overlayfs", good, "is there", ""}
	if !f.overlay {
		overlay = check{"overlayfs", warning, "is not there: images are copied, which is slow", "modprobe overlay"}
	}
	return []check{
		root, kernel, cgroup, overlay,
		kernelPart("network", f.veth, "namespaces and veth work", "load the module: modprobe veth"),
		kernelPart("nftables", f.nftables, "works", "load the module: modprobe nf_tables"),
	}
}

func kernelPart(name string, err error, fine, do string) check {
	switch {
	case err == nil:
		return check{name, good, fine, ""}
	case errors.Is(err, errUnknown):
		return check{name, warning, "not checked: needs root", ""}
	}
	return check{name, bad, "does not work: " + err.Error(), do}
}

func judgeTools(f facts) []check {
	found := func(name string) string { return strings.TrimSpace(f.tools[name].Path + "  " + f.tools[name].Version) }
	containerd := check{"containerd", good, found("containerd"), ""}
	switch {
	case f.engine != "":
		containerd.Found = cmp.Or(f.tools["containerd"].Version, "containerd") + ", answers at " + f.engine
	case f.tools["containerd"].Path == "":
		containerd = check{"containerd", bad, "is not on PATH, and none answers", "apt-get install containerd"}
	default:
		containerd.Found += "; none answers, so Berth starts its own"
	}
	runtime := check{"OCI runtime", good, "", ""}
	for _, name := range []string{"crun", "runc"} {
		if f.tools[name].Path != "" {
			runtime.Found = strings.TrimPrefix(runtime.Found+", "+found(name), ", ")
		}
	}
	if runtime.Found == "" {
		runtime = check{"OCI runtime", bad, "neither runc nor crun is on PATH", "apt-get install runc"}
	}
	docker := check{"Docker", good, "none here, none needed", ""}
	if f.docker != "" {
		docker.Found = "answers at " + f.docker + ": images of `docker build` just run"
		if f.tools["iptables"].Path == "" {
			docker.Verdict, docker.Do = warning, "apt-get install iptables"
			docker.Found = "answers, but iptables is not on PATH: Docker's rules may block traffic of tasks"
		}
	}
	return []check{containerd, runtime, judgeHAProxy(f), docker}
}

// leastHAProxy is the first version whose runtime API changes targets without
// a reload as load balancers need it.
const leastHAProxy = "2.4"

func judgeHAProxy(f facts) check {
	t := f.tools["haproxy"]
	haproxy := check{"HAProxy", good, strings.TrimSpace(t.Path + "  " + t.Version), ""}
	switch {
	case t.Path == "":
		haproxy = check{"HAProxy", bad, "is not on PATH: load balancers cannot serve", "apt-get install haproxy"}
	case !atLeast(t.Version, leastHAProxy):
		haproxy.Verdict, haproxy.Do = bad, "install "+leastHAProxy+" or newer"
		haproxy.Found += ": it is too old for load balancers"
	case !f.namespaces:
		haproxy.Verdict, haproxy.Do = bad, "install the distribution's package, or build it with USE_NS=1"
		haproxy.Found += ": it was built without network namespaces (+NS)"
	}
	return haproxy
}

// atLeast compares the first two numbers of a version with least.
func atLeast(version, least string) bool {
	var major, minor, leastMajor, leastMinor int
	if n, err := fmt.Sscanf(strings.TrimPrefix(version, "v"), "%d.%d", &major, &minor); err != nil || n != 2 {
		return false
	}
	if _, err := fmt.Sscanf(least, "%d.%d", &leastMajor, &leastMinor); err != nil {
		return false
	}
	return major > leastMajor || major == leastMajor && minor >= leastMinor
}

func judgeHost(f facts) []check {
	forward := check{"forwarding", good, "net.ipv4.ip_forward is on", ""}
	if !f.forwarding {
		forward = check{"forwarding", good, "net.ipv4.ip_forward is off; the agent switches it on", ""}
	}
	limits := check{"limits", good, "open files can be raised as tasks want", ""}
	if f.openFiles > 0 && f.openFiles < fargateOpenFiles {
		limits = check{"limits", warning, fmt.Sprintf("open files are limited to %d here, and root may not raise it (no CAP_SYS_RESOURCE); Fargate gives %d", f.openFiles, fargateOpenFiles), "raise the hard limit of the shell or unit that starts Berth: ulimit -Hn, LimitNOFILE="}
	}
	disk := check{"disk", good, fmt.Sprintf("%.1f GiB free for %s", float64(f.freeBytes)/(1<<30), f.dataDir), ""}
	switch {
	case f.freeBytes < leastFree:
		disk.Verdict, disk.Do = bad, "make room, or choose another place with --data-dir"
	case f.freeBytes < enoughFree:
		disk.Verdict, disk.Do = warning, "images need room: make some, or choose another place with --data-dir"
	}
	clock := check{"clock", good, "is synchronised", ""}
	switch {
	case !f.clockSane:
		clock = check{"clock", bad, "shows a time before this program was written", "set it: signatures carry the time, and are refused after 5 minutes"}
	case !f.clockSynced:
		clock = check{"clock", good, "is not synchronised by this kernel; clients on other machines must agree within 5 minutes", ""}
	}
	port := check{"port", good, f.listen + " is free", ""}
	switch {
	case f.listenTaken && f.listenIsOurs && f.listenReady:
		port.Found = f.listen + " is this Berth's, and it is ready"
	case f.listenTaken && f.listenIsOurs:
		port = check{"port", warning, f.listen + " is this Berth's, and it is not ready", "the logs are server/server.log and agent/agent.log in " + f.dataDir}
	case f.listenTaken:
		port = check{"port", bad, f.listen + " is taken by another program", "choose another: berth up --listen 127.0.0.1:PORT"}
	}
	return []check{forward, limits, disk, clock, port}
}

func judgeInstance(f facts) []check {
	dir := check{"data", good, f.dataDir + " holds no Berth yet", ""}
	switch {
	case f.unreadable:
		dir = check{"data", warning, f.dataDir + " may not be read by this user", "sudo berth doctor"}
	case f.instance != "" && len(f.runningRoles) == 0:
		dir.Found = fmt.Sprintf("%s holds instance %s, of which nothing runs", f.dataDir, f.instance)
	case f.instance != "":
		dir.Found = fmt.Sprintf("%s holds instance %s; running: %s", f.dataDir, f.instance, strings.Join(f.runningRoles, ", "))
	}
	checks := []check{dir}
	if f.leftoversHidden {
		return append(checks, check{"leftovers", warning, "not checked: needs root", ""})
	}
	for _, l := range f.leftovers {
		checks = append(checks, check{
			"leftovers", warning,
			fmt.Sprintf("instance %s, whose data directory is unknown here, left: %s", l.instance, strings.Join(l.what, ", ")),
			fmt.Sprintf("if its data directory is gone: mkdir -p /tmp/gone && echo %s > /tmp/gone/instance && berth down --purge --data-dir /tmp/gone", l.instance),
		})
	}
	if len(f.leftovers) == 0 {
		checks = append(checks, check{"leftovers", good, "none", ""})
	}
	return checks
}
