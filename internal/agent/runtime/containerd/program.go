package containerd

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/containerd/continuity/fs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"berth.dev/berth/internal/agent/runtime"
)

// lookUp looks for a program in a running container as the OCI runtime will, so that what is not there is said in the
// same words whatever runs it: runc, crun, or what puts secrets in front of it. It decides nothing else: who passes may
// still fail to start.
func lookUp(spec runtime.Spec, pid int, name string, program *specs.Process) error {
	root := fmt.Sprintf("/proc/%d/root", pid)
	if strings.Contains(name, "/") {
		if !path.IsAbs(name) {
			name = path.Join(program.Cwd, name)
		}
		if err := executable(root, name); err != nil {
			return &runtime.ProgramError{Message: fmt.Sprintf("exec: %q: %v", name, err), Err: err}
		}
		return nil
	}
	err := error(syscall.ENOENT)
	for _, dir := range filepath.SplitList(searchPath(spec, program.Env)) {
		if !path.IsAbs(dir) {
			dir = path.Join(program.Cwd, dir)
		}
		switch err = executable(root, path.Join(dir, name)); {
		case err == nil:
			return nil
		case errors.Is(err, os.ErrPermission):
			return &runtime.ProgramError{Message: fmt.Sprintf("exec: %q: %v", name, err), Err: err}
		}
	}
	return &runtime.ProgramError{Message: fmt.Sprintf("exec: %q: executable file not found in $PATH", name), Err: err}
}

// executable is nil for a file that somebody may execute. Links lead where they do in the container.
func executable(root, name string) error {
	found, err := fs.RootPath(root, name)
	if err != nil {
		return syscall.ENOENT
	}
	info, err := os.Stat(found)
	switch {
	case err != nil:
		return syscall.ENOENT
	case info.IsDir():
		return errors.New("is a directory")
	case info.Mode()&0o111 == 0:
		return syscall.EACCES
	}
	return nil
}

// searchPath is PATH as the program will have it: a container's secrets win over what its specification says.
func searchPath(spec runtime.Spec, env []string) string {
	if spec.SecretsDir != "" {
		if data, err := os.ReadFile(filepath.Join(spec.SecretsDir, "env")); err == nil {
			env = append(env[:len(env):len(env)], strings.Split(string(data), "\x00")...)
		}
	}
	value := ""
	for _, entry := range env {
		if v, ok := strings.CutPrefix(entry, "PATH="); ok {
			value = v
		}
	}
	return value
}

// programError finds the OCI runtime's words for a program that it cannot execute, in what its shim says:
//
//	OCI runtime exec failed: exec failed: unable to start container process: exec: "x": permission denied: unknown
func programError(err error) error {
	if err == nil || errors.Is(err, runtime.ErrNotRunning) {
		return err
	}
	if at := strings.Index(err.Error(), `exec: "`); at >= 0 {
		return &runtime.ProgramError{Message: strings.TrimSuffix(err.Error()[at:], ": unknown"), Err: err}
	}
	return err
}
