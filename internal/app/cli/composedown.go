package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
	"github.com/aws/smithy-go"
	"github.com/spf13/cobra"

	"berth.dev/berth/internal/app/compose"
)

func newComposeDown(e *environment, f *projectFlags) *cobra.Command {
	var follow followFlags
	cmd := &cobra.Command{
		Use: "down", Short: "Remove a project's services", Args: arguments(cobra.NoArgs),
		Long: `Remove the services of a project, their load balancers and their names, and wait until
their tasks have stopped. They are found by their tags: with --project-name no file is
needed. Volumes, secrets, roles, logs and task definitions stay.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			e.output = formTable
			name := f.name
			if name == "" {
				project, _, err := f.load(cmd.Context(), nil)
				if err != nil {
					return err
				}
				name = project.Name
			}
			c, err := e.connect(cmd)
			if err != nil {
				return err
			}
			ctx, cancel := follow.bounded(cmd.Context())
			defer cancel()
			p := newPrinter(e.err)
			services, err := c.ofProject(ctx, follow.cluster, name)
			if err != nil {
				return err
			}
			if err := c.removeServices(ctx, p, follow.cluster, services); err != nil {
				return err
			}
			if err := c.removeNamespace(ctx, name+".local"); err != nil {
				return err
			}
			p.done("The project %s has no services any more", name)
			return nil
		},
	}
	clusterFlag(cmd, &follow.cluster)
	cmd.Flags().DurationVar(&follow.timeout, "timeout", 0, "stop waiting after this long (default: never)")
	verboseFlag(e, cmd)
	return cmd
}

// ofProject are the services of a project, by their tags.
func (c *clients) ofProject(ctx context.Context, cluster, project string) ([]types.Service, error) {
	everything, err := c.services(ctx, cluster)
	if err != nil {
		return nil, err
	}
	var all []types.Service
	for _, s := range everything {
		if !strings.HasPrefix(serviceName(&s), project+"-") || aws.ToString(s.Status) == inactive {
			continue
		}
		one, err := c.service(ctx, cluster, serviceName(&s)) // with tags
		if _, gone := errors.AsType[*noService](err); gone {
			continue
		}
		if err != nil {
			return nil, err
		}
		if tagOf(one.Tags, compose.TagProject) == project {
			all = append(all, *one)
		}
	}
	return all, nil
}

// orphaned lists services that left the file, or removes them.
func (u *composition) orphaned(ctx context.Context) error {
	services, err := u.c.ofProject(ctx, u.flags.cluster, u.project.Name)
	if err != nil {
		return err
	}
	services = slices.DeleteFunc(services, func(s types.Service) bool {
		name := tagOf(s.Tags, compose.TagService)
		if one := u.convertedService(name); one != nil {
			return !one.Job() // a service that runs once now is no service any more
		}
		return u.known[name] || aws.ToString(s.Status) != "ACTIVE"
	})
	if u.flags.orphans {
		return u.c.removeServices(ctx, u.p, u.flags.cluster, services)
	}
	for i := range services {
		u.p.say("%s is not in the file any more and runs on; --remove-orphans removes it", serviceName(&services[i]))
	}
	return nil
}

func (u *composition) convertedService(name string) *compose.Service {
	for i := range u.conversion.Services {
		if s := &u.conversion.Services[i]; s.Name == name {
			return s
		}
	}
	return nil
}

// removeServices deletes services and what was made around them, and waits
// until their tasks have stopped: names in Cloud Map can go only then.
func (c *clients) removeServices(ctx context.Context, p *printer, cluster string, services []types.Service) error {
	for i := range services {
		name := serviceName(&services[i])
		if aws.ToString(services[i].Status) != "ACTIVE" {
			continue // it goes already
		}
		if _, err := c.ecs.DeleteService(ctx, &ecs.DeleteServiceInput{Cluster: &cluster, Service: &name, Force: aws.Bool(true)}); err != nil {
			return fmt.Errorf("removing service %s: %w", name, explained(err))
		}
	}
	for i := range services {
		if err := c.removeAround(ctx, p, cluster, &services[i]); err != nil {
			return err
		}
		p.clear()
		p.done("%s removed", serviceName(&services[i]))
	}
	return nil
}

func (c *clients) removeAround(ctx context.Context, p *printer, cluster string, s *types.Service) error {
	name := serviceName(s)
	for _, balancer := range balancerNames(name) {
		if err := c.pruneBalancer(ctx, balancer, nil); err != nil {
			return err
		}
	}
	err := eventually(ctx, func() (bool, error) {
		now, err := c.service(ctx, cluster, name)
		if _, gone := errors.AsType[*noService](err); gone {
			return true, nil
		}
		if err == nil {
			p.live(" … %s: %d tasks stop", name, now.RunningCount)
		}
		return false, err
	})
	if err != nil {
		return err
	}
	for _, r := range s.ServiceRegistries {
		id := lastPart(aws.ToString(r.RegistryArn))
		err := eventually(ctx, func() (bool, error) {
			_, err := c.names.DeleteService(ctx, &servicediscovery.DeleteServiceInput{Id: &id})
			_, gone := errors.AsType[*sdtypes.ServiceNotFound](err)
			_, busy := errors.AsType[*sdtypes.ResourceInUse](err) // instances are being deregistered
			if gone || busy {
				return gone, nil
			}
			return err == nil, err
		})
		if err != nil {
			return fmt.Errorf("removing the name of %s: %w", name, explained(err))
		}
	}
	return c.removeGroups(ctx, s)
}

// removeGroups removes the security groups that were made for a service, in
// the VPC of its tasks.
func (c *clients) removeGroups(ctx context.Context, s *types.Service) error {
	if s.NetworkConfiguration == nil || s.NetworkConfiguration.AwsvpcConfiguration == nil {
		return nil
	}
	at, err := c.place(ctx, s.NetworkConfiguration.AwsvpcConfiguration.Subnets)
	if err != nil {
		return err
	}
	for _, suffix := range []string{"-lb", "-tasks"} {
		group, err := c.securityGroup(ctx, at.vpc, serviceName(s)+suffix)
		if err != nil {
			return err
		}
		if group == nil {
			continue
		}
		err = eventually(ctx, func() (bool, error) {
			_, err := c.ec2.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: group.GroupId})
			if api, ok := errors.AsType[smithy.APIError](err); ok && api.ErrorCode() == "DependencyViolation" {
				return false, nil // interfaces of the load balancer are going
			}
			return err == nil, err
		})
		if err != nil {
			return fmt.Errorf("removing security group %s: %w", serviceName(s)+suffix, explained(err))
		}
	}
	return nil
}

// removeNamespace removes a private namespace that has no services.
func (c *clients) removeNamespace(ctx context.Context, name string) error {
	for pages := servicediscovery.NewListNamespacesPaginator(c.names, &servicediscovery.ListNamespacesInput{}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("looking for namespace %s: %w", name, explained(err))
		}
		for _, n := range page.Namespaces {
			if aws.ToString(n.Name) != name || n.Type != sdtypes.NamespaceTypeDnsPrivate {
				continue
			}
			_, err := c.names.DeleteNamespace(ctx, &servicediscovery.DeleteNamespaceInput{Id: n.Id})
			if _, used := errors.AsType[*sdtypes.ResourceInUse](err); err != nil && !used {
				return fmt.Errorf("removing namespace %s: %w", name, explained(err))
			}
		}
	}
	return nil
}

// eventually tries until it is done, fails, or the context ends.
func eventually(ctx context.Context, try func() (done bool, err error)) error {
	ticker := time.NewTicker(rolloutPause)
	defer ticker.Stop()
	for {
		if done, err := try(); done || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
