package ecs

import (
	"context"
	"slices"
	"strings"

	"berth.dev/berth/internal/data/launch"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

const maxClustersDescribed = 100

// EnsureDefaultCluster makes the cluster "default" when no cluster of that
// name was ever made. A user who deleted it keeps it deleted.
func (p *Provider) EnsureDefaultCluster(ctx context.Context) error {
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		if !records.Clusters.Has(tx, DefaultCluster) {
			records.Clusters.Put(tx, p.newCluster(tx, DefaultCluster))
		}
		return nil
	})
	return err
}

func (p *Provider) newCluster(tx *store.Tx, name string) *model.Cluster {
	return &model.Cluster{
		Name: name, ARN: p.scope.Cluster(name), Status: model.ClusterActive, CreatedAt: tx.Now(),
		Settings: []model.Setting{{Name: settingContainerInsights, Value: p.effectiveSetting(tx, p.scope.Root(), settingContainerInsights)}},
	}
}

// CreateCluster implements ecsapi.Service. Creating a cluster that is ACTIVE
// returns it as it is.
func (p *Provider) CreateCluster(ctx context.Context, in *ecsapi.CreateClusterInput) (*ecsapi.CreateClusterOutput, error) {
	name := DefaultCluster
	if value(in.ClusterName) != "" {
		name = *in.ClusterName
	}
	if !namePattern.MatchString(name) {
		return nil, parameterError("Cluster name contains invalid characters.")
	}
	tags := each(in.Tags, tagIn)
	if err := checkTags(tags); err != nil {
		return nil, err
	}
	if in.ServiceConnectDefaults != nil {
		return nil, refuseNamespace()
	}
	var cluster *model.Cluster
	if _, err := p.store.Update(ctx, func(tx *store.Tx) error {
		if existing, found := records.Clusters.Get(tx, name); found && existing.Status == model.ClusterActive {
			cluster = existing
			return nil
		}
		cluster = p.newCluster(tx, name)
		cluster.Tags = tags
		if err := applySettings(cluster, in.Settings); err != nil {
			return err
		}
		if err := applyConfiguration(cluster, in.Configuration); err != nil {
			return err
		}
		if err := applyProviders(cluster, in.CapacityProviders, in.DefaultCapacityProviderStrategy); err != nil {
			return err
		}
		records.Clusters.Put(tx, cluster)
		return nil
	}); err != nil {
		return nil, err
	}
	all := clusterFields{settings: true, tags: true, configuration: true, attachments: true}
	return &ecsapi.CreateClusterOutput{Cluster: new(p.clusterOut(p.store.Snapshot(), cluster, all))}, nil
}

// DescribeClusters implements ecsapi.Service.
func (p *Provider) DescribeClusters(_ context.Context, in *ecsapi.DescribeClustersInput) (*ecsapi.DescribeClustersOutput, error) {
	refs := in.Clusters
	if len(refs) == 0 {
		refs = []string{DefaultCluster}
	}
	if len(refs) > maxClustersDescribed {
		return nil, parameterError("clusters can have at most %d items.", maxClustersDescribed)
	}
	fields, err := clusterFieldsOf(in.Include)
	if err != nil {
		return nil, err
	}
	out := &ecsapi.DescribeClustersOutput{Clusters: []ecsapi.Cluster{}, Failures: []ecsapi.Failure{}}
	snap := p.store.Snapshot()
	for _, ref := range refs {
		name, err := p.clusterName(&ref)
		if err != nil {
			return nil, err
		}
		c, found := records.Clusters.Get(snap, name)
		if !found {
			out.Failures = append(out.Failures, missing(p.scope.Cluster(name)))
			continue
		}
		out.Clusters = append(out.Clusters, p.clusterOut(snap, c, fields))
	}
	return out, nil
}

// ListClusters implements ecsapi.Service.
func (p *Provider) ListClusters(_ context.Context, in *ecsapi.ListClustersInput) (*ecsapi.ListClustersOutput, error) {
	limit, err := pageSize(in.MaxResults, 100, 100)
	if err != nil {
		return nil, err
	}
	arns := []string{}
	for c := range records.Clusters.All(p.store.Snapshot()) {
		if c.Status != model.ClusterInactive {
			arns = append(arns, c.ARN)
		}
	}
	page, next, err := pageOf("ListClusters", arns, strings.Clone, in.NextToken, limit, ascending)
	if err != nil {
		return nil, err
	}
	return &ecsapi.ListClustersOutput{ClusterArns: page, NextToken: next}, nil
}

// UpdateCluster implements ecsapi.Service. What is left out stays as it is.
func (p *Provider) UpdateCluster(ctx context.Context, in *ecsapi.UpdateClusterInput) (*ecsapi.UpdateClusterOutput, error) {
	c, err := p.editCluster(ctx, in.Cluster, func(_ *store.Tx, c *model.Cluster) error {
		if d := in.ServiceConnectDefaults; d != nil {
			if value(d.Namespace) != "" {
				return refuseNamespace()
			}
			c.ServiceConnectNamespace = ""
		}
		if err := applySettings(c, in.Settings); err != nil {
			return err
		}
		return applyConfiguration(c, in.Configuration)
	})
	if err != nil {
		return nil, err
	}
	return &ecsapi.UpdateClusterOutput{Cluster: c}, nil
}

// UpdateClusterSettings implements ecsapi.Service.
func (p *Provider) UpdateClusterSettings(ctx context.Context, in *ecsapi.UpdateClusterSettingsInput) (*ecsapi.UpdateClusterSettingsOutput, error) {
	if len(in.Settings) == 0 {
		return nil, parameterError("settings can not be empty.")
	}
	c, err := p.editCluster(ctx, in.Cluster, func(_ *store.Tx, c *model.Cluster) error { return applySettings(c, in.Settings) })
	if err != nil {
		return nil, err
	}
	return &ecsapi.UpdateClusterSettingsOutput{Cluster: c}, nil
}

// editCluster changes an ACTIVE cluster and returns it as the updates show it.
func (p *Provider) editCluster(ctx context.Context, ref *string, edit func(*store.Tx, *model.Cluster) error) (*ecsapi.Cluster, error) {
	var name string
	if _, err := p.store.Update(ctx, func(tx *store.Tx) error {
		c, err := p.activeCluster(tx, ref)
		if err != nil {
			return err
		}
		name = c.Name
		return records.Clusters.Edit(tx, name, func(c *model.Cluster) error { return edit(tx, c) })
	}); err != nil {
		return nil, err
	}
	snap := p.store.Snapshot()
	c, found := records.Clusters.Get(snap, name)
	if !found {
		return nil, clusterNotFound()
	}
	return new(p.clusterOut(snap, c, clusterFields{settings: true, configuration: true, attachments: true, tags: true})), nil
}

// DeleteCluster implements ecsapi.Service. The cluster stays describable as
// INACTIVE. That nothing came into it meanwhile is guarded, not only read.
func (p *Provider) DeleteCluster(ctx context.Context, in *ecsapi.DeleteClusterInput) (*ecsapi.DeleteClusterOutput, error) {
	var deleted *model.Cluster
	if _, err := p.store.Update(ctx, func(tx *store.Tx) error {
		c, err := p.activeCluster(tx, in.Cluster)
		if err != nil {
			return err
		}
		records.Instances.GuardIndex(tx, records.InstancesByCluster, c.Name)
		for i := range records.Instances.By(tx, records.InstancesByCluster, c.Name) {
			if i.Status != model.InstanceInactive {
				return &ecsapi.ClusterContainsContainerInstancesException{Message: new("The Cluster cannot be deleted while Container Instances are active or draining.")}
			}
		}
		records.Services.GuardIndex(tx, records.ServicesByCluster, c.Name)
		if records.Services.HasBy(tx, records.ServicesByCluster, c.Name) {
			return &ecsapi.ClusterContainsServicesException{Message: new("The Cluster cannot be deleted while Services are active.")}
		}
		records.Tasks.GuardIndex(tx, records.TasksByCluster, c.Name)
		for t := range records.Tasks.By(tx, records.TasksByCluster, c.Name) {
			if !t.Stopped() {
				return &ecsapi.ClusterContainsTasksException{Message: new("The Cluster cannot be deleted while Tasks are active.")}
			}
		}
		return records.Clusters.Edit(tx, c.Name, func(c *model.Cluster) error {
			c.Status = model.ClusterInactive
			deleted = c
			return nil
		})
	}); err != nil {
		return nil, err
	}
	all := clusterFields{settings: true, tags: true, configuration: true, attachments: true}
	return &ecsapi.DeleteClusterOutput{Cluster: new(p.clusterOut(p.store.Snapshot(), deleted, all))}, nil
}

// refuseNamespace: a Service Connect default would be kept without effect.
func refuseNamespace() error {
	return parameterError("serviceConnectDefaults is not supported: Berth does not have Cloud Map namespaces yet.")
}

func applySettings(c *model.Cluster, settings []ecsapi.ClusterSetting) error {
	for _, s := range settings {
		if string(s.Name) != settingContainerInsights {
			return parameterError("Invalid cluster setting name: '%s'. Valid values: containerInsights.", s.Name)
		}
		if v := value(s.Value); !slices.Contains(accountSettings[settingContainerInsights].values, v) {
			return parameterError("Invalid cluster setting value: '%s'. Valid values: enabled, disabled, enhanced.", v)
		}
		c.Settings = []model.Setting{{Name: settingContainerInsights, Value: *s.Value}}
	}
	return nil
}

func applyConfiguration(c *model.Cluster, given *ecsapi.ClusterConfiguration) error {
	if given == nil {
		return nil
	}
	configuration := configurationIn(*given)
	if m := configuration.ManagedStorage; m != nil && (m.KMSKeyID != "" || m.FargateEphemeralStorageKMSKeyID != "") {
		return parameterError("managedStorageConfiguration is not supported: Berth does not have KMS keys yet.")
	}
	if e := configuration.ExecuteCommand; e != nil {
		if e.KMSKeyID != "" {
			return parameterError("executeCommandConfiguration.kmsKeyId is not supported: Berth's data channels are encrypted by TLS only.")
		}
		switch e.Logging {
		case "":
			e.Logging = "DEFAULT"
		case "NONE", "DEFAULT":
		case "OVERRIDE":
			if e.LogConfiguration == nil {
				return parameterError("logConfiguration must be specified when logging is OVERRIDE.")
			}
		default:
			return parameterError("Invalid value for logging: '%s'. Valid values: NONE, DEFAULT, OVERRIDE.", e.Logging)
		}
	}
	c.Configuration = &configuration
	return nil
}

// clusterFields are the parts of a cluster that are shown on request.
type clusterFields struct{ attachments, configuration, settings, statistics, tags bool }

func clusterFieldsOf(include []ecsapi.ClusterField) (clusterFields, error) {
	var f clusterFields
	for _, field := range include {
		switch field {
		case ecsapi.ClusterFieldAttachments:
			f.attachments = true
		case ecsapi.ClusterFieldConfigurations:
			f.configuration = true
		case ecsapi.ClusterFieldSettings:
			f.settings = true
		case ecsapi.ClusterFieldStatistics:
			f.statistics = true
		case ecsapi.ClusterFieldTags:
			f.tags = true
		default:
			return f, parameterError("Invalid value for include: '%s'. Valid values: ATTACHMENTS, CONFIGURATIONS, SETTINGS, STATISTICS, TAGS.", field)
		}
	}
	return f, nil
}

// counts are what is derived from the tasks and instances of a cluster.
type counts struct {
	instances                                              int32
	runningEC2, runningFargate, pendingEC2, pendingFargate int32

	activeEC2Services, activeFargateServices, drainingEC2Services, drainingFargateServices int32
}

func countCluster(r store.Reader, name string) counts {
	var n counts
	for i := range records.Instances.By(r, records.InstancesByCluster, name) {
		if i.Status != model.InstanceInactive {
			n.instances++
		}
	}
	running := model.TaskStatusRank(model.TaskRunning)
	for t := range records.Tasks.By(r, records.TasksByCluster, name) {
		rank, fargate := model.TaskStatusRank(t.LastStatus()), t.LaunchType == model.LaunchFargate
		switch {
		case rank == running && fargate:
			n.runningFargate++
		case rank == running:
			n.runningEC2++
		case rank < running && fargate:
			n.pendingFargate++
		case rank < running:
			n.pendingEC2++
		}
	}
	for s := range records.Services.By(r, records.ServicesByCluster, name) {
		fargate := launch.LaunchType(s.Revision) == model.LaunchFargate
		switch {
		case s.Status == model.ServiceActive && fargate:
			n.activeFargateServices++
		case s.Status == model.ServiceActive:
			n.activeEC2Services++
		case fargate:
			n.drainingFargateServices++
		default:
			n.drainingEC2Services++
		}
	}
	return n
}
