package e2e_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// SIGKILL of the agent while it starts and stops tasks starts nothing twice, ends what is to end and leaves nothing.
func TestAgentKilledAtAnyMomentStartsNothingTwice(t *testing.T) {
	t.Parallel()
	b := start(t, "--cpu-units", "12288", "--memory-mib", "65536")
	b.apart(t)
	marks := t.TempDir()
	def := onInstance(
		with(container("app", "mark", "/marks"), mounts("marks", "/marks", false)),
		with(optional(container("init", "write", "/tmp/x")), mounts("marks", "/marks", false)),
	)
	def.ContainerDefinitions[0] = after(def.ContainerDefinitions[0], "init", types.ContainerConditionComplete)
	def.Volumes = []types.Volume{{Name: aws.String("marks"), Host: &types.HostVolumeProperties{SourcePath: &marks}}}
	in := b.request(t, def)

	var all []*task
	for round := range 10 {
		eventually(t, "a task, once the node is there", func() error {
			again := *in // the SDK writes its client token into it
			out, err := b.ecs.RunTask(t.Context(), &again)
			if err != nil {
				return err
			}
			if len(out.Tasks) != 1 {
				return errors.New(*out.Failures[0].Reason)
			}
			all = append(all, b.taskOf(out.Tasks[0]))
			return nil
		})
		if round >= 2 && round%2 == 0 { // the task of two rounds ago, whatever it is doing
			if _, err := b.ecs.StopTask(t.Context(), &ecs.StopTaskInput{Task: &all[round-2].arn}); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(rand.N(400 * time.Millisecond)) // a random moment is what this is about
		b.end(t, "agent", syscall.SIGKILL)
		b.role(t, "agent")
		if round%2 == 1 { // and again, while it starts and adopts
			<-time.After(rand.N(400 * time.Millisecond))
			b.end(t, "agent", syscall.SIGKILL)
			b.role(t, "agent")
		}
	}
	for i, k := range all {
		if i%2 == 0 && i < 8 {
			got := k.awaitStatus(t, "STOPPED")
			if got.StopCode != types.TaskStopCodeUserInitiated {
				t.Errorf("task %d: %s %s, %s", i, got.StopCode, *got.StoppedReason, containers(got))
			}
			continue
		}
		if k.hung(t) {
			continue
		}
		got := k.awaitStatus(t, "RUNNING")
		eventually(t, "its mark", func() error {
			_, err := os.Stat(filepath.Join(marks, *find(t, got, "app").RuntimeId))
			return err
		})
		if pids := k.pids(t); len(pids) != 1 {
			t.Errorf("task %d has the processes %v", i, pids)
		}
	}
	files, err := os.ReadDir(marks)
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		if data, err := os.ReadFile(filepath.Join(marks, f.Name())); err != nil || string(data) != "started\n" {
			t.Errorf("container %s: %q, %v", f.Name(), data, err)
		}
	}
	for i, k := range all {
		if i%2 == 0 && i < 8 {
			continue
		}
		if k.hung(t) {
			continue
		}
		if got := k.stop(t, "over"); aws.ToInt32(find(t, got, "app").ExitCode) != 0 {
			t.Errorf("task %d: %s", i, containers(got))
		}
	}
	b.nothingRuns(t)
}

// nothingRuns wants that no task has left a namespace, a link, a mount, a control group or a process.
func (b *berth) nothingRuns(t *testing.T) {
	t.Helper()
	eventually(t, "nothing of the tasks is left", func() error {
		left, err := leftovers([]string{b.dir, b.id})
		if err != nil {
			return err
		}
		var of []string
		for _, line := range left {
			if strings.Contains(line, "-eni-") || strings.Contains(line, "containerd-shim") || strings.Contains(line, "/rootfs") || strings.HasPrefix(line, "cgroup:") && strings.Count(line, "/") > 6 {
				of = append(of, line)
			}
		}
		if len(of) > 0 {
			return fmt.Errorf("left:\n%s", strings.Join(of, "\n"))
		}
		return nil
	})
}

// A new agent adopts what the killed one left: processes, health checks, logs, exit codes and the endpoints inside.
func TestNewAgentAdoptsTasksWithAllTheyHave(t *testing.T) {
	t.Parallel()
	b := start(t)
	checked := with(container("app", "answer", "3000", "0"), func(c *types.ContainerDefinition) { c.HealthCheck = check("/tmp/healthy") })
	k := b.run(t, fargate(checked, optional(container("side", "answer", "4000", "0")), optional(container("lines", "count", "10ms"))))
	ends := b.run(t, fargate(container("app", "answer", "3000", "0")))
	k.awaitStatus(t, "RUNNING")
	k.hears(t, 3000, "/write", "path", "/tmp/healthy", "data", "yes")
	k.await(t, "HEALTHY", func(got types.Task) bool { return got.HealthStatus == types.HealthStatusHealthy })
	k.hears(t, 4000, "/")
	ends.awaitStatus(t, "RUNNING")
	talk := k.converse(t, 3001)
	uri := k.hears(t, 3000, "/env", "name", "ECS_CONTAINER_METADATA_URI_V4")
	b.apart(t)
	before := k.pids(t)

	b.end(t, "agent", syscall.SIGKILL)
	talk.echo(t)
	k.exit(t, 4000, 6)
	ends.exit(t, 3000, 5)
	k.hears(t, 3000, "/say", "line", "nobody hears me")
	if got, err := k.describe(t.Context()); err != nil || *got.LastStatus != "RUNNING" {
		t.Errorf("without its agent the task is %v, %v", *got.LastStatus, err)
	}
	b.role(t, "agent")
	b.ready(t)

	got := k.await(t, "the end of side is known", func(got types.Task) bool { return *find(t, got, "side").LastStatus == "STOPPED" })
	if *got.LastStatus != "RUNNING" || aws.ToInt32(find(t, got, "side").ExitCode) != 6 {
		t.Errorf("%s, %s", *got.LastStatus, containers(got))
	}
	if got := ends.awaitStatus(t, "STOPPED"); got.StopCode != types.TaskStopCodeEssentialContainerExited || aws.ToInt32(find(t, got, "app").ExitCode) != 5 {
		t.Errorf("%s, %s", got.StopCode, containers(got))
	}
	after := k.pids(t)
	for _, pid := range after {
		if !slices.Contains(before, pid) {
			t.Errorf("process %s is new; before there were %v", pid, before)
		}
	}
	if len(after) != 2 {
		t.Errorf("the processes are %v", after)
	}
	k.logged(t, "app", "nobody hears me")
	if !strings.Contains(k.hears(t, 3000, "/fetch", "url", uri+"/task"), k.arn) {
		t.Error("metadata does not answer after the adoption")
	}
	k.hears(t, 3000, "/remove", "path", "/tmp/healthy")
	k.await(t, "UNHEALTHY", func(got types.Task) bool { return got.HealthStatus == types.HealthStatusUnhealthy })
	talk.echo(t)
	k.stop(t, "over")
	k.countedOnce(t, "lines")
	b.nothingRuns(t)
}

// hung waits until the task runs or has failed, and reports that it failed because containerd 1.6 hung over the death of
// the agent that was creating its container: rare (one task in a hundred and more), told to the user in words, and nothing is left of it.
func (k *task) hung(t *testing.T) bool {
	t.Helper()
	hung := false
	eventually(t, "RUNNING or STOPPED", func() error {
		got, err := k.describe(t.Context())
		if err != nil {
			return err
		}
		switch aws.ToString(got.LastStatus) {
		case "RUNNING":
			return nil
		case "STOPPED":
			hung = strings.Contains(containers(got), "ContainerRuntimeTimeoutError")
			return nil
		}
		return errors.New(aws.ToString(got.LastStatus))
	})
	if hung {
		t.Logf("containerd hung over a killed agent, and %s was stopped", k.arn)
	}
	return hung
}
