package etcd

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// socketName is the socket for operators (etcdctl --endpoints unix:///…/etcd.sock).
const socketName = "etcd.sock"

// maxSocketPath is what fits into the kernel's sockaddr_un with its terminating zero.
const maxSocketPath = 107

// socketPath returns where the client socket is made: in the data directory, or, when that path is longer than the kernel
// allows, in a short private directory named by a hash of it. cleanup removes that.
func socketPath(dir string) (path string, cleanup func(), err error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", nil, fmt.Errorf("etcd: socket: %w", err)
	}
	if path := filepath.Join(abs, socketName); len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	sum := sha256.Sum256([]byte(abs))
	for _, base := range []string{"/run", os.TempDir()} {
		short := filepath.Join(base, fmt.Sprintf("berth-%x", sum[:8]))
		if err = private(short); err == nil {
			return filepath.Join(short, socketName), func() { _ = os.RemoveAll(short) }, nil
		}
	}
	return "", nil, fmt.Errorf("etcd: no place for a socket of %s: %w", abs, err)
}

// private makes sure that dir is a directory which nobody else can enter or could have prepared.
func private(dir string) error {
	if err := os.Mkdir(dir, 0o700); err == nil || !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || info.Mode().Perm() != 0o700 || int(owner.Uid) != os.Geteuid() {
		return fmt.Errorf("%s exists and is not a private directory of ours", dir)
	}
	return nil
}
