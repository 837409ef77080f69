package model

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Staging labels of a secret's versions that mean something by themselves.
const (
	StageCurrent  = "AWSCURRENT"
	StagePrevious = "AWSPREVIOUS"
	StagePending  = "AWSPENDING"
)

// Limits of AWS.
const (
	// MaxStages is how many labels a version has at most.
	MaxStages = 20

	keptVersions = 100            // however old they are
	keptFor      = 24 * time.Hour // however many there are
)

// SecretStages says which version has a label: the labels of a secret's
// versions, by label (behaviour/secrets-logs.md §2).
//
// What its methods keep true: a label is on one version at most; as soon as
// there is a version, one has AWSCURRENT; AWSPREVIOUS is never on the version
// that has AWSCURRENT. None of them changes what it is called on.
type SecretStages map[string]string

// Attach returns the labels after version got label. The version that loses
// AWSCURRENT gets AWSPREVIOUS, and loses AWSPENDING: its rotation is over (as
// observed of AWS). The current version does not get AWSPREVIOUS.
func (stages SecretStages) Attach(label, version string) SecretStages {
	after := maps.Clone(stages)
	if after == nil {
		after = SecretStages{}
	}
	if label == StagePrevious && after[StageCurrent] == version {
		return after
	}
	before := after[label]
	after[label] = version
	if label != StageCurrent || before == version {
		return after
	}
	if after[StagePrevious] == version {
		delete(after, StagePrevious)
	}
	if before != "" {
		after[StagePrevious] = before
		if after[StagePending] == before {
			delete(after, StagePending)
		}
	}
	return after
}

// Detach returns the labels after label was removed from its version.
// AWSCURRENT cannot be.
func (stages SecretStages) Detach(label string) SecretStages {
	after := maps.Clone(stages)
	if label != StageCurrent {
		delete(after, label)
	}
	return after
}

// Add returns the labels after a new version came with labels; none means
// AWSCURRENT, which the first version always gets.
func (stages SecretStages) Add(version string, labels []string) SecretStages {
	if len(labels) == 0 || stages[StageCurrent] == "" {
		stages = stages.Attach(StageCurrent, version)
	}
	for _, label := range labels {
		stages = stages.Attach(label, version)
	}
	return stages
}

// Complete returns the labels after a rotation to version has succeeded: it is
// current, and pending no more.
func (stages SecretStages) Complete(version string) SecretStages {
	after := stages.Attach(StageCurrent, version)
	if after[StagePending] == version {
		delete(after, StagePending)
	}
	return after
}

// Of returns the labels of a version, sorted.
func (stages SecretStages) Of(version string) []string {
	var labels []string
	for label, on := range stages {
		if on == version {
			labels = append(labels, label)
		}
	}
	slices.Sort(labels)
	return labels
}

// ByVersion returns the labels by version, each sorted. Versions without
// labels are not in it.
func (stages SecretStages) ByVersion() map[string][]string {
	by := map[string][]string{}
	for _, label := range slices.Sorted(maps.Keys(stages)) {
		by[stages[label]] = append(by[stages[label]], label)
	}
	return by
}

// StagesInUse reports whether a version with these labels is one that is used: it
// is current, was before, or is pending.
func StagesInUse(labels []string) bool {
	return slices.Contains(labels, StageCurrent) || slices.Contains(labels, StagePrevious) || slices.Contains(labels, StagePending)
}

// Rotating reports whether a rotation is not complete: a version other than the
// current one is pending.
func (stages SecretStages) Rotating() bool {
	pending := stages[StagePending]
	return pending != "" && pending != stages[StageCurrent]
}

// Forgotten returns the ids of versions that are not kept any longer: those
// without labels beyond the newest hundred that are older than a day.
func (stages SecretStages) Forgotten(versions []*SecretVersion, now time.Time) []string {
	if len(versions) <= keptVersions {
		return nil
	}
	newest := slices.SortedFunc(slices.Values(versions), func(a, b *SecretVersion) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(b.ID, a.ID))
	})
	labelled := stages.ByVersion()
	var gone []string
	for _, v := range newest[keptVersions:] {
		if _, kept := labelled[v.ID]; !kept && now.Sub(v.CreatedAt) >= keptFor {
			gone = append(gone, v.ID)
		}
	}
	return gone
}
