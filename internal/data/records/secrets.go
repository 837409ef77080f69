package records

import (
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// Keys, secrets and parameters.
var (
	KMSKeys    = store.NewTable("kmskeys", (*model.KMSKey).Key)
	KMSAliases = store.NewTable("kmsaliases", (*model.KMSAlias).Key, KMSAliasesByKey)
	// KMSAliasesByKey finds the aliases of a key by its id.
	KMSAliasesByKey = store.NewGuardedIndex("key", func(a *model.KMSAlias) []string { return []string{a.KeyID} })

	Secrets = store.NewTable("secrets", (*model.Secret).Key, SecretsByARN, SecretsByRotationTask)
	// SecretsByARN finds a secret by its whole ARN.
	SecretsByARN = store.NewIndex("arn", func(s *model.Secret) []string { return []string{s.ARN} })
	// SecretsByRotationTask finds the secret that a task rotates, by the
	// task's id.
	SecretsByRotationTask = store.NewIndex("rotationtask", func(s *model.Secret) []string {
		if s.Rotation == nil || s.Rotation.TaskID == "" {
			return nil
		}
		return []string{s.Rotation.TaskID}
	})
	// SecretVersions has those of a secret next to each other.
	SecretVersions = store.NewTable("secretversions", (*model.SecretVersion).Key)

	Parameters = store.NewTable("parameters", (*model.Parameter).Key)
	// ParameterVersions has those of a parameter next to each other, oldest
	// first.
	ParameterVersions = store.NewTable("parameterversions", (*model.ParameterVersion).Key)
)
