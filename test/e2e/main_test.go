package e2e_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"berth.dev/berth/test/images"
)

// What TestMain makes for all tests; set once, before any of them runs.
var (
	binary  string // berth
	archive string // the images of the tests, as docker save writes them
	probe   images.Image
	shared  *berth
)

// The images of the tests.
const (
	probeImage  = "berth.test/probe:1"
	sampleImage = "sample-app:latest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getuid() != 0 {
		fmt.Println("skipped: the end-to-end tests make containers and network interfaces, which needs root")
		return
	}
	if _, err := exec.LookPath("containerd"); err != nil {
		fmt.Println("skipped: the end-to-end tests need containerd:", err)
		return
	}
	// Tests wait for containers most of the time, so more of them than cores can run at once.
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", "24"); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	code, err := run(m)
	if err != nil {
		fmt.Println("e2e:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "berth-e2e-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := build(ctx, dir); err != nil {
		return 1, err
	}
	if shared, err = newBerth(filepath.Join(dir, "shared")); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, shared.purge(ctx)) }()
	// More than the machine has: the tests' tasks wait and do not work.
	if err := shared.up(ctx, "--cpu-units", "12288", "--memory-mib", "65536"); err != nil {
		return 1, err
	}
	if err := shared.importImages(ctx); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// build makes the binary and the images.
func build(ctx context.Context, dir string) error {
	root, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	binary = os.Getenv("BERTH_BIN")
	if binary == "" {
		binary = filepath.Join(dir, "berth")
		// The embedded helper comes first, as in the Makefile.
		for _, args := range [][]string{
			{"-o", "internal/agent/helper/bin/berth-helper", "./cmd/berth-helper"},
			{"-o", binary, "./cmd/berth"},
		} {
			cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-ldflags", "-s -w"}, args...)...)
			cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("go build: %w: %s", err, out)
			}
		}
	}
	program, sample := filepath.Join(dir, "probe"), filepath.Join(dir, "sample-app")
	if err := errors.Join(images.Compile(ctx, images.ProbePackage, program), images.Compile(ctx, "berth.dev/berth/examples/sample-app", sample)); err != nil {
		return err
	}
	if probe, err = images.Probe(probeImage, program); err != nil {
		return err
	}
	data, err := os.ReadFile(sample)
	if err != nil {
		return err
	}
	archive = filepath.Join(dir, "images.tar")
	return images.ArchiveFile(archive, probe, images.Image{
		Name:   sampleImage,
		Config: v1.Config{Cmd: []string{"/app/sample-app"}, WorkingDir: "/app", User: "1000:1000"},
		Files: []images.File{
			{Name: "/app/"}, {Name: "/app/sample-app", Data: data, Mode: 0o755}, {Name: "/app/migrate.sh", Link: "sample-app"},
		},
	})
}

// lines splits a command's output and leaves out empty ones.
func lines(text string) []string {
	return slices.DeleteFunc(strings.Split(text, "\n"), func(s string) bool { return strings.TrimSpace(s) == "" })
}
