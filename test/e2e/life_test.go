package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
)

// SIGTERM to `berth up` ends the server and the agent and no task; the next one adopts the tasks. A role that dies is
// started again. `berth down --purge` then removes everything.
func TestUpEndsAndComesBackAndPurgeLeavesNothing(t *testing.T) {
	t.Parallel()
	b := start(t)
	k := b.run(t, fargate(container("app", "answer", "3000", "9"), container("lines", "count", "10ms")))
	k.awaitStatus(t, "RUNNING")
	k.hears(t, 3000, "/")
	talk := k.converse(t, 3001)
	before := k.pids(t)

	// A role that dies.
	for _, role := range []string{"server", "agent"} {
		pid, err := b.pid(role)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a new "+role, func() error {
			if now, err := b.pid(role); err != nil || now == pid {
				return errors.Join(err, errors.New("the pid file is the old one"))
			}
			return nil
		})
		b.ready(t)
	}

	b.end(t, "up", syscall.SIGTERM)
	for _, role := range []string{"server", "agent"} {
		if _, err := b.pid(role); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the %s has a pid file after its end: %v", role, err)
		}
	}
	if b.answers() {
		t.Error("the API answers after the end of up")
	}
	talk.echo(t)
	if now := k.pids(t); !slices.Equal(now, before) {
		t.Errorf("the task's processes were %v and are %v", before, now)
	}
	if err := b.up(t.Context()); err != nil {
		t.Fatal(err)
	}
	k.awaitStatus(t, "RUNNING")
	talk.echo(t)
	if now := k.pids(t); !slices.Equal(now, before) {
		t.Errorf("the task's processes were %v and are %v", before, now)
	}
	stopped := k.stop(t, "after all")
	if app := find(t, stopped, "app"); aws.ToInt32(app.ExitCode) != 9 {
		t.Errorf("%s", containers(stopped))
	}
	k.countedOnce(t, "lines")

	// With a task that runs, so that there is one of each thing to remove.
	left := b.run(t, fargate(container("app", "ignore")))
	left.awaitStatus(t, "RUNNING")
	signs := b.signs()
	// The kernel cuts the list of routes short when one changes meanwhile.
	eventually(t, "a list of what Berth made with something of each kind", func() error {
		there, err := leftovers(signs)
		if err != nil {
			return err
		}
		for _, kind := range []string{"namespace", "run", "range", "file", "link", "route", "nftables", "mount", "cgroup", "process"} {
			if !slices.ContainsFunc(there, func(line string) bool { return strings.HasPrefix(line, kind+": ") }) {
				return fmt.Errorf("it has no %s, and so proves nothing:\n%s", kind, strings.Join(there, "\n"))
			}
		}
		return nil
	})
	if err := b.purge(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	if now, err := leftovers(signs); err != nil || len(now) > 0 {
		t.Errorf("%v, left:\n%s", err, strings.Join(now, "\n"))
	}
}

// Two Berths side by side have networks of their own, and the host reaches both.
func TestTwoBerthsLiveSideBySide(t *testing.T) {
	t.Parallel()
	ranges := map[string]bool{}
	for _, b := range []*berth{shared, start(t)} {
		k := b.run(t, fargate(container("app", "answer", "3000", "0")))
		k.awaitStatus(t, "RUNNING")
		if got := k.hears(t, 3000, "/"); !strings.HasSuffix(got, strings.ReplaceAll(k.address, ".", "-")+".ec2.internal") {
			t.Errorf("%s answers %q", k.address, got)
		}
		vpcs, err := b.ec2.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{})
		if err != nil || len(vpcs.Vpcs) != 1 {
			t.Fatalf("%+v, %v", vpcs, err)
		}
		ranges[*vpcs.Vpcs[0].CidrBlock] = true
	}
	if len(ranges) != 2 {
		t.Errorf("both have the range %v", ranges)
	}
}
