package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTimes is how long Berth's processes, and this one, have used a core.
type cpuTimes struct{ server, agent, client time.Duration }

func (t *cpuTimes) add(before, after cpuTimes) {
	t.server += after.server - before.server
	t.agent += after.agent - before.agent
	t.client += after.client - before.client
}

func (w *berth) cpuTimes() (t cpuTimes, err error) {
	if t.server, err = w.cpuTime("server"); err != nil {
		return t, err
	}
	if t.agent, err = w.cpuTime("agent"); err != nil {
		return t, err
	}
	var self unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &self); err != nil {
		return t, err
	}
	t.client = time.Duration(self.Utime.Nano() + self.Stime.Nano())
	return t, nil
}

// ticksPerSecond is USER_HZ, which is 100 wherever Linux runs Go.
const ticksPerSecond = 100

func (w *berth) cpuTime(role string) (time.Duration, error) {
	pid, err := w.instance.PID(role)
	if err != nil {
		return 0, err
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name, in parentheses, may hold spaces: count behind it.
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat is not understood", pid)
	}
	var ticks int64
	for _, field := range fields[11:13] { // utime, stime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}
