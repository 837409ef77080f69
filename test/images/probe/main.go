// Command probe is the program in test images. It does what its arguments say and nothing else:
//
//	exit CODE              end with that code
//	sleep                  until a signal ends it, with the kernel's default handling
//	say WORD…              say it, and then sleep
//	trap CODE              make /tmp/ready, and at SIGTERM or SIGQUIT say "caught NAME" and end with that code
//	ignore                 say "ready" and sleep until SIGKILL
//	echo WORD…             say it
//	stderr WORD…           say it on standard error
//	env                    show the environment
//	id                     show uid, gid and groups
//	cat FILE…              show files
//	mounts                 show mounts
//	stat PATH…             show modes, owners and kinds
//	write FILE             write into a file, or end with 1 and say why not
//	eat MIB                use that much memory and then sleep
//	spin                   use a CPU until a signal
//	stray FILE             leave two children behind, one in a session of its own, that each write an "h" into FILE and
//	                       hold it open; then sleep
//	init -- PROGRAM ARG…   be a container's init: say "init" and become the program
//	serve PORT             answer HTTP with the host name
//	seq N                  say N numbered lines
//	exists FILE            end with 0 if the file is there, else with 1: a health check
//	answer PORT CODE       answer HTTP that asks about this container or tells it what to do (answer.go), echo lines on the
//	                       next port, and end with CODE at SIGTERM
//	count PERIOD           say a numbered line each period until SIGTERM, then how many they were
//	mark DIR               add a line to the file of DIR that is named after this container, and end at SIGTERM
//	farewell NEED LEAVE    at SIGTERM end with 9 if the file NEED is not there, else make the file LEAVE; "-" is none
//	copy, flood, …         what a program with somebody at its other end does (attached.go)
//	logto FILE             be a container's log program: write "o LINE" and "e LINE" into FILE
package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("say what to do"))
	}
	args := os.Args[2:]
	arg := func() string {
		if len(args) == 0 {
			fail(fmt.Errorf("%s needs an argument", os.Args[1]))
		}
		return args[0]
	}
	switch os.Args[1] {
	case "exit":
		os.Exit(number(arg()))
	case "sleep":
		sleep()
	case "say":
		fmt.Println(strings.Join(args, " "))
		sleep()
	case "trap":
		trap(number(arg()))
	case "ignore":
		signal.Ignore(syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGINT)
		fmt.Println("ready")
		sleep()
	case "echo":
		fmt.Println(strings.Join(args, " "))
	case "stderr":
		fmt.Fprintln(os.Stderr, strings.Join(args, " "))
	case "env":
		fmt.Println(strings.Join(os.Environ(), "\n"))
	case "id":
		groups, err := os.Getgroups()
		check(err)
		fmt.Println(os.Getuid(), os.Getgid(), groups)
	case "cat":
		for _, name := range args {
			cat(name)
		}
	case "mounts":
		cat("/proc/self/mountinfo")
	case "stat":
		for _, name := range args {
			stat(name)
		}
	case "write":
		check(os.WriteFile(arg(), []byte("written"), 0o644))
	case "eat":
		eat(number(arg()))
	case "spin":
		for { //nolint:staticcheck // to spin is what it is for
		}
	case "stray":
		stray(arg())
	case "hold":
		f, err := os.OpenFile(arg(), os.O_CREATE|os.O_WRONLY, 0o644)
		check(err)
		_, err = f.WriteString("h")
		check(err)
		sleep()
	case "orphan":
		child := exec.Command("/probe", "hold", arg())
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		check(child.Start())
	case "init":
		fmt.Println("init")
		check(syscall.Exec(args[1], args[1:], os.Environ()))
	case "serve":
		host, err := os.Hostname()
		check(err)
		check(http.ListenAndServe(":"+arg(), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, host) })))
	case "seq":
		for i := range number(arg()) {
			fmt.Println("line", i)
		}
	case "exists":
		_, err := os.Stat(arg())
		check(err)
		fmt.Println("it is there")
	case "answer":
		answer(number(arg()), number(args[1]))
	case "count":
		period, err := time.ParseDuration(arg())
		check(err)
		count(period)
	case "mark":
		mark(arg())
	case "farewell":
		farewell(arg(), args[1])
	case "logto":
		logTo(arg())
	default:
		if !attached(os.Args[1], args) {
			fail(fmt.Errorf("unknown: %s", os.Args[1]))
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "probe:", err)
	os.Exit(1)
}

func check(err error) {
	if err != nil {
		fail(err)
	}
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	check(err)
	return n
}

// sleep blocks outside of Go's scheduler, which would call a program with nothing to wait for a deadlock.
func sleep() {
	for {
		syscall.Pause()
	}
}

// ready exists in a container when trap has its handlers.
const ready = "/tmp/ready"

func trap(code int) {
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGTERM, syscall.SIGQUIT)
	check(os.WriteFile(ready, nil, 0o644))
	fmt.Println("ready")
	fmt.Println("caught", <-caught)
	os.Exit(code)
}

func cat(name string) {
	f, err := os.Open(name)
	check(err)
	_, err = io.Copy(os.Stdout, f)
	check(err)
}

func stat(name string) {
	info, err := os.Lstat(name)
	check(err)
	sys := info.Sys().(*syscall.Stat_t)
	fmt.Println(name, info.Mode(), sys.Uid, sys.Gid)
}

func eat(mib int) {
	var held [][]byte
	for range mib {
		page := make([]byte, 1<<20)
		for i := 0; i < len(page); i += 4096 {
			page[i] = 1
		}
		held = append(held, page)
	}
	fmt.Println("ate", len(held))
	sleep()
}

// stray starts one child in its session and one in a new session whose parent ends at once.
func stray(file string) {
	check(exec.Command("/probe", "hold", file).Start())
	apart := exec.Command("/probe", "orphan", file)
	apart.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	check(apart.Run())
	fmt.Println("strayed")
	sleep()
}

// logTo speaks containerd's logging protocol: standard output comes on descriptor 3, standard error on 4, and closing 5
// says that it is ready.
func logTo(name string) {
	signal.Ignore(syscall.SIGTERM) // the shim sends it together with the end of the streams
	out, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	check(err)
	check(os.NewFile(5, "ready").Close())
	var streams sync.WaitGroup
	for fd, tag := range map[uintptr]string{3: "o", 4: "e"} {
		streams.Go(func() {
			lines := bufio.NewScanner(os.NewFile(fd, tag))
			for lines.Scan() {
				fmt.Fprintf(out, "%s %s\n", tag, lines.Text())
			}
		})
	}
	streams.Wait()
	// The end of the log, so that who reads the file knows that it is whole.
	fmt.Fprintln(out, "end")
}
