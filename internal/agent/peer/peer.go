package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ErrNobody says that no container of the host's network has the connection.
var ErrNobody = errors.New("the connection is from no container")

// Task returns the task that is at the other end of a connection over the
// host's loopback. taskOf says whose a container is, and false for one whose
// task is not in network mode host.
func Task(conn net.Conn, taskOf func(containerID string) (taskID string, ok bool)) (string, error) {
	remote, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return "", err
	}
	local, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		return "", err
	}
	// As the peer's socket has it.
	inode, err := socket(remote, local)
	if err != nil {
		return "", err
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return "", err
	}
	for _, p := range processes {
		// The cheap question first: few processes are in a container.
		if taskID, ok := taskOfProcess(p, taskOf); ok && hasOpen(p, inode) {
			return taskID, nil
		}
	}
	return "", ErrNobody
}

// socket returns the inode of the socket with these addresses in the namespace
// of this process.
func socket(own, other netip.AddrPort) (string, error) {
	// Of the thread, which in this process may be in another namespace than
	// the process is said to be.
	for _, file := range []string{"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"} {
		data, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue // no IPv6 on this host
		}
		if err != nil {
			return "", err
		}
		form := kernelForm
		if strings.HasSuffix(file, "6") {
			form = kernelForm6
		}
		for line := range strings.Lines(string(data)) {
			// sl local rem st queues timer retransmits uid timeout inode
			f := strings.Fields(line)
			if len(f) > 9 && f[1] == form(own) && f[2] == form(other) && f[9] != "0" {
				return f[9], nil
			}
		}
	}
	return "", fmt.Errorf("%w: its socket is gone", ErrNobody)
}

// kernelForm is how /proc/net/tcp writes an IPv4 address: the bytes as a
// number of this machine, in hexadecimal.
func kernelForm(a netip.AddrPort) string {
	b := a.Addr().Unmap().As4()
	return fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(b[:]), a.Port())
}

// kernelForm6 is that of a socket for IPv6 with such an address, which
// programs open that speak both.
func kernelForm6(a netip.AddrPort) string {
	b := netip.AddrFrom16(a.Addr().As16()).As16()
	var out strings.Builder
	for i := 0; i < len(b); i += 4 {
		fmt.Fprintf(&out, "%08X", binary.NativeEndian.Uint32(b[i:]))
	}
	return out.String() + fmt.Sprintf(":%04X", a.Port())
}

// taskOfProcess is the task of the container that a process is in: a control
// group that has the container's id as the last of its path, or the last but
// those that were made inside.
func taskOfProcess(process string, taskOf func(string) (string, bool)) (string, bool) {
	data, err := os.ReadFile(process + "/cgroup")
	if err != nil {
		return "", false // it has ended
	}
	for line := range strings.Lines(string(data)) {
		_, path, _ := strings.Cut(line, ":/")
		for element := range strings.SplitSeq(strings.TrimSpace(path), "/") {
			if taskID, ok := taskOf(element); ok {
				return taskID, true
			}
		}
	}
	return "", false
}

// hasOpen reports whether a process has a socket open.
func hasOpen(process, inode string) bool {
	want := "socket:[" + inode + "]"
	entries, err := os.ReadDir(process + "/fd")
	if err != nil {
		return false
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		if link, err := os.Readlink(filepath.Join(process, "fd", e.Name())); err == nil && link == want {
			return true
		}
	}
	return false
}
