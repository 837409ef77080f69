package iam

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/policy/managed"
	"berth.dev/berth/internal/wire/api/iamapi"
)

// serviceLinkedPath begins the path of every service-linked role; the service's
// name follows.
const serviceLinkedPath = "/aws-service-role/"

// serviceLinked reports whether a role is a service's own.
func serviceLinked(r *model.Role) bool { return strings.HasPrefix(r.Path, serviceLinkedPath) }

// linkedService is a service that has such a role.
type linkedService struct {
	role   string // its name
	policy string // the name of AWS's managed policy with what it may do
	suffix bool   // whether an account can have several
}

// linkedServices are those that users of ECS meet. Names and policies are AWS's.
func linkedServices() map[string]linkedService {
	const scaling = "AWSServiceRoleForApplicationAutoScaling_"
	return map[string]linkedService{
		"ecs.amazonaws.com":                         {role: "AWSServiceRoleForECS", policy: "AmazonECSServiceRolePolicy"},
		"ecs.application-autoscaling.amazonaws.com": {role: scaling + "ECSService", policy: "AWSApplicationAutoscalingECSServicePolicy"},
		"elasticloadbalancing.amazonaws.com":        {role: "AWSServiceRoleForElasticLoadBalancing", policy: "AWSElasticLoadBalancingServiceRolePolicy"},
		"autoscaling.amazonaws.com":                 {role: "AWSServiceRoleForAutoScaling", policy: "AutoScalingServiceRolePolicy", suffix: true},
		"spot.amazonaws.com":                        {role: "AWSServiceRoleForEC2Spot", policy: "AWSEC2SpotServiceRolePolicy"},
		"batch.amazonaws.com":                       {role: "AWSServiceRoleForBatch", policy: "BatchServiceRolePolicy"},
		"replication.ecr.amazonaws.com":             {role: "AWSServiceRoleForECRReplication", policy: "ECRReplicationServiceRolePolicy"},
		"pullthroughcache.ecr.amazonaws.com":        {role: "AWSServiceRoleForECRPullThroughCache", policy: "AWSECRPullThroughCache_ServiceRolePolicy"},
		"rds.amazonaws.com":                         {role: "AWSServiceRoleForRDS", policy: "AmazonRDSServiceRolePolicy"},
		"elasticache.amazonaws.com":                 {role: "AWSServiceRoleForElastiCache", policy: "ElastiCacheServiceRolePolicy"},
		"ecs-compute.amazonaws.com":                 {role: "AWSServiceRoleForECSCompute", policy: "AmazonECSComputeServiceRolePolicy"},
	}
}

// CreateServiceLinkedRole implements iamapi.Service.
func (p *Provider) CreateServiceLinkedRole(ctx context.Context, in *iamapi.CreateServiceLinkedRoleInput) (*iamapi.CreateServiceLinkedRoleOutput, error) {
	service := *in.AWSServiceName
	linked, ok := linkedServices()[service]
	if !ok {
		return nil, invalidInput("Berth knows no service-linked role of %s.", service)
	}
	made := &model.Role{
		ID: uniqueID(prefixRole), Name: linked.role, Path: serviceLinkedPath + service + "/", MaxSessionDuration: defaultSession,
		Trust: fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":[%q]},"Action":["sts:AssumeRole"]}]}`, service),
	}
	if in.CustomSuffix != nil {
		if !linked.suffix {
			return nil, invalidInput("Custom suffix is not allowed for %s", service)
		}
		made.Name += "_" + *in.CustomSuffix
	}
	if in.Description != nil {
		made.Description = *in.Description
	}
	if permissions, ok := managed.Find("arn:" + p.scope.Partition + ":iam::aws:policy" + serviceLinkedPolicyPath + linked.policy); ok {
		made.Attached = []string{permissions.ARN}
	}
	if err := p.update(ctx, func(tx *store.Tx) error {
		if records.Roles.Has(tx, made.Key()) {
			return invalidInput("Service role name %s has been taken in this account, please try a different suffix.", made.Name)
		}
		return putRole(tx, made)
	}); err != nil {
		return nil, err
	}
	return &iamapi.CreateServiceLinkedRoleOutput{Role: new(p.roleShape(made))}, nil
}

// A deletion is done when DeleteServiceLinkedRole answers: nothing here depends
// on such a role. Its task id says all of it, sealed, so that nothing has to be
// stored and an id that was made up is not taken for one.

const deletionPurpose = "deletion of a service-linked role"

// DeleteServiceLinkedRole implements iamapi.Service.
func (p *Provider) DeleteServiceLinkedRole(ctx context.Context, in *iamapi.DeleteServiceLinkedRoleInput) (*iamapi.DeleteServiceLinkedRoleOutput, error) {
	var deleted *model.Role
	if err := p.update(ctx, func(tx *store.Tx) error {
		r, err := role(tx, *in.RoleName)
		if err != nil {
			return err
		}
		if !serviceLinked(r) {
			return invalidInput("The role %s is not a service-linked role; use DeleteRole.", r.Name)
		}
		deleted = r
		return p.dropRole(tx, r)
	}); err != nil {
		return nil, err
	}
	sealed, err := p.ring.Seal([]byte(deleted.ID), deletionPurpose)
	if err != nil {
		return nil, fmt.Errorf("seal the id of a deletion: %w", err)
	}
	id := "task" + deleted.Path + deleted.Name + "/" + base64.RawURLEncoding.EncodeToString(sealed)
	return &iamapi.DeleteServiceLinkedRoleOutput{DeletionTaskId: &id}, nil
}

// GetServiceLinkedRoleDeletionStatus implements iamapi.Service.
func (p *Provider) GetServiceLinkedRoleDeletionStatus(_ context.Context, in *iamapi.GetServiceLinkedRoleDeletionStatusInput) (*iamapi.GetServiceLinkedRoleDeletionStatusOutput, error) {
	unknown := noSuch("The deletion task id %s is not valid.", *in.DeletionTaskId)
	part := strings.Split(*in.DeletionTaskId, "/")
	sealed, err := base64.RawURLEncoding.DecodeString(part[len(part)-1])
	if err != nil {
		return nil, unknown
	}
	id, err := p.ring.Open(sealed, deletionPurpose)
	if err != nil {
		return nil, unknown
	}
	for r := range records.Roles.All(p.store.Snapshot()) {
		if slices.Equal([]byte(r.ID), id) {
			return nil, fmt.Errorf("role %s is there after its deletion", r.Name)
		}
	}
	return &iamapi.GetServiceLinkedRoleDeletionStatusOutput{Status: iamapi.DeletionTaskStatusTypeSucceeded}, nil
}
