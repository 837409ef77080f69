package exec_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/agent/exec"
	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/agent/runtime/containerd"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

const secret = "kanarienvogel-4711"

// A program runs as root, whatever the container's user is, with what the
// container has: its environment, secrets among it, and its directory.
func TestReal_Exec(t *testing.T) {
	for name, change := range map[string]func(*runtime.Spec){
		"plain":           func(*runtime.Spec) {},
		"a user":          func(s *runtime.Spec) { s.User = "app" },
		"no capabilities": func(s *runtime.Spec) { s.User, s.CapDrop = "app", []string{"ALL"} },
		"read-only":       func(s *runtime.Spec) { s.ReadonlyRootfs = true },
		"with init":       func(s *runtime.Spec) { s.Init = true },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "secrets")
			if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "env"), []byte("PASSWORD="+secret+"\x00"), 0o400)); err != nil {
				t.Fatal(err)
			}
			h := launch(t, func(s *runtime.Spec) {
				s.Env, s.Cwd, s.SecretsDir = []string{"COLOUR=blue", "PATH=/:/bin"}, "/tmp", dir
				change(s)
			}, "sleep")
			for what, want := range map[string]string{"id": "0 0 ", "env": "COLOUR=blue\n"} {
				if r := h.exec(what).started().rest(); r.exit.GetCode() != 0 || !strings.Contains(r.out.String(), want) {
					t.Errorf("%s: %q %q, %v", what, r.out.String(), r.err.String(), r.exit)
				}
			}
			if r := h.exec("env").started().rest(); !strings.Contains(r.out.String(), "PASSWORD="+secret+"\n") {
				t.Errorf("the secret is missing: %q %q", r.out.String(), r.err.String())
			}
			if r := h.exec("exit", "42").started().rest(); r.exit.GetCode() != 42 {
				t.Errorf("exit %v", r.exit)
			}
			asked := h.request(model.StreamExec)
			asked.Command = []string{"probe", "stderr", "oops"}
			if r := open(t, h.Server, asked).started().rest(); r.err.String() != "oops\n" || r.out.Len() > 0 {
				t.Errorf("%q, %q", r.out.String(), r.err.String())
			}
			for command, want := range map[string]string{
				"bash":        `exec: "bash": executable file not found in $PATH`,
				"/bin/bash":   `exec: "/bin/bash": no such file or directory`,
				"/tmp":        `exec: "/tmp": is a directory`,
				"/etc/passwd": `exec: "/etc/passwd": permission denied`,
			} {
				asked.Command = []string{command}
				if got := open(t, h.Server, asked).refused(); got != want {
					t.Errorf("%s: %q", command, got)
				}
			}
		})
	}
}

// A terminal has a size, which changes, and control characters do what they do.
func TestReal_Terminal(t *testing.T) {
	h := launch(t, nil, "sleep")
	asked := h.request(model.StreamExec)
	asked.Command, asked.TTY, asked.Rows, asked.Columns = []string{"/probe", "size"}, true, 24, 80
	c := open(t, h.Server, asked).started()
	c.until("24x80\r\n")
	c.say(&nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_Size{Size: &nodeapi.TerminalSize{Rows: 50, Columns: 132}}})
	c.until("50x132\r\n")
	c.input([]byte{3}) // ^C
	if r := c.rest(); r.exit.GetCode() != 130 && r.exit.GetCode() != 2 {
		t.Errorf("exit %v", r.exit)
	}
}

func TestReal_Signal(t *testing.T) {
	h := launch(t, nil, "sleep")
	c := h.exec("signals").started()
	c.until("ready\n")
	signal := func(number int32) {
		c.say(&nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_Signal{Signal: number}})
	}
	signal(10)
	c.until("user defined signal 1") // of two that wait, the kernel chooses the order
	signal(3)
	if r := c.rest(); r.exit.GetCode() != 3 {
		t.Errorf("%q, %v", r.out.String(), r.exit)
	}
}

// 200 MB come out as they went in, several programs at once.
func TestReal_Flood(t *testing.T) {
	const size = 200 << 20
	want, source, buffer := sha256.New(), rand.NewPCG(1, 2), make([]byte, 64<<10)
	for range size / len(buffer) {
		for i := 0; i < len(buffer); i += 8 {
			binary.LittleEndian.PutUint64(buffer[i:], source.Uint64())
		}
		want.Write(buffer)
	}
	h := launch(t, nil, "sleep")
	other := h.exec("copy").started()
	c := h.exec("flood", fmt.Sprint(size)).started()
	got, total := sha256.New(), 0
	for {
		f := c.next()
		if exit := f.GetExit(); exit != nil {
			if exit.GetCode() != 0 {
				t.Errorf("exit %v", exit)
			}
			break
		}
		got.Write(f.GetOutput())
		total += len(f.GetOutput())
	}
	if !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
		t.Errorf("%d bytes of %d came, other ones", total, size)
	}
	go other.send(strings.NewReader("through\x00and through"))
	if r := other.rest(); r.out.String() != "through\x00and through" || r.err.String() != "19\n" {
		t.Errorf("%q, %q", r.out.String(), r.err.String())
	}
}

// What a program leaves behind ends with its stream, and with its own end.
func TestReal_NothingRunsOn(t *testing.T) {
	for _, program := range [][]string{{"stray", "/tmp/held"}, {"escape", "/tmp/held"}, {"linger", "/tmp/held"}, {"sleep"}} {
		t.Run(program[0], func(t *testing.T) {
			h := launch(t, nil, "sleep")
			c := h.exec(program...).started()
			switch program[0] {
			case "linger":
				if r := c.rest(); r.out.String() != "going\n" || r.exit.GetCode() != 0 {
					t.Errorf("%q, %v", r.out.String(), r.exit)
				}
			case "sleep":
			case "escape":
				c.input([]byte("\n")) // by now it is in its control group, in which it is found
				c.until("ed\n")
			default:
				c.until("ed\n")
			}
			c.close()
			if left := h.processes(); !slices.Equal(left, []string{"/probe sleep"}) {
				t.Errorf("there run %q", left)
			}
		})
	}
}

func TestReal_EndsWithTheContainer(t *testing.T) {
	h := launch(t, nil, "serve", "8080")
	running := h.exec("sleep").started()
	dialled := h.request(model.StreamDial)
	dialled.Port = 8080
	connected := dialUntil(t, h, dialled)
	writing := h.request(model.StreamWrite)
	writing.Path = "/tmp"
	waiting := open(t, h.Server, writing).started()
	if err := h.Kill(t.Context(), h.id, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if r := running.rest(); r.exit.GetCode() != 137 {
		t.Errorf("a program: %v", r.exit)
	}
	if r := connected.rest(); !strings.Contains(r.exit.GetError(), "lost") && !strings.Contains(r.exit.GetError(), "has stopped") {
		t.Errorf("a connection: %v", r.exit)
	}
	if r := waiting.rest(); !strings.Contains(r.exit.GetError(), "container app has stopped") {
		t.Errorf("an archive: %v", r.exit)
	}
	if got := h.exec("sleep").refused(); got != "container app is not running" {
		t.Errorf("after its end: %q", got)
	}
}

// dialUntil connects, as soon as the container listens.
func dialUntil(t *testing.T, h *host, asked model.StreamRequest) *client {
	t.Helper()
	for {
		c := open(t, h.Server, asked)
		f := c.next()
		if f.GetStarted() {
			return c
		}
		if !strings.Contains(f.GetRefusal(), "connection refused") {
			t.Fatalf("the node answers %v", f)
		}
		c.close()
	}
}

// A connection is made in the container's namespace, with its names, and either
// side may end its half.
func TestReal_Dial(t *testing.T) {
	etc := t.TempDir()
	if err := errors.Join(os.WriteFile(etc+"/hosts", []byte("127.0.0.1 me.internal\n192.0.2.1 nowhere\n"), 0o644),
		os.WriteFile(etc+"/resolv.conf", []byte("nameserver 127.0.0.1\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	h := launch(t, func(s *runtime.Spec) {
		for _, name := range []string{"hosts", "resolv.conf"} {
			s.Mounts = append(s.Mounts, runtime.Mount{Type: runtime.MountBind, Source: etc + "/" + name, Target: "/etc/" + name})
		}
	}, "answer", "8080", "0")
	asked := h.request(model.StreamDial)
	asked.Port = 8081 // which echoes
	for _, host := range []string{"", "127.0.0.1", "me.internal", "ME.internal.", "localhost"} {
		asked.Host = host
		c := dialUntil(t, h, asked)
		sent := bytes.Repeat([]byte(host+"\x00\xff\n"), 100_000)
		go c.send(bytes.NewReader(sent))
		if r := c.rest(); !bytes.Equal(r.out.Bytes(), sent) || !r.ended || r.exit.GetError() != "" {
			t.Errorf("%q: %d bytes of %d, ended %t, %v", host, r.out.Len(), len(sent), r.ended, r.exit)
		}
	}
	for _, test := range []struct {
		host string
		port uint16
		want string
	}{
		{"", 9, "cannot connect to 127.0.0.1:9: connection refused"},
		{"192.0.2.1", 80, "cannot connect to 192.0.2.1:80: network is unreachable"},
		{"no.such.name", 80, "cannot resolve no.such.name: the container's name servers do not answer"},
	} {
		asked.Host, asked.Port = test.host, test.port
		if got := open(t, h.Server, asked).refused(); got != test.want {
			t.Errorf("%s: %q", test.host, got)
		}
	}
	// The host's own loopback is not the container's.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	asked.Host, asked.Port = "127.0.0.1", uint16(l.Addr().(*net.TCPAddr).Port)
	if got := open(t, h.Server, asked).refused(); !strings.Contains(got, "refused") {
		t.Errorf("the host's port: %q", got)
	}
}

// Files come out of a container and go into it, volumes included.
func TestReal_Copy(t *testing.T) {
	volume := t.TempDir()
	h := launch(t, func(s *runtime.Spec) {
		s.Mounts = []runtime.Mount{
			{Type: runtime.MountBind, Source: volume, Target: "/data"},
			{Type: runtime.MountBind, Source: volume, Target: "/locked", ReadOnly: true},
			{Type: runtime.MountTmpfs, Target: "/scratch"},
		}
	}, "sleep")
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	content := bytes.Repeat([]byte("0123456789"), 1<<20)
	err := errors.Join(w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "dir/", Mode: 0o750, Uid: 1, Gid: 2}),
		w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "dir/file", Mode: 0o640, Uid: 1000, Gid: 1001, Size: int64(len(content))}))
	_, writing := w.Write(content)
	if err := errors.Join(err, writing, w.Close()); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{"/data", "/scratch", "/tmp"} {
		asked := h.request(model.StreamWrite)
		asked.Path = at
		c := open(t, h.Server, asked).started()
		go c.send(bytes.NewReader(archive.Bytes()))
		if r := c.rest(); r.exit.GetCode() != 0 || r.exit.GetError() != "" {
			t.Fatalf("%s: %v", at, r.exit)
		}
		if r := h.exec("stat", at+"/dir", at+"/dir/file").started().rest(); r.out.String() != at+"/dir drwxr-x--- 1 2\n"+at+"/dir/file -rw-r----- 1000 1001\n" {
			t.Errorf("%s: %q %q", at, r.out.String(), r.err.String())
		}
		asked.Kind, asked.Path = model.StreamRead, at+"/dir/file"
		r := open(t, h.Server, asked).started().rest()
		back := tar.NewReader(&r.out)
		head, err := back.Next()
		if err != nil || r.exit.GetError() != "" {
			t.Fatalf("%s: %v, %v", at, err, r.exit)
		}
		data, err := io.ReadAll(back)
		if err != nil || !bytes.Equal(data, content) || head.Name != "file" || head.Uid != 1000 || head.Gid != 1001 || head.Mode != 0o640 {
			t.Errorf("%s: %d bytes, %+v, %v", at, len(data), head, err)
		}
	}
	if data, err := os.ReadFile(volume + "/dir/file"); err != nil || !bytes.Equal(data, content) {
		t.Errorf("the volume has %d bytes, %v", len(data), err)
	}
	asked := h.request(model.StreamWrite)
	asked.Path = "/locked"
	c := open(t, h.Server, asked).started()
	go c.send(bytes.NewReader(archive.Bytes()))
	if r := c.rest(); !strings.Contains(r.exit.GetError(), "read-only file system") {
		t.Errorf("what is read-only was written to: %v", r.exit)
	}
	for _, kind := range []string{model.StreamRead, model.StreamWrite} {
		asked := h.request(kind)
		asked.Path = "/no/such"
		if got := open(t, h.Server, asked).refused(); !strings.Contains(got, "/no/such in container app: no such file or directory") {
			t.Errorf("%s: %q", kind, got)
		}
	}
}

// A debug container sees the processes, the network and, by /proc, the files of
// the one that it looks into, and is gone with its stream.
func TestReal_Debug(t *testing.T) {
	h := launch(t, func(s *runtime.Spec) { s.User = "app" }, "answer", "8080", "0")
	dialled := h.request(model.StreamDial)
	dialled.Port = 8080
	dialUntil(t, h, dialled).close()
	asked := h.request(model.StreamDebug)
	asked.Image = probeImage
	run := func(args ...string) *result {
		t.Helper()
		asked.Command = append([]string{"/probe"}, args...)
		return open(t, h.Server, asked).started().rest()
	}
	if r := run("cat", "/proc/1/cmdline"); r.out.String() != "/probe\x00answer\x008080\x000\x00" {
		t.Errorf("process 1 is %q, %q", r.out.String(), r.err.String())
	}
	if r := run("cat", "/proc/net/tcp6"); !strings.Contains(r.out.String(), ":1F90 ") {
		t.Errorf("the network has %q, %q", r.out.String(), r.err.String())
	}
	writing := h.request(model.StreamWrite)
	writing.Path = "/tmp"
	w := open(t, h.Server, writing).started()
	var archive bytes.Buffer
	pack := tar.NewWriter(&archive)
	pack.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "seen", Size: 2, Mode: 0o600})
	pack.Write([]byte("it"))
	pack.Close()
	go w.send(&archive)
	w.rest()
	if r := run("cat", "/proc/1/root/tmp/seen"); r.out.String() != "it" {
		t.Errorf("its files: %q, %q", r.out.String(), r.err.String())
	}
	if r := run("exit", "5"); r.exit.GetCode() != 5 {
		t.Errorf("exit %v", r.exit)
	}
	cgroup := func(pid string) string {
		r := run("cat", "/proc/"+pid+"/cgroup")
		return r.out.String()
	}
	if own := cgroup("self"); !strings.Contains(own, h.task) {
		t.Errorf("it is in control groups %q", own)
	}
	asked.Command = []string{"bash"}
	if got := open(t, h.Server, asked).refused(); got != `exec: "bash": executable file not found in $PATH` {
		t.Errorf("a program that is not there: %q", got)
	}
	// It ends with the container that it looks into, also while nobody reads.
	asked.Command = []string{"/probe", "flood", "100000000"}
	c := open(t, h.Server, asked).started()
	if err := h.Kill(t.Context(), h.id, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for {
		all, err := h.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(all, func(s runtime.Status) bool { return s.TaskID == h.task && s.ID != h.id }) {
			break
		}
	}
	c.close()
}

// What an agent that is killed has running is ended by the next.
func TestReal_KilledAgent(t *testing.T) {
	h := launch(t, nil, "sleep")
	// The agent that dies has a directory of pipes whose lock nobody holds. A copy
	// of the living one's, under the name of its programs, is just that.
	c := h.exec("stray", "/tmp/held").started()
	c.until("strayed\n")
	debug := h.request(model.StreamDebug)
	debug.Image, debug.Command = probeImage, []string{"/probe", "say", "here"}
	d := open(t, h.Server, debug).started()
	d.until("here\n")
	dirs, err := filepath.Glob(filepath.Join(h.engine.cfg.StateDir, "fifo", "*", "*@"+h.task+"*"))
	if err != nil || len(dirs) != 2 {
		t.Fatalf("pipes %v, %v", dirs, err)
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(filepath.Join(h.engine.cfg.StateDir, "fifo", "dead", filepath.Base(dir)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	next, err := containerd.New(t.Context(), h.engine.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	server := exec.New(exec.Config{Runtime: next, Dir: h.dir, Log: slog.New(slog.DiscardHandler)})
	if err := server.Purge(context.Background()); err != nil {
		t.Fatal(err)
	}
	if left := h.processes(); !slices.Equal(left, []string{"/probe sleep"}) {
		t.Errorf("there run %q", left)
	}
	if _, err := os.Stat(filepath.Join(h.engine.cfg.StateDir, "fifo", "dead")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its pipes are left: %v", err)
	}
	for _, r := range []*result{c.rest(), d.rest()} {
		if r.exit.GetCode() == 0 {
			t.Errorf("exit %v", r.exit)
		}
	}
}

// A disk without room for pipes is said, and serves again when there is room.
func TestReal_FullDisk(t *testing.T) {
	h := launch(t, nil, "sleep")
	if r := h.exec("echo", "before").started().rest(); r.exit.GetCode() != 0 {
		t.Fatalf("exit %v", r.exit)
	}
	life, err := filepath.Glob(filepath.Join(h.engine.cfg.StateDir, "fifo", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range life {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "nr_inodes=1"); err != nil {
			t.Fatal(err)
		}
	}
	unmount := func() {
		for _, dir := range life {
			unix.Unmount(dir, unix.MNT_DETACH)
		}
	}
	t.Cleanup(unmount)
	if got := h.exec("echo", "now").refused(); !strings.Contains(got, "no space left on device") {
		t.Errorf("refused with %q", got)
	}
	unmount()
	if r := h.exec("echo", "after").started().rest(); r.out.String() != "after\n" {
		t.Errorf("%q, %v", r.out.String(), r.exit)
	}
}
