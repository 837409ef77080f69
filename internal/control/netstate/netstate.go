package netstate

import (
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// Sources returns the sources of the three kinds of documents. They hold no
// state and may be used by many goroutines.
func Sources() (VPCs, Interfaces, SecurityGroups) { return VPCs{}, Interfaces{}, SecurityGroups{} }

// affected collects documents by node, each once.
type affected map[string]map[string]bool

func (a affected) add(instanceID, key string) {
	if instanceID == "" {
		return
	}
	if a[instanceID] == nil {
		a[instanceID] = map[string]bool{}
	}
	a[instanceID][key] = true
}

func (a affected) names() map[string][]string {
	names := make(map[string][]string, len(a))
	for instanceID, keys := range a {
		for key := range keys {
			names[instanceID] = append(names[instanceID], key)
		}
	}
	return names
}

// pair is a record before and after a change; nil where there is none.
func pair[R any](table *store.Table[R], before, after store.Reader, key string) (was, is *R) {
	was, _ = table.Get(before, key)
	is, _ = table.Get(after, key)
	return was, is
}

// nodes yields the nodes that have an interface of id, in the index that is
// by id and node.
func nodes(r store.Reader, index *store.Index[model.NetworkInterface], id string) func(func(string) bool) {
	prefix := records.OnInstance(id, "")
	return func(yield func(string) bool) {
		for value := range records.NetworkInterfaces.Values(r, index, prefix) {
			if !yield(value[len(prefix):]) {
				return
			}
		}
	}
}
