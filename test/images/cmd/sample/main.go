// Command sample writes the images of examples/sample-app as `docker save`
// would, without Docker and without a registry:
//
//	go run ./test/images/cmd/sample -o bin/my-app.tar
//
// They share one layer and differ in their environment: latest is version 1, 2
// is version 2, and broken ends as soon as it is started.
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
	out := flag.String("o", "my-app.tar", "archive to write")
	name := flag.String("name", "my-app", "name of the images")
	flag.Parse()
	if err := write(context.Background(), *out, *name); err != nil {
		fmt.Fprintln(os.Stderr, "sample:", err)
		os.Exit(1)
	}
}

func write(ctx context.Context, out, name string) error {
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
	err = images.ArchiveFile(part,
		variant(name+":latest", data, "VERSION=1"),
		variant(name+":2", data, "VERSION=2"),
		variant(name+":broken", data, "VERSION=3", "BROKEN=required env DATABASE_URL is not set"),
	)
	if err != nil {
		return err
	}
	return os.Rename(part, out)
}

// variant is the program with an environment.
func variant(name string, program []byte, environment ...string) images.Image {
	return images.Image{
		Name: name,
		Config: v1.Config{
			Cmd: []string{"/app/sample-app"}, WorkingDir: "/app", User: "1000:1000", Env: append([]string{"PATH=/app"}, environment...),
		},
		Files: []images.File{
			{Name: "/app/"},
			{Name: "/app/sample-app", Data: program, Mode: 0o755},
			{Name: "/app/migrate.sh", Link: "sample-app"},
			{Name: "/etc/"},
			{Name: "/etc/passwd", Data: []byte("root:x:0:0:root:/:/bin/false\napp:x:1000:1000::/app:/bin/false\n")},
			{Name: "/etc/group", Data: []byte("root:x:0:\napp:x:1000:\n")},
			{Name: "/tmp/", Mode: 0o1777},
		},
	}
}
