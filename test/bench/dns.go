package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"berth.dev/berth/internal/agent/network"
)

const (
	dnsClients = 8
	dnsQueries = 5000 // of each client
)

// dns measures the resolver inside a task's namespace: clients that each send
// the next question when the last is answered, for the private name of an
// interface.
func (b *bench) dns(ctx context.Context, w *berth) error {
	b.say("dns")
	arns, err := runTask(ctx, w.ecs, silentFamily, 1, w.subnets)
	if err != nil {
		return err
	}
	tasks, err := w.await(ctx, arns, "RUNNING", burstPoll)
	if err != nil {
		return err
	}
	details := map[string]string{}
	for _, d := range tasks[0].Attachments[0].Details {
		details[*d.Name] = aws.ToString(d.Value)
	}
	path := fmt.Sprintf("/run/netns/berth-%s-%s", w.instance.ID, details["networkInterfaceId"])
	queries := dnsQueries
	if b.quick {
		queries /= 10
	}
	took := make([][]time.Duration, dnsClients)
	begun := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	for i := range dnsClients {
		g.Go(func() (err error) {
			took[i], err = askAll(ctx, path, details["privateDnsName"], queries)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return errors.Join(err, w.stopTasks(context.WithoutCancel(ctx), arns))
	}
	elapsed, all := time.Since(begun), slices.Concat(took...)
	out := b.report.section("dns")
	fmt.Fprintf(out, "## Names\n\n%d clients inside a task's namespace ask for the private name of an interface, %d times each, by UDP.\n\n", dnsClients, queries)
	table(out, []string{"queries/s", "p50", "p99"}, [][]string{{fmt.Sprintf("%.0f", float64(len(all))/elapsed.Seconds()), ms(quantile(all, 0.5)), ms(quantile(all, 0.99))}})
	return w.stopTasks(context.WithoutCancel(ctx), arns)
}

// askAll asks for a name from a namespace, one question after the other.
func askAll(ctx context.Context, path, name string, count int) ([]time.Duration, error) {
	var conn *dns.Conn
	err := network.In(path, func() error {
		socket, err := (&net.Dialer{}).DialContext(ctx, "udp", network.ResolverAddress+":53")
		conn = &dns.Conn{Conn: socket}
		return err
	})
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // every answer was read
	took := make([]time.Duration, count)
	for i := range took {
		question := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA)
		begun := time.Now()
		if err := conn.SetDeadline(begun.Add(5 * time.Second)); err != nil {
			return nil, err
		}
		if err := conn.WriteMsg(question); err != nil {
			return nil, err
		}
		answer, err := conn.ReadMsg()
		if err != nil {
			return nil, err
		}
		if len(answer.Answer) != 1 {
			return nil, fmt.Errorf("the answer for %s is %v", name, answer)
		}
		took[i] = time.Since(begun)
	}
	return took, nil
}
