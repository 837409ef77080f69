package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// namespaceDir is where iproute2, HAProxy and operators look for namespaces by name.
const namespaceDir = "/run/netns"

// In runs fn on a thread that is in the network namespace at path, and returns fn's error. Sockets that fn opens
// belong to that namespace for good, wherever they are used afterwards; a process that fn starts runs in it. fn must
// not start goroutines that count on the namespace: they run on other threads. An empty path is the namespace of this
// process.
func In(path string, fn func() error) error {
	if path == "" {
		return fn()
	}
	target, err := netns.GetFromPath(path)
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", path, err)
	}
	defer target.Close()
	return onOwnThread(func() error {
		if err := netns.Set(target); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", path, err)
		}
		return fn()
	})
}

// onOwnThread runs fn on a thread that fn may move to another network namespace. The thread goes back to where it was
// and is used again; one that cannot go back is destroyed with its goroutine, never handed to other code.
func onOwnThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			done <- fmt.Errorf("open own network namespace: %w", err)
			return
		}
		defer home.Close()
		err = fn()
		if netns.Set(home) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// ListenTCP opens a TCP listener on address ("169.254.170.2:80") inside the network namespace at path. The address
// must be a literal: nothing is looked up.
func ListenTCP(ctx context.Context, path, address string) (net.Listener, error) {
	var listener net.Listener
	err := In(path, func() (err error) {
		listener, err = new(net.ListenConfig).Listen(ctx, "tcp4", address)
		return err
	})
	return listener, err
}

// ListenUDP opens a UDP socket on address inside the network namespace at path. The address must be a literal.
func ListenUDP(ctx context.Context, path, address string) (net.PacketConn, error) {
	var conn net.PacketConn
	err := In(path, func() (err error) {
		conn, err = new(net.ListenConfig).ListenPacket(ctx, "udp4", address)
		return err
	})
	return conn, err
}

func namespacePath(name string) string { return filepath.Join(namespaceDir, name) }

// isNamespace reports whether path is a namespace and not the empty file that a crash between making the file and
// mounting on it leaves behind.
func isNamespace(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.NSFS_MAGIC
}

// ensureNamespace makes the named network namespace unless it is there, and reports whether it made it. A crash between
// the two steps below leaves a name that is no namespace; the next call mounts on it.
func ensureNamespace(name string) (created bool, err error) {
	path := namespacePath(name)
	if isNamespace(path) {
		return false, nil
	}
	err = onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make network namespace %s: %w", name, err)
		}
		return nameNamespace(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), name)
	})
	return err == nil, err
}

// nameNamespace gives the namespace at source a name.
func nameNamespace(source, name string) error {
	if err := os.MkdirAll(namespaceDir, 0o755); err != nil {
		return err
	}
	path := namespacePath(name)
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o444)
	if err != nil {
		return err
	}
	f.Close()
	if err := unix.Mount(source, path, "", unix.MS_BIND, ""); err != nil {
		return errors.Join(fmt.Errorf("name network namespace %s: %w", name, err), os.Remove(path))
	}
	return nil
}

// dropNamespace removes the name of a namespace. With its last user gone the kernel destroys it and every link in it,
// in batches: deleting links one by one is twenty times slower. It is not an error when there is no such namespace.
func dropNamespace(name string) error {
	path := namespacePath(name)
	for {
		// More than one mount may be stacked here if two processes ever made the same name.
		err := unix.Unmount(path, unix.MNT_DETACH)
		if err == nil {
			continue
		}
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("unmount network namespace %s: %w", name, err)
		}
		break
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove network namespace %s: %w", name, err)
	}
	return nil
}

// namespaceNames lists the names under /run/netns that begin with prefix, whether or not they are namespaces.
func namespaceNames(prefix string) ([]string, error) {
	entries, err := os.ReadDir(namespaceDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list network namespaces: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
