package logdriver

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"berth.dev/berth/internal/agent/seal"
)

const (
	metaName   = "meta.json"
	removeName = "remove"
	errorName  = "error"
	tmpPrefix  = ".prepare-"
)

// meta is what an agent started again must know of a stream. It is written once, before the container starts.
type meta struct {
	ID        string `json:"id"`
	Group     string `json:"group"`
	Stream    string `json:"stream"`
	Source    string `json:"source"`
	Multiline string `json:"multiline,omitempty"`
	Sealed    []byte `json:"sealedMultiline,omitempty"` // Multiline, where there is a key
	TaskID    string `json:"taskId,omitempty"`
	Container string `json:"container,omitempty"`
}

// sealedName is what a pattern is sealed for: this stream and no other.
func (m *meta) sealedName() string { return "logdriver/" + m.ID }

// seal hides what the options say before it is written down.
func (m *meta) seal(key *seal.Key) error {
	if key == nil || m.Multiline == "" {
		return nil
	}
	sealed, err := key.Seal(m.sealedName(), []byte(m.Multiline))
	m.Sealed, m.Multiline = sealed, ""
	return err
}

// open is the inverse of seal.
func (m *meta) open(key *seal.Key) error {
	if len(m.Sealed) == 0 {
		return nil
	}
	if key == nil {
		return errors.New("its pattern is sealed and there is no key")
	}
	pattern, err := key.Unseal(m.sealedName(), m.Sealed)
	m.Multiline = string(pattern)
	return err
}

func (m meta) source() Source {
	return Source{Group: m.Group, Stream: m.Stream, ID: m.Source, TaskID: m.TaskID, Container: m.Container}
}

func (m meta) pattern() (*regexp.Regexp, error) {
	if m.Multiline == "" {
		return nil, nil
	}
	return regexp.Compile(m.Multiline)
}

func readMeta(dir string) (meta, error) {
	var m meta
	data, err := os.ReadFile(filepath.Join(dir, metaName))
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("read %s: %w", filepath.Join(dir, metaName), err)
	}
	return m, nil
}

// create makes the directory of a stream, with its metadata or not at all.
func (m meta) create(root string) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(root, tmpPrefix)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(tmp, metaName), data, 0o600); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	if err := os.Rename(tmp, filepath.Join(root, m.ID)); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	return nil
}
