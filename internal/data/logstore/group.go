package logstore

import (
	"context"
	"fmt"
	"iter"
	"maps"

	"github.com/cockroachdb/pebble/v2"
)

// GroupSettings is what users decide about a log group.
type GroupSettings struct {
	// RetentionDays is how long events are kept after their timestamp; zero
	// keeps them for ever.
	RetentionDays int               `json:"retentionDays,omitempty"`
	Tags          map[string]string `json:"tags,omitempty"`
	// Class is AWS's log group class; empty means STANDARD.
	Class string `json:"class,omitempty"`
	// DeletionProtection makes DeleteGroup fail with ErrProtected.
	DeletionProtection bool `json:"deletionProtection,omitempty"`
}

// Group is a log group as it is now. It is the caller's copy.
type Group struct {
	Name    string
	Created int64 // milliseconds since the epoch
	GroupSettings
	// StoredBytes counts messages with EventOverhead each, events that expired
	// but are still on disk included.
	StoredBytes int64
}

// CreateGroup makes a group, or returns ErrGroupExists.
func (s *Store) CreateGroup(ctx context.Context, name string, settings GroupSettings) error {
	settings.Tags = maps.Clone(settings.Tags)
	return s.submit(ctx, true, len(name), func(c *commit) error {
		e, err := c.group(name)
		if err != nil {
			return err
		}
		if e.value != nil {
			return fmt.Errorf("%w: %s", ErrGroupExists, name)
		}
		c.createGroup(e, settings)
		return nil
	})
}

func (c *commit) createGroup(e *entry[*groupRecord], settings GroupSettings) {
	e.set(&groupRecord{ID: c.newID(), Created: c.now, GroupSettings: settings})
}

// UpdateGroup changes the settings of a group: edit gets the present ones and
// leaves the new ones. When edit returns an error nothing changes and the error
// is returned. It runs alone, so it must be short and must not call the store.
func (s *Store) UpdateGroup(ctx context.Context, name string, edit func(*GroupSettings) error) error {
	return s.submit(ctx, false, 0, func(c *commit) error {
		e, err := c.existing(name)
		if err != nil {
			return err
		}
		edited := *e.value
		edited.Tags = maps.Clone(edited.Tags)
		if err := edit(&edited.GroupSettings); err != nil {
			return err
		}
		e.set(&edited)
		return nil
	})
}

// DeleteGroup removes a group with its streams and events. It returns
// ErrGroupNotFound or ErrProtected.
func (s *Store) DeleteGroup(ctx context.Context, name string) error {
	return s.submit(ctx, false, 0, func(c *commit) error {
		e, err := c.existing(name)
		if err != nil {
			return err
		}
		if e.value.DeletionProtection {
			return fmt.Errorf("%w: %s", ErrProtected, name)
		}
		gid := e.value.ID
		c.forget(gid)
		for _, kind := range []byte{kindStream, kindMark, kindEvent} {
			prefix := key(kind, gid)
			_ = c.batch.DeleteRange(prefix, prefixEnd(prefix), nil)
		}
		_ = c.batch.Delete(key(kindBytes, gid), nil)
		e.set(nil)
		return nil
	})
}

// Group returns one group, or ErrGroupNotFound.
func (s *Store) Group(name string) (Group, error) {
	if err := s.enter(); err != nil {
		return Group{}, err
	}
	defer s.readers.Done()
	record, err := findGroup(s.db, name)
	if err != nil {
		return Group{}, err
	}
	return present(s.db, name, record)
}

// findGroup reads a group that must be there.
func findGroup(r pebble.Reader, name string) (*groupRecord, error) {
	value, err := get(r, groupKey(name))
	if err != nil {
		return nil, err
	}
	if value == nil {
		return nil, fmt.Errorf("%w: %s", ErrGroupNotFound, name)
	}
	return decodeGroup(value)
}

func present(r pebble.Reader, name string, record *groupRecord) (Group, error) {
	bytes, err := getUint64(r, key(kindBytes, record.ID))
	if err != nil {
		return Group{}, err
	}
	return Group{
		Name: name, Created: record.Created, GroupSettings: record.GroupSettings, StoredBytes: int64(bytes),
	}, nil
}

// Groups yields the groups whose names begin with prefix and come after the
// name given, in byte order of their names. An error ends it.
func (s *Store) Groups(ctx context.Context, prefix, after string) iter.Seq2[Group, error] {
	return func(yield func(Group, error) bool) {
		lower, upper := groupKey(prefix), prefixEnd(groupKey(prefix))
		if after >= prefix {
			lower = maxKey(lower, append(groupKey(after), 0))
		}
		err := s.walk(ctx, lower, upper, false, func(k, v []byte) (bool, error) {
			record, err := decodeGroup(v)
			if err != nil {
				return false, err
			}
			group, err := present(s.db, string(k[1:]), record)
			if err != nil {
				return false, err
			}
			return yield(group, nil), nil
		})
		if err != nil {
			yield(Group{}, err)
		}
	}
}
