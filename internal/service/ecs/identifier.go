package ecs

import (
	"regexp"
	"slices"
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// DefaultCluster is the cluster of calls that name none.
const DefaultCluster = "default"

var namePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)

// resource returns the path of an ARN of this account and region, which has at
// least one element. Names that are no ARN are returned as they are, as the
// only element.
func (p *Provider) resource(kind, ref string) ([]string, error) {
	if !arn.Is(ref) {
		return []string{ref}, nil
	}
	parsed, err := arn.Parse(ref)
	if err != nil || parsed.Service != "ecs" || parsed.Type() != kind {
		return nil, parameterError("Invalid identifier: '%s' is not the ARN of a %s.", ref, strings.ReplaceAll(kind, "-", " "))
	}
	if parsed.Region != p.scope.Region {
		return nil, parameterError("Invalid identifier: Region of the ARN '%s' is not %s.", ref, p.scope.Region)
	}
	if parsed.AccountID != p.scope.AccountID {
		return nil, parameterError("AccountIDs mismatch")
	}
	path := parsed.Path()
	if len(path) == 0 || slices.Contains(path, "") {
		return nil, parameterError("Invalid identifier: '%s'", ref)
	}
	return path, nil
}

// clusterName returns the name that a cluster parameter means.
func (p *Provider) clusterName(ref *string) (string, error) {
	if value(ref) == "" {
		return DefaultCluster, nil
	}
	path, err := p.resource("cluster", *ref)
	if err != nil {
		return "", err
	}
	if len(path) != 1 {
		return "", parameterError("Invalid identifier: '%s'", *ref)
	}
	return path[0], nil
}

// cluster finds the cluster that a parameter means, in any state.
func (p *Provider) cluster(r store.Reader, ref *string) (*model.Cluster, error) {
	name, err := p.clusterName(ref)
	if err != nil {
		return nil, err
	}
	c, found := records.Clusters.Get(r, name)
	if !found {
		return nil, clusterNotFound()
	}
	return c, nil
}

// activeCluster finds a cluster that can be used and changed.
func (p *Provider) activeCluster(r store.Reader, ref *string) (*model.Cluster, error) {
	c, err := p.cluster(r, ref)
	if err != nil {
		return nil, err
	}
	if c.Status != model.ClusterActive {
		return nil, clusterInactive()
	}
	return c, nil
}

// memberID returns the id that ref, an id or an ARN, names within a cluster.
func (p *Provider) memberID(kind, cluster, ref string) (string, error) {
	path, err := p.resource(kind, ref)
	if err != nil {
		return "", err
	}
	id := path[len(path)-1]
	if len(path) == 2 && path[0] != cluster {
		return "", parameterError("Invalid identifier: Identifier is for cluster %s. Your cluster is %s", path[0], cluster)
	}
	if len(path) > 2 {
		return "", parameterError("Invalid identifier: '%s'", ref)
	}
	return id, nil
}

// taskID is memberID for tasks, whose ids have 32 digits, or 36 as the UUIDs
// of old ones.
func (p *Provider) taskID(cluster, ref string) (string, error) {
	id, err := p.memberID("task", cluster, ref)
	if err != nil {
		return "", err
	}
	if len(id) != 32 && len(id) != 36 {
		return "", parameterError("taskId length should be one of [32,36]")
	}
	return id, nil
}
