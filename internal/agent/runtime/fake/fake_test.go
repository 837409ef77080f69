package fake_test

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"syscall"
	"testing"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/agent/runtime/fake"
	"berth.dev/berth/internal/agent/runtime/runtimetest"
)

func TestContract(t *testing.T) {
	world := fake.NewWorld()
	world.AddImage(runtime.Image{Ref: "probe", Name: "docker.io/library/probe:latest", Entrypoint: []string{"/probe"}})
	world.Behave(probe)
	runtimetest.Run(t, runtimetest.Host{
		Connect:      func(*testing.T) runtime.Runtime { return world.Connect() },
		Image:        "probe",
		MissingImage: "missing",
	})
	if n := world.Attached(); n != 0 {
		t.Errorf("%d programs run", n)
	}
	if left := world.Inventory(); !left.Empty() {
		t.Errorf("left behind: %+v", left)
	}
}

// probe behaves as test/images/probe does.
func probe(spec runtime.Spec) fake.Process {
	if spec.Args[0] != "/probe" {
		return fake.Process{StartErr: missing(spec.Args[0])}
	}
	p := fake.Process{Exec: exec, Attach: attach}
	switch spec.Args[1] {
	case "exit":
		p.Runs, p.Code = 1, number(spec.Args[2])
	case "trap":
		p.StopCode = number(spec.Args[2])
	case "ignore":
		p.IgnoresSignals = true
	case "eat":
		p.OOM = true
	}
	return p
}

type missing string

func (m missing) Error() string { return `exec: "` + string(m) + `": stat: no such file or directory` }

func exec(spec runtime.ExecSpec) fake.Answer {
	if spec.Args[0] != "/probe" {
		return fake.Answer{Err: missing(spec.Args[0])}
	}
	switch spec.Args[1] {
	case "exit":
		return fake.Answer{Result: runtime.ExecResult{ExitCode: number(spec.Args[2])}}
	case "echo":
		return fake.Answer{Result: runtime.ExecResult{Output: []byte(spec.Args[2] + "\n")}}
	case "sleep":
		return fake.Answer{Takes: 1 << 62}
	}
	return fake.Answer{}
}

func number(s string) uint32 {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		panic(err)
	}
	return uint32(n)
}

// attach behaves as test/images/probe does.
func attach(spec runtime.AttachSpec) (func(fake.Session) (uint32, error), error) {
	if spec.Args[0] != "/probe" {
		return nil, errors.New(`exec: "` + spec.Args[0] + `": executable file not found in $PATH`)
	}
	return func(s fake.Session) (code uint32, err error) {
		switch spec.Args[1] {
		case "exit":
			return number(spec.Args[2]), nil
		case "echo":
			_, err = fmt.Fprintln(s.Stdout, spec.Args[2])
		case "stderr":
			_, err = fmt.Fprintln(s.Stderr, spec.Args[2])
		case "copy":
			var n int64
			if n, err = io.Copy(s.Stdout, s.Stdin); err == nil {
				_, err = fmt.Fprintln(s.Stderr, n)
			}
		case "sleep":
			<-s.Killed
		case "size":
			for size := [2]uint16{spec.Rows, spec.Columns}; err == nil; {
				if _, err = fmt.Fprintf(s.Stdout, "%dx%d\r\n", size[0], size[1]); err == nil {
					select {
					case size = <-s.Sizes:
					case <-s.Killed:
						return 0, nil
					}
				}
			}
		case "signals":
			_, err = fmt.Fprintln(s.Stdout, "ready")
			for err == nil {
				select {
				case sig := <-s.Signals:
					if _, err = fmt.Fprintln(s.Stdout, sig); sig == syscall.SIGQUIT {
						return 3, nil
					}
				case <-s.Killed:
					return 0, nil
				}
			}
		}
		return 0, err
	}, nil
}
