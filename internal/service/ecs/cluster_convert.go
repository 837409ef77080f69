package ecs

import (
	"strconv"

	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

// attachmentsComplete is the state of a cluster's capacity providers: Berth's
// need no preparation.
const attachmentsComplete = "UPDATE_COMPLETE"

func (p *Provider) clusterOut(r store.Reader, c *model.Cluster, fields clusterFields) ecsapi.Cluster {
	n := countCluster(r, c.Name)
	out := ecsapi.Cluster{
		ClusterArn: &c.ARN, ClusterName: &c.Name, Status: &c.Status,
		RegisteredContainerInstancesCount: &n.instances,
		RunningTasksCount:                 new(n.runningEC2 + n.runningFargate),
		PendingTasksCount:                 new(n.pendingEC2 + n.pendingFargate),
		ActiveServicesCount:               new(n.activeEC2Services + n.activeFargateServices),
		Statistics:                        []ecsapi.KeyValuePair{},
		Tags:                              []ecsapi.Tag{},
		Settings:                          []ecsapi.ClusterSetting{},
		CapacityProviders:                 every(c.CapacityProviders, func(s string) string { return s }),
		DefaultCapacityProviderStrategy:   every(c.DefaultCapacityProviderStrategy, strategyOut),
	}
	if c.ServiceConnectNamespace != "" {
		out.ServiceConnectDefaults = &ecsapi.ClusterServiceConnectDefaults{Namespace: &c.ServiceConnectNamespace}
	}
	if fields.statistics {
		out.Statistics = statistics(n)
	}
	if fields.tags {
		out.Tags = every(c.Tags, tagOut)
	}
	if fields.settings {
		out.Settings = every(c.Settings, func(s model.Setting) ecsapi.ClusterSetting {
			return ecsapi.ClusterSetting{Name: ecsapi.ClusterSettingName(s.Name), Value: &s.Value}
		})
	}
	if fields.configuration {
		out.Configuration = the(c.Configuration, configurationOut)
	}
	if fields.attachments && len(c.CapacityProviders) > 0 {
		out.Attachments, out.AttachmentsStatus = []ecsapi.Attachment{}, new(attachmentsComplete)
	}
	return out
}

// statistics shows every count by launch type. There are no external instances
// yet, so theirs are zero.
func statistics(n counts) []ecsapi.KeyValuePair {
	list := []struct {
		name  string
		count int32
	}{
		{"runningEC2TasksCount", n.runningEC2},
		{"runningFargateTasksCount", n.runningFargate},
		{"pendingEC2TasksCount", n.pendingEC2},
		{"pendingFargateTasksCount", n.pendingFargate},
		{"runningExternalTasksCount", 0},
		{"pendingExternalTasksCount", 0},
		{"activeEC2ServiceCount", n.activeEC2Services},
		{"activeFargateServiceCount", n.activeFargateServices},
		{"drainingEC2ServiceCount", n.drainingEC2Services},
		{"drainingFargateServiceCount", n.drainingFargateServices},
		{"activeExternalServiceCount", 0},
		{"drainingExternalServiceCount", 0},
	}
	out := make([]ecsapi.KeyValuePair, 0, len(list))
	for _, s := range list {
		out = append(out, ecsapi.KeyValuePair{Name: &s.name, Value: new(strconv.Itoa(int(s.count)))})
	}
	return out
}

func configurationIn(c ecsapi.ClusterConfiguration) model.ClusterConfiguration {
	return model.ClusterConfiguration{
		ExecuteCommand: the(c.ExecuteCommandConfiguration, func(e ecsapi.ExecuteCommandConfiguration) model.ExecuteCommandConfiguration {
			return model.ExecuteCommandConfiguration{
				KMSKeyID: value(e.KmsKeyId), Logging: string(e.Logging),
				LogConfiguration: the(e.LogConfiguration, func(l ecsapi.ExecuteCommandLogConfiguration) model.ExecuteCommandLogConfiguration {
					return model.ExecuteCommandLogConfiguration{
						CloudWatchLogGroupName: value(l.CloudWatchLogGroupName), CloudWatchEncryptionEnabled: l.CloudWatchEncryptionEnabled,
						S3BucketName: value(l.S3BucketName), S3EncryptionEnabled: l.S3EncryptionEnabled, S3KeyPrefix: value(l.S3KeyPrefix),
					}
				}),
			}
		}),
		ManagedStorage: the(c.ManagedStorageConfiguration, func(m ecsapi.ManagedStorageConfiguration) model.ManagedStorageConfiguration {
			return model.ManagedStorageConfiguration{
				KMSKeyID: value(m.KmsKeyId), FargateEphemeralStorageKMSKeyID: value(m.FargateEphemeralStorageKmsKeyId),
			}
		}),
	}
}

func configurationOut(c model.ClusterConfiguration) ecsapi.ClusterConfiguration {
	return ecsapi.ClusterConfiguration{
		ExecuteCommandConfiguration: the(c.ExecuteCommand, func(e model.ExecuteCommandConfiguration) ecsapi.ExecuteCommandConfiguration {
			return ecsapi.ExecuteCommandConfiguration{
				KmsKeyId: optional(e.KMSKeyID), Logging: ecsapi.ExecuteCommandLogging(e.Logging),
				LogConfiguration: the(e.LogConfiguration, func(l model.ExecuteCommandLogConfiguration) ecsapi.ExecuteCommandLogConfiguration {
					return ecsapi.ExecuteCommandLogConfiguration{
						CloudWatchLogGroupName: optional(l.CloudWatchLogGroupName), CloudWatchEncryptionEnabled: l.CloudWatchEncryptionEnabled,
						S3BucketName: optional(l.S3BucketName), S3EncryptionEnabled: l.S3EncryptionEnabled, S3KeyPrefix: optional(l.S3KeyPrefix),
					}
				}),
			}
		}),
		ManagedStorageConfiguration: the(c.ManagedStorage, func(m model.ManagedStorageConfiguration) ecsapi.ManagedStorageConfiguration {
			return ecsapi.ManagedStorageConfiguration{
				KmsKeyId: optional(m.KMSKeyID), FargateEphemeralStorageKmsKeyId: optional(m.FargateEphemeralStorageKMSKeyID),
			}
		}),
	}
}
