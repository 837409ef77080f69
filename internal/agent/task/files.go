package task

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"berth.dev/berth/internal/agent/dns"
	"berth.dev/berth/internal/model"
)

// prepare makes the task's directories and the files of /etc that its
// containers share. Repeating it changes nothing.
func (l layout) prepare(a *model.Assignment) error {
	id := a.Task.ID
	for _, v := range a.TaskDefinition.Volumes {
		dir := l.volume(id, v.Name)
		if v.Host != nil && v.Host.SourcePath != "" {
			dir = v.Host.SourcePath
		}
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // containers of any user read volumes
			return fmt.Errorf("making volume %s: %w", v.Name, err)
		}
	}
	if a.NetworkInterface == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(l.etc(id, "x")), 0o755); err != nil { //nolint:gosec // as above
		return err
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
	files := map[string][]byte{
		"hosts":       hosts,
		"hostname":    []byte(dns.PrivateName(address, a.Region) + "\n"),
		"resolv.conf": dns.ResolvConf(a.Region),
	}
	for file, content := range files {
		path := l.etc(id, file)
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
