package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/spf13/cobra"
)

// eventsPause is how often followed events are read.
const eventsPause = 500 * time.Millisecond

// serviceEvent is one event with the service that it is about.
type serviceEvent struct {
	At      time.Time `json:"createdAt"`
	Service string    `json:"service"`
	ID      string    `json:"id"`
	Message string    `json:"message"`
}

func newEvents(e *environment) *cobra.Command {
	var cluster, since string
	var follow bool
	var tail int
	cmd := &cobra.Command{
		Use: "events [SERVICE]", Short: "Print the events of a service, or of all services", Args: arguments(cobra.MaximumNArgs(1)),
		Long: "Print what ECS says about a service, or about all services of the cluster, oldest first.\nECS keeps the newest 100 of each service.",
		RunE: func(cmd *cobra.Command, args []string) error {
			after, err := parseSince(since, time.Now())
			if err != nil {
				return err
			}
			c, err := e.connect(cmd)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			read := func() ([]types.Service, error) { return c.services(ctx, cluster) }
			if len(args) > 0 {
				read = func() ([]types.Service, error) {
					s, err := c.service(ctx, cluster, args[0])
					if err != nil {
						return nil, err
					}
					return []types.Service{*s}, nil
				}
			}
			return e.printEvents(ctx, read, after, tail, follow)
		},
	}
	clusterFlag(cmd, &cluster)
	flags := cmd.Flags()
	flags.BoolVarP(&follow, "follow", "f", false, "go on until Ctrl-C")
	flags.StringVar(&since, "since", "", "only what is newer: 10m, 2h, or a time such as 2026-11-22T10:00:00Z")
	flags.IntVar(&tail, "tail", 0, "only this many of the last events (default: all)")
	outputFlag(e, cmd)
	cmd.ValidArgsFunction = e.completeServices
	return cmd
}

func (e *environment) printEvents(ctx context.Context, read func() ([]types.Service, error), after time.Time, tail int, follow bool) error {
	p := newPrinter(e.out)
	said := map[string]bool{}
	ticker := time.NewTicker(eventsPause)
	defer ticker.Stop()
	for first := true; ; first = false {
		services, err := read()
		if err != nil {
			return quietly(ctx, err)
		}
		fresh := slices.DeleteFunc(eventsOf(services), func(v serviceEvent) bool { return said[v.ID] || v.At.Before(after) })
		if first && tail > 0 {
			fresh = fresh[max(0, len(fresh)-tail):]
		}
		clear(said) // only what is still listed can come again
		for _, v := range eventsOf(services) {
			said[v.ID] = true
		}
		for _, v := range fresh {
			if err := e.printEvent(p, v); err != nil {
				return err
			}
		}
		if !follow {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (e *environment) printEvent(p *printer, v serviceEvent) error {
	if e.output == formJSON {
		return e.writeJSON(v)
	}
	_, err := fmt.Fprintf(e.out, "%s %s\n", p.paint("2", v.At.Local().Format(time.DateTime)), v.Message)
	return err
}

// eventsOf are the events of services, oldest first.
func eventsOf(services []types.Service) []serviceEvent {
	var all []serviceEvent
	for i := range services {
		for _, v := range slices.Backward(services[i].Events) { // AWS lists the newest first
			all = append(all, serviceEvent{aws.ToTime(v.CreatedAt), serviceName(&services[i]), aws.ToString(v.Id), aws.ToString(v.Message)})
		}
	}
	slices.SortStableFunc(all, func(a, b serviceEvent) int { return a.At.Compare(b.At) })
	return all
}
