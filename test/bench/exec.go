package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/opencontainers/runtime-spec/specs-go"

	"berth.dev/berth/internal/wire/datachannel"
)

const (
	execFamily = "bench-exec"
	execCPUs   = "2" // what runs in the container is not to be measured
	floodSize  = 200 * megabyte
)

// execWay is a way to run a program in a running container.
type execWay struct {
	name  string
	run   func(ctx context.Context, out io.Writer, args ...string) error
	trips []time.Duration
	rates []float64 // MB/s
}

// exec measures programs that are run in a container that runs already.
func (b *bench) exec(ctx context.Context, w *berth, bare *bare, docker *docker) (err error) {
	in, err := newExecs(ctx, w, bare, docker)
	if err != nil {
		return errors.Join(err, in.close(ctx))
	}
	defer func() { err = errors.Join(err, in.close(context.WithoutCancel(ctx))) }()
	ways := []*execWay{
		{name: "Berth, ExecuteCommand and its data channel", run: in.channel},
		{name: "`berth exec -T`", run: in.program},
		{name: "bare containerd", run: in.bareExec},
	}
	if docker != nil {
		ways = append(ways, &execWay{name: "`docker exec`, Docker " + docker.version, run: in.dockerExec})
	}
	trips, floods, size := 30, 5, floodSize
	if b.quick {
		trips, floods, size = 3, 1, size/10
	}
	for round := range trips + 1 {
		for i := range ways {
			way := ways[(i+round)%len(ways)]
			took, err := way.trip(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", way.name, err)
			}
			if round > 0 { // the first warms up
				way.trips = append(way.trips, took)
			}
		}
	}
	for round := range floods {
		for i := range ways {
			way := ways[(i+round)%len(ways)]
			b.say("exec: flood %d of %d, %s", round+1, floods, way.name)
			rate, err := way.flood(ctx, size)
			if err != nil {
				return fmt.Errorf("%s: %w", way.name, err)
			}
			way.rates = append(way.rates, rate)
		}
	}
	b.reportExec(ways, trips, floods, size)
	return nil
}

// trip is a program that does nothing, until its exit code is known.
func (w *execWay) trip(ctx context.Context) (time.Duration, error) {
	time.Sleep(settle / 4)
	begun := time.Now()
	err := w.run(ctx, io.Discard, "exit", "0")
	return time.Since(begun), err
}

// flood is a program that writes much, until its exit code is known.
func (w *execWay) flood(ctx context.Context, size int) (float64, error) {
	time.Sleep(settle)
	var counted counter
	begun := time.Now()
	if err := w.run(ctx, &counted, "flood", strconv.Itoa(size)); err != nil {
		return 0, err
	}
	took := time.Since(begun)
	if got := counted.Load(); got != int64(size) {
		return 0, fmt.Errorf("of %d bytes %d arrived", size, got)
	}
	return float64(size) / megabyte / took.Seconds(), nil
}

// counter counts what is written to it.
type counter struct{ atomic.Int64 }

func (c *counter) Write(data []byte) (int, error) {
	c.Add(int64(len(data)))
	return len(data), nil
}

func (b *bench) reportExec(ways []*execWay, trips, floods, size int) {
	out := b.report.section("exec")
	fmt.Fprintf(out, "## A program in a running container\n\nThe round trip is of a program that ends at once, from the call until its exit code is known: %d of each way in turn, after one to warm up. "+
		"The throughput is of %d MB that a program writes to its standard output, through client, WebSocket, server, gRPC, agent and containerd, until its exit code is known: %d of each. No terminal. "+
		"`berth exec` and `docker exec` are processes that have to start; the container may use %s CPUs.\n\n", trips, size/megabyte, floods, execCPUs)
	var rows [][]string
	for _, w := range ways {
		rows = append(rows, []string{w.name, ms(median(w.trips)), ms(quantile(w.trips, 0.1)), ms(quantile(w.trips, 0.9)), fmt.Sprintf("%.0f", medianOf(w.rates))})
	}
	table(out, []string{"way", "round trip, median", "p10", "p90", "throughput, MB/s"}, rows)
	compare := func(what string, a, b *execWay) {
		fmt.Fprintf(out, "- %s: round trip %.2f, throughput %.2f\n", what, ratio(median(a.trips), median(b.trips)), medianOf(a.rates)/medianOf(b.rates))
	}
	compare("Berth's data channel / bare containerd", ways[0], ways[2])
	if len(ways) < 4 {
		fmt.Fprintf(out, "- `berth exec` / `docker exec`: not measured, no Docker engine answered\n")
		return
	}
	compare("`berth exec -T` / `docker exec`", ways[1], ways[3])
}

// execs are the containers that programs are run in.
type execs struct {
	berth    *berth
	task     types.Task
	http     *http.Client
	bare     *launched
	docker   *docker
	dockerID string
	number   int
}

func newExecs(ctx context.Context, w *berth, bare *bare, docker *docker) (*execs, error) {
	e := &execs{berth: w, docker: docker, http: &http.Client{}}
	if err := e.startTask(ctx); err != nil {
		return e, err
	}
	var err error
	if e.bare, err = bare.launch(ctx, false); err != nil {
		return e, err
	}
	quota, period := int64(200_000), uint64(100_000)
	if err := e.bare.task.Update(bare.scoped(ctx), containerd.WithResources(&specs.LinuxResources{
		CPU: &specs.LinuxCPU{Quota: &quota, Period: &period},
	})); err != nil {
		return e, err
	}
	if docker != nil {
		e.dockerID, err = docker.launchImage(ctx, imageName, execCPUs, "4g")
	}
	return e, err
}

// startTask starts a task that programs can be run in, as soon as they can.
func (e *execs) startTask(ctx context.Context) error {
	client := e.berth.ecs
	if _, err := client.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{
		Family: aws.String(execFamily), NetworkMode: types.NetworkModeAwsvpc, Cpu: aws.String("2048"), Memory: aws.String("4096"),
		RequiresCompatibilities: []types.Compatibility{types.CompatibilityFargate},
		ExecutionRoleArn:        aws.String("arn:aws:iam::123456789012:role/ecsTaskExecutionRole"),
		TaskRoleArn:             aws.String("arn:aws:iam::123456789012:role/ecsTaskExecutionRole"),
		ContainerDefinitions: []types.ContainerDefinition{
			{Name: aws.String("app"), Image: aws.String(imageName), Command: []string{"sleep"}, Essential: aws.Bool(true), StopTimeout: aws.Int32(2)},
		},
	}); err != nil {
		return err
	}
	out, err := client.RunTask(ctx, &ecs.RunTaskInput{
		TaskDefinition: aws.String(execFamily), LaunchType: types.LaunchTypeFargate, EnableExecuteCommand: true,
		NetworkConfiguration: &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: e.berth.subnets}},
	})
	if err != nil {
		return err
	}
	if len(out.Failures) > 0 {
		return fmt.Errorf("RunTask did not place a task: %s", aws.ToString(out.Failures[0].Reason))
	}
	for {
		tasks, err := e.berth.await(ctx, []string{*out.Tasks[0].TaskArn}, "RUNNING", pollEvery)
		if err != nil {
			return err
		}
		e.task = tasks[0]
		for _, agent := range e.task.Containers[0].ManagedAgents {
			if aws.ToString(agent.LastStatus) == "RUNNING" {
				return nil
			}
		}
		time.Sleep(pollEvery)
	}
}

// channel is what `berth exec -T` does, without the start of a process.
func (e *execs) channel(ctx context.Context, out io.Writer, args ...string) error {
	started, err := e.berth.ecs.ExecuteCommand(ctx, &ecs.ExecuteCommandInput{
		Cluster: e.task.ClusterArn, Task: e.task.TaskArn, Container: aws.String("app"), Interactive: true, Command: aws.String(commandLine(args)),
	})
	if err != nil {
		return err
	}
	session, err := datachannel.Connect(ctx, datachannel.ClientConfig{
		URL: aws.ToString(started.Session.StreamUrl) + "&tty=0", Token: aws.ToString(started.Session.TokenValue), HTTPClient: e.http,
	})
	if err != nil {
		return err
	}
	defer session.Close() //nolint:errcheck // it never fails
	if err := session.CloseInput(); err != nil {
		return err
	}
	var said bytes.Buffer
	for {
		event, err := session.Recv()
		switch {
		case err != nil:
			return fmt.Errorf("the session ended before the program: %w", err)
		case event.ExitCode != nil && *event.ExitCode == 0:
			return nil
		case event.ExitCode != nil:
			return fmt.Errorf("exit code %d: %s", *event.ExitCode, said.Bytes())
		case event.Error != nil:
			said.Write(event.Error)
		case event.Output != nil:
			out.Write(event.Output) //nolint:errcheck,gosec // it counts
		}
	}
}

func commandLine(args []string) string {
	line := "/probe"
	for _, arg := range args {
		line += " " + arg
	}
	return line
}

func (e *execs) program(ctx context.Context, out io.Writer, args ...string) error {
	words := append([]string{"exec", *e.task.TaskArn, "--data-dir", e.berth.instance.DataDir, "-T", "--", "/probe"}, args...)
	return process(ctx, out, e.berth.b.binary, words...)
}

func (e *execs) dockerExec(ctx context.Context, out io.Writer, args ...string) error {
	return process(ctx, out, "docker", append([]string{"exec", e.dockerID, "/probe"}, args...)...)
}

// process runs a program of this host.
func process(ctx context.Context, out io.Writer, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = out, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, said.Bytes())
	}
	return nil
}

func (e *execs) bareExec(ctx context.Context, out io.Writer, args ...string) (err error) {
	ctx = e.bare.b.scoped(ctx)
	e.number++
	spec := *e.bare.b.spec.Process
	spec.Args = append([]string{"/probe"}, args...)
	p, err := e.bare.task.Exec(ctx, fmt.Sprint("exec-", e.number), &spec, cio.NewCreator(cio.WithStreams(nil, out, io.Discard)))
	if err != nil {
		return err
	}
	defer func() {
		_, gone := p.Delete(ctx)
		err = errors.Join(err, gone)
	}()
	exited, err := p.Wait(ctx)
	if err != nil {
		return err
	}
	if err := p.Start(ctx); err != nil {
		return err
	}
	if status := <-exited; status.Error() != nil || status.ExitCode() != 0 {
		return fmt.Errorf("exit code %d: %w", status.ExitCode(), status.Error())
	}
	p.IO().Wait()
	return nil
}

func (e *execs) close(ctx context.Context) error {
	var errs []error
	if e.task.TaskArn != nil {
		errs = append(errs, e.berth.stopTasks(ctx, []string{*e.task.TaskArn}))
	}
	if e.bare != nil {
		errs = append(errs, e.bare.remove(ctx))
	}
	if e.dockerID != "" {
		errs = append(errs, e.docker.removeAll())
	}
	return errors.Join(errs...)
}
