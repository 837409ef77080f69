package dispatch

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/grpc"

	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/wire/nodeapi"
)

// Source derives one kind of document from records: what nodes must make true
// besides their tasks. It must be safe to be called by many sessions at once.
type Source interface {
	// Kind is one of model.Document….
	Kind() string
	// Tables are those that the documents are derived from.
	Tables() []store.AnyTable
	// Keys names all documents of a node.
	Keys(r store.Reader, instanceID string) []string
	// Affected names, by node, the documents that a change may have changed,
	// appeared or gone. It may name too many, never too few.
	Affected(before, after store.Reader, change store.Change) map[string][]string
	// Document is what the node must make true; false: it has no such document.
	Document(r store.Reader, instanceID, key string) (any, bool)
}

// Sink takes what nodes observe of one kind of thing.
type Sink interface {
	// Observed records the newest observation. An error ends the node's
	// session; the next one begins with the same observation.
	Observed(ctx context.Context, instanceID, key string, body []byte) error
}

// documentKey names a document, or an observation, of any kind.
type documentKey struct{ kind, key string }

// sourceOf finds the source of a kind.
func (d *Dispatcher) sourceOf(kind string) Source {
	for _, s := range d.cfg.Sources {
		if s.Kind() == kind {
			return s
		}
	}
	return nil
}

// notifyDocuments tells sessions which of their documents a change may have
// changed.
func (d *Dispatcher) notifyDocuments(before, after store.Reader, change store.Change) {
	for _, source := range d.cfg.Sources {
		if !slices.ContainsFunc(source.Tables(), func(t store.AnyTable) bool { return t.Name() == change.Table }) {
			continue
		}
		for instanceID, keys := range source.Affected(before, after, change) {
			d.mu.Lock()
			s := d.sessions[instanceID]
			d.mu.Unlock()
			if s != nil {
				s.documentsChanged(source.Kind(), keys)
			}
		}
	}
}

func (s *session) documentsChanged(kind string, keys []string) {
	s.mu.Lock()
	for _, key := range keys {
		s.stale[documentKey{kind, key}] = true
	}
	s.mu.Unlock()
	signal(s.wake)
}

// sendDocuments sends the named documents as they are now, those that the node
// has already excepted. The complete set is sent even when it is empty.
func (d *Dispatcher) sendDocuments(ctx context.Context, s *session, snap *store.Snapshot, names []documentKey, complete bool, stream grpc.BidiStreamingServer[nodeapi.NodeMessage, nodeapi.ServerMessage]) error {
	out := &nodeapi.Documents{Complete: complete}
	for _, name := range names {
		var body []byte
		if document, ok := d.sourceOf(name.kind).Document(snap, s.instanceID, name.key); ok {
			var err error
			if body, err = json.Marshal(document); err != nil {
				return fmt.Errorf("encoding the %s %s: %w", name.kind, name.key, err)
			}
		}
		if bytes.Equal(body, s.documents[name]) {
			continue
		}
		if body == nil {
			delete(s.documents, name)
		} else {
			s.documents[name] = body
		}
		out.Documents = append(out.Documents, &nodeapi.Document{Kind: name.kind, Key: name.key, Body: body})
	}
	if len(out.Documents) == 0 && !complete {
		return nil
	}
	d.cfg.Log.DebugContext(ctx, "sending documents", telemetry.InstanceID, s.instanceID, "documents", len(out.Documents), "complete", complete)
	return stream.Send(&nodeapi.ServerMessage{Message: &nodeapi.ServerMessage_Documents{Documents: out}})
}

// allDocuments names everything that the node must make true.
func (d *Dispatcher) allDocuments(snap *store.Snapshot, instanceID string) []documentKey {
	var names []documentKey
	for _, source := range d.cfg.Sources {
		for _, key := range source.Keys(snap, instanceID) {
			names = append(names, documentKey{source.Kind(), key})
		}
	}
	return names
}

// takeStale returns the documents that may have changed since the last call,
// in a fixed order.
func (s *session) takeStale() []documentKey {
	s.mu.Lock()
	stale := s.stale
	s.stale = map[documentKey]bool{}
	s.mu.Unlock()
	return slices.SortedFunc(maps.Keys(stale), documentKey.compare)
}

func (k documentKey) compare(other documentKey) int {
	return slices.Compare([]string{k.kind, k.key}, []string{other.kind, other.key})
}

// absorbObservations hands what the node observes to those who record it.
func (d *Dispatcher) absorbObservations(ctx context.Context, s *session) error {
	for {
		select {
		case <-s.noticed:
		case <-ctx.Done():
			return ctx.Err()
		}
		s.mu.Lock()
		observations := s.observations
		s.observations, s.observedBytes = map[documentKey][]byte{}, 0
		s.mu.Unlock()
		for _, name := range slices.SortedFunc(maps.Keys(observations), documentKey.compare) {
			sink, ok := d.cfg.Sinks[name.kind]
			if !ok {
				d.cfg.Log.WarnContext(ctx, "a node reports what nobody records", telemetry.InstanceID, s.instanceID, "kind", name.kind)
				continue
			}
			if err := sink.Observed(ctx, s.instanceID, name.key, observations[name]); err != nil {
				return fmt.Errorf("recording the %s %s of node %s: %w", name.kind, name.key, s.instanceID, err)
			}
		}
	}
}
