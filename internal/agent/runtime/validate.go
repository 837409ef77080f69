package runtime

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// identifier is what containerd takes as a container's ID.
var identifier = regexp.MustCompile(`^[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*$`)

// maxIdentifier is containerd's limit on the length of an ID.
const maxIdentifier = 76

// rlimits are the ulimit names that ECS and Linux share.
var rlimits = []string{
	"core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio",
	"rttime", "sigpending", "stack",
}

// ValidID tells whether s can name a container or a task.
func ValidID(s string) bool { return len(s) <= maxIdentifier && identifier.MatchString(s) }

// Validate finds what can be seen to be wrong without looking at the host or the image. Its errors are ErrInvalid.
// Every implementation calls it in Create, so a Spec that one of them refuses is refused by all.
func (s Spec) Validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("container %q: %s: %w", s.ID, fmt.Sprintf(format, args...), ErrInvalid)
	}
	switch {
	case !ValidID(s.ID):
		return bad("id is not usable")
	case !ValidID(s.TaskID):
		return bad("task id %q is not usable", s.TaskID)
	case s.Image == "":
		return bad("no image")
	case len(s.Args) == 0 || s.Args[0] == "":
		return bad("no command specified")
	case s.Cwd != "" && !path.IsAbs(s.Cwd):
		return bad("the working directory %q is invalid, it needs to be an absolute path", s.Cwd)
	case s.SecretsDir != "" && !path.IsAbs(s.SecretsDir):
		return bad("the directory of secrets %q is not an absolute path", s.SecretsDir)
	case s.Swappiness != nil && (*s.Swappiness < 0 || *s.Swappiness > 100):
		return bad("swappiness %d is not between 0 and 100", *s.Swappiness)
	}
	for _, e := range s.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" || strings.ContainsRune(e, 0) {
			return bad("environment entry %q is not NAME=value", e)
		}
	}
	for _, l := range s.Rlimits {
		if !slices.Contains(rlimits, l.Name) {
			return bad("invalid ulimit type: %s", l.Name)
		}
		if l.Hard >= 0 && (l.Soft > l.Hard || l.Soft < 0) {
			return bad("ulimit soft limit must be less than or equal to hard limit: %d > %d", l.Soft, l.Hard)
		}
	}
	for _, m := range s.Mounts {
		if !path.IsAbs(m.Target) || path.Clean(m.Target) == "/" {
			return bad("mount target %q is not usable", m.Target)
		}
		switch m.Type {
		case MountBind:
			if !path.IsAbs(m.Source) {
				return bad("mount source %q is not an absolute path", m.Source)
			}
		case MountTmpfs:
		default:
			return bad("mount type %q is unknown", m.Type)
		}
	}
	for _, d := range s.Devices {
		if !path.IsAbs(d.HostPath) || strings.Trim(d.Permissions, "rwm") != "" {
			return bad("device %q with permissions %q is not usable", d.HostPath, d.Permissions)
		}
	}
	return nil
}
