package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	containerd "github.com/containerd/containerd/v2/client"
	remotes "github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

const (
	pulledFamily  = "bench-pulled"
	pulledFiles   = 200 * megabyte
	berthRegistry = "123456789012.dkr.ecr.us-east-1.amazonaws.com" // as task definitions name it
)

// pulls measures launches of images that the node has never seen.
type pulls struct {
	b      *bench
	berth  *berth
	bare   *bare
	docker *docker
	from   *distribution
	login  *authn.Basic
	number int             // of the image, so that no two have the same name
	files  int             // bytes in an image's files
	size   int64           // of the last image's layers
	pulled []time.Duration // what the tasks say, of Berth's own registry
}

// pull measures the time from an image that is only in a registry to a task
// that runs.
func (b *bench) pull(ctx context.Context, w *berth, bare *bare, docker *docker) (err error) {
	p := &pulls{b: b, berth: w, bare: bare, docker: docker, files: pulledFiles}
	if p.from, err = startDistribution(ctx, filepath.Join(b.dir, "pulls")); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.from.close()) }()
	if err := p.signIn(ctx); err != nil {
		return err
	}
	ways := []*way{
		{name: "Berth, from its own registry", run: p.fromBerth},
		{name: "Berth, from the bare registry", run: p.fromElsewhere},
		{name: "bare containerd: pull, unpack, launch", run: p.withContainerd},
	}
	if docker != nil {
		ways = append(ways, &way{name: "`docker pull` and `docker run -d`, Docker " + docker.version, run: p.withDocker})
	}
	rounds := 4
	if b.quick {
		rounds, p.files = 1, 20*megabyte
	}
	for round := range rounds + 1 {
		for i := range ways {
			way := ways[(i+round)%len(ways)]
			b.say("pull: round %d of %d, %s", round, rounds, way.name)
			took, err := way.run(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", way.name, err)
			}
			if round > 0 {
				way.took = append(way.took, took)
			}
		}
	}
	out := b.report.section("pull")
	fmt.Fprintf(out, "## From a cold pull to RUNNING\n\nAn image of %d MB of files, half of them noise and half words, %.0f MB in its five layers. Nobody has seen any of it before, but the small layer with the program; its push is not measured. "+
		"Berth's time is RunTask until the client reads RUNNING. The bare way is containerd's client as nerdctl uses it, on the same containerd, and then the bare launch; the bare registry is distribution's, "+
		"in the bench's process. Medians of %d rounds in turn, after one to warm up; the disk is synced before each.\n\n", p.files/megabyte, float64(p.size)/megabyte, rounds)
	var rows [][]string
	for _, way := range ways {
		rows = append(rows, []string{way.name, ms(median(way.took)), ms(quantile(way.took, 0.1)), ms(quantile(way.took, 0.9))})
	}
	table(out, []string{"way", "median", "p10", "p90"}, rows)
	fmt.Fprintf(out, "- Berth from its own registry / bare containerd: %.2f\n", ratio(median(ways[0].took), median(ways[2].took)))
	fmt.Fprintf(out, "- Berth from the bare registry / bare containerd: %.2f\n", ratio(median(ways[1].took), median(ways[2].took)))
	if docker == nil {
		fmt.Fprintf(out, "- Berth / Docker: not measured, no Docker engine answered\n")
	} else {
		fmt.Fprintf(out, "- Berth from its own registry / Docker: %.2f\n", ratio(median(ways[0].took), median(ways[3].took)))
	}
	fmt.Fprintf(out, "\nOf Berth's own, by the task's timestamps: %s is the pull (median).\n", ms(median(p.pulled[1:])))
	return p.together(ctx)
}

// signIn makes the repository and gets the password for it.
func (p *pulls) signIn(ctx context.Context) error {
	client := ecr.NewFromConfig(p.berth.aws)
	if _, err := client.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: aws.String(registryRepository)}); err != nil {
		return err
	}
	out, err := client.GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
	if err != nil {
		return err
	}
	text, err := base64.StdEncoding.DecodeString(aws.ToString(out.AuthorizationData[0].AuthorizationToken))
	if err != nil {
		return err
	}
	user, password, _ := strings.Cut(string(text), ":")
	p.login = &authn.Basic{Username: user, Password: password}
	return nil
}

// image makes one that is new to everybody, and a version for it.
func (p *pulls) image() (image v1.Image, version string, err error) {
	if image, err = p.b.fileImage(p.files); err != nil {
		return nil, "", err
	}
	p.size, err = sizeOf(image)
	p.number++
	return image, fmt.Sprint("v", p.number), err
}

// toBerth pushes a new image into Berth's registry and returns its name.
func (p *pulls) toBerth(ctx context.Context) (string, error) {
	image, version, err := p.image()
	if err != nil {
		return "", err
	}
	at, err := tag(p.berth.listen, registryRepository, version)
	if err != nil {
		return "", err
	}
	return berthRegistry + "/" + registryRepository + ":" + version, remote.Write(at, image, remote.WithContext(ctx), remote.WithAuth(p.login))
}

// elsewhere pushes a new image into the bare registry and returns its name.
func (p *pulls) elsewhere(ctx context.Context) (string, error) {
	image, version, err := p.image()
	if err != nil {
		return "", err
	}
	return p.from.push(ctx, image, registryRepository, version)
}

func (p *pulls) fromBerth(ctx context.Context) (time.Duration, error) {
	name, err := p.toBerth(ctx)
	if err != nil {
		return 0, err
	}
	took, task, err := p.launch(ctx, name)
	if err == nil && task.PullStartedAt != nil && task.PullStoppedAt != nil {
		p.pulled = append(p.pulled, task.PullStoppedAt.Sub(*task.PullStartedAt))
	}
	return took, err
}

func (p *pulls) fromElsewhere(ctx context.Context) (time.Duration, error) {
	name, err := p.elsewhere(ctx)
	if err != nil {
		return 0, err
	}
	took, _, err := p.launch(ctx, name)
	return took, err
}

func (p *pulls) launch(ctx context.Context, image string) (time.Duration, types.Task, error) {
	if err := p.berth.define(ctx, pulledFamily, image); err != nil {
		return 0, types.Task{}, err
	}
	syscall.Sync() // what the push wrote is not the pull's to wait for
	return p.berth.wholeLaunch(ctx, pulledFamily)
}

// define makes a family's next revision, with an image that waits for a signal.
func (w *berth) define(ctx context.Context, family, image string) error {
	_, err := w.ecs.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{
		Family: &family, NetworkMode: types.NetworkModeAwsvpc, Cpu: aws.String("256"), Memory: aws.String("512"),
		RequiresCompatibilities: []types.Compatibility{types.CompatibilityFargate},
		ExecutionRoleArn:        aws.String("arn:aws:iam::123456789012:role/ecsTaskExecutionRole"),
		ContainerDefinitions: []types.ContainerDefinition{
			{Name: aws.String("app"), Image: &image, Command: []string{"sleep"}, Essential: aws.Bool(true), StopTimeout: aws.Int32(2)},
		},
	})
	return err
}

func (p *pulls) withContainerd(ctx context.Context) (time.Duration, error) {
	name, err := p.elsewhere(ctx)
	if err != nil {
		return 0, err
	}
	syscall.Sync()
	begun := time.Now()
	scoped := p.bare.scoped(ctx)
	image, err := p.bare.client.Pull(scoped, name, containerd.WithPullUnpack, containerd.WithPullSnapshotter("overlayfs"),
		containerd.WithResolver(remotes.NewResolver(remotes.ResolverOptions{
			Hosts: remotes.ConfigureDefaultRegistries(remotes.WithPlainHTTP(remotes.MatchLocalhost)),
		})))
	if err != nil {
		return 0, err
	}
	l, err := p.bare.launchImage(ctx, image, false)
	took := time.Since(begun)
	if err != nil {
		return 0, err
	}
	return took, errors.Join(l.remove(ctx), p.bare.client.ImageService().Delete(scoped, image.Name()))
}

func (p *pulls) withDocker(ctx context.Context) (time.Duration, error) {
	name, err := p.elsewhere(ctx)
	if err != nil {
		return 0, err
	}
	syscall.Sync()
	begun := time.Now()
	if out, err := exec.CommandContext(ctx, "docker", "pull", "-q", name).CombinedOutput(); err != nil {
		return 0, fmt.Errorf("docker pull: %w: %s", err, out)
	}
	if _, err := p.docker.launchImage(ctx, name, "0.25", "512m"); err != nil {
		return 0, err
	}
	took := time.Since(begun)
	if err := p.docker.removeAll(); err != nil {
		return 0, err
	}
	if out, err := exec.CommandContext(ctx, "docker", "rmi", name).CombinedOutput(); err != nil {
		return 0, fmt.Errorf("docker rmi: %w: %s", err, out)
	}
	return took, nil
}

// together launches many tasks of one cold image at once, and finds out what
// the registries were asked for.
func (p *pulls) together(ctx context.Context) error {
	p.b.say("pull: %d tasks at once, from Berth's registry", burst)
	name, err := p.toBerth(ctx)
	if err != nil {
		return err
	}
	before, err := p.serverRead()
	if err != nil {
		return err
	}
	own, err := p.launchAll(ctx, name)
	if err != nil {
		return err
	}
	after, err := p.serverRead()
	if err != nil {
		return err
	}
	p.b.say("pull: %d tasks at once, of an image that is there", burst)
	warm, err := p.launchAll(ctx, name)
	if err != nil {
		return err
	}
	p.b.say("pull: %d tasks at once, from the bare registry", burst)
	if name, err = p.elsewhere(ctx); err != nil {
		return err
	}
	manifests, blobs := p.from.manifests.Load(), p.from.blobs.Load()
	foreign, err := p.launchAll(ctx, name)
	if err != nil {
		return err
	}
	out := p.b.report.section("pull")
	fmt.Fprintf(out, "\n%d tasks at once, by %d calls of RunTask, of such an image, until all are RUNNING:\n\n", burst, runTasks)
	table(out, []string{"", "took"}, [][]string{
		{"Berth, from its own registry, cold", ms(own)},
		{"Berth, from the bare registry, cold", ms(foreign)},
		{"Berth, image there already", ms(warm)},
	})
	fmt.Fprintf(out, "One pull is one manifest and five blobs: the configuration and four layers. The bare registry was asked for %d manifests and %d blobs. Berth's own server read %.0f MB in all while its %d tasks started, from disk and network.\n",
		p.from.manifests.Load()-manifests, p.from.blobs.Load()-blobs, float64(after-before)/megabyte, burst)
	return nil
}

func (p *pulls) launchAll(ctx context.Context, image string) (time.Duration, error) {
	if err := p.berth.define(ctx, pulledFamily, image); err != nil {
		return 0, err
	}
	syscall.Sync()
	rate, err := p.berth.burst(ctx, pulledFamily)
	if err != nil {
		return 0, err
	}
	return time.Duration(burst / rate * float64(time.Second)), nil
}

// serverRead is how many bytes the server's process has read so far.
func (p *pulls) serverRead() (int64, error) {
	pid, err := p.berth.instance.PID("server")
	if err != nil {
		return 0, err
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, "rchar: "); ok {
			return strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		}
	}
	return 0, fmt.Errorf("/proc/%d/io is not understood", pid)
}
