package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/spf13/cobra"
)

func newOpen(e *environment) *cobra.Command {
	var cluster string
	var only bool
	cmd := &cobra.Command{
		Use: "open SERVICE|LOAD-BALANCER", Short: "Print where a service answers, and open it in a browser", Args: arguments(cobra.ExactArgs(1)),
		Long: "Print the URL of a service's load balancer, or of a load balancer, and open it with xdg-open\nwhen there is a display.",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := e.connect(cmd)
			if err != nil {
				return err
			}
			urls, err := c.whereToOpen(cmd.Context(), cluster, args[0])
			if err != nil {
				return err
			}
			if e.output == formJSON {
				return e.writeJSON(map[string]any{"urls": urls})
			}
			for _, url := range urls {
				if _, err := fmt.Fprintln(e.out, url); err != nil {
					return err
				}
			}
			if only {
				return nil
			}
			return browse(cmd.Context(), urls[0])
		},
	}
	clusterFlag(cmd, &cluster)
	cmd.Flags().BoolVar(&only, "print", false, "print the URL and open nothing")
	outputFlag(e, cmd)
	cmd.ValidArgsFunction = e.completeServices
	return cmd
}

// whereToOpen finds the URLs of a service, or of a load balancer; there is at
// least one.
func (c *clients) whereToOpen(ctx context.Context, cluster, name string) ([]string, error) {
	s, err := c.service(ctx, cluster, name)
	if none, ok := errors.AsType[*noService](err); ok {
		return c.balancerNamed(ctx, name, none)
	}
	if err != nil {
		return nil, err
	}
	if len(s.LoadBalancers) == 0 {
		return nil, fmt.Errorf("service %s has no load balancer; `berth deploy %s --expose http` gives it one", name, name)
	}
	b, err := c.balancersOf(ctx, *s)
	if err != nil {
		return nil, err
	}
	urls := b.urls(s)
	if len(urls) == 0 {
		return nil, fmt.Errorf("the load balancers of service %s are internal: they answer inside the VPC only", name)
	}
	return urls, nil
}

func (c *clients) balancerNamed(ctx context.Context, name string, otherwise error) ([]string, error) {
	out, err := c.elb.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{Names: []string{name}})
	if _, none := errors.AsType[*elbtypes.LoadBalancerNotFoundException](err); none || err == nil && len(out.LoadBalancers) == 0 {
		return nil, otherwise
	}
	if err != nil {
		return nil, explained(err)
	}
	balancer := &out.LoadBalancers[0]
	listeners, err := c.listeners(ctx, *balancer.LoadBalancerArn)
	if err != nil {
		return nil, err
	}
	if len(listeners) == 0 {
		return nil, fmt.Errorf("load balancer %s has no listener", name)
	}
	urls := balancerURLs(balancer, listeners)
	if len(urls) == 0 {
		return nil, fmt.Errorf("load balancer %s is internal: it answers inside the VPC only", name)
	}
	return urls, nil
}

// browse opens a URL when there is a display and something that opens URLs.
func browse(ctx context.Context, url string) error {
	if os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
		return nil
	}
	program, err := exec.LookPath("xdg-open")
	if err != nil {
		return nil //nolint:nilerr // the URL was printed, which has to do
	}
	if err := exec.CommandContext(ctx, program, url).Run(); err != nil {
		return fmt.Errorf("xdg-open %s: %w", url, err)
	}
	return nil
}
