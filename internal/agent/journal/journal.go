package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"berth.dev/berth/internal/agent/task"
)

var _ task.Journal = (*Journal)(nil)

var bucket = []byte("tasks.v1")

// Journal is the file. Close it when the agent ends.
type Journal struct{ db *bbolt.DB }

// Open opens or makes the file. Another agent that has it open is an error:
// two agents must never run one journal.
func Open(path string) (*Journal, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, FreelistType: bbolt.FreelistMapType})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("the journal %s is in use by another agent", path)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the journal %s: %w", path, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("preparing the journal %s: %w", path, err), db.Close())
	}
	return &Journal{db: db}, nil
}

// Put writes the records; each replaces what the journal had of its task.
func (j *Journal) Put(records []task.Record) error {
	return j.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		for _, r := range records {
			data, err := json.Marshal(r)
			if err != nil {
				return fmt.Errorf("encoding task %s: %w", r.Assignment.Task.ID, err)
			}
			if err := b.Put([]byte(r.Assignment.Task.ID), data); err != nil {
				return err
			}
		}
		return nil
	})
}

// Delete forgets a task; forgetting what is not there succeeds.
func (j *Journal) Delete(taskID string) error {
	return j.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Delete([]byte(taskID)) })
}

// Load returns every record.
func (j *Journal) Load() ([]task.Record, error) {
	var out []task.Record
	err := j.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucket).ForEach(func(key, data []byte) error {
			var r task.Record
			if err := json.Unmarshal(data, &r); err != nil {
				return fmt.Errorf("the journal's record of task %s is damaged: %w", key, err)
			}
			out = append(out, r)
			return nil
		})
	})
	return out, err
}

// Close closes the file.
func (j *Journal) Close() error { return j.db.Close() }
