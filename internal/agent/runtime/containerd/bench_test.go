package containerd

import (
	"crypto/rand"
	"fmt"
	"strings"
	"testing"

	"berth.dev/berth/internal/agent/runtime"
)

// BenchmarkLaunch is Create and Start of one container with the default profile and limits, one at a time.
func BenchmarkLaunch(b *testing.B) {
	h := requireHost(b)
	r := h.connect(b)
	img, err := r.EnsureImage(b.Context(), runtime.ImageRequest{Ref: probeImage})
	if err != nil {
		b.Fatal(err)
	}
	var ids, tasks []string
	for b.Loop() {
		task := strings.ToLower(rand.Text())
		parent, err := r.PrepareTask(b.Context(), runtime.Task{ID: task, CPUUnits: 256, MemoryBytes: 512 << 20})
		if err != nil {
			b.Fatal(err)
		}
		spec := runtime.Spec{
			ID: task + "-0", TaskID: task, Image: img.Name, CgroupParent: parent, Args: []string{"/probe", "sleep"},
		}
		if err := r.Create(b.Context(), spec); err != nil {
			b.Fatal(err)
		}
		if _, err := r.Start(b.Context(), spec.ID); err != nil {
			b.Fatal(err)
		}
		ids, tasks = append(ids, spec.ID), append(tasks, task)
	}
	for i, id := range ids {
		if err := r.Remove(b.Context(), id); err != nil {
			b.Error(fmt.Errorf("container %d: %w", i, err))
		}
		if err := r.RemoveTask(b.Context(), tasks[i]); err != nil {
			b.Error(err)
		}
	}
}
