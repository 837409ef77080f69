package task

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/model"
)

// TestNext plays the scripts of testdata/next. A script describes a task, says
// what happens to it, and what Next must answer after each thing; its words
// are the methods of script below.
func TestNext(t *testing.T) {
	files, err := filepath.Glob("testdata/next/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			newScript().play(t, file, string(data))
		})
	}
}

// script is one task under Next and Apply, with a clock of its own.
type script struct {
	a        model.Assignment
	s        State
	born     bool // the task's description is complete
	now      time.Time
	busy     map[string]bool
	mayStart bool
	plan     Plan
}

// epoch is when every script begins.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newScript() *script {
	return &script{
		a: model.Assignment{
			Task:             model.Task{ID: "t", ARN: "arn:task/t", DesiredStatus: model.TaskRunning},
			NetworkInterface: &model.AssignedNetwork{},
		},
		now: epoch, busy: map[string]bool{}, mayStart: true,
	}
}

func (sc *script) play(t *testing.T, file, text string) {
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if !sc.born && words[0] != "task" && words[0] != "container" {
			sc.born, sc.s = true, NewState(&sc.a)
			sc.next()
		}
		if err := sc.statement(words); err != nil {
			t.Fatalf("%s:%d: %s\n%v\nstate: %+v", file, i+1, line, err, sc.s)
		}
	}
}

// next asks Next and takes its state over, as the runner does.
func (sc *script) next() {
	sc.plan = Next(Input{Now: sc.now, Assignment: &sc.a, State: sc.s, Busy: sc.busy, MayStart: sc.mayStart})
	sc.s = sc.plan.State
}

func (sc *script) statement(words []string) error {
	verb, args := words[0], words[1:]
	rest := strings.Join(args, " ")
	switch verb {
	// What the task is.
	case "task": // task bridge|host|none: its network mode, which is awsvpc else
		sc.a.NetworkInterface, sc.a.TaskDefinition.NetworkMode = nil, args[0]
		return nil
	case "container": // container NAME [optional] [after=NAME:CONDITION] …
		return sc.container(args[0], args[1:])

	// What must be so now.
	case "steps": // steps nothing | steps KIND[:CONTAINER] …, in any order
		return sc.expectSteps(args)
	case "wake": // wake never | wake SECONDS from now
		want := time.Time{}
		if rest != "never" {
			want = sc.now.Add(secondsOf(rest))
		}
		return expect("wake-up", sc.plan.WakeAt, want)
	case "status": // of the task
		return expect("status", sc.s.Status, rest)
	case "stop": // stop none | stop CODE REASON
		if rest == "none" {
			rest = ""
		}
		return expect("stop", strings.TrimSpace(sc.s.StopCode+" "+sc.s.StoppedReason), rest)
	case "phase": // phase CONTAINER none|pulled|created|running|exited|removed
		names := []string{"none", "pulled", "created", "running", "exited", "removed"}
		return expect("phase", names[sc.s.container(args[0]).Phase], args[1])
	case "exitcode": // exitcode CONTAINER CODE|unknown
		got := "unknown"
		if code := sc.s.container(args[0]).ExitCode; code != nil {
			got = strconv.Itoa(int(*code))
		}
		return expect("exit code", got, args[1])
	case "reason": // reason CONTAINER TEXT
		return expect("reason", sc.s.container(args[0]).Reason, strings.Join(args[1:], " "))
	case "restarts": // restarts CONTAINER NUMBER
		return expect("restarts", strconv.Itoa(sc.s.container(args[0]).Restarts), args[1])
	case "time": // time FIELD unset | time FIELD SECONDS after the script began
		return sc.expectTime(args[0], args[1])

	default:
		if err := sc.happen(verb, args); err != nil {
			return err
		}
		sc.next()
		return nil
	}
}

// happen takes in something that happened to the task.
func (sc *script) happen(verb string, args []string) error {
	if strings.HasPrefix(verb, "+") { // +SECONDS: time passes
		sc.now = sc.now.Add(secondsOf(verb[1:]))
		return nil
	}
	e := Event{Kind: EventKind(verb), At: sc.now}
	if len(args) > 0 {
		e.Container = args[0]
	}
	switch verb {
	case "maystart": // maystart yes|no
		sc.mayStart = args[0] == "yes"
		return nil
	case "wanted": // wanted STOPPED
		sc.a.Task.DesiredStatus = args[0]
		return nil
	case "busy": // busy SUBJECT: a step works on it
		sc.busy[args[0]] = true
		return nil
	case "idle": // idle SUBJECT: without an outcome
		delete(sc.busy, args[0])
		return nil
	case "pulled":
		e.Image = &runtime.Image{}
	case "started": // started CONTAINER [RESTART]
		e.Status = &runtime.Status{PID: 1, StartedAt: sc.now}
		if len(args) > 1 {
			e.Restart = int(secondsOf(args[1]) / time.Second)
		}
	case "exited": // exited CONTAINER CODE [oom|lost]
		code, err := strconv.ParseUint(args[1], 10, 8)
		if err != nil {
			return err
		}
		e.Exit = &runtime.Exit{Code: uint32(code), At: sc.now, OOMKilled: slices.Contains(args, "oom"), Lost: slices.Contains(args, "lost")}
	case "healthy", "unhealthy":
		e.Kind, e.Check = EventChecked, &checkResult{OK: verb == "healthy"}
	case "failed": // failed CONTAINER|task REASON
		e.Reason = strings.Join(args[1:], " ")
		if e.Container == "task" {
			e.Container = ""
		}
	case "connected": // connected CONTAINER ADDRESS
		e.Address = args[1]
	case "attached", "prepared", "pulling", "created", "signalled", "killed", "removed", "released":
	default:
		return fmt.Errorf("no such word: %s", verb)
	}
	delete(sc.busy, "container/"+e.Container)
	sc.s = Apply(&sc.a, sc.s, e)
	return nil
}

// container adds a container: optional is essential=false.
func (sc *script) container(name string, options []string) error {
	def := model.ContainerDefinition{Name: name}
	for _, option := range options {
		key, value, _ := strings.Cut(option, "=")
		n, _ := strconv.ParseInt(value, 10, 32)
		number := int32(n)
		switch key {
		case "optional":
			def.Essential = new(bool)
		case "after":
			on, condition, _ := strings.Cut(value, ":")
			def.DependsOn = append(def.DependsOn, model.ContainerDependency{ContainerName: on, Condition: condition})
		case "volumes-from":
			def.VolumesFrom = []model.VolumeFrom{{SourceContainer: value}}
		case "links":
			def.Links = strings.Split(value, ",")
		case "start-timeout":
			def.StartTimeout = &number
		case "stop-timeout":
			def.StopTimeout = &number
		case "restart": // its attempt period
			def.RestartPolicy = &model.ContainerRestartPolicy{Enabled: true, RestartAttemptPeriod: &number}
		case "restart-ignores":
			def.RestartPolicy.IgnoredExitCodes = []int32{number}
		case "health":
			retries := int32(1)
			def.HealthCheck = &model.HealthCheck{Command: []string{"CMD", "true"}, Retries: &retries}
		default:
			return fmt.Errorf("no such option: %s", option)
		}
	}
	sc.a.TaskDefinition.ContainerDefinitions = append(sc.a.TaskDefinition.ContainerDefinitions, def)
	return nil
}

func (sc *script) expectSteps(want []string) error {
	var got []string
	for _, step := range sc.plan.Steps {
		s := string(step.Kind)
		if step.Container != "" {
			s += ":" + step.Container
		}
		if step.Restart > 0 {
			s += fmt.Sprintf(":%d", step.Restart)
		}
		got = append(got, s)
	}
	if len(got) == 0 {
		got = []string{"nothing"}
	}
	slices.Sort(got)
	want = slices.Sorted(slices.Values(want))
	return expect("steps", strings.Join(got, " "), strings.Join(want, " "))
}

func (sc *script) expectTime(field, want string) error {
	at, ok := reflect.TypeAssert[*time.Time](reflect.ValueOf(sc.s).FieldByName(field))
	if !ok {
		return fmt.Errorf("%s is not a time", field)
	}
	got := "unset"
	if at != nil {
		got = strconv.Itoa(int(at.Sub(epoch) / time.Second))
	}
	return expect(field, got, want)
}

func expect[T comparable](what string, got, want T) error {
	if got != want {
		return fmt.Errorf("%s: got %v, want %v", what, got, want)
	}
	return nil
}

func secondsOf(s string) time.Duration {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err) // a script's mistake
	}
	return time.Duration(n) * time.Second
}
