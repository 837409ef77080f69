package task

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"berth.dev/berth/internal/agent/dns"
	"berth.dev/berth/internal/model"
)

// prepare makes the task's directories and the files of /etc that its
// containers share. Repeating it changes nothing.
func (l layout) prepare(a *model.Assignment) error {
	id := a.Task.ID
	for i := range a.TaskDefinition.Volumes {
		v := &a.TaskDefinition.Volumes[i]
		if _, made := l.volumes.Path(a, v); made {
			continue
		}
		dir, _ := l.volumeDir(a, v)
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // containers of any user read volumes
			return fmt.Errorf("making volume %s: %w", v.Name, err)
		}
	}
	if modeOf(a) != modeAwsvpc {
		return nil // its containers have files of their own: writeEtc
	}
	address, err := netip.ParseAddr(a.NetworkInterface.Address)
	if err != nil {
		return fmt.Errorf("reading the task's address: %w", err)
	}
	hosts := dns.Hosts(address, a.Region)
	for _, def := range a.TaskDefinition.ContainerDefinitions {
		for _, h := range def.ExtraHosts {
			hosts = fmt.Appendf(hosts, "%s %s\n", h.IPAddress, h.Hostname)
		}
	}
	return writeFiles(l.etc(id, ""), map[string][]byte{
		"hosts":       hosts,
		"hostname":    []byte(dns.PrivateName(address, a.Region) + "\n"),
		"resolv.conf": dns.ResolvConf(a.Region),
	})
}

// writeEtc makes the files of /etc of one container that shares no network
// with the others of its task. It has an address in network mode bridge only.
// Repeating it changes nothing.
func (l layout) writeEtc(a *model.Assignment, s *State, def *model.ContainerDefinition, address netip.Addr) error {
	name := hostname(a, def)
	hosts := []byte("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
	resolvers := dns.ResolvConf(a.Region)
	if mode := modeIn(a, def); mode != modeBridge {
		// As Docker does it, these are the host's as they are now.
		var err error
		if resolvers, err = os.ReadFile("/etc/resolv.conf"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if mode == modeHost {
			if hosts, err = os.ReadFile("/etc/hosts"); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if name, err = os.Hostname(); err != nil {
				return err
			}
		}
	}
	for _, link := range linksOf(a, s, def) {
		hosts = fmt.Appendf(hosts, "%s %s\n", link.address, strings.Join(slices.Compact([]string{link.alias, link.name}), " "))
	}
	for _, h := range def.ExtraHosts {
		hosts = fmt.Appendf(hosts, "%s %s\n", h.IPAddress, h.Hostname)
	}
	if address.IsValid() {
		hosts = fmt.Appendf(hosts, "%s %s\n", address, name)
	}
	return writeFiles(l.etcDir(a, def.Name), map[string][]byte{
		"hosts": hosts, "hostname": []byte(name + "\n"), "resolv.conf": resolvConf(resolvers, def),
	})
}

// resolvConf is the default with what the container definition says instead.
func resolvConf(standard []byte, def *model.ContainerDefinition) []byte {
	if len(def.DNSServers) == 0 && len(def.DNSSearchDomains) == 0 {
		return standard
	}
	var out []byte
	if len(def.DNSSearchDomains) > 0 {
		out = fmt.Appendf(out, "search %s\n", strings.Join(def.DNSSearchDomains, " "))
	}
	for _, server := range def.DNSServers {
		out = fmt.Appendf(out, "nameserver %s\n", server)
	}
	for line := range strings.Lines(string(standard)) {
		word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if word == "nameserver" && len(def.DNSServers) > 0 || (word == "search" || word == "domain") && len(def.DNSSearchDomains) > 0 {
			continue
		}
		out = append(out, line...)
	}
	return out
}

func writeFiles(dir string, files map[string][]byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // containers of any user read these
		return err
	}
	for file, content := range files {
		path := filepath.Join(dir, file)
		// A container may have written to its file; the first content stays.
		if _, err := os.Stat(path); err == nil {
			continue
		}
		if err := os.WriteFile(path, content, 0o644); err != nil { //nolint:gosec // containers of any user read these
			return err
		}
	}
	return nil
}

// prepareContainer makes the directories of the volumes that an image declares.
func (l layout) prepareContainer(taskID, container string, paths []string) error {
	for _, path := range paths {
		if err := os.MkdirAll(l.anonymous(taskID, container, path), 0o755); err != nil { //nolint:gosec // as above
			return fmt.Errorf("making the volume for %s: %w", path, err)
		}
	}
	return nil
}

// remove takes the task's files away, but nothing of host volumes.
func (l layout) remove(taskID string) error { return os.RemoveAll(l.task(taskID)) }

// sweep removes the directories of tasks that nobody knows.
func (l layout) sweep(known map[string]bool) error {
	entries, err := os.ReadDir(filepath.Join(l.dir, "tasks"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range entries {
		if !known[entry.Name()] {
			errs = append(errs, l.remove(entry.Name()))
		}
	}
	return errors.Join(errs...)
}
