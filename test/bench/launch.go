package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// Marks of issue "One real task, end to end".
const (
	markBareLatency   = 1.25 // Berth at most so many bare launches
	markDockerLatency = 0.45 // Berth at most so many docker runs
	markBareRate      = 0.9  // Berth at least so many times the bare rate
	markDockerRate    = 3    // Berth at least so many times Docker's rate
)

// markSecrets is of issue "Identity and secrets": three secrets cost a launch
// at most so many plain ones.
const markSecrets = 1.15

// settle is how long the machine is left alone before each launch: the kernel
// takes namespaces and cgroups of the last one away in the background.
const settle = 200 * time.Millisecond

// way is one way to launch the image.
type way struct {
	name string
	run  func(context.Context) (time.Duration, error)
	took []time.Duration
}

// launch measures one launch on an idle node, each way in turn.
func (b *bench) launch(ctx context.Context, w *berth, bare *bare, docker *docker) error {
	var phases phases
	whole := func(family string) func(context.Context) (time.Duration, error) {
		return func(ctx context.Context) (time.Duration, error) {
			took, task, err := w.wholeLaunch(ctx, family)
			if family == silentFamily && err == nil {
				phases.add(took, task)
			}
			return took, err
		}
	}
	floor := func(logged bool) func(context.Context) (time.Duration, error) {
		return func(ctx context.Context) (time.Duration, error) { return bare.wholeLaunch(ctx, logged) }
	}
	ways := []*way{
		{name: "Berth, no log configuration", run: whole(silentFamily)},
		{name: "bare containerd and netlink, output to nowhere", run: floor(false)},
		{name: "Berth, awslogs", run: whole(loggedFamily)},
		{name: "bare containerd and netlink, output to the same log program", run: floor(true)},
		{name: "Berth, no log configuration, three secrets", run: whole(secretFamily)},
	}
	if docker != nil {
		ways = append(ways, &way{name: "`docker run -d`, Docker " + docker.version, run: docker.wholeLaunch})
	}
	for round := range b.n + 1 {
		b.say("launch: round %d of %d", round, b.n)
		for i := range ways {
			way := ways[(i+round)%len(ways)] // nobody is always first
			time.Sleep(settle)
			took, err := way.run(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", way.name, err)
			}
			if round > 0 { // the first warms up
				way.took = append(way.took, took)
			}
		}
	}
	out := b.report.section("launch")
	fmt.Fprintf(out, "## One launch on an idle node\n\n%d launches of each way in turn, after one to warm up, with a pause of %v before each. Berth's is RunTask until the client, "+
		"which calls DescribeTasks with a pause of %v between calls, reads RUNNING. The bare launch is a network namespace with a veth, address and routes, "+
		"a snapshot, NewContainer, NewTask, Start, on the same containerd with the same OCI runtime (`%s`) and Docker's seccomp profile.\n\n", b.n, settle, pollEvery, bare.options.GetBinaryName())
	var rows [][]string
	for _, way := range ways {
		rows = append(rows, []string{way.name, ms(median(way.took)), ms(quantile(way.took, 0.1)), ms(quantile(way.took, 0.9))})
	}
	table(out, []string{"way", "median", "p10", "p90"}, rows)
	fmt.Fprintf(out, "- Berth / bare, without logs: %s\n", atMost(ratio(median(ways[0].took), median(ways[1].took)), markBareLatency))
	fmt.Fprintf(out, "- Berth / bare, with logs: %s\n", atMost(ratio(median(ways[2].took), median(ways[3].took)), markBareLatency))
	fmt.Fprintf(out, "- Berth with three secrets / without: %s\n", atMost(ratio(median(ways[4].took), median(ways[0].took)), markSecrets))
	if docker == nil {
		fmt.Fprintf(out, "- Berth / `docker run -d`: not measured, no Docker engine answered\n")
	} else {
		fmt.Fprintf(out, "- Berth with awslogs / `docker run -d`: %s\n", atMost(ratio(median(ways[2].took), median(ways[5].took)), markDockerLatency))
	}
	phases.write(out)
	return nil
}

// phases are where a launch's time goes, by the times that the task itself
// shows. The control plane and the node are on one clock here.
type phases struct{ network, start, rest []time.Duration }

func (p *phases) add(took time.Duration, t types.Task) {
	if t.CreatedAt == nil || t.ConnectivityAt == nil || t.StartedAt == nil {
		return
	}
	p.network = append(p.network, t.ConnectivityAt.Sub(*t.CreatedAt))
	p.start = append(p.start, t.StartedAt.Sub(*t.ConnectivityAt))
	p.rest = append(p.rest, took-t.StartedAt.Sub(*t.CreatedAt))
}

func (p *phases) write(out *strings.Builder) {
	if len(p.network) == 0 {
		return
	}
	fmt.Fprintf(out, "\nOf Berth's launch without logs, by the task's own timestamps (medians): accepted until the network answers %s, "+
		"from there until the process runs %s, and around both, the request itself, the journal, the report and the client's polling, %s.\n",
		ms(median(p.network)), ms(median(p.start)), ms(median(p.rest)))
}
