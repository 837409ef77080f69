package up_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"berth.dev/berth/internal/app/instance"
	"berth.dev/berth/internal/app/up"
)

// The supervisor runs this test's own binary as its roles: `server SOCKET DIR`
// claims its role, says on the socket who it is, and ends with SIGTERM.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && (os.Args[1] == "server" || os.Args[1] == "agent") {
		os.Exit(playRole(os.Args[1], os.Args[2], os.Args[3]))
	}
	os.Exit(m.Run())
}

func playRole(role, socket, dir string) int {
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	i, err := instance.Open(dir)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	release, err := i.Claim(role)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer release()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("the last words of the " + role)
	fmt.Fprintf(conn, "%s %d token=%s\n", role, os.Getpid(), os.Getenv(up.TokenVariable))
	<-terminated
	return 0
}

// life is one run of a role.
type life struct {
	role  string
	pid   int
	token string
	end   chan struct{} // closed when its process has ended
}

// machine is an instance whose roles report to the test.
type machine struct {
	t        *testing.T
	instance instance.Instance
	socket   string
	births   chan life
	ready    chan struct{}

	mu   sync.Mutex
	said []string
}

func newMachine(t *testing.T) *machine {
	if os.Getuid() != 0 {
		t.Skip("makes a directory below /run: needs root")
	}
	i, err := instance.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	// Not in t.TempDir: the path of a socket must be short.
	dir, err := os.MkdirTemp("", "up") //nolint:usetesting // short: the path of a socket has 107 characters at most
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, instance: i, socket: filepath.Join(dir, "s"), births: make(chan life, 10), ready: make(chan struct{})}
	listener, err := net.Listen("unix", m.socket)
	if err != nil {
		t.Fatal(err)
	}
	go m.accept(listener)
	t.Cleanup(func() {
		if err := errors.Join(listener.Close(), os.RemoveAll(dir), i.Remove()); err != nil {
			t.Error(err)
		}
	})
	return m
}

func (m *machine) accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			in := bufio.NewReader(conn)
			l := life{end: make(chan struct{})}
			if _, err := fmt.Fscanf(in, "%s %d token=%s\n", &l.role, &l.pid, &l.token); err != nil && l.pid == 0 {
				m.t.Errorf("a role says nonsense: %v", err)
			}
			m.births <- l
			io.Copy(io.Discard, in) //nolint:errcheck,gosec // until its end
			close(l.end)
		}()
	}
}

// run supervises until the returned function is called, which waits for the
// end.
func (m *machine) run() (stop func()) {
	m.t.Helper()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	m.t.Cleanup(api.Close)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- up.Run(ctx, m.config(api.Listener.Addr().String())) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			m.t.Errorf("it ended with %v", err)
		}
	})
	m.t.Cleanup(stop)
	return stop
}

func (m *machine) config(listen string) up.Config {
	args := []string{m.socket, m.instance.DataDir}
	return up.Config{
		Instance: m.instance, Listen: listen, Server: args, Agent: args,
		Say: func(format string, args ...any) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.said = append(m.said, fmt.Sprintf(format, args...))
		},
		Ready: func(time.Duration) { close(m.ready) },
	}
}

// both waits for one life of each role, in any order.
func (m *machine) both() (server, agent life) {
	m.t.Helper()
	for range 2 {
		switch l := <-m.births; l.role {
		case "server":
			server = l
		case "agent":
			agent = l
		}
	}
	if server.pid == 0 || agent.pid == 0 {
		m.t.Fatalf("server %+v, agent %+v", server, agent)
	}
	return server, agent
}

func ended(l life) bool {
	select {
	case <-l.end:
		return true
	default:
		return false
	}
}

func TestRun_StartsAgainWhatDies(t *testing.T) {
	m := newMachine(t)
	stop := m.run()
	server, agent := m.both()
	<-m.ready
	if !strings.HasPrefix(agent.token, "berth1.") || server.token != "" {
		t.Errorf("join tokens: agent %q, server %q", agent.token, server.token)
	}
	if err := syscall.Kill(server.pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-server.end
	second := <-m.births
	if second.role != "server" || second.pid == server.pid {
		t.Errorf("after the server's death came %+v", second)
	}
	if ended(agent) {
		t.Error("the agent died with the server")
	}
	m.mu.Lock()
	said := strings.Join(m.said, "\n")
	m.mu.Unlock()
	if !strings.Contains(said, "the server died (signal: killed)") || !strings.Contains(said, "the last words of the server") {
		t.Errorf("it said %q", said)
	}
	stop()
	<-second.end
	<-agent.end
	for _, role := range []string{"up", "server", "agent"} {
		if m.instance.Running(role) {
			t.Errorf("the %s runs on", role)
		}
	}
}

func TestRun_OnlyOnce(t *testing.T) {
	m := newMachine(t)
	m.run()
	m.both()
	if err := up.Run(t.Context(), m.config("127.0.0.1:0")); !errors.Is(err, instance.ErrRunning) {
		t.Errorf("a second supervisor: %v", err)
	}
}

// A supervisor that was killed with SIGKILL may have left a role behind.
func TestRun_TakesOver(t *testing.T) {
	m := newMachine(t)
	orphan := exec.Command(os.Args[0], "server", m.socket, m.instance.DataDir)
	if err := orphan.Start(); err != nil {
		t.Fatal(err)
	}
	left := <-m.births
	m.run()
	if err := orphan.Wait(); err != nil {
		t.Errorf("it was not asked to end: %v", err)
	}
	<-left.end
	if server, _ := m.both(); server.pid == left.pid {
		t.Error("there is no new server")
	}
}
