package instance_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"berth.dev/berth/internal/app/instance"
)

// roleVariable makes this test's binary a role of the instance whose data
// directory it names: it claims the role, says so, and ends with SIGTERM.
const roleVariable = "BERTH_TEST_ROLE_OF"

func TestMain(m *testing.M) {
	if dir := os.Getenv(roleVariable); dir != "" {
		os.Exit(playRole(dir))
	}
	os.Exit(m.Run())
}

func playRole(dir string) int {
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	i, err := instance.Open(dir)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	release, err := i.Claim("role")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer release()
	fmt.Println("claimed")
	<-terminated
	return 0
}

func open(t *testing.T) instance.Instance {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("makes a directory below /run: needs root")
	}
	i, err := instance.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Remove(); err != nil {
			t.Error(err)
		}
	})
	return i
}

// startRole runs a process that has claimed the role.
func startRole(t *testing.T, i instance.Instance) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+i.DataDir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck,gosec // it may have ended
		cmd.Wait()         //nolint:errcheck,gosec // as it was told
	})
	var line string
	if _, err := fmt.Fscanln(out, &line); err != nil || line != "claimed" {
		t.Fatalf("the role says %q, %v", line, err)
	}
	return cmd
}

func TestOpen_KeepsTheID(t *testing.T) {
	i, other := open(t), open(t)
	if len(i.ID) != 8 || i.ID == other.ID {
		t.Errorf("ids %q and %q", i.ID, other.ID)
	}
	again, err := instance.Open(i.DataDir)
	if err != nil || again != i {
		t.Errorf("the second time it is %+v, %v", again, err)
	}
	if len(i.NodeSocket()) > 107 {
		t.Errorf("%s is too long for a socket", i.NodeSocket())
	}
	if info, err := os.Stat(i.RunDir()); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the run directory is open to others: %v, %v", info, err)
	}
}

// Whoever comes first names the instance, and all get the same name.
func TestOpen_AtTheSameTime(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("makes a directory below /run: needs root")
	}
	dir := t.TempDir()
	ids := make([]instance.Instance, 8)
	var wg sync.WaitGroup
	for n := range ids {
		wg.Go(func() {
			i, err := instance.Open(dir)
			if err != nil {
				t.Error(err)
			}
			ids[n] = i
		})
	}
	wg.Wait()
	for _, i := range ids {
		if i != ids[0] {
			t.Errorf("%q and %q", i.ID, ids[0].ID)
		}
	}
	if err := ids[0].Remove(); err != nil {
		t.Error(err)
	}
}

func TestExisting(t *testing.T) {
	if _, err := instance.Existing(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty directory: %v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "instance"), []byte("../x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := instance.Existing(dir); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged id: %v", err)
	}
}

func TestClaim_IsExclusive(t *testing.T) {
	i := open(t)
	release, err := i.Claim("role")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.Claim("role"); !errors.Is(err, instance.ErrRunning) || !strings.Contains(err.Error(), fmt.Sprintf("pid %d", os.Getpid())) {
		t.Errorf("the second claim: %v", err)
	}
	if other, err := i.Claim("other"); err != nil {
		t.Errorf("another role: %v", err)
	} else {
		other()
	}
	if pid, err := i.PID("role"); err != nil || pid != os.Getpid() || !i.Running("role") {
		t.Errorf("pid %d, %v", pid, err)
	}
	release()
	if _, err := i.PID("role"); !errors.Is(err, fs.ErrNotExist) || i.Running("role") {
		t.Errorf("after its end: %v", err)
	}
	again, err := i.Claim("role")
	if err != nil {
		t.Fatal(err)
	}
	again()
}

// Whoever looks whether a role runs must not keep it from beginning.
func TestRunning_DoesNotDisturb(t *testing.T) {
	i := open(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					i.Running("role")
				}
			}
		})
	}
	for range 500 {
		release, err := i.Claim("role")
		if err != nil {
			t.Error(err)
			break
		}
		release()
	}
	close(stop)
	wg.Wait()
}

// A process that was killed holds nothing any more, though its pid file is
// there.
func TestRunning_AfterSIGKILL(t *testing.T) {
	i := open(t)
	role := startRole(t, i)
	if pid, err := i.PID("role"); err != nil || pid != role.Process.Pid || !i.Running("role") {
		t.Errorf("pid %d, %v", pid, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- i.Wait(t.Context(), "role") }()
	if err := role.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := i.PID("role"); err != nil || i.Running("role") {
		t.Errorf("after SIGKILL: %v", err)
	}
	if err := i.Stop(t.Context(), "role"); err != nil { // and signals nobody
		t.Error(err)
	}
}

func TestWait_GivesUp(t *testing.T) {
	i := open(t)
	release, err := i.Claim("role")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := i.Wait(ctx, "role"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestStop(t *testing.T) {
	i := open(t)
	if err := i.Stop(t.Context(), "role"); err != nil {
		t.Errorf("a role that never ran: %v", err)
	}
	role := startRole(t, i)
	if err := i.Stop(t.Context(), "role"); err != nil {
		t.Fatal(err)
	}
	if i.Running("role") {
		t.Error("it still runs")
	}
	if err := role.Wait(); err != nil {
		t.Errorf("it did not end by itself: %v", err)
	}
}
