package containerd

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// ownSecrets gives a container's secrets to its user, who is known by the specification that containerd has: a name is
// looked up in the image once, when the container is made. What becomes the environment is root's group's too: programs
// that are run in the container as root may have no capability to read what is another's.
func ownSecrets(c record) error {
	if c.spec.SecretsDir == "" {
		return nil
	}
	var oci specs.Spec
	if err := json.Unmarshal(c.Spec.GetValue(), &oci); err != nil {
		return fmt.Errorf("read its specification: %w", err)
	}
	user := oci.Process.User
	return filepath.WalkDir(c.spec.SecretsDir, func(path string, entry fs.DirEntry, err error) error {
		group := int(user.GID)
		switch {
		case err != nil:
		case path == c.spec.SecretsDir:
			group, err = 0, os.Chmod(path, 0o550)
		case path == filepath.Join(c.spec.SecretsDir, "env"):
			group, err = 0, os.Chmod(path, 0o440)
		case entry.IsDir():
			err = os.Chmod(path, 0o500)
		}
		if err == nil {
			err = os.Lchown(path, int(user.UID), group)
		}
		if err != nil {
			return fmt.Errorf("give the container its secrets: %w", err)
		}
		return nil
	})
}
