package main

import (
	"context"
	"path/filepath"

	"berth.dev/berth/test/images"
)

// buildImage makes the one image that every way launches: a static program
// that sleeps.
func (b *bench) buildImage(ctx context.Context) error {
	b.say("building the image")
	program := filepath.Join(b.dir, "probe")
	if err := images.Compile(ctx, images.ProbePackage, program); err != nil {
		return err
	}
	image, err := images.Probe(imageName, program)
	if err != nil {
		return err
	}
	b.archive = filepath.Join(b.dir, "image.tar")
	return images.ArchiveFile(b.archive, image)
}
