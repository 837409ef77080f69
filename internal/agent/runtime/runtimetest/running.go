package runtimetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"

	"berth.dev/berth/internal/agent/runtime"
)

func testExec(t *testing.T, f *fixture) {
	id := f.run(t, f.spec("a", "sleep"))
	res, err := f.Exec(t.Context(), id, runtime.ExecSpec{Args: []string{"/probe", "echo", "hello"}})
	if err != nil || res.ExitCode != 0 || string(res.Output) != "hello\n" {
		t.Errorf("echo: %d %q, %v", res.ExitCode, res.Output, err)
	}
	if res, err = f.Exec(t.Context(), id, runtime.ExecSpec{Args: []string{"/probe", "exit", "3"}}); err != nil || res.ExitCode != 3 {
		t.Errorf("exit 3: %+v, %v", res, err)
	}
	if _, err = f.Exec(t.Context(), id, runtime.ExecSpec{Args: []string{"/no/such/program"}}); err == nil {
		t.Error("a program that does not exist was run")
	}
	if s := f.status(t, id); s.State != runtime.StateRunning {
		t.Errorf("after Exec: %+v", s)
	}
}

func testExecUntilDeadline(t *testing.T, f *fixture) {
	id := f.run(t, f.spec("a", "sleep"))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := f.Exec(ctx, id, runtime.ExecSpec{Args: []string{"/probe", "sleep"}})
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Exec: %v, want context.Canceled", err)
	}
	if s := f.status(t, id); s.State != runtime.StateRunning {
		t.Errorf("after Exec: %+v", s)
	}
}

func testExecNeedsRunning(t *testing.T, f *fixture) {
	created := f.create(t, f.spec("a", "sleep"))
	exited := f.run(t, f.spec("b", "exit", "0"))
	f.wait(t, exited)
	for _, id := range []string{created, exited} {
		if _, err := f.Exec(t.Context(), id, runtime.ExecSpec{Args: []string{"/probe", "exit", "0"}}); !errors.Is(err, runtime.ErrNotRunning) {
			t.Errorf("Exec in %s: %v, want ErrNotRunning", id, err)
		}
	}
}

func testStats(t *testing.T, f *fixture) {
	spec := f.spec("a", "sleep")
	spec.MemoryBytes, spec.PidsLimit = 64<<20, 100
	id := f.run(t, spec)
	stats, err := f.Stats(t.Context(), id)
	if err != nil {
		t.Fatalf("Stats: %v", err)
	}
	if stats.Memory.Limit != 64<<20 || stats.Pids.Limit != 100 || stats.Pids.Current == 0 || stats.Memory.Usage == 0 ||
		stats.CPU.OnlineCPUs == 0 || stats.CPU.System == 0 || stats.Read.IsZero() {
		t.Errorf("Stats: %+v", stats)
	}
	if err := f.Kill(t.Context(), id, syscall.SIGKILL); err != nil {
		t.Fatalf("Kill: %v", err)
	}
	f.wait(t, id)
	if _, err := f.Stats(t.Context(), id); !errors.Is(err, runtime.ErrNotRunning) {
		t.Errorf("Stats after the exit: %v, want ErrNotRunning", err)
	}
}

func testOutOfMemory(t *testing.T, f *fixture) {
	spec := f.spec("a", "eat", "512")
	spec.MemoryBytes = 32 << 20
	id := f.run(t, spec)
	if exit := f.wait(t, id); exit.Code != 137 || !exit.OOMKilled {
		t.Errorf("exit %+v, want 137 and OOMKilled", exit)
	}
	if s := f.status(t, id); s.Exit == nil || !s.Exit.OOMKilled {
		t.Errorf("status %+v, want OOMKilled", s)
	}
}

func testParallel(t *testing.T, f *fixture) {
	const count = 8
	var group sync.WaitGroup
	for i := range count {
		group.Go(func() {
			spec := f.spec(fmt.Sprint(i), "exit", fmt.Sprint(i))
			// Twice each, as two workers that both think that it is theirs to do.
			var pair sync.WaitGroup
			for range 2 {
				pair.Go(func() {
					if err := f.Create(t.Context(), spec); err != nil {
						t.Errorf("Create: %v", err)
						return
					}
					if _, err := f.Start(t.Context(), spec.ID); err != nil {
						t.Errorf("Start: %v", err)
					}
				})
			}
			pair.Wait()
			if exit, err := f.Wait(t.Context(), spec.ID); err != nil || exit.Code != uint32(i) {
				t.Errorf("Wait: %+v, %v, want code %d", exit, err, i)
			}
			if err := f.Remove(t.Context(), spec.ID); err != nil {
				t.Errorf("Remove: %v", err)
			}
		})
	}
	group.Wait()
}

func testInfo(t *testing.T, f *fixture) {
	info, err := f.Info(t.Context())
	if err != nil || info.Name == "" || info.Version == "" || info.OCIRuntime == "" || info.CgroupVersion == 0 || info.Snapshotter == "" {
		t.Errorf("Info: %+v, %v", info, err)
	}
}
