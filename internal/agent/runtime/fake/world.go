package fake

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"syscall"
	"time"

	"berth.dev/berth/internal/agent/runtime"
)

// Process is how a container's program behaves.
type Process struct {
	// Runs is how long it runs by itself; zero is until somebody ends it.
	Runs time.Duration
	// Code is its exit code when it ends by itself.
	Code uint32
	// OOM ends it with 137 and OOMKilled instead of Code.
	OOM bool
	// IgnoresSignals makes every signal but SIGKILL have no effect.
	IgnoresSignals bool
	// StopAfter is the time between a signal that ends it and its end.
	StopAfter time.Duration
	// StopCode is its exit code after such a signal; zero is 128 plus the signal's number, as if it had no handler.
	StopCode uint32
	// StartErr makes Start fail, as a program that is not in the image does.
	StartErr error
	// Exec answers Exec after Takes. Nil answers exit code 0 and no output.
	Exec func(runtime.ExecSpec) Answer
	// Attach says what a program does that Attach runs, until it returns its exit code, or why it cannot be run. Nil is
	// a program that ends at once.
	Attach func(runtime.AttachSpec) (func(Session) (uint32, error), error)
}

// Answer is what a program run by Exec does.
type Answer struct {
	Takes  time.Duration // before it ends; the caller's context may end first
	Result runtime.ExecResult
	Err    error // it could not be started
}

// Call is one verb that some agent asked for.
type Call struct {
	At   time.Time
	Verb Verb
	ID   string // container, task or image reference
	Life int    // which Connect, from 1
	Err  string // empty when it succeeded
}

// World is the host beneath the agents. Its methods may be called from any goroutine.
type World struct {
	mu         sync.Mutex
	behave     func(runtime.Spec) Process
	latency    func(verb Verb, id string) time.Duration
	images     map[string]runtime.Image // what the registry has, by reference
	local      map[string]bool          // what the host has, by reference
	pulls      map[string]*pull         // what is being pulled
	pulled     map[string]int           // how often it was pulled
	containers map[string]*container
	tasks      map[string]runtime.Task
	faults     []*Fault
	starts     map[string]int
	history    []Call
	lives      int
	nextPID    int
	attached   int // programs that run
}

type pull struct{ done chan struct{} }

type container struct {
	spec      runtime.Spec
	hash      string
	process   Process
	state     runtime.State
	pid       int
	created   time.Time
	started   time.Time
	restarts  int
	run       *run
	removed   chan struct{} // closed by Remove
	timer     *time.Timer   // ends the run
	signalled bool
}

// run is one run of a container, so that whoever waits for it gets its exit and not that of a later one.
type run struct {
	ended chan struct{} // closed when it ends
	exit  runtime.Exit  // set before
}

func newRun() *run { return &run{ended: make(chan struct{})} }

// NewWorld makes a host without images on which every process runs until it is signalled, and every verb takes no
// time.
func NewWorld() *World {
	return &World{
		behave:     func(runtime.Spec) Process { return Process{} },
		latency:    func(Verb, string) time.Duration { return 0 },
		images:     map[string]runtime.Image{},
		local:      map[string]bool{},
		pulls:      map[string]*pull{},
		pulled:     map[string]int{},
		containers: map[string]*container{},
		tasks:      map[string]runtime.Task{},
		starts:     map[string]int{},
		nextPID:    1000,
	}
}

// Behave decides how programs behave; f is asked at each start, and must be a pure function.
func (w *World) Behave(f func(runtime.Spec) Process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.behave = f
}

// Latency decides how long a verb takes before it has its effect.
func (w *World) Latency(f func(verb Verb, id string) time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.latency = f
}

// AddImage makes an image available from the registry under img.Ref. Empty Name and Digest are filled in.
func (w *World) AddImage(img runtime.Image) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if img.Name == "" {
		img.Name = img.Ref
	}
	if img.Digest == "" {
		img.Digest = fmt.Sprintf("sha256:%064x", len(w.images)+1)
	}
	w.images[img.Ref] = img
}

// Inject adds a fault. Faults are looked at in the order of their injection; one that has struck is spent.
func (w *World) Inject(f Fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, &f)
}

// Exit ends a running container from inside, as if its program had returned code. It reports whether it was running.
func (w *World) Exit(id string, code uint32) bool { return w.endNow(id, runtime.Exit{Code: code}) }

// OOM ends a running container as the kernel does when its memory is used up.
func (w *World) OOM(id string) bool {
	return w.endNow(id, runtime.Exit{Code: 128 + uint32(syscall.SIGKILL), OOMKilled: true})
}

// Lose ends a running container without anybody seeing its exit code, as when its supervisor is killed.
func (w *World) Lose(id string) bool {
	return w.endNow(id, runtime.Exit{Code: runtime.LostExitCode, Lost: true})
}

// Reboot loses every running container.
func (w *World) Reboot() {
	for _, id := range w.Inventory().Running {
		w.Lose(id)
	}
}

func (w *World) endNow(id string, exit runtime.Exit) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.containers[id]
	if c == nil || c.state != runtime.StateRunning {
		return false
	}
	w.end(c, exit)
	return true
}

// Inventory is what exists on the host, sorted.
type Inventory struct {
	Containers []string // all
	Running    []string // those whose process runs
	Tasks      []string // task cgroups
	Images     []string // references that the host has
}

// Empty tells whether no container and no task is left. Images stay on a host by design.
func (i Inventory) Empty() bool { return len(i.Containers) == 0 && len(i.Tasks) == 0 }

// Inventory says what exists now.
func (w *World) Inventory() Inventory {
	w.mu.Lock()
	defer w.mu.Unlock()
	inv := Inventory{
		Containers: slices.Sorted(maps.Keys(w.containers)),
		Tasks:      slices.Sorted(maps.Keys(w.tasks)),
		Images:     slices.Sorted(maps.Keys(w.local)),
	}
	for _, id := range inv.Containers {
		if w.containers[id].state == runtime.StateRunning {
			inv.Running = append(inv.Running, id)
		}
	}
	return inv
}

// Starts says how often a process was started for the container of that ID, over all lives, removals included: more
// than one without a restart means that something ran twice.
func (w *World) Starts(id string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.starts[id]
}

// Pulls says how often the image was pulled.
func (w *World) Pulls(ref string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pulled[ref]
}

// Spec returns the Spec of a container that exists.
func (w *World) Spec(id string) (runtime.Spec, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c, ok := w.containers[id]
	if !ok {
		return runtime.Spec{}, false
	}
	return c.spec, true
}

// History returns every call so far, in the order in which they ended.
func (w *World) History() []Call {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.history)
}

// launch starts the container's process. The world is locked.
func (w *World) launch(c *container) {
	w.nextPID++
	w.starts[c.spec.ID]++
	c.process = w.behave(c.spec)
	c.state, c.pid, c.started = runtime.StateRunning, w.nextPID, time.Now()
	c.signalled = false
	if c.process.Runs > 0 || c.process.OOM {
		exit := runtime.Exit{Code: c.process.Code}
		if c.process.OOM {
			exit = runtime.Exit{Code: 128 + uint32(syscall.SIGKILL), OOMKilled: true}
		}
		w.endAfter(c, c.process.Runs, exit)
	}
}

// endAfter ends the current run after d, in place of any earlier plan. The world is locked.
func (w *World) endAfter(c *container, d time.Duration, exit runtime.Exit) {
	if c.timer != nil {
		c.timer.Stop()
	}
	pid := c.pid
	c.timer = time.AfterFunc(d, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		// A timer that had fired before it was stopped must not end a later run.
		if c.state == runtime.StateRunning && c.pid == pid {
			w.end(c, exit)
		}
	})
}

// end ends the current run. The world is locked.
func (w *World) end(c *container, exit runtime.Exit) {
	if c.timer != nil {
		c.timer.Stop()
	}
	exit.At = time.Now()
	c.state, c.pid, c.run.exit = runtime.StateExited, 0, exit
	close(c.run.ended)
}

// signal delivers sig to a running process. The world is locked.
func (w *World) signal(c *container, sig syscall.Signal) {
	switch sig {
	case syscall.SIGKILL:
		w.end(c, runtime.Exit{Code: 128 + uint32(sig)})
		return
	case syscall.SIGCHLD, syscall.SIGCONT, syscall.SIGURG, syscall.SIGWINCH, 0:
		return
	}
	if c.process.IgnoresSignals || c.signalled {
		return
	}
	c.signalled = true
	code := c.process.StopCode
	if code == 0 {
		code = 128 + uint32(sig)
	}
	if c.process.StopAfter == 0 {
		w.end(c, runtime.Exit{Code: code})
		return
	}
	w.endAfter(c, c.process.StopAfter, runtime.Exit{Code: code})
}
