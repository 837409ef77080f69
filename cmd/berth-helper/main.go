package main

import (
	"os"
	"os/signal"
	"syscall"

	"berth.dev/berth/internal/agent/helper/capture"
	"berth.dev/berth/internal/agent/helper/envproc"
	"berth.dev/berth/internal/agent/helper/initproc"
)

func main() {
	args := os.Args[1:]
	mode := ""
	if len(args) > 0 {
		mode = args[0]
	}
	switch mode {
	case "init":
		os.Exit(initproc.Run(args[1:], os.Environ()))
	case "env":
		os.Exit(envproc.Run(args[1:]))
	case "pause":
		ended := make(chan os.Signal, 1)
		signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
		<-ended
	default:
		os.Exit(runCapture(args))
	}
}

// runCapture is the log mode, with the descriptors that containerd gives.
func runCapture(args []string) int {
	// The streams' end is what ends us; see the package for what SIGTERM means. The others are what a terminal or a
	// service manager that stops the agent may send to a whole group.
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	stop := make(chan struct{})
	go func() {
		<-terminated
		close(stop)
	}()

	stdout, stderr, ready := os.NewFile(3, "stdout"), os.NewFile(4, "stderr"), os.NewFile(5, "ready")
	if stdout == nil || stderr == nil || ready == nil {
		return fail("descriptors 3, 4 and 5 must be the pipes of containerd's binary logger")
	}
	cfg, err := capture.ParseArgs(args)
	if err == nil {
		err = capture.Run(cfg, stdout, stderr, ready, stop)
	}
	if err != nil {
		capture.Discard(cfg.Dir, err, stdout, stderr, ready)
		return fail(err.Error())
	}
	return 0
}

func fail(text string) int {
	_, _ = os.Stderr.WriteString("berth-helper: " + text + "\n")
	return 1
}
