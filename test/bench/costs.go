package main

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// costs are the parts of an accepted RunTask that a CPU profile can tell apart,
// by the function at the top of each. A function is found by the end of its
// name. They overlap only where the text says "of that".
var costs = []struct{ what, function string }{
	{"the clients: the AWS SDK, signing included", "ecs.(*Client).RunTask"},
	{"the server's handling of a request, all of it", "gateway.(*Gateway).ServeHTTP"},
	{"of that: verifying the signature", "sigv4.(*Claim).Verify"},
	{"of that: the provider's RunTask", "ecs.(*Provider).RunTask"},
	{"of that: choosing among the nodes", "ecs.(*Provider).candidates"},
	{"of that: placement", "placement.Place"},
	{"of that: finding an address and making the interface", "ecs.(*network).attach"},
	{"of that: sending the transaction to etcd", "etcdkv.(*KV).Txn"},
	{"the mirror: decoding what was committed, indexing, publishing", "store.(*mirror).apply"},
	{"sessions: sending assignments to nodes", "dispatch.(*Dispatcher).send"},
	{"sessions: writing their reports", "dispatch.(*Dispatcher).absorb"},
	{"the simulated nodes' side of their sessions", "session.(*Client).session"},
	{"etcd: applying entries", "etcdserver.(*EtcdServer).applyAll"},
	{"etcd: raft, the log on disk", "etcdserver.(*raftNode).start"},
	{"etcd: committing its database", "backend.(*backend).run"},
	{"gRPC transports, both ends", "transport.(*loopyWriter).run"},
	{"garbage collection in the background", "runtime.gcBgMarkWorker"},
}

// costs names where the cores' time went in a profile.
func (b *bench) costs(ctx context.Context, profile []byte) error {
	file, err := b.keep(profile)
	if err != nil {
		return err
	}
	top, err := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", "-cum", "-nodecount=100000", "-nodefraction=0", file).Output()
	if err != nil {
		return fmt.Errorf("reading the profile: %w", err)
	}
	shares := cumulative(string(top))
	var rows [][]string
	for _, c := range costs {
		share := 0.0
		for name, percent := range shares {
			if strings.HasSuffix(trimClosure(name), c.function) {
				share = max(share, percent)
			}
		}
		rows = append(rows, []string{c.what, fmt.Sprintf("%.1f %%", share)})
	}
	out := b.report.section("accept")
	fmt.Fprintf(out, "Where the cores' time goes with %d clients and nodes that report, by a CPU profile of the whole process (%s of one core):\n\n",
		clientCounts[len(clientCounts)-1], duration(string(top)))
	table(out, []string{"work", "CPU time"}, rows)
	return nil
}

// duration is how long the profile took and how much of a core it used.
func duration(top string) string {
	for line := range strings.Lines(top) {
		if strings.HasPrefix(line, "Duration:") {
			return strings.TrimSpace(line)
		}
	}
	return "of unknown length"
}

// cumulative reads the listing of `go tool pprof -top -cum`: flat, flat%,
// sum%, cum, cum%, name.
func cumulative(top string) map[string]float64 {
	shares := map[string]float64{}
	for line := range strings.Lines(top) {
		f := strings.Fields(line)
		if len(f) < 6 {
			continue
		}
		percent, err := strconv.ParseFloat(strings.TrimSuffix(f[4], "%"), 64)
		if err == nil {
			shares[f[5]] = percent
		}
	}
	return shares
}

// trimClosure takes ".func1" and the like off a name: a goroutine's first
// function is mostly a closure.
func trimClosure(name string) string {
	at := strings.LastIndex(name, ".func")
	if at < 0 {
		return name
	}
	return name[:at]
}
