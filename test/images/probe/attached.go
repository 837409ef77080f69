package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"unsafe"
)

// attached does what a program with somebody at its other end does:
//
//	copy           standard input to standard output, and then say on standard error how many bytes they were
//	flood BYTES    so many bytes that Flood knows
//	size           the terminal's size, and again whenever it changes
//	shell          prompt for lines with what a shell could be told, until exit CODE (shell.go)
//	raw WHAT ARG…  make the terminal pass bytes as they are, and do that
//	signals        say "ready", then each signal's name, until SIGQUIT
//	pause          until a signal ends it, as the helper does
//	linger FILE    leave a child that holds standard output, and end
//	escape FILE    at the first byte of input leave a child behind as a daemon does, with an empty environment, that holds FILE; then sleep
//
// It reports whether what is one of these.
func attached(what string, args []string) bool {
	switch what {
	case "copy":
		n, err := io.Copy(os.Stdout, os.Stdin)
		check(err)
		fmt.Fprintln(os.Stderr, n)
	case "flood":
		flood(number(args[0]))
	case "size":
		changed := make(chan os.Signal, 1)
		signal.Notify(changed, syscall.SIGWINCH)
		for {
			fmt.Println(windowSize())
			<-changed
		}
	case "shell":
		shell()
	case "raw":
		rawTerminal()
		return attached(args[0], args[1:])
	case "signals":
		caught := make(chan os.Signal, 8)
		signal.Notify(caught, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1, syscall.SIGQUIT)
		fmt.Println("ready")
		for sig := range caught {
			fmt.Println(sig)
			if sig == syscall.SIGQUIT {
				os.Exit(3)
			}
		}
	case "pause":
		sleep()
	case "linger":
		child := exec.Command("/probe", "hold", args[0])
		child.Stdout = os.Stdout
		check(child.Start())
		fmt.Println("going")
	case "escape":
		_, err := os.Stdin.Read(make([]byte, 1))
		check(err)
		middle := exec.Command("/probe", "orphan", args[0])
		middle.Env = []string{"PATH=/"}
		middle.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		check(middle.Run())
		fmt.Println("escaped")
		sleep()
	default:
		return false
	}
	return true
}

// flood writes bytes of a generator with a fixed seed.
func flood(n int) {
	source := rand.NewPCG(1, 2)
	buffer := make([]byte, 64<<10)
	for n > 0 {
		for i := 0; i < len(buffer); i += 8 {
			binary.LittleEndian.PutUint64(buffer[i:], source.Uint64())
		}
		m, err := os.Stdout.Write(buffer[:min(n, len(buffer))])
		check(err)
		n -= m
	}
}

func windowSize() string {
	var size [4]uint16
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, 0, syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&size))); errno != 0 {
		return errno.Error()
	}
	return fmt.Sprint(size[0], "x", size[1])
}
