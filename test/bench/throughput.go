package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	burst    = 50 // tasks
	perCall  = 10 // tasks of one RunTask, the API's most
	runTasks = burst / perCall

	// burstPoll is slower than the poll for one launch: an answer of fifty
	// tasks costs more, and takes from the cores that start containers.
	burstPoll = 50 * time.Millisecond
)

// parallelism is what the loops of others are tried with; the best counts.
var parallelism = []int{1, 2, 4, 8}

// throughput measures a burst of launches, each way in turn.
func (b *bench) throughput(ctx context.Context, w *berth, bare *bare, docker *docker) error {
	rounds := 3
	if b.quick {
		rounds = 1
	}
	var whole, wholeLogged []float64
	var cpu cpuTimes
	bareRates, dockerRates := map[int][]float64{}, map[int][]float64{}
	for round := range rounds {
		b.say("throughput: round %d of %d", round+1, rounds)
		for family, rates := range map[string]*[]float64{silentFamily: &whole, loggedFamily: &wholeLogged} {
			before, err := w.cpuTimes()
			if err != nil {
				return err
			}
			rate, err := w.burst(ctx, family)
			if err != nil {
				return err
			}
			after, err := w.cpuTimes()
			if err != nil {
				return err
			}
			cpu.add(before, after)
			*rates = append(*rates, rate)
		}
		for _, p := range parallelism {
			rate, err := bare.burst(ctx, p)
			if err != nil {
				return err
			}
			bareRates[p] = append(bareRates[p], rate)
			if docker == nil || round > 0 { // Docker takes minutes
				continue
			}
			if rate, err = docker.burst(ctx, p); err != nil {
				return err
			}
			dockerRates[p] = append(dockerRates[p], rate)
		}
	}
	lives := float64(2 * rounds * burst)
	out := b.report.section("throughput")
	fmt.Fprintf(out, "## %d launches\n\nBerth: %d calls of RunTask for %d tasks each, at once; from the first call until the client, with a pause of %v between polls, reads RUNNING for the last. "+
		"The others: a loop with so many workers. Launches a second, medians of %d rounds (Docker: one round).\n\n", burst, runTasks, perCall, burstPoll, rounds)
	rows := [][]string{
		{"Berth, no log configuration", fmt.Sprintf("%.1f", medianOf(whole))},
		{"Berth, awslogs", fmt.Sprintf("%.1f", medianOf(wholeLogged))},
	}
	bestBare, bestDocker := 0.0, 0.0
	for _, p := range parallelism {
		rows = append(rows, []string{fmt.Sprintf("bare, %d at a time", p), fmt.Sprintf("%.1f", medianOf(bareRates[p]))})
		bestBare = max(bestBare, medianOf(bareRates[p]))
	}
	for _, p := range parallelism {
		if docker != nil {
			rows = append(rows, []string{fmt.Sprintf("`docker run -d`, %d at a time", p), fmt.Sprintf("%.1f", medianOf(dockerRates[p]))})
			bestDocker = max(bestDocker, medianOf(dockerRates[p]))
		}
	}
	table(out, []string{"way", "launches/s"}, rows)
	fmt.Fprintf(out, "- Berth / bare at its best, without logs: %s\n", atLeast(medianOf(whole)/bestBare, markBareRate))
	if docker == nil {
		fmt.Fprintf(out, "- Berth / Docker at its best: not measured, no Docker engine answered\n")
	} else {
		fmt.Fprintf(out, "- Berth / Docker at its best: %s\n", atLeast(medianOf(whole)/bestDocker, markDockerRate))
	}
	fmt.Fprintf(out, "\nCPU time that Berth's processes take for the whole life of a task, its end included: server %.1f ms, agent %.1f ms. "+
		"The client takes %.1f ms. The rest is containerd, its shims and the OCI runtime.\n",
		1000*cpu.server.Seconds()/lives, 1000*cpu.agent.Seconds()/lives, 1000*cpu.client.Seconds()/lives)
	return nil
}

// burst launches tasks as fast as Berth does, and returns its rate.
func (w *berth) burst(ctx context.Context, family string) (float64, error) {
	arns := make([][]string, runTasks)
	begun := time.Now()
	g, gctx := errgroup.WithContext(ctx)
	for i := range runTasks {
		g.Go(func() (err error) {
			arns[i], err = runTask(gctx, w.ecs, family, perCall, w.subnets)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return 0, err
	}
	var all []string
	for _, some := range arns {
		all = append(all, some...)
	}
	if _, err := w.await(ctx, all, "RUNNING", burstPoll); err != nil {
		return 0, err
	}
	rate := burst / time.Since(begun).Seconds()
	return rate, w.stopTasks(ctx, all)
}

// burst launches as many containers with p workers.
func (b *bare) burst(ctx context.Context, p int) (float64, error) {
	all := make([]*launched, burst)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(p)
	begun := time.Now()
	for i := range all {
		g.Go(func() (err error) {
			all[i], err = b.launch(gctx, false)
			return err
		})
	}
	err := g.Wait()
	rate := burst / time.Since(begun).Seconds()
	if err != nil {
		return 0, err
	}
	for _, l := range all {
		err = errors.Join(err, l.remove(ctx))
	}
	return rate, err
}

func (d *docker) burst(ctx context.Context, p int) (float64, error) {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(p)
	begun := time.Now()
	for range burst {
		g.Go(func() error { return d.launch(gctx) })
	}
	err := g.Wait()
	rate := burst / time.Since(begun).Seconds()
	return rate, errors.Join(err, d.removeAll())
}
