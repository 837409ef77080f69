package cli

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// wellHost is a host on which nothing is amiss.
func wellHost() facts {
	return facts{
		root: true, kernel: "Linux 6.1.0 x86_64", cgroup: 2, control: []string{"cpu", "memory", "pids"}, overlay: true,
		tools:      map[string]tool{"containerd": {"/usr/bin/containerd", "1.6.20"}, "runc": {"/usr/sbin/runc", "1.1.5"}, "haproxy": {"/usr/sbin/haproxy", "2.6.12-1+deb12u4"}},
		namespaces: true,
		forwarding: true, freeBytes: 20 << 30, dataDir: "/var/lib/berth", clockSane: true, clockSynced: true, listen: "127.0.0.1:8577",
	}
}

func TestJudge(t *testing.T) {
	ill := facts{
		kernel: "Linux 4.9.0 x86_64", cgroup: 1, control: []string{"cpu"}, veth: errors.New("operation not supported"), nftables: errUnknown,
		docker: "/var/run/docker.sock", openFiles: 1024, freeBytes: 100 << 20, dataDir: "/var/lib/berth", listen: "127.0.0.1:8577", listenTaken: true,
		leftovers: []leftover{{"0123abcd", []string{"namespace berth-0123abcd-eni-1"}}},
	}
	ours := wellHost()
	ours.instance, ours.runningRoles, ours.listenTaken, ours.listenIsOurs, ours.listenReady = "0123abcd", []string{"up", "server", "agent"}, true, true, true
	for name, f := range map[string]facts{"doctor-well": wellHost(), "doctor-ill": ill, "doctor-running": ours} {
		golden(t, name, renderChecks(newPrinter(&bytes.Buffer{}), judge(f)))
	}
}

// One thing that is needed and missing is one failed check.
func TestJudge_FailsForWhatIsNeeded(t *testing.T) {
	for name, spoil := range map[string]func(*facts){
		"containerd":  func(f *facts) { delete(f.tools, "containerd") },
		"OCI runtime": func(f *facts) { delete(f.tools, "runc") },
		"HAProxy":     func(f *facts) { f.tools["haproxy"] = tool{"/usr/sbin/haproxy", "2.3.1"} },
		"cgroup":      func(f *facts) { f.control = []string{"cpu", "pids"} },
		"network":     func(f *facts) { f.veth = errors.New("no") },
		"nftables":    func(f *facts) { f.nftables = errors.New("no") },
		"disk":        func(f *facts) { f.freeBytes = 0 },
		"clock":       func(f *facts) { f.clockSane = false },
		"port":        func(f *facts) { f.listenTaken = true },
	} {
		f := wellHost()
		spoil(&f)
		var failed []string
		for _, c := range judge(f) {
			if c.Verdict == bad {
				failed = append(failed, c.Name)
				if c.Do == "" {
					t.Errorf("%s: nothing is said that one could do", c.Name)
				}
			}
		}
		if !cmp.Equal(failed, []string{name}) {
			t.Errorf("without %s these fail: %v", name, failed)
		}
	}
}

func TestControlGroups(t *testing.T) {
	dir := t.TempDir()
	legacy := filepath.Join(dir, "cgroups")
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if version, _ := controlGroups(dir, legacy); version != 0 {
		t.Errorf("an empty directory has version %d", version)
	}
	write("cgroups", "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t2\t1\t1\nmemory\t3\t1\t0\npids\t4\t1\t1\n")
	if err := os.Mkdir(filepath.Join(dir, "cpu"), 0o700); err != nil {
		t.Fatal(err)
	}
	if version, got := controlGroups(dir, legacy); version != 1 || !cmp.Equal(got, []string{"cpu"}) {
		t.Errorf("version 1: %d %v", version, got)
	}
	write("cgroup.controllers", "cpu memory pids\n")
	if version, got := controlGroups(dir, legacy); version != 2 || !cmp.Equal(got, []string{"cpu", "memory", "pids"}) {
		t.Errorf("version 2: %d %v", version, got)
	}
}

func TestOwned(t *testing.T) {
	for name, want := range map[string]string{"berth-0123abcd-eni-1": "0123abcd", "berth-0123abcd": "0123abcd", "berth-demo": "", "cni-0123abcd": "", "berth-0123abcde": ""} {
		got := ""
		if m := owned.FindStringSubmatch(name); m != nil {
			got = m[1]
		}
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
