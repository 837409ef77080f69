package fake_test

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/agent/runtime/fake"
)

func newWorld() *fake.World {
	w := fake.NewWorld()
	w.AddImage(runtime.Image{Ref: "app", Name: "docker.io/library/app:latest"})
	return w
}

func appSpec(id string) runtime.Spec {
	return runtime.Spec{ID: id, TaskID: "task", Image: "docker.io/library/app:latest", Args: []string{"/app"}}
}

// launched is a world with one running container.
func launched(t *testing.T) (*fake.World, *fake.Runtime) {
	t.Helper()
	w := newWorld()
	r := w.Connect()
	if _, err := r.EnsureImage(t.Context(), runtime.ImageRequest{Ref: "app"}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.PrepareTask(t.Context(), runtime.Task{ID: "task"}); err != nil {
		t.Fatal(err)
	}
	if err := r.Create(t.Context(), appSpec("c")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Start(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	return w, r
}

func TestFaultModes(t *testing.T) {
	for _, tt := range []struct {
		mode    fake.Mode
		err     error
		started bool
		crashed bool
	}{
		{fake.FailBefore, fake.ErrInjected, false, false},
		{fake.FailAfter, fake.ErrInjected, true, false},
		{fake.HangBefore, context.DeadlineExceeded, false, false},
		{fake.HangAfter, context.DeadlineExceeded, true, false},
		{fake.CrashBefore, fake.ErrCrashed, false, true},
		{fake.CrashAfter, fake.ErrCrashed, true, true},
	} {
		t.Run(tt.mode.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				r := w.Connect()
				if _, err := r.EnsureImage(t.Context(), runtime.ImageRequest{Ref: "app"}); err != nil {
					t.Fatal(err)
				}
				for _, id := range []string{"first", "second"} {
					if err := r.Create(t.Context(), appSpec(id)); err != nil {
						t.Fatal(err)
					}
				}
				w.Inject(fake.Fault{Verb: fake.Start, Skip: 1, Mode: tt.mode})
				if _, err := r.Start(t.Context(), "first"); err != nil {
					t.Fatalf("the first call was struck: %v", err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if _, err := r.Start(ctx, "second"); !errors.Is(err, tt.err) {
					t.Errorf("Start: %v, want %v", err, tt.err)
				}
				if got := w.Starts("second") == 1; got != tt.started {
					t.Errorf("started: %v, want %v", got, tt.started)
				}
				select {
				case <-r.Crashed():
					if !tt.crashed {
						t.Error("the agent crashed")
					}
				default:
					if tt.crashed {
						t.Error("the agent did not crash")
					}
				}
				// The next life finds what is there, and repeating is right whatever happened.
				next := w.Connect()
				if _, err := next.Start(t.Context(), "second"); err != nil {
					t.Errorf("Start by the next life: %v", err)
				}
				if n := w.Starts("second"); n != 1 {
					t.Errorf("the process was started %d times", n)
				}
			})
		})
	}
}

func TestEveryVerbCanFail(t *testing.T) {
	ctx := t.Context()
	calls := map[fake.Verb]func(*fake.Runtime) error{
		fake.EnsureImage: func(r *fake.Runtime) error {
			_, err := r.EnsureImage(ctx, runtime.ImageRequest{Ref: "app"})
			return err
		},
		fake.PrepareTask: func(r *fake.Runtime) error { _, err := r.PrepareTask(ctx, runtime.Task{ID: "t"}); return err },
		fake.Create:      func(r *fake.Runtime) error { return r.Create(ctx, appSpec("d")) },
		fake.Start:       func(r *fake.Runtime) error { _, err := r.Start(ctx, "c"); return err },
		fake.Restart:     func(r *fake.Runtime) error { _, err := r.Restart(ctx, "c", 0); return err },
		fake.Status:      func(r *fake.Runtime) error { _, err := r.Status(ctx, "c"); return err },
		fake.List:        func(r *fake.Runtime) error { _, err := r.List(ctx); return err },
		fake.Wait:        func(r *fake.Runtime) error { _, err := r.Wait(ctx, "c"); return err },
		fake.Kill:        func(r *fake.Runtime) error { return r.Kill(ctx, "c", syscall.SIGTERM) },
		fake.Remove:      func(r *fake.Runtime) error { return r.Remove(ctx, "c") },
		fake.RemoveTask:  func(r *fake.Runtime) error { return r.RemoveTask(ctx, "other") },
		fake.Exec: func(r *fake.Runtime) error {
			_, err := r.Exec(ctx, "c", runtime.ExecSpec{Args: []string{"x"}})
			return err
		},
		fake.Attach: func(r *fake.Runtime) error {
			p, err := r.Attach(ctx, "c", runtime.AttachSpec{ExecSpec: runtime.ExecSpec{Args: []string{"x"}}})
			if err == nil {
				err = p.Close()
			}
			return err
		},
		fake.Stats: func(r *fake.Runtime) error { _, err := r.Stats(ctx, "c"); return err },
		fake.Info:  func(r *fake.Runtime) error { _, err := r.Info(ctx); return err },
		fake.Purge: func(r *fake.Runtime) error { return r.Purge(ctx) },
	}
	for _, verb := range fake.Verbs {
		w, r := launched(t)
		mine := errors.New("mine")
		w.Inject(fake.Fault{Verb: verb, Mode: fake.FailBefore, Err: mine})
		if err := calls[verb](r); !errors.Is(err, mine) {
			t.Errorf("%s: %v, want the injected error", verb, err)
		}
		r.Crash()
		if err := calls[verb](r); !errors.Is(err, fake.ErrCrashed) {
			t.Errorf("%s after the crash: %v, want ErrCrashed", verb, err)
		}
	}
}

func TestCrashEndsWaitAndAnotherLifeAdopts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, r := launched(t)
		done := make(chan error, 1)
		go func() {
			_, err := r.Wait(t.Context(), "c")
			done <- err
		}()
		synctest.Wait()
		r.Crash()
		if err := <-done; !errors.Is(err, fake.ErrCrashed) {
			t.Errorf("Wait: %v, want ErrCrashed", err)
		}
		next := w.Connect()
		w.Exit("c", 3)
		if exit, err := next.Wait(t.Context(), "c"); err != nil || exit.Code != 3 {
			t.Errorf("Wait by the next life: %+v, %v", exit, err)
		}
	})
}

func TestProcessTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.Behave(func(spec runtime.Spec) fake.Process {
			if spec.ID == "stubborn" {
				return fake.Process{StopAfter: 20 * time.Second}
			}
			return fake.Process{Runs: time.Hour, Code: 4}
		})
		r := w.Connect()
		if _, err := r.EnsureImage(t.Context(), runtime.ImageRequest{Ref: "app"}); err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"short", "stubborn"} {
			if err := r.Create(t.Context(), appSpec(id)); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Start(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		if err := r.Kill(t.Context(), "stubborn", syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if exit, err := r.Wait(t.Context(), "stubborn"); err != nil || exit.Code != 143 || exit.At.Sub(start) != 20*time.Second {
			t.Errorf("stubborn: %+v, %v", exit, err)
		}
		if exit, err := r.Wait(t.Context(), "short"); err != nil || exit.Code != 4 || exit.At.Sub(start) != time.Hour {
			t.Errorf("short: %+v, %v", exit, err)
		}
	})
}

func TestPullsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.Latency(func(verb fake.Verb, _ string) time.Duration {
			if verb == fake.EnsureImage {
				return time.Minute
			}
			return 0
		})
		r := w.Connect()
		start := time.Now()
		var group sync.WaitGroup
		for range 5 {
			group.Go(func() {
				if _, err := r.EnsureImage(t.Context(), runtime.ImageRequest{Ref: "app"}); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if n := w.Pulls("app"); n != 1 {
			t.Errorf("%d pulls", n)
		}
		if d := time.Since(start); d > 2*time.Minute {
			t.Errorf("five callers waited %v", d)
		}
	})
}

func TestRebootLosesExits(t *testing.T) {
	w, r := launched(t)
	w.Reboot()
	exit, err := r.Wait(t.Context(), "c")
	if err != nil || !exit.Lost || exit.Code != runtime.LostExitCode {
		t.Errorf("exit %+v, %v", exit, err)
	}
	if inv := w.Inventory(); len(inv.Running) != 0 || len(inv.Containers) != 1 || inv.Empty() {
		t.Errorf("inventory %+v", inv)
	}
	if h := w.History(); len(h) != 5 || h[0].Verb != fake.EnsureImage || h[4].Verb != fake.Wait {
		t.Errorf("history %+v", h)
	}
}
