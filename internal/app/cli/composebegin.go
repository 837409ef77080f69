package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	secrettypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"berth.dev/berth/internal/app/compose"
)

// begin creates or updates a service, with everything around it.
func (u *composition) begin(ctx context.Context, s *compose.Service, def *types.TaskDefinition, existing *types.Service, mark string) error {
	spec := *s.Create
	d := &deployer{e: u.e, clients: u.c, p: u.p, def: def, existing: existing}
	d.flags = &deployFlags{followFlags: u.flags.followFlags, force: u.flags.recreate, changed: map[string]bool{}}
	d.order = &order{service: s.Full(), spec: &spec, name: &discoveryName{s.Name, u.conversion.Namespace}}
	followed, err := u.c.pursue(ctx, u.e, u.p, &u.flags.followFlags, s.Full())
	if err != nil {
		return err
	}
	x := newPublished(d, s)
	if err := u.surround(ctx, d, x); err != nil {
		return err
	}
	change, err := d.surroundings(ctx)
	if err != nil {
		return err
	}
	var now *types.Service
	if existing == nil {
		spec.Tags = append(slices.Clone(spec.Tags), types.Tag{Key: aws.String(compose.TagFingerprint), Value: &mark})
		now, err = d.create(ctx, change)
	} else {
		u.onlyWhatIsNew(&spec, existing)
		if now, err = d.update(ctx, change); err == nil {
			err = u.tag(ctx, aws.ToString(existing.ServiceArn), compose.TagFingerprint, mark)
		}
		if err == nil {
			err = x.prune(ctx)
		}
	}
	if err != nil {
		return err
	}
	u.open[s.Name] = &opened{followed, now}
	return nil
}

// startGrace is for how many seconds a task that starts may fail the load
// balancer's health checks, which are quick.
const startGrace = 60

// surround makes what a new service's published ports need. Tasks are in the
// open security group; in a VPC that has none, in one that lets everybody in to
// those ports, because a load balancer of TCP keeps the client's address.
func (u *composition) surround(ctx context.Context, d *deployer, x *published) error {
	network, err := d.network(ctx)
	if err != nil {
		return err
	}
	at, err := u.c.place(ctx, network.Subnets)
	if err != nil {
		return err
	}
	spec := d.order.spec
	if len(spec.LoadBalancers) > 0 {
		return nil // x-ecs names its own
	}
	if len(x.s.Ports) == 0 {
		return nil
	}
	if spec.LoadBalancers, err = x.ensure(ctx, at); err != nil {
		return err
	}
	if spec.HealthCheckGracePeriodSeconds == nil {
		spec.HealthCheckGracePeriodSeconds = aws.Int32(startGrace)
	}
	if len(network.SecurityGroups) > 0 {
		return nil
	}
	groups, err := u.c.openGroups(ctx, at.vpc)
	if err != nil || len(groups) > 0 {
		return err
	}
	for _, port := range x.s.Ports {
		group, err := d.ensureGroup(ctx, at.vpc, x.s.Full()+"-tasks", "Tasks of service "+x.s.Full(), port.Target, "0.0.0.0/0", "")
		if err != nil {
			return err
		}
		network.SecurityGroups = []string{group}
	}
	spec.NetworkConfiguration = &types.NetworkConfiguration{AwsvpcConfiguration: network}
	return nil
}

// onlyWhatIsNew leaves out of an update what the service has already. An empty
// list takes away what the file has no more.
func (u *composition) onlyWhatIsNew(spec *ecs.CreateServiceInput, existing *types.Service) {
	spec.Tags = nil // an update does not change them
	if spec.NetworkConfiguration != nil && sameNetwork(existing, spec.NetworkConfiguration.AwsvpcConfiguration) {
		spec.NetworkConfiguration = nil
	}
	switch {
	case sameBalancers(spec.LoadBalancers, existing.LoadBalancers):
		spec.LoadBalancers = nil
	case len(spec.LoadBalancers) == 0:
		spec.LoadBalancers = []types.LoadBalancer{}
	}
}

func sameBalancers(a, b []types.LoadBalancer) bool {
	key := func(all []types.LoadBalancer) []string {
		var keys []string
		for _, l := range all {
			keys = append(keys, fmt.Sprintf("%s %s:%d", aws.ToString(l.TargetGroupArn), aws.ToString(l.ContainerName), aws.ToInt32(l.ContainerPort)))
		}
		slices.Sort(keys)
		return keys
	}
	return slices.Equal(key(a), key(b))
}

// putSecrets gives secrets the values of the file, unless they have them, and
// returns their ARNs by their names. External ones must be there.
func (u *composition) putSecrets(ctx context.Context, secrets []compose.Secret) (map[string]string, error) {
	arns := map[string]string{}
	for i := range secrets {
		s := &secrets[i]
		has, err := u.c.secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &s.Name})
		_, missing := errors.AsType[*secrettypes.ResourceNotFoundException](err)
		switch {
		case missing && s.External:
			return nil, fmt.Errorf("the external secret %s is not there: berth secrets put %s", s.Name, s.Name)
		case err != nil && !missing:
			return nil, fmt.Errorf("looking for secret %s: %w", s.Name, explained(err))
		}
		if !missing {
			arns[s.Name] = aws.ToString(has.ARN)
		}
		if s.External {
			continue
		}
		value, err := s.Value()
		if err != nil {
			return nil, err
		}
		if !missing && has.SecretString != nil && *has.SecretString == value {
			continue
		}
		if arns[s.Name], err = u.c.putSecret(ctx, s.Name, value); err != nil {
			return nil, err
		}
		u.p.say("%s", step{true, "Secret", s.Name, 0}.line(u.p, ""))
	}
	return arns, nil
}

// executionRole finds or makes the execution role, and lets it read the
// project's secrets.
func (u *composition) executionRole(ctx context.Context, converted *compose.Conversion) (string, error) {
	all := &ecs.RegisterTaskDefinitionInput{Family: &converted.Project}
	secret := false
	for i := range converted.Services {
		def := converted.Services[i].Definition
		all.ContainerDefinitions = append(all.ContainerDefinitions, def.ContainerDefinitions...)
		for _, c := range def.ContainerDefinitions {
			secret = secret || len(c.Secrets) > 0
		}
	}
	role, err := u.c.executionRoleFor(ctx, u.p, all)
	if err != nil {
		return "", err
	}
	if !secret {
		return aws.ToString(role.Arn), nil
	}
	policy, err := policyFor(all)
	if err != nil {
		return "", err
	}
	has, err := u.c.iam.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: role.RoleName, PolicyName: all.Family})
	if _, none := errors.AsType[*iamtypes.NoSuchEntityException](err); err != nil && !none {
		return "", fmt.Errorf("reading the policies of %s: %w", executionRole, explained(err))
	}
	if err == nil {
		if text, err := url.QueryUnescape(aws.ToString(has.PolicyDocument)); err == nil && text == policy {
			return aws.ToString(role.Arn), nil
		}
	}
	if _, err := u.c.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: role.RoleName, PolicyName: all.Family, PolicyDocument: &policy}); err != nil {
		return "", fmt.Errorf("letting %s read the secrets of %s: %w", executionRole, converted.Project, explained(err))
	}
	return aws.ToString(role.Arn), nil
}
