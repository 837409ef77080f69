package channel_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

// pluginDir has the plugin once it is built; TestMain removes it.
var pluginDir string

// buildPlugin builds AWS's own client, unmodified, once for all tests.
var buildPlugin = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "berth-smplugin-")
	if err != nil {
		return "", err
	}
	pluginDir = dir
	path := filepath.Join(dir, "session-manager-plugin")
	cmd := exec.Command("go", "build", "-o", path, "github.com/aws/session-manager-plugin/src/sessionmanagerplugin-main")
	cmd.Dir = "../../../tools/smplugin"
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("AWS's session-manager-plugin cannot be built, without which nothing says that it can talk to Berth: %w\n%s", err, out)
	}
	return path, nil
})

// plugin is a run of it.
type plugin struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out io.Reader
	tty *os.File
}

// plugin starts it as the aws CLI does. Its terminal is a real one or none.
func (w *world) plugin(id, token, url, endpoint string, tty bool) *plugin {
	w.t.Helper()
	path, err := buildPlugin()
	if err != nil {
		w.t.Fatal(err)
	}
	response, err := json.Marshal(map[string]string{"SessionId": id, "StreamUrl": url, "TokenValue": token})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	w.t.Cleanup(cancel)
	p := &plugin{cmd: exec.CommandContext(ctx, path, string(response), "us-east-1", "StartSession", "", `{"Target":"ecs:default_x_y"}`, endpoint)}
	home := w.t.TempDir()
	p.cmd.Env = append(os.Environ(), "HOME="+home, "TMPDIR="+home, "AWS_ACCESS_KEY_ID=AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret", "AWS_EC2_METADATA_DISABLED=true")
	if tty {
		p.tty, err = pty.StartWithSize(p.cmd, &pty.Winsize{Rows: 33, Cols: 99})
		p.in, p.out = p.tty, p.tty
	} else {
		p.in, _ = p.cmd.StdinPipe()   // fails only for a command that has one
		p.out, _ = p.cmd.StdoutPipe() // as above
		err = p.cmd.Start()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		cancel()
		p.in.Close()               //nolint:errcheck // it has ended
		io.Copy(io.Discard, p.out) //nolint:errcheck // as above
		p.cmd.Wait()               //nolint:errcheck // as above
	})
	return p
}

// until reads output until it has what is looked for, and returns all of it.
func (p *plugin) until(t *testing.T, want string) string {
	t.Helper()
	var seen []byte
	for buffer := make([]byte, 4096); !bytes.Contains(seen, []byte(want)); {
		n, err := p.out.Read(buffer)
		seen = append(seen, buffer[:n]...)
		if err != nil {
			t.Fatalf("%v after %q, waiting for %q", err, seen, want)
		}
	}
	return string(seen)
}

// finish reads the rest and waits for the end.
func (p *plugin) finish(t *testing.T) string {
	t.Helper()
	rest, _ := io.ReadAll(p.out) // a terminal's end is an error
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("the plugin: %v", err)
	}
	return string(rest)
}

// A shell as people use it: a terminal, its size, a size that changes, an
// interrupt, exit.
func TestPlugin_Shell(t *testing.T) {
	w := newWorld(t)
	id, token := w.session(func(s *model.RemoteSession) { s.Command = []string{"/bin/sh"} })
	p := w.plugin(id, token, w.url(id, ""), "", true)
	p.until(t, "Starting session with SessionId: "+id)
	p.until(t, "# ")
	w.resized(33, 99)
	say := func(line string) {
		t.Helper()
		if _, err := p.in.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	say("stty size\r")
	p.until(t, "33 99")
	if err := pty.Setsize(p.tty, &pty.Winsize{Rows: 44, Cols: 111}); err != nil {
		t.Fatal(err)
	}
	w.resized(44, 111) // the plugin looks twice a second
	say("stty size\r")
	p.until(t, "44 111")
	say("sh -c \"echo run''ning; exec sleep 1000\"\r")
	p.until(t, "running")
	// The plugin is sent a signal for it and passes that on beside what is typed,
	// so that only what is typed after the prompt is sure to come after.
	say("\x03")
	p.until(t, "# ")
	say("echo interr''upted\r")
	p.until(t, "interrupted")
	say("exit\r")
	if rest := p.finish(t); !strings.Contains(rest, "Exiting session with sessionId: "+id+".") {
		t.Errorf("at the end: %q", rest)
	}
	if r := w.record(id, hasEnded); r.Status != model.SessionTerminated {
		t.Errorf("the record says %+v", r)
	}
}

// resized waits until a terminal has the size.
func (w *world) resized(rows, columns uint32) {
	w.t.Helper()
	for {
		var size *nodeapi.TerminalSize
		select {
		case size = <-w.node.sizes:
		case <-time.After(2 * time.Minute):
			w.t.Fatalf("no terminal was made %dx%d", rows, columns)
		}
		if size.GetRows() == rows && size.GetColumns() == columns {
			return
		}
	}
}

// 50 MB through the plugin, and nothing of it is lost or changed.
func TestPlugin_LargeOutput(t *testing.T) {
	w := newWorld(t)
	data := make([]byte, 50<<20)
	rand.NewChaCha8([32]byte{1}).Read(data) //nolint:errcheck // never fails
	file := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	id, token := w.command("stty raw -echo; exec cat " + file)
	p := w.plugin(id, token, w.url(id, ""), "", false)
	begin := time.Now()
	out := []byte(p.finish(t))
	t.Logf("%d MB/s", len(data)>>20/max(1, int(time.Since(begin).Seconds())))
	head, tail := fmt.Appendf(nil, "\nStarting session with SessionId: %s\n", id), fmt.Appendf(nil, "\n\nExiting session with sessionId: %s.\n\n", id)
	out, ok1 := bytes.CutPrefix(out, head)
	out, ok2 := bytes.CutSuffix(out, tail)
	if !ok1 || !ok2 || sha256.Sum256(out) != sha256.Sum256(data) {
		t.Errorf("%d bytes came out, not the same %d", len(out), len(data))
	}
}

func TestPlugin_SeveralAtOnce(t *testing.T) {
	w := newWorld(t)
	var group sync.WaitGroup
	for i := range 4 {
		id, token := w.command(fmt.Sprintf("stty -echo; read x; echo answer-%d-$x", i))
		p := w.plugin(id, token, w.url(id, ""), "", false)
		group.Go(func() {
			if _, err := fmt.Fprintf(p.in, "line-%d\r", i); err != nil {
				t.Error(err)
			}
			if out := p.finish(t); !strings.Contains(out, fmt.Sprintf("answer-%d-line-%d", i, i)) {
				t.Errorf("%d: %q", i, out)
			}
		})
	}
	group.Wait()
}

// The plugin shows why its session has ended.
func TestPlugin_IsToldTheEnd(t *testing.T) {
	w := newWorld(t)
	id, token := w.command("echo ready; exec cat")
	p := w.plugin(id, token, w.url(id, ""), "", false)
	p.until(t, "ready")
	w.stopTask()
	if out, want := p.finish(t), "\n\nSessionId: "+id+" : Received Container Stopped event\n\n"; out != want && !strings.HasSuffix(out, want) {
		t.Errorf("at the end: %q", out)
	}
}

// A plugin that lost its connection asks for a new token and goes on where it
// was.
func TestPlugin_Resumes(t *testing.T) {
	w := newWorld(t)
	id, token := w.command("stty -echo; echo ready; while read x; do echo got-$x; done")
	// AWS's API, as far as the plugin needs it.
	api := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".ResumeSession") {
			t.Errorf("the plugin called %s", r.Header.Get("X-Amz-Target"))
		}
		w.write(func(tx *store.Tx) error {
			return records.RemoteSessions.Edit(tx, id, func(s *model.RemoteSession) error { s.Serial++; return nil })
		})
		s, _ := records.RemoteSessions.Get(w.store.Snapshot(), id)
		next, err := w.tokens.IssueChannel(id, s.Serial)
		if err != nil {
			t.Error(err)
		}
		rw.Header().Set("Content-Type", "application/x-amz-json-1.1")
		fmt.Fprintf(rw, `{"SessionId":%q,"TokenValue":%q}`, id, next) //nolint:errcheck // the plugin complains
	}))
	defer api.Close()
	wire := newWire(t, w.server.Listener.Addr().String())
	p := w.plugin(id, token, strings.Replace(w.url(id, ""), w.server.Listener.Addr().String(), wire.Addr().String(), 1), api.URL, false)
	p.until(t, "ready")
	wire.cut()
	w.record(id, func(r *model.RemoteSession) bool { return r.Status == model.SessionDisconnected })
	w.record(id, func(r *model.RemoteSession) bool { return r.Status == model.SessionConnected })
	if _, err := p.in.Write([]byte("on\r")); err != nil {
		t.Fatal(err)
	}
	p.until(t, "got-on")
	if _, err := p.in.Write([]byte{4}); err != nil {
		t.Fatal(err)
	}
	p.finish(t)
}

// wire is a connection to somewhere that can be cut.
type wire struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func newWire(t *testing.T, to string) *wire {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{Listener: listener}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			here, err := listener.Accept()
			if err != nil {
				return
			}
			there, err := net.Dial("tcp", to)
			if err != nil {
				here.Close() //nolint:errcheck // as if it were cut
				continue
			}
			w.mu.Lock()
			w.conns = append(w.conns, here, there)
			w.mu.Unlock()
			for _, pair := range [][2]net.Conn{{here, there}, {there, here}} {
				group.Go(func() {
					io.Copy(pair[0], pair[1]) //nolint:errcheck // any end is one
					pair[0].Close()           //nolint:errcheck // as above
				})
			}
		}
	})
	t.Cleanup(func() {
		listener.Close() //nolint:errcheck // ends the loop
		w.cut()
		group.Wait()
	})
	return w
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		c.Close() //nolint:errcheck // that is its end
	}
	w.conns = nil
}

var portOpened = regexp.MustCompile(`Port (\d+) opened`)

// Many connections at once through a forwarded port.
func TestPlugin_PortForwarding(t *testing.T) {
	w := newWorld(t)
	port := echoServer(t)
	id, token := w.session(func(s *model.RemoteSession) {
		s.Document, s.Parameters = model.DocumentPortForward, map[string][]string{"portNumber": {fmt.Sprint(port)}, "localPortNumber": {"0"}}
	})
	p := w.plugin(id, token, w.url(id, ""), "", false)
	local := portOpened.FindStringSubmatch(p.until(t, "Waiting for connections"))[1]
	var group sync.WaitGroup
	for i := range 30 {
		group.Go(func() {
			conn, err := net.Dial("tcp", "localhost:"+local)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close() //nolint:errcheck // all is read
			data := bytes.Repeat(fmt.Appendf(nil, "connection %d|", i), 2000)
			group.Go(func() {
				if _, err := conn.Write(data); err != nil {
					t.Error(err)
				}
			})
			got := make([]byte, len(data))
			if n, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, data) {
				t.Errorf("connection %d: %d bytes, %v", i, n, err)
			}
		})
	}
	group.Wait()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if out := p.finish(t); !strings.Contains(out, "Exiting session with sessionId: "+id) {
		t.Errorf("at the end: %q", out)
	}
	w.record(id, hasEnded)
}

// echoServer sends back what it is sent, to the end.
func echoServer(t *testing.T) (port int) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				io.Copy(conn, conn) //nolint:errcheck // the test sees what is missing
				conn.Close()        //nolint:errcheck // as above
			})
		}
	})
	t.Cleanup(func() {
		listener.Close() //nolint:errcheck // ends the loop
		group.Wait()
	})
	return listener.Addr().(*net.TCPAddr).Port
}
