// Command sample writes the image of examples/sample-app as `docker save`
// would, without Docker and without a registry:
//
//	go run ./test/images/cmd/sample -o bin/sample-app.tar
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"berth.dev/berth/test/images"
)

func main() {
	out := flag.String("o", "sample-app.tar", "archive to write")
	tag := flag.String("tag", "sample-app:latest", "name of the image")
	flag.Parse()
	if err := write(context.Background(), *out, *tag); err != nil {
		fmt.Fprintln(os.Stderr, "sample:", err)
		os.Exit(1)
	}
}

func write(ctx context.Context, out, tag string) error {
	dir, err := os.MkdirTemp("", "berth-sample-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
	program := filepath.Join(dir, "sample-app")
	if err := images.Compile(ctx, "berth.dev/berth/examples/sample-app", program); err != nil {
		return err
	}
	data, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	// A whole archive or none: the old one stays until the new one is written.
	part := out + ".part"
	err = images.ArchiveFile(part, images.Image{
		Name:   tag,
		Config: v1.Config{Cmd: []string{"/app/sample-app"}, WorkingDir: "/app", User: "1000:1000", Env: []string{"PATH=/app"}},
		Files: []images.File{
			{Name: "/app/"},
			{Name: "/app/sample-app", Data: data, Mode: 0o755},
			{Name: "/app/migrate.sh", Link: "sample-app"},
			{Name: "/etc/"},
			{Name: "/etc/passwd", Data: []byte("root:x:0:0:root:/:/bin/false\napp:x:1000:1000::/app:/bin/false\n")},
			{Name: "/etc/group", Data: []byte("root:x:0:\napp:x:1000:\n")},
			{Name: "/tmp/", Mode: 0o1777},
		},
	})
	if err != nil {
		return err
	}
	return os.Rename(part, out)
}
