package e2e_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
)

// signs are the words by which things on the host are known to be of this Berth: its id, its data directory and the
// names of its links.
func (b *berth) signs() []string {
	signs := []string{b.dir}
	if b.id == "" {
		return signs
	}
	signs = append(signs, b.id)
	links, err := netlink.LinkList()
	if err != nil {
		return signs
	}
	for _, link := range links {
		if strings.Contains(link.Attrs().Alias, b.id) {
			signs = append(signs, link.Attrs().Name)
		}
	}
	return signs
}

// leftovers lists everything on the host that bears one of the signs, as "kind: what".
func leftovers(signs []string) ([]string, error) {
	var found []string
	look := func(kind string, all []string) {
		for _, line := range all {
			if slices.ContainsFunc(signs, func(sign string) bool { return strings.Contains(line, sign) }) {
				found = append(found, kind+": "+strings.TrimSpace(line))
			}
		}
	}
	var errs []error
	for kind, list := range map[string]func() ([]string, error){
		"namespace": names("/run/netns"),
		"run":       names("/run/berth"),
		"range":     contents("/run/berth/ranges"),
		"file":      func() ([]string, error) { return filepath.Glob(signs[0]) },
		"link":      command("ip", "-details", "-oneline", "link"),
		"route":     command("ip", "route", "show", "table", "all"),
		"rule":      command("ip", "rule"),
		"nftables":  command("nft", "list", "ruleset"),
		"iptables":  command("iptables-save"),
		"mount": func() ([]string, error) {
			data, err := os.ReadFile("/proc/self/mountinfo")
			return lines(string(data)), err
		},
		"cgroup":  cgroups,
		"process": processes,
	} {
		all, err := list()
		if err != nil {
			errs = append(errs, fmt.Errorf("listing each %s: %w", kind, err))
		}
		look(kind, all)
	}
	slices.Sort(found)
	return found, errors.Join(errs...)
}

func command(args ...string) func() ([]string, error) {
	return func() ([]string, error) {
		out, err := exec.Command(args[0], args[1:]...).Output()
		if errors.Is(err, exec.ErrNotFound) {
			return nil, nil // a host without the program has none of its rules
		}
		return lines(string(out)), err
	}
}

func names(dir string) func() ([]string, error) {
	return func() ([]string, error) {
		var out []string
		entries, err := os.ReadDir(dir)
		for _, e := range entries {
			out = append(out, e.Name())
		}
		return out, exists(err)
	}
}

func contents(dir string) func() ([]string, error) {
	return func() ([]string, error) {
		var out []string
		entries, err := os.ReadDir(dir)
		for _, e := range entries {
			// One that goes away while it is looked at is not left behind.
			data, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err := exists(err); err != nil {
				return nil, err
			}
			out = append(out, string(data))
		}
		return out, exists(err)
	}
}

func exists(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// cgroups lists the control groups below each hierarchy's /berth.
func cgroups() ([]string, error) {
	var out []string
	roots, err := filepath.Glob("/sys/fs/cgroup/*/berth")
	if err != nil {
		return nil, err
	}
	for _, root := range append(roots, "/sys/fs/cgroup/berth") {
		walk := func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return exists(err)
			}
			if d.IsDir() {
				out = append(out, path)
			}
			return nil
		}
		if err := filepath.WalkDir(root, walk); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// processes lists command lines, with pids.
func processes() ([]string, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		// A process may end while it is looked at.
		if data, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline")); err == nil {
			out = append(out, e.Name()+" "+strings.ReplaceAll(string(data), "\x00", " "))
		}
	}
	return out, nil
}

// pidsIn lists the host's ids of the processes in the network namespace of a task, with the time each was started, so
// that an id used again is another one.
func pidsIn(b *berth, eni string) ([]string, error) {
	out, err := exec.Command("ip", "netns", "pids", "berth-"+b.id+"-"+eni).Output()
	if err != nil {
		return nil, fmt.Errorf("ip netns pids: %w", err)
	}
	var pids []string
	for _, pid := range lines(string(out)) {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil {
			return nil, err
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:]))
		pids = append(pids, pid+"@"+fields[19])
	}
	slices.Sort(pids)
	return pids, nil
}
