package containerd

import (
	"context"
	"fmt"

	client "github.com/containerd/containerd/v2/client"
	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/agent/image"
)

// contentRoot is the directory in which containerd keeps the content of images.
func contentRoot(ctx context.Context, c *client.Client) (string, error) {
	plugins, err := c.IntrospectionService().Plugins(ctx, "type==io.containerd.content.v1,id==content")
	if err != nil {
		return "", fmt.Errorf("containerd: ask where its content is: %w", err)
	}
	for _, p := range plugins.GetPlugins() {
		if root := p.GetExports()["root"]; root != "" {
			return root, nil
		}
	}
	return "", fmt.Errorf("containerd: it does not say where its content is")
}

// diskOf looks at the file system that a directory is on.
func diskOf(dir string) (image.Disk, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return image.Disk{}, fmt.Errorf("look at the disk of %s: %w", dir, err)
	}
	size := uint64(fs.Bsize) //nolint:gosec // it is positive
	return image.Disk{Total: fs.Blocks * size, Free: fs.Bavail * size}, nil
}
