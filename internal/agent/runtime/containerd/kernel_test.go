package containerd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/agent/runtime"
)

// sandbox is one task of a test.
type sandbox struct {
	*host
	*Runtime
	t      *testing.T
	image  runtime.Image
	task   string
	parent string
	count  int
}

func newSandbox(t *testing.T, limits runtime.Task) *sandbox {
	t.Helper()
	h := requireHost(t)
	s := &sandbox{host: h, Runtime: h.connect(t), t: t, task: strings.ToLower(rand.Text())}
	limits.ID = s.task
	var err error
	if s.image, err = s.EnsureImage(t.Context(), runtime.ImageRequest{Ref: probeImage}); err != nil {
		t.Fatal(err)
	}
	if s.parent, err = s.PrepareTask(t.Context(), limits); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		for i := range s.count {
			if err := s.Remove(ctx, s.id(i)); err != nil {
				t.Error(err)
			}
		}
		if err := s.RemoveTask(ctx, s.task); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *sandbox) id(n int) string { return fmt.Sprintf("%s-%d", s.task, n) }

// spec is the next container, running the probe.
func (s *sandbox) spec(args ...string) runtime.Spec {
	s.count++
	return runtime.Spec{
		ID: s.id(s.count - 1), TaskID: s.task, Name: "probe", Image: s.image.Name, CgroupParent: s.parent,
		Args: append([]string{"/probe"}, args...),
	}
}

func (s *sandbox) run(spec runtime.Spec) runtime.Status {
	s.t.Helper()
	if err := s.Create(s.t.Context(), spec); err != nil {
		s.t.Fatal(err)
	}
	status, err := s.Start(s.t.Context(), spec.ID)
	if err != nil {
		s.t.Fatal(err)
	}
	return status
}

// output runs a container to its end and returns its lines, each with "o " or "e " for its stream, and its exit code.
func (s *sandbox) output(spec runtime.Spec) ([]string, uint32) {
	s.t.Helper()
	log := filepath.Join(s.t.TempDir(), "log")
	if err := unix.Mkfifo(log, 0o600); err != nil {
		s.t.Fatal(err)
	}
	spec.Log = runtime.Log{Binary: s.probe, Args: map[string]string{"logto": log}}
	whole := make(chan string, 1)
	go func() {
		data, err := os.ReadFile(log) // until the log program has ended
		if err != nil {
			s.t.Error(err)
		}
		whole <- string(data)
	}()
	s.run(spec)
	exit, err := s.Wait(s.t.Context(), spec.ID)
	if err != nil {
		s.t.Fatal(err)
	}
	// The shim holds the log's pipes until then.
	if err := s.Remove(s.t.Context(), spec.ID); err != nil {
		s.t.Fatal(err)
	}
	data := <-whole
	lines := strings.Split(strings.TrimSpace(data), "\n")
	if lines[len(lines)-1] != "end" {
		s.t.Fatalf("the log is not whole: %q", lines)
	}
	return lines[:len(lines)-1], exit.Code
}

// field returns what follows a key in lines such as "o CapEff:\t0000".
func field(lines []string, key string) string {
	for _, line := range lines {
		if value, ok := strings.CutPrefix(line, "o "+key); ok {
			return strings.TrimSpace(value)
		}
	}
	return "(no " + key + ")"
}

func TestOutput(t *testing.T) {
	s := newSandbox(t, runtime.Task{})
	if lines, _ := s.output(s.spec("echo", "out")); !slices.Equal(lines, []string{"o out"}) {
		t.Errorf("stdout: %q", lines)
	}
	if lines, _ := s.output(s.spec("stderr", "err")); !slices.Equal(lines, []string{"e err"}) {
		t.Errorf("stderr: %q", lines)
	}
	lines, _ := s.output(s.spec("seq", "5000"))
	if len(lines) != 5000 || lines[4999] != "o line 4999" {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
	tty := s.spec("echo", "out")
	tty.TTY = true
	if lines, _ := s.output(tty); !slices.Equal(lines, []string{"o out"}) {
		t.Errorf("terminal: %q", lines)
	}
	mute := s.spec("echo", "out")
	mute.TTY = true
	s.run(mute)
	if exit, err := s.Wait(t.Context(), mute.ID); err != nil || exit.Code != 0 {
		t.Errorf("terminal without a log: %+v, %v", exit, err)
	}
}

func TestEnvironment(t *testing.T) {
	s := newSandbox(t, runtime.Task{})
	spec := s.spec("env")
	spec.Env = []string{"A=1", "B=2", "A=3"}
	lines, _ := s.output(spec)
	if field(lines, "A=") != "3" || field(lines, "B=") != "2" || !strings.HasPrefix(field(lines, "PATH="), "/usr/local/sbin:") || field(lines, "HOME=") != "/root" {
		t.Errorf("environment: %q", lines)
	}
	host := s.spec("cat", "/proc/sys/kernel/hostname")
	host.Hostname = "some-name"
	if lines, _ := s.output(host); !slices.Equal(lines, []string{"o some-name"}) {
		t.Errorf("host name: %q", lines)
	}
	cwd := s.spec("env")
	cwd.Cwd = "/made/for/it"
	if lines, code := s.output(cwd); code != 0 {
		t.Errorf("working directory that is not in the image: %d %q", code, lines)
	}
	withInit := s.spec("echo", "program")
	withInit.Init = true
	if lines, _ := s.output(withInit); !slices.Equal(lines, []string{"o init", "o program"}) {
		t.Errorf("init: %q", lines)
	}
}

func TestUser(t *testing.T) {
	s := newSandbox(t, runtime.Task{})
	for user, want := range map[string]string{
		"":          "0 0 [0]",
		"root":      "0 0 [0]",
		"app":       "1000 1000 [1000 2000]",
		"1000":      "1000 1000 [1000 2000]",
		"app:extra": "1000 2000 [2000]",
		"1000:5":    "1000 5 [5]",
		"4242":      "4242 0 [0]",
		"nobody":    "65534 65534 [65534]",
	} {
		spec := s.spec("id")
		spec.User = user
		if lines, _ := s.output(spec); !slices.Equal(lines, []string{"o " + want}) {
			t.Errorf("user %q: %q, want %q", user, lines, want)
		}
	}
	spec := s.spec("id")
	spec.User = "stranger"
	if err := s.Create(t.Context(), spec); !errors.Is(err, runtime.ErrInvalid) || !strings.Contains(err.Error(), "unable to find user stranger") {
		t.Errorf("unknown user: %v", err)
	}
}

func TestPrivileges(t *testing.T) {
	s := newSandbox(t, runtime.Task{})
	const dockerDefault = "00000000a80425fb"
	tests := []struct {
		name                             string
		change                           func(*runtime.Spec)
		effective, bounding, seccomp, nn string
	}{
		{"default", func(*runtime.Spec) {}, dockerDefault, dockerDefault, "2", "0"},
		{"not root", func(s *runtime.Spec) { s.User = "app" }, "0000000000000000", dockerDefault, "2", "0"},
		{"drop one", func(s *runtime.Spec) { s.CapDrop = []string{"MKNOD"} }, "00000000a00425fb", "00000000a00425fb", "2", "0"},
		{"drop all, add one", func(s *runtime.Spec) { s.CapDrop, s.CapAdd = []string{"ALL"}, []string{"NET_BIND_SERVICE"} }, "0000000000000400", "0000000000000400", "2", "0"},
		{"add SYS_PTRACE", func(s *runtime.Spec) { s.CapAdd = []string{"SYS_PTRACE"} }, "00000000a80c25fb", "00000000a80c25fb", "2", "0"},
		{"no new privileges", func(s *runtime.Spec) { s.NoNewPrivileges = true }, dockerDefault, dockerDefault, "2", "1"},
		{"unconfined", func(s *runtime.Spec) { s.Unconfined = true }, dockerDefault, dockerDefault, "0", "0"},
	}
	for _, tt := range tests {
		spec := s.spec("cat", "/proc/self/status")
		tt.change(&spec)
		lines, _ := s.output(spec)
		got := []string{field(lines, "CapEff:"), field(lines, "CapBnd:"), field(lines, "Seccomp:"), field(lines, "NoNewPrivs:")}
		if want := []string{tt.effective, tt.bounding, tt.seccomp, tt.nn}; !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", tt.name, got, want)
		}
	}
	spec := s.spec("cat", "/proc/self/status")
	spec.Privileged = true
	lines, _ := s.output(spec)
	if field(lines, "Seccomp:") != "0" || field(lines, "CapEff:") == dockerDefault {
		t.Errorf("privileged: seccomp %s, capabilities %s", field(lines, "Seccomp:"), field(lines, "CapEff:"))
	}
	bad := s.spec("id")
	bad.CapAdd = []string{"FLY"}
	if err := s.Create(t.Context(), bad); !errors.Is(err, runtime.ErrInvalid) {
		t.Errorf("unknown capability: %v", err)
	}
}

func TestPaths(t *testing.T) {
	s := newSandbox(t, runtime.Task{})
	if lines, code := s.output(s.spec("cat", "/proc/keys", "/proc/timer_list")); code != 0 || !slices.Equal(lines, []string{""}) && len(lines) != 0 {
		t.Errorf("masked files show %q, %d", lines, code)
	}
	if lines, code := s.output(s.spec("write", "/proc/sys/kernel/shmmax")); code == 0 {
		t.Errorf("/proc/sys can be written: %q", lines)
	}
	if lines, code := s.output(s.spec("write", "/file")); code != 0 {
		t.Errorf("the root file system cannot be written: %q", lines)
	}
	readonly := s.spec("write", "/file")
	readonly.ReadonlyRootfs = true
	if lines, code := s.output(readonly); code != 1 || !strings.Contains(lines[0], "read-only file system") {
		t.Errorf("a read-only root file system: %d %q", code, lines)
	}
}

func TestMounts(t *testing.T) {
	s := newSandbox(t, runtime.Task{})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "given"), []byte("given"), 0o644); err != nil {
		t.Fatal(err)
	}
	spec := s.spec("mounts")
	spec.ReadonlyRootfs, spec.ShmBytes = true, 8<<20
	spec.Mounts = []runtime.Mount{
		{Type: runtime.MountBind, Source: dir, Target: "/outer/inner", ReadOnly: true},
		{Type: runtime.MountTmpfs, Target: "/outer", Options: []string{"size=3m", "exec"}},
		{Type: runtime.MountBind, Source: dir, Target: "/data"},
	}
	lines, _ := s.output(spec)
	for target, want := range map[string][]string{
		"/outer":         {"tmpfs", "size=3072k", "nosuid", "nodev"},
		"/outer/inner":   {"ro,"},
		"/data":          {"rw,"},
		"/dev/shm":       {"size=8192k", "noexec"},
		"/":              {" ro,"},
		"/sys":           {"ro,"},
		"/sys/fs/cgroup": {"ro"},
	} {
		at := slices.IndexFunc(lines, func(l string) bool { return len(strings.Fields(l)) > 5 && strings.Fields(l)[5] == target })
		if at < 0 {
			t.Errorf("nothing is mounted at %s", target)
			continue
		}
		for _, part := range want {
			if !strings.Contains(lines[at], part) {
				t.Errorf("mount at %s: %q, want %q in it", target, lines[at], part)
			}
		}
		if target == "/outer" && strings.Contains(lines[at], "noexec") {
			t.Errorf("mount at /outer: %q, exec was asked for", lines[at])
		}
	}
	for target, code := range map[string]uint32{"/data/new": 0, "/outer/new": 0, "/outer/inner/new": 1} {
		write := spec
		write.ID, write.Args = s.spec().ID, []string{"/probe", "write", target}
		if lines, got := s.output(write); got != code {
			t.Errorf("write %s: %d %q, want %d", target, got, lines, code)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); err != nil {
		t.Errorf("what the container wrote is not on the host: %v", err)
	}
}

func TestCopyUp(t *testing.T) {
	s := newSandbox(t, runtime.Task{})
	dir := t.TempDir()
	spec := s.spec("stat", "/seed/file")
	spec.Mounts = []runtime.Mount{{Type: runtime.MountBind, Source: dir, Target: "/seed", CopyUp: true}}
	if lines, _ := s.output(spec); !slices.Equal(lines, []string{"o /seed/file -rw-r----- 1000 1000"}) {
		t.Errorf("the image's file in the volume: %q", lines)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	spec.ID, spec.Args = s.spec().ID, []string{"/probe", "cat", "/seed/file"}
	if lines, _ := s.output(spec); !slices.Equal(lines, []string{"o mine"}) {
		t.Errorf("a volume that is not empty: %q", lines)
	}
}

func TestUlimits(t *testing.T) {
	s := newSandbox(t, runtime.Task{})
	spec := s.spec("cat", "/proc/self/limits")
	spec.Rlimits = []runtime.Rlimit{{Name: "nofile", Soft: 1234, Hard: 5678}, {Name: "core", Soft: 0, Hard: -1}}
	lines, _ := s.output(spec)
	// Go's runtime raises the soft limit of open files to the hard one at start.
	if got := strings.Fields(field(lines, "Max open files")); got[1] != "5678" {
		t.Errorf("nofile: %q", got)
	}
	if got := strings.Fields(field(lines, "Max core file size")); got[0] != "0" || got[1] != "unlimited" {
		t.Errorf("core: %q", got)
	}
}

func TestSysctls(t *testing.T) {
	s := newSandbox(t, runtime.Task{})
	spec := s.spec("cat", "/proc/sys/net/core/somaxconn", "/proc/sys/kernel/shmmni")
	spec.NetNSPath = newNetNS(t)
	spec.Sysctls = map[string]string{"net.core.somaxconn": "321", "kernel.shmmni": "111"}
	if lines, _ := s.output(spec); !slices.Equal(lines, []string{"o 321", "o 111"}) {
		t.Errorf("sysctls: %q", lines)
	}
	// What the first container set is in the namespace, so the second one joined it.
	second := s.spec("cat", "/proc/sys/net/core/somaxconn")
	second.NetNSPath = spec.NetNSPath
	if lines, _ := s.output(second); !slices.Equal(lines, []string{"o 321"}) {
		t.Errorf("sysctl seen by another container of the namespace: %q", lines)
	}
}

// cgroupFile reads a value of a cgroup, by the names that the two versions have for it.
func cgroupFile(t *testing.T, path, controller, v1, v2 string) string {
	t.Helper()
	file := filepath.Join(cgroupMount, controller, path, v1)
	if cgroups.IsCgroup2UnifiedMode() {
		file = filepath.Join(cgroupMount, path, v2)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

func TestLimits(t *testing.T) {
	s := newSandbox(t, runtime.Task{CPUUnits: 256, MemoryBytes: 100 << 20, PidsLimit: 77})
	if got := cgroupFile(t, s.parent, "cpu", "cpu.cfs_quota_us", "cpu.max"); strings.Fields(got)[0] != "25000" {
		t.Errorf("task's cpu quota: %q", got)
	}
	if got := cgroupFile(t, s.parent, "memory", "memory.limit_in_bytes", "memory.max"); got != strconv.Itoa(100<<20) {
		t.Errorf("task's memory: %q", got)
	}
	if got := cgroupFile(t, s.parent, "pids", "pids.max", "pids.max"); got != "77" {
		t.Errorf("task's pids: %q", got)
	}
	spec := s.spec("sleep")
	spec.CPUShares, spec.MemoryBytes, spec.MemoryReservationBytes, spec.PidsLimit = 512, 50<<20, 20<<20, 33
	status := s.run(spec)
	path := filepath.Join(s.parent, spec.ID)
	if got := cgroupFile(t, path, "memory", "memory.limit_in_bytes", "memory.max"); got != strconv.Itoa(50<<20) {
		t.Errorf("memory: %q", got)
	}
	if got := cgroupFile(t, path, "memory", "memory.soft_limit_in_bytes", "memory.low"); got != strconv.Itoa(20<<20) {
		t.Errorf("memory reservation: %q", got)
	}
	if got := cgroupFile(t, path, "pids", "pids.max", "pids.max"); got != "33" {
		t.Errorf("pids: %q", got)
	}
	if !cgroups.IsCgroup2UnifiedMode() {
		if got := cgroupFile(t, path, "cpu", "cpu.shares", ""); got != "512" {
			t.Errorf("cpu shares: %q", got)
		}
	}
	if got := cgroupFile(t, path, "pids", "cgroup.procs", "cgroup.procs"); got != strconv.Itoa(status.PID) {
		t.Errorf("processes in the cgroup: %q, want %d", got, status.PID)
	}
	// Set again, with another value: an update.
	if _, err := s.PrepareTask(t.Context(), runtime.Task{ID: s.task, MemoryBytes: 200 << 20}); err != nil {
		t.Fatal(err)
	}
	if got := cgroupFile(t, s.parent, "memory", "memory.limit_in_bytes", "memory.max"); got != strconv.Itoa(200<<20) {
		t.Errorf("task's memory after the update: %q", got)
	}
	if got := cgroupFile(t, s.parent, "cpu", "cpu.cfs_quota_us", "cpu.max"); got != "-1" && !strings.HasPrefix(got, "max") {
		t.Errorf("task's cpu quota after the update: %q", got)
	}
}

// TestOutOfTaskMemory is about a container without a limit of its own in a task that has one.
func TestOutOfTaskMemory(t *testing.T) {
	s := newSandbox(t, runtime.Task{MemoryBytes: 32 << 20})
	spec := s.spec("eat", "512")
	s.run(spec)
	exit, err := s.Wait(t.Context(), spec.ID)
	if err != nil || exit.Code != 137 || !exit.OOMKilled {
		t.Errorf("exit %+v, %v, want 137 and OOMKilled", exit, err)
	}
}

// TestQuotaWhileStarting is about the quota that is lifted while a container is made: it is in force when the container
// runs, and one container's start does not lift it from under another.
func TestQuotaWhileStarting(t *testing.T) {
	s := newSandbox(t, runtime.Task{CPUUnits: 512})
	quota := func() string {
		return strings.Fields(cgroupFile(t, s.parent, "cpu", "cpu.cfs_quota_us", "cpu.max"))[0]
	}
	first := s.spec("sleep")
	if err := s.liftQuota(first); err != nil {
		t.Fatal(err)
	}
	if got := quota(); got != "-1" && got != "max" {
		t.Errorf("quota while nothing of the task runs: %q", got)
	}
	s.run(first)
	if got := quota(); got != "50000" {
		t.Errorf("quota with a container: %q, want 50000", got)
	}
	second := s.spec("sleep")
	if err := s.liftQuota(second); err != nil {
		t.Fatal(err)
	}
	if got := quota(); got != "50000" {
		t.Errorf("quota while a second container is made beside the first: %q, want 50000", got)
	}
	s.run(second)
	if got := quota(); got != "50000" {
		t.Errorf("quota with two containers: %q, want 50000", got)
	}
}
