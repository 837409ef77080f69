package helper

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

//go:embed all:bin
var embedded embed.FS

// ErrAbsent means that the agent was compiled before the helper was.
var ErrAbsent = errors.New("built without the helper: run make build")

// Install writes the embedded binary into dir, which is made if need be, and returns its absolute path. The name holds
// the content's hash: a file that is there already is left alone. The error is ErrAbsent or one of the file system.
func Install(dir string) (string, error) {
	content, err := embedded.ReadFile("bin/berth-helper")
	if errors.Is(err, fs.ErrNotExist) {
		return "", ErrAbsent
	}
	if err != nil {
		return "", fmt.Errorf("read the embedded helper: %w", err)
	}
	return install(dir, content)
}

func install(dir string, content []byte) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("install helper: %w", err)
	}
	sum := sha256.Sum256(content)
	path := filepath.Join(dir, "berth-helper-"+hex.EncodeToString(sum[:8]))
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Size() == int64(len(content)) {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("install helper: %w", err)
	}
	tmp, err := os.CreateTemp(dir, ".berth-helper-*")
	if err != nil {
		return "", fmt.Errorf("install helper: %w", err)
	}
	defer os.Remove(tmp.Name()) // gone already when all went well
	_, err = tmp.Write(content)
	if err == nil {
		err = tmp.Chmod(0o755)
	}
	if err == nil {
		// The name vouches for the content, after a power failure too.
		err = tmp.Sync()
	}
	if closing := tmp.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return "", fmt.Errorf("install helper: %w", err)
	}
	return path, nil
}
