package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"

	"berth.dev/berth/internal/data/imagestore"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/edge/registry"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/caller"
)

const (
	registryRepository = "bench"
	registryLayers     = 4
)

// registryWay is a registry that is pushed to and pulled from.
type registryWay struct {
	name       string
	host       string
	options    []remote.Option
	push, pull []time.Duration
}

// registry measures how fast images go in and out, by the same client, beside
// the bare registry on the same disk.
func (b *bench) registry(ctx context.Context) (err error) {
	ctx, end := context.WithCancel(ctx)
	g, ctx := errgroup.WithContext(ctx)
	defer func() {
		end()
		if ran := g.Wait(); !errors.Is(ran, context.Canceled) {
			err = errors.Join(err, ran)
		}
	}()
	d, err := newDoor(ctx, g, filepath.Join(b.dir, "registry-logs"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.logs.Close()) }()
	ours := &registryWay{name: "Berth"}
	if err := d.serveRegistry(ctx, g, filepath.Join(b.dir, "registry"), ours); err != nil {
		return err
	}
	bare, err := startDistribution(ctx, filepath.Join(b.dir, "distribution"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bare.close()) }()
	ways := []*registryWay{ours, {name: "bare distribution", host: bare.host}}
	rounds, size := 7, 200*megabyte
	if b.quick {
		rounds, size = 1, 20*megabyte
	}
	for round := range rounds + 1 {
		b.say("registry: round %d of %d", round, rounds)
		for i := range ways {
			if err := ways[(i+round)%len(ways)].measure(ctx, size, round); err != nil {
				return fmt.Errorf("%s: %w", ways[(i+round)%len(ways)].name, err)
			}
		}
	}
	b.reportRegistry(ways, size, rounds)
	return nil
}

// measure pushes an image of which the registry has nothing, and pulls it.
func (w *registryWay) measure(ctx context.Context, size, round int) error {
	image, err := blobImage(size, registryLayers)
	if err != nil {
		return err
	}
	at, err := tag(w.host, registryRepository, fmt.Sprint("v", round))
	if err != nil {
		return err
	}
	options := append([]remote.Option{remote.WithContext(ctx)}, w.options...)
	syscall.Sync() // what the last one wrote is not this one's to wait for
	begun := time.Now()
	if err := remote.Write(at, image, options...); err != nil {
		return err
	}
	pushed := time.Since(begun)
	begun = time.Now()
	found, err := remote.Image(at, options...)
	if err != nil {
		return err
	}
	if err := fetch(found); err != nil {
		return err
	}
	if round > 0 { // the first warms up
		w.push, w.pull = append(w.push, pushed), append(w.pull, time.Since(begun))
	}
	return nil
}

// fetch reads all layers at once; the client checks their digests.
func fetch(image v1.Image) error {
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	var g errgroup.Group
	for _, layer := range layers {
		g.Go(func() error {
			content, err := layer.Compressed()
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, content)
			return errors.Join(err, content.Close())
		})
	}
	return g.Wait()
}

func (b *bench) reportRegistry(ways []*registryWay, size, rounds int) {
	out := b.report.section("registry")
	fmt.Fprintf(out, "## Push and pull\n\nImages of %d MB of noise in %d layers, of which the registry has nothing yet; by go-containerregistry's client, over HTTP on loopback, client and registry in "+
		"one process. Berth's registry asks for a password and the policies of a role in an account with %d roles, and keeps records of what it did; the bare one is distribution's with its "+
		"file system driver, on the same disk, for everybody. Medians of %d rounds in turn, after one to warm up; the disk is synced before each.\n\n", size/megabyte, registryLayers, gatewayRoles, rounds)
	rate := func(took time.Duration) string { return fmt.Sprintf("%.0f", float64(size)/megabyte/took.Seconds()) }
	var rows [][]string
	for _, w := range ways {
		rows = append(rows, []string{
			w.name, rate(median(w.push)), rate(quantile(w.push, 0.9)), rate(quantile(w.push, 0.1)),
			rate(median(w.pull)), rate(quantile(w.pull, 0.9)), rate(quantile(w.pull, 0.1)),
		})
	}
	table(out, []string{"registry", "push, MB/s", "p10", "p90", "pull, MB/s", "p10", "p90"}, rows)
	fmt.Fprintf(out, "- push, Berth's rate / the bare one's: %.2f\n", ratio(median(ways[1].push), median(ways[0].push)))
	fmt.Fprintf(out, "- pull, Berth's rate / the bare one's: %.2f\n", ratio(median(ways[1].pull), median(ways[0].pull)))
}

// serveRegistry serves the registry as the server does, with a repository and
// the password of a role's session that may use it.
func (d *door) serveRegistry(ctx context.Context, g *errgroup.Group, dir string, way *registryWay) error {
	quiet := slog.New(slog.DiscardHandler)
	stored, err := imagestore.Open(imagestore.Config{Dir: dir, Store: d.store, Log: quiet})
	if err != nil {
		return err
	}
	handler, err := registry.New(registry.Config{
		Images: stored, Store: d.store, Scope: d.scope, Authenticate: d.registryUser, Guard: d.guard, Auditor: d.recorder, Ring: d.ring, Logger: quiet,
	})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := gateway.Server("", handler, quiet)
	g.Go(func() error { return stored.Run(ctx) })
	g.Go(func() error {
		defer context.AfterFunc(ctx, func() { server.Close() })() //nolint:errcheck // who calls finds out
		return errors.Join(server.Serve(listener), ctx.Err())
	})
	if _, err := d.store.Update(ctx, func(tx *store.Tx) error {
		records.Repositories.Put(tx, &model.Repository{Name: registryRepository, TagMutability: model.TagsMutable, CreatedAt: tx.Now()})
		role, ok := records.Roles.Get(tx, model.FoldName("role050"))
		if !ok {
			return errors.New("the role is gone")
		}
		copied := *role
		copied.Inline = append(copied.Inline[:len(copied.Inline):len(copied.Inline)], model.InlinePolicy{
			Name: "images", Document: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ecr:*","Resource":"arn:aws:ecr:us-east-1:123456789012:repository/*"}]}`,
		})
		records.Roles.Put(tx, &copied)
		return nil
	}); err != nil {
		return err
	}
	password, _, err := d.sessions.IssueRegistry(d.who, time.Now())
	if err != nil {
		return err
	}
	way.host = listener.Addr().String()
	way.options = []remote.Option{remote.WithAuth(&authn.Basic{Username: "AWS", Password: password})}
	return nil
}

// registryUser opens a password, as the server does.
func (d *door) registryUser(_ context.Context, password string) (caller.Identity, error) {
	who, err := d.sessions.OpenRegistry(password, time.Now())
	if err != nil {
		return caller.Identity{}, err
	}
	if _, _, ok := records.Holder(d.store.Snapshot(), &who); !ok {
		return caller.Identity{}, errors.New("the role is gone")
	}
	return who, nil
}
