package main

import (
	"bufio"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"unsafe"
)

// shell is what people look for in a container, as far as tests need it. The lines that it takes:
//
//	size        the terminal's size
//	say WORD…   say it
//	id          the user and the groups
//	exit CODE   end
//
// An interrupt is said and ends nothing.
func shell() {
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, syscall.SIGINT)
	typed := make(chan string)
	go func() {
		in := bufio.NewScanner(os.Stdin)
		for in.Scan() {
			typed <- in.Text()
		}
		close(typed)
	}()
	for {
		fmt.Print("probe# ")
		select {
		case <-interrupted:
			fmt.Println("interrupted")
		case line, more := <-typed:
			if !more {
				os.Exit(0)
			}
			word, rest, _ := strings.Cut(line, " ")
			switch word {
			case "size":
				fmt.Println("size is", windowSize())
			case "say":
				fmt.Println(rest)
			case "id":
				fmt.Println(os.Getuid(), os.Getgid())
			case "exit":
				os.Exit(number(rest))
			case "":
			default:
				fmt.Println("unknown:", word)
			}
		}
	}
}

// rawTerminal has the terminal change nothing of what passes, and echo nothing.
func rawTerminal() {
	var state syscall.Termios
	ioctl := func(request uintptr) {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, 0, request, uintptr(unsafe.Pointer(&state))); errno != 0 {
			fail(errno)
		}
	}
	ioctl(syscall.TCGETS)
	state.Iflag &^= syscall.ICRNL | syscall.IXON | syscall.INLCR | syscall.IGNCR
	state.Oflag &^= syscall.OPOST
	state.Lflag &^= syscall.ECHO | syscall.ICANON | syscall.ISIG | syscall.IEXTEN
	ioctl(syscall.TCSETS)
}
