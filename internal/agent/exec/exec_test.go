package exec_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"berth.dev/berth/internal/agent/exec"
	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/agent/runtime/fake"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

// world has one task with a container that runs, whose programs are in commands.
func world(t *testing.T, commands map[string]func(fake.Session) (uint32, error)) (*fake.World, *exec.Server) {
	t.Helper()
	w := fake.NewWorld()
	w.AddImage(runtime.Image{Ref: "app"})
	w.Behave(func(runtime.Spec) fake.Process {
		return fake.Process{Attach: func(spec runtime.AttachSpec) (func(fake.Session) (uint32, error), error) {
			if spec.User != "0" {
				return nil, errors.New("it does not run as root")
			}
			run, ok := commands[spec.Args[0]]
			if !ok {
				return nil, fmt.Errorf("exec: %q: executable file not found in $PATH", spec.Args[0])
			}
			return run, nil
		}}
	})
	r := w.Connect()
	ctx := t.Context()
	_, err := r.EnsureImage(ctx, runtime.ImageRequest{Ref: "app"})
	for _, id := range []string{"t1-app", "t1-later"} {
		err = errors.Join(err, r.Create(ctx, runtime.Spec{ID: id, TaskID: "t1", Image: "app", Args: []string{"x"}}))
	}
	if _, starting := r.Start(ctx, "t1-app"); errors.Join(err, starting) != nil {
		t.Fatal(err, starting)
	}
	return w, newServer(t, r, tasks{id: "t1", containers: map[string]string{"app": "t1-app", "later": "t1-later"}})
}

func request(command ...string) model.StreamRequest {
	return model.StreamRequest{TaskID: "t1", Container: "app", Kind: model.StreamExec, Command: command}
}

func expectNone(t *testing.T, w *fake.World) {
	t.Helper()
	if n := w.Attached(); n != 0 {
		t.Errorf("%d programs run still", n)
	}
}

// What cannot be is refused with the reason.
func TestOpen_Refused(t *testing.T) {
	w, s := world(t, nil)
	for name, test := range map[string]struct {
		change func(*model.StreamRequest)
		want   string
	}{
		"no such task":      {func(r *model.StreamRequest) { r.TaskID = "t2" }, "the task is not on this container instance any more"},
		"no such container": {func(r *model.StreamRequest) { r.Container = "x" }, "the task has no container x"},
		"not running":       {func(r *model.StreamRequest) { r.Container = "later" }, "container later is not running"},
		"no command":        {func(r *model.StreamRequest) { r.Command = nil }, "there is no command"},
		"no such program":   {func(*model.StreamRequest) {}, `exec: "bash": executable file not found in $PATH`},
		"unknown kind":      {func(r *model.StreamRequest) { r.Kind = "teleport" }, "does not know sessions of kind"},
		"no port":           {func(r *model.StreamRequest) { r.Kind = model.StreamDial }, "there is no port"},
		"no image":          {func(r *model.StreamRequest) { r.Kind = model.StreamDebug }, "there is no image"},
		"no image there":    {func(r *model.StreamRequest) { r.Kind, r.Image = model.StreamDebug, "none" }, "CannotPullContainerError: "},
		"image, no command": {func(r *model.StreamRequest) { r.Kind, r.Image, r.Command = model.StreamDebug, "app", nil }, "has no command"},
	} {
		asked := request("bash")
		test.change(&asked)
		c := open(t, s, asked)
		if got := c.refused(); !strings.Contains(got, test.want) {
			t.Errorf("%s: %q", name, got)
		}
		c.close()
	}
	expectNone(t, w)
}

// Frames carry a program's streams, sizes and signals, and its end comes last.
func TestExec_Frames(t *testing.T) {
	w, s := world(t, map[string]func(fake.Session) (uint32, error){
		"talk": func(p fake.Session) (uint32, error) {
			all, err := io.ReadAll(p.Stdin)
			fmt.Fprintf(p.Stdout, "%s!", all)
			fmt.Fprintf(p.Stderr, "size %v signal %d", <-p.Sizes, <-p.Signals)
			return 7, err
		},
	})
	c := open(t, s, request("talk")).started()
	c.input([]byte("one "))
	c.input([]byte("two"))
	c.say(&nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_Size{Size: &nodeapi.TerminalSize{Rows: 40, Columns: 100_000}}})
	c.say(&nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_Signal{Signal: 99}}) // there is none
	c.say(&nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_Signal{Signal: 2}})
	c.end()
	c.end()
	c.input([]byte("after the end"))
	r := c.rest()
	if r.out.String() != "one two!" || r.err.String() != "size [40 65535] signal 2" || r.exit.GetCode() != 7 || r.exit.GetError() != "" {
		t.Errorf("%q, %q, %v", r.out.String(), r.err.String(), r.exit)
	}
	c.close()
	expectNone(t, w)
}

// A stream that ends, in whatever state, ends its program, and nothing of either
// is left.
func TestExec_EndsWithItsStream(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	synctest.Test(t, func(t *testing.T) {
		w, s := world(t, map[string]func(fake.Session) (uint32, error){
			"wait":  func(p fake.Session) (uint32, error) { <-p.Killed; return 0, nil },
			"shout": func(p fake.Session) (uint32, error) { return 0, shout(p) },
		})
		for name, do := range map[string]func(c *client){
			"before it is started": func(*client) {},
			"while it runs":        func(c *client) { c.started() },
			"while its output waits": func(c *client) {
				c.started()
				c.next()
			},
			// A program that does not read keeps the node from receiving, but not from
			// seeing that nobody is there.
			"while its input waits": func(c *client) {
				c.started()
				go func() {
					for c.input(make([]byte, 1<<20)) {
					}
				}()
				time.Sleep(time.Hour)
			},
		} {
			program := "wait"
			if strings.Contains(name, "output") {
				program = "shout"
			}
			c := open(t, s, request(program))
			do(c)
			if strings.Contains(name, "input") {
				go func() { // an idle reader, as the control plane's is
					for {
						select {
						case <-c.wire.out:
						case <-c.wire.over:
							return
						}
					}
				}()
			}
			c.close()
			synctest.Wait()
			expectNone(t, w)
		}
	})
}

func shout(p fake.Session) error {
	for {
		if _, err := p.Stdout.Write(bytes.Repeat([]byte("x"), 100_000)); err != nil {
			return err
		}
	}
}

// A reader that does not read stops the program after a few frames.
func TestExec_SlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		written := 0
		_, s := world(t, map[string]func(fake.Session) (uint32, error){
			"shout": func(p fake.Session) (uint32, error) {
				for {
					n, err := p.Stdout.Write(make([]byte, 1000))
					if err != nil {
						return 0, err
					}
					written += n
				}
			},
		})
		c := open(t, s, request("shout")).started()
		time.Sleep(time.Hour)
		synctest.Wait()
		if written > 100_000 {
			t.Errorf("%d bytes were written that nobody reads", written)
		}
		c.close()
	})
}

// What a program leaves behind that can still be heard has a second.
func TestExec_Lingers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := world(t, map[string]func(fake.Session) (uint32, error){
			"end": func(p fake.Session) (uint32, error) { return 3, nil },
		})
		c := open(t, s, request("end")).started()
		if r := c.rest(); r.exit.GetCode() != 3 {
			t.Errorf("exit %v", r.exit)
		}
		c.close()
		expectNone(t, w)
	})
}

// A container that ends takes its programs with it.
func TestExec_EndsWithItsContainer(t *testing.T) {
	w, s := world(t, map[string]func(fake.Session) (uint32, error){
		"wait": func(p fake.Session) (uint32, error) { <-p.Killed; return 0, nil },
	})
	c := open(t, s, request("wait")).started()
	w.Exit("t1-app", 0)
	if r := c.rest(); r.exit.GetCode() != 137 {
		t.Errorf("exit %v", r.exit)
	}
	c.close()
	expectNone(t, w)
}

// A node has so many streams and no more.
func TestOpen_Limit(t *testing.T) {
	_, s := world(t, map[string]func(fake.Session) (uint32, error){
		"wait": func(p fake.Session) (uint32, error) { <-p.Killed; return 0, nil },
	})
	var all []*client
	for range 128 {
		all = append(all, open(t, s, request("wait")).started())
	}
	if got := open(t, s, request("wait")).refused(); !strings.Contains(got, "128 sessions") {
		t.Errorf("one more: %q", got)
	}
	for _, c := range all {
		c.close()
	}
	open(t, s, request("wait")).started()
}

// Whatever fails, the stream says so and nothing runs on.
func TestExec_Faults(t *testing.T) {
	for _, verb := range []fake.Verb{fake.Attach, fake.Status} {
		w, s := world(t, nil)
		w.Inject(fake.Fault{Verb: verb, Mode: fake.FailBefore, Err: errors.New("no space left on device")})
		asked := request("x")
		if verb == fake.Status {
			asked.Kind, asked.Path = model.StreamRead, "/"
		}
		if got := open(t, s, asked).refused(); !strings.Contains(got, "no space left on device") {
			t.Errorf("%s: %q", verb, got)
		}
		expectNone(t, w)
	}
}

// Containers that a killed agent left for its streams are removed, and no other.
func TestPurge(t *testing.T) {
	w, s := world(t, nil)
	r := w.Connect()
	if err := r.Create(t.Context(), runtime.Spec{ID: "t1-debug-x", TaskID: "t1", Image: "app", Args: []string{"x"}, Labels: map[string]string{"berth.dev/debug": "t1-app"}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(w.Inventory().Containers, " "); got != "t1-app t1-later" {
		t.Errorf("containers %s", got)
	}
}
