package logdriver

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/google/go-cmp/cmp"
)

// startContainerd starts a private containerd and ends it with the test.
func startContainerd(t *testing.T) *client.Client {
	t.Helper()
	for _, program := range []string{"containerd", "runc", "go"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s on PATH", program)
		}
	}
	if os.Getuid() != 0 {
		t.Skip("needs root to run containerd")
	}
	dir, err := os.MkdirTemp("/tmp", "berth-logs-") //nolint:usetesting // short: the path of a socket has 107 characters at most
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	config := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(config, []byte("version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	address := filepath.Join(dir, "c.sock")
	daemon := exec.Command("containerd", "--config", config, "--root", filepath.Join(dir, "root"), "--state", filepath.Join(dir, "state"), "--address", address)
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = daemon.Process.Signal(syscall.SIGTERM); _ = daemon.Wait() })
	c, err := client.New(address, client.WithTimeout(time.Minute))
	if err != nil {
		t.Fatalf("connect to the private containerd: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestDriver_WithContainerd runs a container whose process 1 is the helper and whose output the helper captures, both
// started by a real shim, and restarts the driver meanwhile.
func TestDriver_WithContainerd(t *testing.T) {
	engine := startContainerd(t)
	root := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(root, "chatter"), "./testdata/chatter")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	stored := make(chan struct{}, 1)
	s := &server{after: func() error {
		select {
		case stored <- struct{}{}:
		default:
		}
		return nil
	}}
	d := newDriver(t, s)
	helper, err := os.ReadFile(d.cfg.Helper)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "init"), helper, 0o755); err != nil {
		t.Fatal(err)
	}
	stop := runDriver(t, d)

	id := fmt.Sprintf("logs-%d-%d", os.Getpid(), time.Now().UnixNano())
	args, err := d.Prepare(t.Context(), stream(id))
	if err != nil {
		t.Fatal(err)
	}
	ctx := namespaces.WithNamespace(context.Background(), id)
	t.Cleanup(func() { _ = os.Remove("/run/containerd/runc/" + id) }) // runc's directory of the namespace, empty by then
	container, err := engine.NewContainer(ctx, id, client.WithNewSpec(
		oci.WithRootFSPath(root), oci.WithProcessArgs("/init", "init", "--", "/chatter"),
		oci.WithCgroup("/berth-"+id), // one level, so that nothing is left when it ends
	))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = container.Delete(ctx) })
	task, err := container.NewTask(ctx, cio.BinaryIO(args.Binary, args.Args))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = task.Delete(ctx, client.WithProcessKill) })
	if err := d.Follow(id); err != nil {
		t.Fatal(err)
	}
	exited, err := task.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := task.Start(ctx); err != nil {
		t.Fatal(err)
	}
	<-stored
	stop()
	next := New(d.cfg)
	if _, err := next.Adopt(); err != nil {
		t.Fatal(err)
	}
	runDriver(t, next)
	<-stored

	if err := task.Kill(ctx, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := <-exited; status.ExitCode() != 0 {
		t.Errorf("exit code %d, want that of a child that was told to end", status.ExitCode())
	}
	if _, err := task.Delete(ctx); err != nil {
		t.Fatal(err)
	}
	if err := next.Drain(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	var lines []string
	last := ""
	for _, message := range s.messages() {
		if strings.HasPrefix(message, "lines ") {
			last = message
			continue
		}
		lines = append(lines, message)
	}
	var want []string
	for n := range lines {
		want = append(want, fmt.Sprint("line ", n))
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("lines (-want +got):\n%.1000s", diff)
	}
	if last != fmt.Sprint("lines ", len(lines)) {
		t.Errorf("%d lines arrived, the container says %q", len(lines), last)
	}
}
