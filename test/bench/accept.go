package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"

	"berth.dev/berth/internal/data/etcd"
	"berth.dev/berth/internal/data/kv"
)

// clientCounts are how many clients call at once.
var clientCounts = []int{1, 8, 32}

// accept measures RunTask for one task, which is durable when it is answered,
// and returns how many tasks there are then.
func (b *bench) accept(ctx context.Context, p *plane, most int) (have int, err error) {
	out := b.report.section("accept")
	fmt.Fprintf(out, "## RunTask accepted\n\n%d simulated nodes: real sessions (gRPC, mTLS, a key each) in this process, without containers. "+
		"RunTask for one task on Fargate: authenticated, placed, given an address and durable when it is answered. "+
		"Clients, server and nodes share the cores.\n\n", fleetSizeOf(b))
	var rows [][]string
	var profile []byte
	for _, mode := range []struct {
		name   string
		silent bool
	}{{"say nothing", true}, {"report the task as running", false}} {
		p.fleet.silent.Store(mode.silent)
		for _, clients := range clientCounts {
			b.say("accept: %d clients, nodes %s", clients, mode.name)
			calls := min(most/20*min(clients, 3), most-have)
			var profiled bytes.Buffer
			if err := pprof.StartCPUProfile(&profiled); err != nil {
				return have, err
			}
			d, err := drive(ctx, clients, calls, func(ctx context.Context, _ int) error {
				_, err := runTask(ctx, p.ecs, silentFamily, 1, p.subnets)
				return err
			})
			pprof.StopCPUProfile()
			if err != nil {
				return have, err
			}
			have += calls
			profile = profiled.Bytes() // of the last: all clients, answering nodes
			rows = append(rows, append([]string{mode.name, fmt.Sprint(clients)}, d.cells()...))
		}
	}
	table(out, []string{"nodes", "clients", "accepted/s", "p50", "p99"}, rows)
	if err := b.etcdCommits(ctx); err != nil {
		return have, err
	}
	return have, b.costs(ctx, profile)
}

func fleetSizeOf(b *bench) int {
	if b.quick {
		return fleetSize / 10
	}
	return fleetSize
}

// etcdCommits measures the store below everything: one record of 1 KB in each
// transaction, in process, with fsync.
func (b *bench) etcdCommits(ctx context.Context) (err error) {
	ctx, end := context.WithCancel(ctx)
	member := etcd.New(etcd.Config{Dir: filepath.Join(b.dir, "etcd")})
	ended := make(chan error, 1)
	go func() { ended <- member.Run(ctx) }()
	defer func() {
		end()
		if ran := <-ended; !errors.Is(ran, context.Canceled) {
			err = errors.Join(err, ran)
		}
	}()
	var rows [][]string
	for _, clients := range append(clientCounts, 128) {
		calls := min(300*clients, 20_000)
		if b.quick {
			calls /= 10
		}
		b.say("accept: etcd alone, %d writers", clients)
		value := bytes.Repeat([]byte("x"), 1024)
		d, err := drive(ctx, clients, calls, func(ctx context.Context, i int) error {
			_, err := member.KV().Txn(ctx, kv.Txn{Then: []kv.Op{kv.Put(fmt.Sprintf("/bench/%d/%d", clients, i), value)}})
			return err
		})
		if err != nil {
			return err
		}
		rows = append(rows, append([]string{fmt.Sprint(clients)}, d.cells()...))
	}
	out := b.report.section("accept")
	out.WriteString("The same machine's embedded etcd alone, one record of 1 KB in a transaction:\n\n")
	table(out, []string{"writers", "commits/s", "p50", "p99"}, rows)
	return nil
}

// keep writes a profile where `go tool pprof` reads it.
func (b *bench) keep(profile []byte) (string, error) {
	file := filepath.Join(b.dir, "accept.pprof")
	return file, os.WriteFile(file, profile, 0o600)
}
