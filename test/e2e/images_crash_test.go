package e2e_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"berth.dev/berth/test/images"
)

// heavy is the probe's image with a file that no compression makes smaller.
func heavy(mebibytes int) images.Image {
	data := make([]byte, mebibytes<<20)
	rand.Read(data) //nolint:errcheck,gosec // it never fails
	image := probe
	image.Files = append(append([]images.File(nil), probe.Files...), images.File{Name: "/heavy", Data: data})
	return image
}

// interrupted lets requests through and, once it has seen that much of their bodies, does something in their middle.
type interrupted struct {
	after int64
	once  sync.Once
	do    func()
	mu    sync.Mutex
	seen  int64
}

func (i *interrupted) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		r = r.Clone(r.Context())
		r.Body = &interruptedBody{r.Body, i}
	}
	return http.DefaultTransport.RoundTrip(r)
}

type interruptedBody struct {
	io.ReadCloser
	by *interrupted
}

func (b *interruptedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(len(p), 64<<10)])
	b.by.mu.Lock()
	b.by.seen += int64(n)
	reached := b.by.seen > b.by.after
	b.by.mu.Unlock()
	if reached {
		b.by.once.Do(b.by.do)
	}
	return n, err
}

// SIGKILL of the server in the middle of a push leaves no image; pushing again completes it, and it runs.
func TestServerKilledDuringPush(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.apart(t)
	t.Run("image", func(t *testing.T) { b.pushThroughDeath(t) })
	t.Run("resumed upload", func(t *testing.T) { b.uploadThroughDeath(t) })
}

func (b *berth) pushThroughDeath(t *testing.T) {
	t.Helper()
	repository, image := b.repository(t, ""), heavy(16)
	made, ref, login := built(t, image), b.reference(t, repository, "v1"), b.login(t)
	kill := &interrupted{after: 10 << 20, do: func() { b.end(t, "server", syscall.SIGKILL) }}
	if err := remote.Write(ref, made, login, remote.WithTransport(kill)); err == nil {
		t.Fatal("the push went through a server that was killed")
	}
	b.role(t, "server")
	b.ready(t)
	if got := must(b.ecr.DescribeImages(t.Context(), &ecr.DescribeImagesInput{RepositoryName: &repository}))(t).ImageDetails; len(got) != 0 {
		t.Errorf("half a push is an image: %+v", got)
	}
	if _, err := remote.Get(ref, login); status(err) != http.StatusNotFound {
		t.Errorf("pulling what was half pushed: %v", err)
	}
	eventually(t, "the push", func() error { return remote.Write(ref, made, login) })
	b.whole(t, repository, "v1")
	b.runsImage(t, repository, "v1", must(made.Digest())(t).String())
}

// uploadThroughDeath speaks the protocol itself: the upload goes on where it was when the server was killed.
func (b *berth) uploadThroughDeath(t *testing.T) {
	t.Helper()
	repository := b.repository(t, "")
	layer := make([]byte, 8<<20)
	rand.Read(layer) //nolint:errcheck,gosec // it never fails
	password := b.password(t)
	call := func(method, path string, body io.Reader, via http.RoundTripper, headers ...string) (*http.Response, error) {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+b.listen+path, body)
		if err != nil {
			return nil, err
		}
		r.SetBasicAuth("AWS", password)
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		reply, err := via.RoundTrip(r)
		if err == nil {
			reply.Body.Close() //nolint:errcheck,gosec // the headers say all
		}
		return reply, err
	}
	location := func(reply *http.Response) string {
		u := must(reply.Location())(t)
		return u.RequestURI()
	}
	reply := must(call(http.MethodPost, "/v2/"+repository+"/blobs/uploads/", nil, http.DefaultTransport))(t)
	half := len(layer) / 2
	reply = must(call(http.MethodPatch, location(reply), bytes.NewReader(layer[:half]), http.DefaultTransport, "Content-Range", fmt.Sprintf("0-%d", half-1), "Content-Type", "application/octet-stream"))(t)
	if reply.StatusCode != http.StatusAccepted {
		t.Fatalf("the first half: %s", reply.Status)
	}
	where := location(reply)
	kill := &interrupted{after: 2 << 20, do: func() { b.end(t, "server", syscall.SIGKILL) }}
	if _, err := call(http.MethodPatch, where, io.NopCloser(bytes.NewReader(layer[half:])), kill, "Content-Range", fmt.Sprintf("%d-%d", half, len(layer)-1), "Content-Type", "application/octet-stream"); err == nil {
		t.Fatal("the second half went through a server that was killed")
	}
	b.role(t, "server")
	b.ready(t)

	reply = must(call(http.MethodGet, where, nil, http.DefaultTransport))(t)
	var from, to int
	if n, err := fmt.Sscanf(reply.Header.Get("Range"), "%d-%d", &from, &to); n != 2 || reply.StatusCode != http.StatusNoContent || to < half-1 || to >= len(layer) {
		t.Fatalf("after the restart the upload is %s, Range %q, %v", reply.Status, reply.Header.Get("Range"), err)
	}
	reply = must(call(http.MethodPatch, location(reply), bytes.NewReader(layer[to+1:]), http.DefaultTransport, "Content-Range", fmt.Sprintf("%d-%d", to+1, len(layer)-1), "Content-Type", "application/octet-stream"))(t)
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(layer))
	end := location(reply)
	separator := "?"
	if strings.Contains(end, "?") {
		separator = "&"
	}
	if reply = must(call(http.MethodPut, end+separator+"digest="+digest, nil, http.DefaultTransport))(t); reply.StatusCode != http.StatusCreated {
		t.Fatalf("the end of the upload: %s", reply.Status)
	}
	if reply = must(call(http.MethodHead, "/v2/"+repository+"/blobs/"+digest, nil, http.DefaultTransport))(t); reply.StatusCode != http.StatusOK || reply.ContentLength != int64(len(layer)) {
		t.Errorf("the layer: %s, %d bytes", reply.Status, reply.ContentLength)
	}
}

// SIGKILL of the agent in the middle of a pull costs the task nothing: the next agent pulls the image, and nothing half-written
// stays.
func TestAgentKilledDuringPull(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.apart(t)
	repository := b.repository(t, "")
	digest := b.push(t, repository, "v1", heavy(48))
	ingests := b.path("agent", "containerd", "containerd", "io.containerd.content.v1.content", "ingest")
	k := b.run(t, b.fromRegistry(repository, "v1"))
	eventually(t, "the pull to have begun", func() error {
		for _, file := range must(filepath.Glob(filepath.Join(ingests, "*", "data")))(t) {
			if info, err := os.Stat(file); err == nil && info.Size() > 1<<20 {
				return nil
			}
		}
		return errors.New("nothing is being pulled")
	})
	// The registry holds its breath, so that the pull cannot end before the agent does.
	server := b.roles["server"].cmd.Process
	if err := server.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	b.end(t, "agent", syscall.SIGKILL)
	if err := server.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	b.role(t, "agent")
	app := find(t, k.awaitStatus(t, "RUNNING"), "app")
	equal(t, "imageDigest", aws.ToString(app.ImageDigest), digest)
	equal(t, "the program", k.hears(t, 3000, "/env", "name", "FROM_IMAGE"), "yes")
	eventually(t, "nothing half-written to be left", func() error {
		if left := must(filepath.Glob(filepath.Join(ingests, "*")))(t); len(left) > 0 {
			return fmt.Errorf("there are %v", left)
		}
		return nil
	})
}

// A registry whose disk is full says so, takes nothing for an image, and goes on when there is room.
func TestRegistryDiskFullDuringPush(t *testing.T) {
	t.Parallel()
	b := prepare(t)
	grow := tmpfs(t, b.path("server", "images"), 24)
	b.begin(t)
	repository, image := b.repository(t, ""), heavy(32)
	made, ref := built(t, image), b.reference(t, repository, "v1")
	err := remote.Write(ref, made, b.login(t), remote.WithRetryBackoff(remote.Backoff{Steps: 1}))
	if err == nil || !strings.Contains(err.Error(), "The registry's disk is full. Nothing of this request was kept.") {
		t.Errorf("pushing 32 MiB to a disk of 24: %v", err)
	}
	if got := b.tagged(t, repository); len(got) > 0 {
		t.Errorf("half a push is an image: %v", got)
	}
	grow(80)
	eventually(t, "the push, with room", func() error { return remote.Write(ref, made, b.login(t)) })
	b.whole(t, repository, "v1")
}

// A node whose disk is full says so of the task, and runs the next one when there is room.
func TestNodeDiskFullDuringPull(t *testing.T) {
	t.Parallel()
	b := prepare(t)
	grow := tmpfs(t, b.path("agent", "containerd", "containerd"), 96)
	b.begin(t)
	repository := b.repository(t, "")
	digest := b.push(t, repository, "v1", heavy(80))
	stopped := b.run(t, b.fromRegistry(repository, "v1")).awaitStatus(t, "STOPPED")
	if reason := aws.ToString(stopped.StoppedReason); stopped.StopCode != types.TaskStopCodeTaskFailedToStart || !strings.Contains(reason, "CannotPullContainerError") || !strings.Contains(reason, "no space left on device") {
		t.Errorf("%s: %s", stopped.StopCode, reason)
	}
	grow(400)
	b.runsImage(t, repository, "v1", digest)
}

// tmpfs mounts a small file system at a directory, and returns what changes its size in MiB.
func tmpfs(t *testing.T, dir string, mebibytes int) func(int) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mebibytes)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return func(mebibytes int) {
		t.Helper()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%dm", mebibytes)); err != nil {
			t.Fatal(err)
		}
	}
}

// fromRegistry is a task of an image that was pushed.
func (b *berth) fromRegistry(repository, tag string) *ecs.RegisterTaskDefinitionInput {
	app := container("app", "answer", "3000", "0")
	app.Image = aws.String(ecrHost + "/" + repository + ":" + tag)
	return fargate(app)
}

func (b *berth) runsImage(t *testing.T, repository, tag, digest string) {
	t.Helper()
	k := b.run(t, b.fromRegistry(repository, tag))
	equal(t, "imageDigest", aws.ToString(find(t, k.awaitStatus(t, "RUNNING"), "app").ImageDigest), digest)
	equal(t, "the program", k.hears(t, 3000, "/env", "name", "FROM_IMAGE"), "yes")
}

// whole pulls everything of an image, which the client verifies.
func (b *berth) whole(t *testing.T, repository, tag string) {
	t.Helper()
	image := must(remote.Image(b.reference(t, repository, tag), b.login(t)))(t)
	must(image.RawConfigFile())(t)
	for _, layer := range must(image.Layers())(t) {
		drain(t, must(layer.Compressed())(t))
	}
}
