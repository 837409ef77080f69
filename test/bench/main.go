// Command bench measures a whole Berth on this machine and prints what
// docs/BENCHMARKS.md holds: one Markdown report on standard output, and what it
// is doing on standard error. `make bench` runs it.
//
//	go run ./test/bench [-n 20] [-only launch,throughput,gateway,…] [-quick]
//
// It needs root, containerd and bin/berth. What it starts has a data directory
// and ports of its own, and everything is gone when it ends. Docker is measured
// when an engine answers (DOCKER_HOST counts).
//
// Nothing here passes or fails: figures of two machines, or of one machine on
// two days, cannot be compared. What can be compared is what one run measured
// in turn: Berth's launch, the same launch with bare containerd calls and
// netlink on the same containerd, and Docker's. Those ratios have marks.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// sections are what can be measured, in the order of the report.
var sections = []string{"launch", "throughput", "service", "dns", "alb", "reads", "accept", "loop", "gateway", "registry", "pull", "exec", "idle"}

// bench is one run.
type bench struct {
	n        int  // launches of each way in "launch"
	quick    bool // fewer repetitions: to see that it works
	binary   string
	dir      string // temporary, for data directories and images
	archive  string // the image that every way launches
	progress io.Writer
	report   *report
}

func run(ctx context.Context, args []string, out, progress io.Writer) (err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(progress)
	n := flags.Int("n", 20, "launches of each way")
	only := flags.String("only", strings.Join(sections, ","), "sections to measure")
	quick := flags.Bool("quick", false, "few repetitions, to see that it works")
	if err := flags.Parse(args); err != nil {
		return err
	}
	wanted := strings.Split(*only, ",")
	for _, name := range wanted {
		if !slices.Contains(sections, name) {
			return fmt.Errorf("-only %s: the sections are %s", name, strings.Join(sections, ", "))
		}
	}
	if os.Geteuid() != 0 {
		return errors.New("containers and network namespaces need root")
	}
	b := &bench{n: *n, quick: *quick, progress: progress, report: &report{}}
	if b.quick {
		b.n = min(b.n, 3)
	}
	if b.binary, err = filepath.Abs("bin/berth"); err != nil {
		return err
	}
	if _, err := os.Stat(b.binary); err != nil {
		return fmt.Errorf("%w: run `make build` first, and this from the top of the tree", err)
	}
	if b.dir, err = os.MkdirTemp("", "berth-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if err := b.buildImage(ctx); err != nil {
		return err
	}
	wants := func(names ...string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return slices.Contains(wanted, name) })
	}
	begun, load := time.Now(), loadAverage()
	defer func() {
		if err != nil { // what was measured until then took long enough
			io.WriteString(out, b.report.String()) //nolint:errcheck,gosec // the first error counts
		}
	}()
	if wants("launch", "throughput", "service", "dns", "pull", "exec", "idle") {
		if err := b.wholeBerth(ctx, wants); err != nil {
			return err
		}
	}
	if wants("reads", "accept") {
		if err := b.controlPlane(ctx, wants); err != nil {
			return err
		}
	}
	if wants("alb") {
		if err := b.alb(ctx); err != nil {
			return err
		}
	}
	if wants("loop") {
		if err := b.loop(ctx); err != nil {
			return err
		}
	}
	if wants("gateway") {
		if err := b.gatewayCost(ctx); err != nil {
			return err
		}
	}
	if wants("registry") {
		if err := b.registry(ctx); err != nil {
			return err
		}
	}
	b.describeHost(ctx, begun, load)
	_, err = io.WriteString(out, b.report.String())
	return err
}

// wholeBerth measures what needs a server and an agent with real containers.
func (b *bench) wholeBerth(ctx context.Context, wants func(...string) bool) (err error) {
	b.say("starting Berth")
	berth, err := startBerth(ctx, b)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, berth.purge()) }()
	if wants("idle") {
		if err := b.idle(ctx, berth); err != nil {
			return err
		}
	}
	if !wants("launch", "throughput", "service", "dns", "pull", "exec") {
		return nil
	}
	if err := berth.prepare(ctx, b.archive); err != nil {
		return err
	}
	bare, err := newBare(ctx, berth, b.archive)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bare.close()) }()
	docker, err := newDocker(ctx, b.archive)
	if err != nil {
		b.say("without Docker: %v", err)
	} else {
		defer func() { err = errors.Join(err, docker.close()) }()
	}
	if wants("launch") {
		if err := b.launch(ctx, berth, bare, docker); err != nil {
			return err
		}
	}
	if wants("throughput") {
		if err := b.throughput(ctx, berth, bare, docker); err != nil {
			return err
		}
	}
	if wants("service") {
		if err := b.service(ctx, berth, docker); err != nil {
			return err
		}
	}
	if wants("pull") {
		if err := b.pull(ctx, berth, bare, docker); err != nil {
			return err
		}
	}
	if wants("exec") {
		if err := b.exec(ctx, berth, bare, docker); err != nil {
			return err
		}
	}
	if wants("dns") {
		return b.dns(ctx, berth)
	}
	return nil
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.progress, "%s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}
