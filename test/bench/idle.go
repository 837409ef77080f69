package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// idleFor is how long Berth is left alone before its memory is read.
const idleFor = 10 * time.Second

// idle measures what Berth costs while it does nothing, and how fast it is
// there. The Berth that it gets has just been started for the first time.
func (b *bench) idle(ctx context.Context, w *berth) error {
	first := w.startup
	b.say("idle: for %v", idleFor)
	select {
	case <-time.After(idleFor):
	case <-ctx.Done():
		return ctx.Err()
	}
	var rows [][]string
	for _, role := range []string{"server", "agent", "up"} {
		pid, err := w.instance.PID(role)
		if err != nil {
			return err
		}
		memory, err := residentMemory(pid)
		if err != nil {
			return err
		}
		rows = append(rows, []string{"`berth " + role + "`, resident memory after " + idleFor.String() + " idle (of it anonymous)", memory})
	}
	again := 5
	if b.quick {
		again = 1
	}
	var restarts []time.Duration
	for range again {
		b.say("idle: starting again")
		if err := w.stop(); err != nil {
			return err
		}
		if err := w.start(ctx, w.instance.DataDir); err != nil {
			return err
		}
		restarts = append(restarts, w.startup)
	}
	info, err := os.Stat(b.binary)
	if err != nil {
		return err
	}
	rows = append(rows,
		[]string{"`berth up` to ready, first start: keys, etcd and a private containerd are made", ms(first)},
		[]string{fmt.Sprintf("`berth up` to ready again, containerd runs (median of %d)", again), ms(median(restarts))},
		[]string{"size of the binary", mib(info.Size())},
	)
	out := b.report.section("idle")
	out.WriteString("## At rest\n\n")
	table(out, []string{"", ""}, rows)
	return nil
}

// residentMemory is VmRSS and how much of it is not a file's.
func residentMemory(pid int) (string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "", err
	}
	kib := map[string]int64{}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 3 && f[2] == "kB" {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				return "", err
			}
			kib[strings.TrimSuffix(f[0], ":")] = n
		}
	}
	return fmt.Sprintf("%s (%s)", mib(kib["VmRSS"]<<10), mib(kib["RssAnon"]<<10)), nil
}
