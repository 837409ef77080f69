package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/rules/imageref"
)

// ErrUnnamed says that an archive does not name its image and the caller did not either.
var ErrUnnamed = errors.New("the archive does not name its image")

// Import reads a tar as `docker save` or an OCI layout has it and returns the normalised names that it made, sorted.
// The images are unpacked when it returns. When as is not empty, it names the archive's images that have no name of
// their own, and is needed for an archive that has none; with one such image only, since a name can point to one.
func (s *Store) Import(ctx context.Context, r io.Reader, as string) ([]string, error) {
	return s.importAll(ctx, r, as, map[string]string{labelOrigin: runtime.SourceContainerd})
}

func (s *Store) importAll(ctx context.Context, r io.Reader, as string, labels map[string]string) ([]string, error) {
	fallback := ""
	if as != "" {
		var err error
		if fallback, err = Normalize(as); err != nil {
			return nil, err
		}
	}
	opts := []containerd.ImportOpt{
		// A tag alone ("latest") says nothing about the repository; such an entry takes the caller's name.
		containerd.WithImageRefTranslator(func(ref string) string {
			if strings.ContainsAny(ref, "/:@") {
				return ref
			}
			return fallback
		}),
		containerd.WithImportPlatform(platforms.Default()),
		// Layouts for several platforms may hold the blobs of some only.
		containerd.WithSkipMissing(),
		containerd.WithImageLabels(labels),
	}
	if fallback != "" {
		opts = append(opts, containerd.WithIndexName(unnamedIndex+fallback))
	}
	// What the archive replaces stays known by its digest.
	ctx, done, err := s.cfg.Client.WithLease(ctx, leases.WithRandomID(), leases.WithExpiration(importing))
	if err != nil {
		return nil, fmt.Errorf("import image archive: %w", err)
	}
	defer done(context.WithoutCancel(ctx)) //nolint:errcheck // it ends by itself
	if err := s.pinAll(ctx); err != nil {
		return nil, fmt.Errorf("import image archive: %w", err)
	}
	records, err := s.cfg.Client.Import(ctx, r, opts...)
	if err != nil {
		return nil, fmt.Errorf("import image archive: %w", err)
	}
	return s.adopt(ctx, records, fallback)
}

// importing is how long what an import has read is kept when it dies in the middle.
const importing = 2 * time.Hour

// unnamedIndex marks the record of the archive's whole index while it is imported: an index is a fit target for a
// name only when no entry has one.
const unnamedIndex = "berth.invalid/importing/"

// adopt gives the imported records their normalised names and unpacks them.
func (s *Store) adopt(ctx context.Context, records []images.Image, fallback string) ([]string, error) {
	service := s.cfg.Client.ImageService()
	named := map[string]images.Image{}
	var index *images.Image
	for _, record := range records {
		if strings.HasPrefix(record.Name, unnamedIndex) {
			index = &record
			continue
		}
		name, err := Normalize(record.Name)
		if err != nil {
			return nil, fmt.Errorf("import image archive: %w", err)
		}
		if err := s.rename(ctx, record, name); err != nil {
			return nil, err
		}
		record.Name = name
		named[name] = record
	}
	if index != nil {
		if len(named) == 0 {
			if err := s.rename(ctx, *index, fallback); err != nil {
				return nil, err
			}
			named[fallback] = images.Image{Name: fallback, Target: index.Target, Labels: index.Labels}
		} else if err := service.Delete(ctx, index.Name); err != nil && !errdefs.IsNotFound(err) {
			return nil, fmt.Errorf("import image archive: %w", err)
		}
	}
	if len(named) == 0 {
		return nil, fmt.Errorf("import image archive: %w", ErrUnnamed)
	}
	var names []string
	for full, record := range named {
		name, err := imageref.Parse(full)
		if err == nil {
			err = s.record(ctx, name, record.Target, record.Labels)
		}
		if err == nil {
			_, err = s.describe(ctx, name, record.Target, runtime.SourceContainerd)
		}
		if err != nil {
			return nil, fmt.Errorf("import image %s: %w", full, err)
		}
		names = append(names, full)
	}
	slices.Sort(names)
	return names, nil
}

// pinAll gives each image that is known by its tag alone a name by its digest too.
func (s *Store) pinAll(ctx context.Context) error {
	all, err := s.cfg.Client.ImageService().List(ctx)
	if err != nil {
		return err
	}
	for _, record := range all {
		name, err := imageref.Parse(record.Name)
		if err != nil {
			continue // another program's
		}
		if err := s.pinned(ctx, name, record); err != nil {
			return err
		}
	}
	return nil
}

// rename moves a record to another name, over what that name was before.
func (s *Store) rename(ctx context.Context, record images.Image, name string) error {
	if record.Name == name {
		return nil
	}
	service := s.cfg.Client.ImageService()
	if err := s.put(ctx, images.Image{Name: name, Target: record.Target, Labels: record.Labels}); err != nil {
		return err
	}
	if err := service.Delete(ctx, record.Name); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("name image %s: %w", name, err)
	}
	return nil
}
