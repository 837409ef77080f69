package logdriver

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
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
