package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/agent/network"
	"berth.dev/berth/internal/app/instance"
)

// patience is how long doctor waits for anything that may not answer.
const patience = 2 * time.Second

// examine looks at the host. It changes nothing that outlives it.
func examine(ctx context.Context, dataDir, listen string) facts {
	f := facts{
		root: os.Geteuid() == 0, kernel: release(), overlay: holds("/proc/filesystems", "overlay") || moduleExists("overlay"),
		veth: errUnknown, nftables: errUnknown, tools: map[string]tool{},
		forwarding: holds("/proc/sys/net/ipv4/ip_forward", "1"),
		openFiles:  openFiles(),
		listen:     listen, listenTaken: taken(ctx, listen),
	}
	f.cgroup, f.control = controlGroups("/sys/fs/cgroup", "/proc/cgroups")
	if f.root {
		f.veth, f.nftables = tryNetwork(), tryNftables()
	}
	for _, name := range []string{"containerd", "runc", "crun", "iptables"} {
		if path, err := exec.LookPath(name); err == nil {
			f.tools[name] = tool{path, versionOf(ctx, path)}
		}
	}
	if path, err := exec.LookPath("haproxy"); err == nil {
		f.tools["haproxy"], f.namespaces = examineHAProxy(ctx, path)
	}
	f.engine = answering(ctx, env("BERTH_CONTAINERD", "/run/containerd/containerd.sock"))
	f.docker = answering(ctx, strings.TrimPrefix(env("DOCKER_HOST", "unix:///var/run/docker.sock"), "unix://"))
	f.clockSane, f.clockSynced = clock()
	f.listenReady = f.listenTaken && ready(ctx, listen)
	examineInstance(&f, dataDir)
	f.freeBytes = freeBytes(f.dataDir)
	if f.root {
		f.leftovers = findLeftovers(f.instance)
	} else {
		f.leftoversHidden = true
	}
	return f
}

func examineInstance(f *facts, dataDir string) {
	f.dataDir = dataDir
	if abs, err := filepath.Abs(dataDir); err == nil {
		f.dataDir = abs
	}
	inst, err := instance.Existing(dataDir)
	if err != nil {
		f.unreadable = errors.Is(err, fs.ErrPermission)
		return
	}
	f.instance = inst.ID
	for _, role := range []string{"up", "server", "agent"} {
		if inst.Running(role) {
			f.runningRoles = append(f.runningRoles, role)
		}
	}
	endpoint, err := oneLine(inst, "endpoint")
	f.listenIsOurs = err == nil && endpoint == "http://"+f.listen && slices.Contains(f.runningRoles, "server")
}

func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Machine[:])
}

// openFiles is the hard limit on open files when this process may not raise
// it, else 0.
func openFiles() uint64 {
	var capabilities [2]unix.CapUserData
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&header, &capabilities[0]); err != nil || capabilities[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0 {
		return 0
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return limit.Max
}

// holds reports whether a file has a word.
func holds(file, word string) bool {
	data, err := os.ReadFile(file)
	return err == nil && slices.Contains(strings.Fields(string(data)), word)
}

// moduleExists reports whether the kernel could load a module when it is
// needed.
func moduleExists(name string) bool {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return false
	}
	data, err := os.ReadFile(filepath.Join("/lib/modules", unix.ByteSliceToString(u.Release[:]), "modules.dep"))
	return err == nil && strings.Contains(string(data), "/"+name+".ko")
}

// controlGroups reads the version and the controllers of the hierarchy at dir.
func controlGroups(dir, legacy string) (version int, controllers []string) {
	if data, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers")); err == nil {
		return 2, strings.Fields(string(data))
	}
	data, err := os.ReadFile(legacy)
	if err != nil {
		return 0, nil
	}
	for line := range strings.Lines(string(data)) {
		// name, hierarchy, number of groups, enabled
		f := strings.Fields(line)
		if len(f) == 4 && f[3] == "1" && !strings.HasPrefix(f[0], "#") {
			if _, err := os.Stat(filepath.Join(dir, f[0])); err == nil {
				controllers = append(controllers, f[0])
			}
		}
	}
	if len(controllers) == 0 {
		return 0, nil
	}
	return 1, controllers
}

// tryNetwork makes a pair of interfaces in a namespace that nobody sees, and
// that the kernel removes with the thread it belongs to.
func tryNetwork() error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		ns, err := netns.New()
		if err != nil {
			done <- err
			return
		}
		defer ns.Close() //nolint:errcheck // it goes with the thread
		done <- netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "doctor0"}, PeerName: "doctor1"})
	}()
	return <-done
}

func tryNftables() error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	_, err = conn.ListTables()
	return err
}

var digits = regexp.MustCompile(`v?[0-9]+(\.[0-9]+)+[-+~.0-9a-zA-Z]*`)

// versionOf is the first thing in the output of --version that looks like one.
func versionOf(ctx context.Context, path string) string {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return ""
	}
	return digits.FindString(string(out))
}

// examineHAProxy reads the version and whether network namespaces are among the
// features it was built with. HAProxy does not know --version.
func examineHAProxy(ctx context.Context, path string) (tool, bool) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "-vv").Output()
	if err != nil {
		return tool{path, ""}, false
	}
	return tool{path, digits.FindString(string(out))}, slices.Contains(strings.Fields(string(out)), "+NS")
}

// answering returns the path of a unix socket if something accepts there.
func answering(ctx context.Context, path string) string {
	if !strings.HasPrefix(path, "/") {
		return ""
	}
	dialer := net.Dialer{Timeout: patience}
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return ""
	}
	conn.Close() //nolint:errcheck,gosec // nothing was written
	return path
}

// clock reports whether the time is possible, and whether the kernel says that
// something keeps it right.
func clock() (sane, synced bool) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return time.Now().Year() >= 2026, err == nil && state != unix.TIME_ERROR
}

// taken reports whether an address cannot be listened on.
func taken(ctx context.Context, address string) bool {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return true
	}
	l.Close() //nolint:errcheck,gosec // nobody came
	return false
}

func ready(ctx context.Context, listen string) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+listen+"/readyz", nil)
	if err != nil {
		return false
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	answer.Body.Close() //nolint:errcheck,gosec // the status says it all
	return answer.StatusCode == http.StatusOK
}

// freeBytes is the room where a directory is or would be.
func freeBytes(dir string) uint64 {
	for {
		var s unix.Statfs_t
		if err := unix.Statfs(dir, &s); err == nil {
			return s.Bavail * uint64(s.Bsize) //nolint:gosec // a block has a size
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return 0
		}
		dir = parent
	}
}

// owned is the form of names that carry the id of the instance they belong to.
var owned = regexp.MustCompile(`^berth-([0-9a-f]{8})(-|$)`)

// findLeftovers finds objects of instances that no data directory is known of:
// neither that of --data-dir nor one with a claim on an address range.
func findLeftovers(mine string) []leftover {
	known := map[string]bool{mine: true}
	claims, _ := filepath.Glob(filepath.Join(network.ClaimDir, "*.json")) //nolint:errcheck // the pattern is right
	for _, file := range claims {
		var claim struct {
			Owner string `json:"owner"`
		}
		data, err := os.ReadFile(file)
		if err != nil || json.Unmarshal(data, &claim) != nil {
			continue
		}
		if id, err := os.ReadFile(filepath.Join(claim.Owner, "instance")); err == nil {
			known[strings.TrimSpace(string(id))] = true
		}
	}
	found := map[string][]string{}
	add := func(name, what string) {
		if m := owned.FindStringSubmatch(name); m != nil && !known[m[1]] {
			found[m[1]] = append(found[m[1]], what)
		}
	}
	namespaces, _ := os.ReadDir("/run/netns") //nolint:errcheck // no directory, no namespaces
	for _, ns := range namespaces {
		add(ns.Name(), "namespace "+ns.Name())
	}
	if conn, err := nftables.New(); err == nil {
		if tables, err := conn.ListTables(); err == nil {
			for _, t := range tables {
				add(t.Name, "nftables table "+t.Name)
			}
		}
	}
	var all []leftover
	for id, what := range found {
		all = append(all, leftover{id, what})
	}
	slices.SortFunc(all, func(a, b leftover) int { return strings.Compare(a.instance, b.instance) })
	return all
}
