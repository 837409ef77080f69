package staging

import (
	"maps"
	"slices"
	"time"

	"berth.dev/berth/internal/model"
)

// Limits of AWS.
const (
	// MaxLabels is how many labels a version has at most.
	MaxLabels = 20
	// MaxVersions is how many versions are kept however old they are.
	MaxVersions = 100
	// Recent is how long a version is kept however many there are.
	Recent = 24 * time.Hour
)

// Attach returns the labels after version got label. The version that loses
// AWSCURRENT gets AWSPREVIOUS, and loses AWSPENDING: its rotation is over (as
// observed of AWS).
func Attach(stages map[string]string, label, version string) map[string]string {
	after := maps.Clone(stages)
	if after == nil {
		after = map[string]string{}
	}
	before := after[label]
	after[label] = version
	if label != model.StageCurrent || before == version {
		return after
	}
	if after[model.StagePrevious] == version {
		delete(after, model.StagePrevious)
	}
	if before != "" {
		after[model.StagePrevious] = before
		if after[model.StagePending] == before {
			delete(after, model.StagePending)
		}
	}
	return after
}

// Detach returns the labels after label was removed from its version.
// AWSCURRENT cannot be.
func Detach(stages map[string]string, label string) map[string]string {
	after := maps.Clone(stages)
	if label != model.StageCurrent {
		delete(after, label)
	}
	return after
}

// Add returns the labels after a new version came with labels; none means
// AWSCURRENT, which the first version always gets.
func Add(stages map[string]string, version string, labels []string) map[string]string {
	if len(labels) == 0 || stages[model.StageCurrent] == "" {
		stages = Attach(stages, model.StageCurrent, version)
	}
	for _, label := range labels {
		if label == model.StagePrevious && stages[model.StageCurrent] == version {
			continue // it is not the one before itself
		}
		stages = Attach(stages, label, version)
	}
	return stages
}

// Complete returns the labels after a rotation to version has succeeded: it is
// current, and pending no more.
func Complete(stages map[string]string, version string) map[string]string {
	after := Attach(stages, model.StageCurrent, version)
	if after[model.StagePending] == version {
		delete(after, model.StagePending)
	}
	return after
}

// Of returns the labels of a version, sorted.
func Of(stages map[string]string, version string) []string {
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
func ByVersion(stages map[string]string) map[string][]string {
	by := map[string][]string{}
	for _, label := range slices.Sorted(maps.Keys(stages)) {
		by[stages[label]] = append(by[stages[label]], label)
	}
	return by
}

// Working reports whether a version with these labels is one that is used: it
// is current, was before, or is pending.
func Working(labels []string) bool {
	return slices.Contains(labels, model.StageCurrent) || slices.Contains(labels, model.StagePrevious) || slices.Contains(labels, model.StagePending)
}

// Pending reports whether a rotation is not complete: a version other than the
// current one is pending.
func Pending(stages map[string]string) bool {
	pending := stages[model.StagePending]
	return pending != "" && pending != stages[model.StageCurrent]
}

// Forgotten returns the ids of versions that are not kept any longer: those
// without labels beyond the newest hundred that are older than a day.
func Forgotten(versions []*model.SecretVersion, stages map[string]string, now time.Time) []string {
	if len(versions) <= MaxVersions {
		return nil
	}
	newest := slices.SortedFunc(slices.Values(versions), func(a, b *model.SecretVersion) int { return b.CreatedAt.Compare(a.CreatedAt) })
	labelled := ByVersion(stages)
	var gone []string
	for _, v := range newest[MaxVersions:] {
		if _, kept := labelled[v.ID]; !kept && now.Sub(v.CreatedAt) >= Recent {
			gone = append(gone, v.ID)
		}
	}
	return gone
}
