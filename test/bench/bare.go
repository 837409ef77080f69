package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/containerd/containerd/api/types/runc/options"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go"

	"berth.dev/berth/internal/agent/helper/capture"
)

// bare launches the image with nothing but containerd's client and netlink, on
// the containerd that Berth's agent uses and in a namespace of its own. It is
// the floor of Berth's design, so it is done as well as it can be: the
// specification is built once, one lease holds everything, and nothing is
// written down.
//
// A launch is as much as Berth's: a network namespace with a veth into a
// router's namespace, address and routes; an overlayfs snapshot; the OCI
// runtime that Berth has chosen; Docker's default seccomp profile; limits of
// CPU, memory and processes.
type bare struct {
	client  *containerd.Client
	image   containerd.Image
	spec    *specs.Spec
	options *options.Options
	helper  string // the agent's log program
	dir     string // for spools and the OCI runtime's state
	net     *router
	leaseID string
	release func(context.Context) error // of the lease
	number  atomic.Int64
}

const bareNamespace = "berth-bench"

func newBare(ctx context.Context, w *berth, archive string) (*bare, error) {
	b := &bare{dir: filepath.Join(w.b.dir, "bare")}
	var err error
	if b.client, err = containerd.New(filepath.Join(w.instance.RunDir(), "containerd.sock")); err != nil {
		return nil, err
	}
	if err := b.setUp(ctx, w, archive); err != nil {
		return nil, errors.Join(fmt.Errorf("preparing the bare launch: %w", err), b.close())
	}
	return b, nil
}

func (b *bare) setUp(ctx context.Context, w *berth, archive string) error {
	program, err := b.ociRuntimeOf(ctx, w)
	if err != nil {
		return err
	}
	b.options = &options.Options{BinaryName: program, Root: filepath.Join(b.dir, "oci")}
	helpers, err := filepath.Glob(w.instance.Path("agent", "bin", "berth-helper-*"))
	if err != nil || len(helpers) == 0 {
		return errors.New("the agent's log program is not there")
	}
	b.helper = helpers[0]
	if b.net, err = newRouter(); err != nil {
		return err
	}
	ctx = namespaces.WithNamespace(ctx, bareNamespace)
	leased, release, err := b.client.WithLease(ctx)
	if err != nil {
		return err
	}
	b.release = release
	b.leaseID, _ = leases.FromContext(leased)
	if err := b.importImage(leased, archive); err != nil {
		return err
	}
	b.spec, err = oci.GenerateSpec(ctx, b.client, &containers.Container{ID: "bench"},
		oci.WithProcessArgs("/probe", "sleep"), oci.WithMemoryLimit(512<<20), oci.WithCPUCFS(25_000, 100_000),
		oci.WithPidsLimit(4096), seccomp.WithDefaultProfile())
	if err == nil {
		b.spec.Version = "1.0.2" // what Debian's crun understands
	}
	return err
}

// scoped puts a context into the namespace and under the lease, without which
// containerd would collect a snapshot before a container refers to it.
func (b *bare) scoped(ctx context.Context) context.Context {
	return leases.WithLease(namespaces.WithNamespace(ctx, bareNamespace), b.leaseID)
}

// ociRuntimeOf finds out what Berth runs containers with, from one of them.
func (b *bare) ociRuntimeOf(ctx context.Context, w *berth) (string, error) {
	arns, err := runTask(ctx, w.ecs, silentFamily, 1, w.subnets)
	if err != nil {
		return "", err
	}
	if _, err := w.await(ctx, arns, "RUNNING", pollEvery); err != nil {
		return "", err
	}
	all, err := b.client.ContainerService().List(namespaces.WithNamespace(ctx, "berth-"+w.instance.ID))
	if err != nil {
		return "", err
	}
	if len(all) != 1 {
		return "", fmt.Errorf("containerd has %d containers of Berth, not the one that runs", len(all))
	}
	var chosen options.Options
	if err := typeurl.UnmarshalTo(all[0].Runtime.Options, &chosen); err != nil {
		return "", err
	}
	return chosen.GetBinaryName(), w.stopTasks(ctx, arns)
}

func (b *bare) importImage(ctx context.Context, archive string) error {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	imported, err := b.client.Import(ctx, file)
	if err != nil {
		return err
	}
	b.image = containerd.NewImage(b.client, imported[0])
	return b.image.Unpack(ctx, "overlayfs")
}

// launched is a running container and what takes it away.
type launched struct {
	b    *bare
	id   string
	port *port
	c    containerd.Container
	task containerd.Task
}

// launch starts one container, with its output going nowhere or to the agent's
// log program, as Berth does without and with awslogs.
func (b *bare) launch(ctx context.Context, logged bool) (*launched, error) {
	return b.launchImage(ctx, b.image, logged)
}

func (b *bare) launchImage(ctx context.Context, image containerd.Image, logged bool) (l *launched, err error) {
	ctx = b.scoped(ctx)
	l = &launched{b: b, id: fmt.Sprintf("bench-%d", b.number.Add(1))}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.remove(context.WithoutCancel(ctx)))
		}
	}()
	if l.port, err = b.net.attach(l.id); err != nil {
		return l, err
	}
	output := cio.NullIO
	if logged {
		spool := filepath.Join(b.dir, "spool", l.id)
		if err := os.MkdirAll(spool, 0o700); err != nil {
			return l, err
		}
		output = cio.BinaryIO(b.helper, map[string]string{capture.KeySpool: spool})
	}
	if l.c, err = b.client.NewContainer(ctx, l.id,
		containerd.WithSnapshotter("overlayfs"), containerd.WithNewSnapshot(l.id, image),
		containerd.WithSpec(b.specOf(l)), containerd.WithRuntime("io.containerd.runc.v2", b.options)); err != nil {
		return l, err
	}
	if l.task, err = l.c.NewTask(ctx, output); err != nil {
		return l, err
	}
	return l, l.task.Start(ctx)
}

// specOf is the prepared specification with what differs between containers.
func (b *bare) specOf(l *launched) *specs.Spec {
	spec := *b.spec
	linux := *spec.Linux
	spec.Linux = &linux
	linux.CgroupsPath = "/berth-bench/" + l.id
	linux.Namespaces = nil
	for _, ns := range b.spec.Linux.Namespaces {
		if ns.Type == specs.NetworkNamespace {
			ns.Path = l.port.path
		}
		linux.Namespaces = append(linux.Namespaces, ns)
	}
	return &spec
}

func (l *launched) remove(ctx context.Context) error {
	ctx = l.b.scoped(ctx)
	var errs []error
	if l.task != nil {
		exited, err := l.task.Wait(ctx)
		if err == nil {
			err = l.task.Kill(ctx, syscall.SIGKILL)
		}
		if err == nil {
			<-exited
		}
		_, gone := l.task.Delete(ctx)
		errs = append(errs, err, gone)
	}
	if l.c != nil {
		errs = append(errs, l.c.Delete(ctx, containerd.WithSnapshotCleanup))
	}
	if l.port != nil {
		errs = append(errs, l.port.detach())
	}
	return errors.Join(errs...)
}

// wholeLaunch measures one launch and takes it away.
func (b *bare) wholeLaunch(ctx context.Context, logged bool) (time.Duration, error) {
	begun := time.Now()
	l, err := b.launch(ctx, logged)
	took := time.Since(begun)
	if err != nil {
		return 0, err
	}
	return took, l.remove(ctx)
}

// close removes what is left in containerd. Berth's purge ends containerd.
func (b *bare) close() error {
	ctx := namespaces.WithNamespace(context.Background(), bareNamespace)
	var errs []error
	if b.image != nil {
		errs = append(errs, b.client.ImageService().Delete(ctx, b.image.Name()))
	}
	if b.release != nil {
		errs = append(errs, b.release(ctx))
	}
	if b.net != nil {
		errs = append(errs, b.net.close())
	}
	errs = append(errs, removeCgroups("berth-bench"), b.client.Close())
	return errors.Join(errs...)
}
