package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/cgroups"
)

// ociRuntime is the program that makes containers.
type ociRuntime struct {
	name   string // "crun", "runc"
	path   string
	reason string
}

// unifiedHybrid is where a cgroup v1 host mounts the v2 hierarchy beside.
const unifiedHybrid = "/sys/fs/cgroup/unified"

// chooseOCIRuntime prefers crun, which starts a container in half of runc's time, where it works.
func chooseOCIRuntime(ctx context.Context, wanted string) (ociRuntime, error) {
	if wanted != "" {
		path, err := exec.LookPath(wanted)
		if err != nil {
			return ociRuntime{}, fmt.Errorf("containerd: oci runtime %q: %w", wanted, err)
		}
		return ociRuntime{name: filepath.Base(wanted), path: path, reason: "asked for"}, nil
	}
	crun, whyNot := usableCrun(ctx)
	if crun != "" {
		return ociRuntime{name: "crun", path: crun, reason: "crun is here and starts containers fastest"}, nil
	}
	runc, err := exec.LookPath("runc")
	if err != nil {
		return ociRuntime{}, fmt.Errorf("containerd: neither crun (%s) nor runc can be used: install one of them: %w", whyNot, err)
	}
	return ociRuntime{name: "runc", path: runc, reason: whyNot}, nil
}

// usableCrun returns crun's path, or the reason for not using it.
func usableCrun(ctx context.Context) (path, whyNot string) {
	path, err := exec.LookPath("crun")
	if err != nil {
		return "", "crun is not installed"
	}
	// crun refuses a host that has controllers in both hierarchies: "cgroups in hybrid mode not supported".
	if !cgroups.IsCgroup2UnifiedMode() {
		controllers, err := os.ReadFile(filepath.Join(unifiedHybrid, "cgroup.controllers"))
		if err == nil && strings.TrimSpace(string(controllers)) != "" {
			return "", "crun does not work with the hybrid cgroup layout of this host"
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", "the cgroup layout of this host cannot be read: " + err.Error()
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput(); err != nil {
		return "", fmt.Sprintf("crun does not run here: %v: %s", err, strings.TrimSpace(string(out)))
	}
	return path, ""
}
