package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
)

// WriteSecret replaces a file with data, readable by its owner alone. Whoever
// reads it, and a crash at any moment, finds the old content or the new.
func WriteSecret(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-") // made with mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
