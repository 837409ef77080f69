package records

import (
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// Volumes.
var (
	EBSVolumes = store.NewTable("ebsvolumes", (*model.EBSVolume).Key, EBSVolumesByTask, EBSVolumesByInstance)
	// EBSVolumesByTask finds a task's volume by the task's id.
	EBSVolumesByTask = store.NewIndex("task", func(v *model.EBSVolume) []string { return []string{v.TaskID} })
	// EBSVolumesByInstance finds the volumes that a node keeps.
	EBSVolumesByInstance = store.NewIndex("instance", func(v *model.EBSVolume) []string { return []string{v.InstanceID} })
)
