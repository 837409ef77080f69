package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	containerdclient "github.com/containerd/containerd/v2/client"
	imagearchive "github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	docker "github.com/moby/moby/client"
	"github.com/spf13/cobra"
)

// pushFlags are the options of `berth push`.
type pushFlags struct {
	as, containerd, namespace string
	create                    bool
}

func newPush(e *environment) *cobra.Command {
	var f pushFlags
	cmd := &cobra.Command{
		Use: "push IMAGE|FILE|DIRECTORY|-", Short: "Push an image of this host into Berth's registry", Args: arguments(cobra.ExactArgs(1)),
		Long: `Push an image into Berth's registry: one of the local Docker engine, of containerd (with
--containerd or --containerd-namespace), or of a file: an archive as docker save and OCI
tools write it, - being standard input, or a directory that is an OCI layout. What begins
with . or / or ends with .tar, .tar.gz or .tgz is a file, anything else an image.

The repository is made when it is not there. What the registry has already is not sent
again. The name to use in a task definition is printed; it works on every node, and needs
no DNS, no login and no change to a daemon. docker login and docker push work as well:
berth login.

berth image import is something else: it puts an image into this host's node only, under
any name, without a registry.`,
		Example: `  docker build -t my-app . && berth push my-app
  berth push my-app:latest --as team/my-app:v1
  berth push my-app.tar --as my-app                    # all tags of the archive
  berth push my-app --containerd-namespace k8s.io
  docker save my-app | berth push - --as my-app:v2`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := e.connect(cmd)
			if err != nil {
				return err
			}
			return f.push(cmd.Context(), e, c, args[0])
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.as, "as", "", "repository[:tag] in the registry (default: the image's own name)")
	flags.BoolVar(&f.create, "create", true, "make the repository when it is not there")
	flags.StringVar(&f.containerd, "containerd", "", "take the image from the containerd at this socket")
	flags.StringVar(&f.namespace, "containerd-namespace", "", "take the image from this namespace of containerd (default: default)")
	outputFlag(e, cmd)
	cmd.ValidArgsFunction = completeDockerImages
	return cmd
}

// pushed is what `berth push -o json` prints.
type pushed struct {
	Repository string `json:"repositoryName"`
	Tag        string `json:"imageTag"`
	URI        string `json:"imageUri"`
	Digest     string `json:"imageDigest"`
}

func (f *pushFlags) push(ctx context.Context, e *environment, c *clients, arg string) error {
	p := newPrinter(e.err)
	local, err := f.open(ctx, e, p, arg)
	if err != nil {
		return err
	}
	defer local.close() //nolint:errcheck // only read
	r, err := c.registry(ctx)
	if err != nil {
		return err
	}
	var all []pushed
	for _, image := range local.images {
		done, err := f.pushOne(ctx, p, c, r, local, image)
		if err != nil {
			return fmt.Errorf("pushing %s: %w", arg, err)
		}
		all = append(all, done)
	}
	switch {
	case e.output == formJSON && len(all) == 1:
		return e.writeJSON(all[0])
	case e.output == formJSON:
		return e.writeJSON(all)
	}
	for _, done := range all {
		if _, err := fmt.Fprintln(e.out, done.URI); err != nil {
			return err
		}
	}
	return nil
}

func (f *pushFlags) pushOne(ctx context.Context, p *printer, c *clients, r *registry, local *localImage, image namedImage) (pushed, error) {
	began := time.Now()
	repository, tag, err := destination(f.as, image.name, len(local.images) > 1)
	if err != nil {
		return pushed{}, err
	}
	home, err := c.ensureRepository(ctx, p, repository, f.create)
	if err != nil {
		return pushed{}, err
	}
	to, err := r.tag(repository, tag)
	if err != nil {
		return pushed{}, misuse("--as %s: %w", repository+":"+tag, err)
	}
	sent, err := r.send(ctx, p, to.String(), func(options []remote.Option) error { return remote.Push(to, image.Taggable, options...) })
	if err != nil {
		return pushed{}, err
	}
	digest, err := digestOf(image.Taggable)
	if err != nil {
		return pushed{}, err
	}
	p.say("%s", step{true, "Image", fmt.Sprintf("%s:%s from %s, %s sent  %s", repository, tag, local.from, megabytes(sent), shortDigest(digest)), time.Since(began)}.line(p, ""))
	return pushed{repository, tag, aws.ToString(home.RepositoryUri) + ":" + tag, digest}, nil
}

func digestOf(t remote.Taggable) (string, error) {
	d, ok := t.(interface{ Digest() (v1.Hash, error) })
	if !ok {
		return "", fmt.Errorf("a %T has no digest", t)
	}
	h, err := d.Digest()
	return h.String(), err
}

// send pushes, shows how far that is, and returns how many bytes it took.
func (r *registry) send(ctx context.Context, p *printer, what string, push func([]remote.Option) error) (int64, error) {
	count := &countingTransport{next: r.requests}
	updates := make(chan v1.Update, 16)
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		for u := range updates {
			if u.Total > 0 {
				p.live(" … %s: %s of %s", what, megabytes(u.Complete), megabytes(u.Total))
			}
		}
	}()
	err := push(append(r.options(ctx), remote.WithTransport(count), remote.WithProgress(updates)))
	<-shown // the push closes updates
	p.clear()
	return count.sent.Load(), err
}

// countingTransport counts what is sent in bodies.
type countingTransport struct {
	next http.RoundTripper
	sent atomic.Int64
}

// RoundTrip passes a request on.
func (t *countingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.Body != http.NoBody {
		r = r.Clone(r.Context())
		r.Body = &countingBody{r.Body, &t.sent}
	}
	return t.next.RoundTrip(r)
}

type countingBody struct {
	io.ReadCloser
	count *atomic.Int64
}

func (b *countingBody) Read(data []byte) (int, error) {
	n, err := b.ReadCloser.Read(data)
	b.count.Add(int64(n))
	return n, err
}

// megabytes prints a size as registries do.
func megabytes(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 10_000_000_000:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}

// shortDigest is the beginning of a digest, as much as people compare.
func shortDigest(digest string) string {
	algorithm, hex, ok := strings.Cut(digest, ":")
	if !ok {
		return digest
	}
	return algorithm + ":" + hex[:min(len(hex), 12)]
}

// destination is the repository and the tag for an image: what --as says, else
// what the image is called, without its registry. Of several images each keeps
// its tag.
func destination(as, name string, several bool) (repository, tag string, err error) {
	if as == "" && name == "" {
		return "", "", misuse("the image has no name: give it one with --as REPOSITORY[:TAG]")
	}
	if as == "" {
		return split(name)
	}
	repository, tag, err = split(as)
	if err != nil || !several {
		return repository, tag, err
	}
	if strings.HasSuffix(as, ":"+tag) {
		return "", "", misuse("there are several images: --as can name a repository only, and each keeps its tag")
	}
	_, tag, err = split(name)
	return repository, tag, err
}

// split reads REPOSITORY[:TAG], and leaves a registry's host out.
func split(typed string) (repository, tag string, err error) {
	named, err := reference.ParseNormalizedNamed(typed)
	if err != nil {
		return "", "", misuse("%s is not REPOSITORY[:TAG], in lower case: %w", typed, err)
	}
	repository, tag = reference.Path(named), "latest"
	if reference.Domain(named) == "docker.io" {
		repository = strings.TrimPrefix(repository, "library/")
	}
	if tagged, ok := named.(reference.Tagged); ok {
		tag = tagged.Tag()
	}
	return repository, tag, nil
}

// localImage is an image of this host, or several of one archive.
type localImage struct {
	images []namedImage
	from   string
	close  func() error
}

// open finds the image that somebody typed.
func (f *pushFlags) open(ctx context.Context, e *environment, p *printer, arg string) (*localImage, error) {
	switch {
	case f.containerd != "" || f.namespace != "":
		return f.fromContainerd(ctx, p, arg)
	case isPath(arg):
		return e.fromFile(p, arg)
	}
	return fromDocker(ctx, p, arg)
}

func (e *environment) fromFile(p *printer, arg string) (*localImage, error) {
	if info, err := os.Stat(arg); err == nil && info.IsDir() {
		image, name, err := openLayout(arg)
		return &localImage{[]namedImage{{image, name}}, arg, func() error { return nil }}, err
	}
	if arg == "-" {
		return fromStream(p, e.in, "", "standard input")
	}
	file, err := os.Open(arg)
	if err != nil {
		return nil, err
	}
	return fromArchive(file, "", arg)
}

// fromStream takes an image out of an archive that is read once.
func fromStream(p *printer, r io.Reader, name, from string) (*localImage, error) {
	file, err := spool(r, func(n int64) { p.live(" … %s: %s read", from, megabytes(n)) })
	p.clear()
	if err != nil {
		return nil, err
	}
	return fromArchive(file, name, from)
}

// fromArchive opens an archive; it closes file when it fails.
func fromArchive(file *os.File, name, from string) (*localImage, error) {
	a, err := openArchive(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	images, err := a.images()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", from, err), a.close())
	}
	if name != "" {
		images[0].name = name
	}
	return &localImage{images, from, a.close}, nil
}

// connectDocker is a client of the local Docker engine; nothing is asked yet.
func connectDocker() (*docker.Client, error) { return docker.New(docker.FromEnv) }

func fromDocker(ctx context.Context, p *printer, name string) (*localImage, error) {
	client, err := connectDocker()
	if err != nil {
		return nil, fmt.Errorf("finding Docker: %w", err)
	}
	defer client.Close() //nolint:errcheck // nothing is left to lose
	if _, err := client.ImageInspect(ctx, name); err != nil {
		return nil, notInDocker(name, err)
	}
	saved, err := client.ImageSave(ctx, []string{name})
	if err != nil {
		return nil, fmt.Errorf("taking %s out of Docker: %w", name, err)
	}
	defer saved.Close() //nolint:errcheck // read to its end
	return fromStream(p, saved, name, "Docker")
}

// notInDocker says what to do about an image that Docker does not give.
func notInDocker(name string, err error) error {
	if _, there := os.Stat(name); there == nil {
		return fmt.Errorf("docker does not have the image %s; the file of that name is ./%s", name, name)
	}
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("docker does not have the image %s; `docker images` lists them, --containerd-namespace looks in containerd", name)
	}
	return fmt.Errorf("docker does not answer, to be asked for %s: %w (an archive works without it: berth push FILE.tar; containerd too: --containerd-namespace)", name, err)
}

const (
	usualContainerd = "/run/containerd/containerd.sock"
	usualNamespace  = "default"
)

func (f *pushFlags) fromContainerd(ctx context.Context, p *printer, name string) (*localImage, error) {
	address, namespace := f.containerd, f.namespace
	if address == "" {
		address = usualContainerd
	}
	if namespace == "" {
		namespace = usualNamespace
	}
	full, err := reference.ParseDockerRef(name)
	if err != nil {
		return nil, misuse("%s is not the name of an image: %w", name, err)
	}
	if answering(ctx, address) == "" { // which gRPC would try for long
		return nil, fmt.Errorf("containerd does not answer at %s; --containerd names its socket", address)
	}
	client, err := containerdclient.New(address, containerdclient.WithDefaultNamespace(namespace), containerdclient.WithTimeout(patience))
	if err != nil {
		return nil, fmt.Errorf("containerd does not answer at %s: %w", address, err)
	}
	defer client.Close() //nolint:errcheck // nothing is left to lose
	if _, err := client.GetImage(ctx, full.String()); err != nil {
		return nil, fmt.Errorf("containerd's namespace %s does not have %s: %w (ctr -n %s images ls lists them)", namespace, full, err, namespace)
	}
	out, in := io.Pipe()
	go func() {
		in.CloseWithError(client.Export(ctx, in, imagearchive.WithImage(client.ImageService(), full.String()), imagearchive.WithPlatform(platforms.DefaultStrict())))
	}()
	defer out.Close() //nolint:errcheck // ends the export
	return fromStream(p, out, name, "containerd")
}

func completeDockerImages(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	if isPath(typed) {
		return nil, cobra.ShellCompDirectiveDefault
	}
	client, err := connectDocker()
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	defer client.Close() //nolint:errcheck // nothing is left to lose
	ctx, cancel := context.WithTimeout(cmd.Context(), completionPatience)
	defer cancel()
	list, err := client.ImageList(ctx, docker.ImageListOptions{})
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	var names []string
	for _, image := range list.Items {
		for _, name := range image.RepoTags {
			if strings.HasPrefix(name, typed) {
				names = append(names, name)
			}
		}
	}
	return names, cobra.ShellCompDirectiveDefault
}
