package model

import "slices"

// Tag is a label that a user puts on a resource.
type Tag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// MergeTags puts changes over base, by key.
func MergeTags(base, changes []Tag) []Tag {
	merged := slices.Clone(base)
	for _, change := range changes {
		i := slices.IndexFunc(merged, func(t Tag) bool { return t.Key == change.Key })
		if i < 0 {
			merged = append(merged, change)
			continue
		}
		merged[i] = change
	}
	return merged
}
