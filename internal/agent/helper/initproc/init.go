package initproc

import (
	"errors"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// Exit codes of commands that did not start, as shells and tini have them.
const (
	exitUsage         = 2
	exitNotExecutable = 126
	exitNotFound      = 127
)

// prSetChildSubreaper is PR_SET_CHILD_SUBREAPER of prctl(2), which package syscall lacks.
const prSetChildSubreaper = 36

// Run runs argv (after an optional "--") as the child, with an environment, and returns the code to exit with.
func Run(argv, environment []string) int {
	if len(argv) > 0 && argv[0] == "--" {
		argv = argv[1:]
	}
	if len(argv) == 0 {
		return fail(exitUsage, "usage: berth-helper init -- command [argument ...]")
	}
	path, err := LookPath(argv[0], Variable(environment, "PATH"))
	if err != nil {
		return FailStart(argv[0], err)
	}
	if os.Getpid() != 1 {
		// In a shared process namespace orphans would go to its process 1 and not to us.
		_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0)
	}

	// Every signal that may be caught, and before the child exists, so that none is lost in between. The child starts
	// with default dispositions: exec resets what was caught, and nothing is ignored.
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	child, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{
		Env:   environment,
		Files: []uintptr{0, 1, 2},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return FailStart(argv[0], err)
	}
	foreground(child)

	var gone atomic.Bool
	go func() {
		for received := range signals {
			if number, ok := received.(syscall.Signal); ok && forwarded(number) && !gone.Load() {
				_ = syscall.Kill(child, number) // it may just have ended
			}
		}
	}()
	status := reap(child)
	gone.Store(true)
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// reap waits for every process that becomes our child until the child itself has ended.
func reap(child int) syscall.WaitStatus {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if err == nil && pid == child && (status.Exited() || status.Signaled()) {
			return status
		}
		if err != nil && err != syscall.EINTR {
			// ECHILD: the child was reaped behind our back, which nothing in this process does.
			return syscall.WaitStatus(exitUsage << 8)
		}
	}
}

func forwarded(number syscall.Signal) bool {
	switch number {
	case syscall.SIGCHLD, syscall.SIGURG, syscall.SIGTTIN, syscall.SIGTTOU,
		syscall.SIGFPE, syscall.SIGILL, syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGABRT, syscall.SIGTRAP, syscall.SIGSYS:
		return false
	}
	return true
}

// foreground gives the terminal on descriptor 0 to the child's group, if there is one.
func foreground(child int) {
	group := int32(child)
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, 0, syscall.TIOCSPGRP, uintptr(unsafe.Pointer(&group)))
	if errno == 0 {
		// A child that read the terminal before it was its own was stopped for that.
		_ = syscall.Kill(-child, syscall.SIGCONT)
	}
}

// Variable is the value of the last entry for name.
func Variable(environment []string, name string) string {
	value := ""
	for _, entry := range environment {
		if v, ok := strings.CutPrefix(entry, name+"="); ok {
			value = v
		}
	}
	return value
}

// LookPath finds what execvp would execute.
func LookPath(name, path string) (string, error) {
	if strings.Contains(name, "/") {
		return name, executable(name)
	}
	found := error(syscall.ENOENT)
	for _, dir := range filepath.SplitList(path) {
		if dir == "" {
			dir = "."
		}
		candidate := dir + "/" + name
		err := executable(candidate)
		if err == nil {
			return candidate, nil
		}
		if errors.Is(err, fs.ErrPermission) {
			found = err // said in preference to a plain "not found", as execvp does
		}
	}
	return "", found
}

func executable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return errors.Unwrap(err)
	}
	if info.IsDir() {
		return syscall.EACCES
	}
	const xOK = 1
	return syscall.Access(path, xOK)
}

// FailStart says why a command did not start and returns the code to exit with, as shells have it.
func FailStart(name string, err error) int {
	code := exitNotExecutable
	if errors.Is(err, fs.ErrNotExist) {
		code = exitNotFound
	}
	return fail(code, "exec "+name+" failed: "+err.Error())
}

func fail(code int, text string) int {
	_, _ = os.Stderr.WriteString("berth-init: " + text + "\n")
	return code
}
